//! A device that runs: the protocol's engine joined with a store and a connection.
//!
//! One task owns the engine. For everything that the engine puts out it keeps one order:
//! first the changes are committed in one synced transaction, then frames leave, transfers
//! start and events show. When the store fails, nothing leaves and the device stops; what was
//! durable before is durable still.
//!
//! ```text
//!            commands, questions                 frames            ┌────────┐
//!  [`DeviceHandle`] ─────────► task ◄──────────────────────────────┤ socket │
//!            ◄───────── events  │ ▲ └─────────────────────────────►│        │
//!                               │ │ persist, then send             └────────┘
//!                               ▼ │
//!                           engine · store       blobs over HTTPS ─► transfers
//! ```

mod actor;
mod clock;
mod core;
mod error;
mod events;
mod handle;
mod link;
pub(crate) mod notes;
mod status;
mod transfers;
mod vault;

pub use clock::Clock;
pub use core::{Core, Refused};
pub use error::DeviceError;
pub use events::EventReader;
pub use handle::{DeviceHandle, ShellOptions, start};
pub use status::{LinkStatus, LinkTrouble, Status};

#[cfg(test)]
mod tests;
