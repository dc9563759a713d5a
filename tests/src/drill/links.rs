//! A thousand families' accounts and mailboxes, and a thief with the database.

use super::report::Report;
use crate::links::{Copy, Plan, measure};

pub(super) async fn drill(report: &mut Report) -> Option<()> {
    let name = "no link from account to mailbox better than chance, over 1,000 families";
    let judged = async {
        let figures = measure(Plan::default()).await;
        assert!(figures.ok(), "{figures}");
        let area = |copy| figures.of(copy).map_or(0.0, |it| it.area.value);
        let said = format!(
            "a right mailbox before a wrong one: {:.3} of all times; with tells planted {:.2}, {:.2} and {:.2}",
            area(Copy::Tidied),
            area(Copy::Never),
            area(Copy::Order),
            area(Copy::Size),
        );
        ((), said)
    };
    report.step(name, judged).await
}
