//! Meeting points for pairing: in memory, two sides, a few messages, a few minutes.

mod meetings;

pub(crate) use meetings::Rendezvous;
