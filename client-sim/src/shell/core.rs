//! What a shell needs of an engine.

use kinline_protocol::day::Timestamp;
use kinline_protocol::engine::io::{Command, Deadline, Event, Input, Output};
use kinline_protocol::server_name::RelayAddress;
use rand::rngs::StdRng;

/// A command that was refused; the engine's state is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// A sans-IO engine, as a shell drives it. The real one is
/// [`kinline_protocol::engine::Engine`]; tests put a scripted one here.
pub trait Core: Send + 'static {
    /// Something came in.
    fn input(&mut self, input: Input, now: Timestamp, rng: &mut StdRng) -> Output;

    /// A person does something.
    ///
    /// # Errors
    /// [`Refused`] with a sentence; nothing changed then.
    fn command(
        &mut self,
        command: Command,
        now: Timestamp,
        rng: &mut StdRng,
    ) -> Result<Output, Refused>;

    /// When [`Input::Tick`] is wanted next.
    fn deadline(&self) -> Deadline;

    /// Whether everything is delivered, read and acknowledged as far as this device knows.
    fn is_settled(&self) -> bool;

    /// What to keep of an event for whoever opens a screen later; `None`: nothing.
    fn note(&self, event: &Event, now: Timestamp) -> Option<Vec<u8>> {
        let _ = (event, now);
        None
    }

    /// Where to connect.
    fn relay(&self) -> &RelayAddress;
}
