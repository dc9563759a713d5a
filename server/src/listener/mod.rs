//! The front door: TCP, TLS, and how many may come in.

mod patient;
mod secure;
mod serve;
mod turn;
mod visitors;

pub(crate) use serve::{Stream, serve};
pub(crate) use turn::turn;
pub(crate) use visitors::{Origin, Visit, Visitors};
