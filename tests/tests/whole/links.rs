//! What a stolen database tells about who belongs together: few families here, a thousand in
//! `link-drill`.

use kinline_tests::links::{Copy, Plan, measure};

#[tokio::test]
async fn a_tidied_database_links_no_account_to_a_mailbox_and_planted_tells_are_found() {
    let plan = Plan {
        families: 120,
        days: 6,
        seed: 1,
    };
    let figures = measure(plan).await;
    println!("{figures}");
    for copy in [Copy::Tidied, Copy::TidiedMailboxes] {
        assert!(figures.of(copy).unwrap().is_chance(), "{copy:?}");
    }
    for planted in [Copy::Never, Copy::Order, Copy::Size] {
        assert!(!figures.of(planted).unwrap().is_chance(), "{planted:?}");
    }
    assert!(figures.ok());
}
