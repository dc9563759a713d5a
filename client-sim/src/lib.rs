//! Simulated tablets and phones: the protocol's engine with a real socket and a real
//! encrypted store.
//!
//! [`store`] keeps a device's records, [`connection`] talks TLS 1.3 to a relay, [`shell`]
//! joins both with the engine, [`cli`] is the command line, [`demo`] lives a day with a
//! family, and [`load`] measures the relay.

pub mod cli;
pub mod connection;
pub mod demo;
pub mod device;
pub mod load;
pub mod random;
pub mod shell;
pub mod store;
