//! The worst day, drilled.

use kinline_tests::breach::drill;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_touched_decoy_to_the_notice_and_through_a_lockdown_nothing_is_lost() {
    for step in drill().await {
        println!("{:6.2} s  {}", step.seconds, step.name);
    }
}
