//! A planted fault: a device whose frames leave before what they rest on is durable.

use kinline_client_sim::shell::{Core, Refused};
use kinline_protocol::day::Timestamp;
use kinline_protocol::engine::Engine;
use kinline_protocol::engine::io::{Changes, Command, Deadline, Event, Input, Output};
use kinline_protocol::server_name::RelayAddress;
use rand::rngs::StdRng;

/// In the environment, it plants the fault.
pub const VARIABLE: &str = "KINLINE_PLANTED_EARLY";

/// A core that has an engine in it.
pub(super) trait Holds: Core {
    /// The engine.
    fn engine(&self) -> &Engine;
}

impl Holds for Engine {
    fn engine(&self) -> &Engine {
        self
    }
}

/// The engine; what it wants persisted comes out one step late.
pub(super) struct Early {
    engine: Engine,
    late: Changes,
}

impl Early {
    pub(super) fn new(engine: Engine) -> Self {
        Self {
            engine,
            late: Changes::default(),
        }
    }

    fn delay(&mut self, mut output: Output) -> Output {
        std::mem::swap(&mut self.late, &mut output.changes);
        output
    }
}

impl Holds for Early {
    fn engine(&self) -> &Engine {
        &self.engine
    }
}

impl Core for Early {
    fn input(&mut self, input: Input, now: Timestamp, rng: &mut StdRng) -> Output {
        let output = Core::input(&mut self.engine, input, now, rng);
        self.delay(output)
    }

    fn command(
        &mut self,
        command: Command,
        now: Timestamp,
        rng: &mut StdRng,
    ) -> Result<Output, Refused> {
        let output = Core::command(&mut self.engine, command, now, rng)?;
        Ok(self.delay(output))
    }

    fn deadline(&self) -> Deadline {
        Core::deadline(&self.engine)
    }

    fn is_settled(&self) -> bool {
        Core::is_settled(&self.engine)
    }

    fn note(&self, event: &Event, now: Timestamp) -> Option<Vec<u8>> {
        Core::note(&self.engine, event, now)
    }

    fn relay(&self) -> &RelayAddress {
        Core::relay(&self.engine)
    }
}
