//! The front door: TCP, TLS, and how many may come in.

mod patient;
mod secure;
mod serve;
mod visitors;

pub(crate) use serve::serve;
pub(crate) use visitors::{Visit, Visitors};
