//! The relay is broken into: from the touched tripwire to the notice on every guardian's screen, and
//! through a lockdown, with a family that goes on writing.

use super::report::Report;

/// The story is that of [`crate::breach`]; its steps say how long they took one after the other.
pub(super) async fn drill(report: &mut Report) -> Option<()> {
    let name = "the relay is broken into; the operator acts; nothing acknowledged is lost";
    let story = async {
        let steps = crate::breach::drill().await;
        let seconds = steps.last().map_or(0.0, |step| step.seconds);
        (
            steps,
            format!("{seconds:.2} s from the touched decoy to the end"),
        )
    };
    let steps = report.step(name, story).await?;
    let mut before = 0.0;
    for step in steps {
        report.took(step.name, step.seconds - before);
        before = step.seconds;
    }
    Some(())
}
