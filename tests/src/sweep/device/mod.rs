//! The same for a device: a real process that dies at every moment that matters, and loses
//! nothing that it had accepted or confirmed.
//!
//! ```text
//!  world: relay (a process) ◄──TLS── Dad (a device in this process)
//!            ▲                          │ said, confirmed
//!            │                          ▼
//!  strace ► Mum (a process) ──► state folder ──► look: what her screen has, what Dad got
//! ```
//!
//! - [`world`] is a family of two, of whom one device dies again and again and comes back.
//! - [`death`] is where it dies (the Nth sync, write, change of a name or frame that leaves), and
//!   whether the power goes with it: the folder then keeps what was synced and chance's share of
//!   the rest.
//! - [`look`] judges by what was said, what the device had reported, and what Dad's device had
//!   been told: by no word of the store under test.
//! - [`disk`] lets its disk fail and flips bits on it; [`pairing`] kills one of two devices while
//!   they are paired.
//! - [`run`] makes the sweeps and plants the faults.

pub mod death;
pub mod disk;
pub mod look;
pub mod pairing;
pub mod run;
pub mod world;
