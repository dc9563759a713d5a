//! The relay is broken into: from the touched tripwire to the notice on every guardian's screen.

use super::cast::Cast;
use super::report::Report;

/// `None` when a step went wrong.
pub(super) async fn drill(_cast: &mut Cast, _report: &mut Report) -> Option<()> {
    Some(())
}
