//! The way to a relay: TLS 1.3, one WebSocket for frames, HTTPS for blobs.
//!
//! The relay is recognised by the pin in the pairing code (its own small CA) or, without a
//! pin, by a public CA. Nothing here knows what the frames mean.

mod account;
mod backoff;
mod dial;
mod error;
mod https;
mod pin;
mod socket;
mod source;
mod tls;
mod transfer;
mod tries;

#[cfg(test)]
pub(crate) mod test_relay;

pub use account::{AccountError, account, put_vault};
pub use backoff::Backoff;
pub use error::{ConnectError, TransferError};
pub use pin::{PinVerifier, RELAY_NAME, certificate_pin};
pub use socket::{Lost, Socket, connect};
pub(crate) use source::Source;
pub use tls::client_config;
pub use transfer::BlobClient;
