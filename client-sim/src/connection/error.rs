//! Why a relay can't be used, each as a sentence.

use std::io;

use kinline_protocol::wire::FrameError;

/// Why no connection stands.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers there.
    #[error("the relay at {authority} is not there: {source}")]
    Unreachable {
        /// `host:port`.
        authority: String,
        /// Why.
        source: io::Error,
    },
    /// Somebody is there and takes too long.
    #[error("the relay at {authority} does not answer")]
    TimedOut {
        /// `host:port`.
        authority: String,
    },
    /// The certificate is not the pinned one, or of no known CA.
    #[error("{}", wrong_certificate(authority, *pinned))]
    WrongCertificate {
        /// `host:port`.
        authority: String,
        /// Whether the pairing code held a pin.
        pinned: bool,
        /// What the check said.
        source: rustls::Error,
    },
    /// The certificate is right and too old.
    #[error("the certificate of the relay at {authority} has expired; its operator must renew it")]
    Expired {
        /// `host:port`.
        authority: String,
    },
    /// It speaks, but not as a relay does.
    #[error("what answers at {authority} is no Kinline relay: {what}")]
    NotARelay {
        /// `host:port`.
        authority: String,
        /// What it did.
        what: String,
    },
    /// The address holds a host that can't be in a certificate.
    #[error("{host:?} is no host name")]
    Host {
        /// The host.
        host: String,
    },
}

fn wrong_certificate(authority: &str, pinned: bool) -> String {
    if pinned {
        format!("this relay's certificate is not the one in the pairing code ({authority})")
    } else {
        format!(
            "the certificate of the relay at {authority} is of no known authority; a relay with its own certificate needs #pin=… in its address"
        )
    }
}

impl ConnectError {
    /// Whether trying again is pointless until a person does something.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::WrongCertificate { .. }
                | Self::Expired { .. }
                | Self::NotARelay { .. }
                | Self::Host { .. }
        )
    }
}

/// Why a blob was not moved.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection broke, several times.
    #[error("the transfer broke off: {what}")]
    Broken {
        /// What happened last.
        what: String,
    },
    /// The relay does not have the blob.
    #[error("the relay does not have this attachment (any more)")]
    NotFound,
    /// The relay has no room, or the day's bytes are used up.
    #[error("the relay has no room for this attachment now")]
    NoRoom,
    /// The relay's answer makes no sense.
    #[error("the relay answered {status} where that makes no sense")]
    Answer {
        /// HTTP status.
        status: u16,
    },
    /// The blob has another size than announced.
    #[error("the attachment has another size than was announced")]
    Size,
    /// A file on this side.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Why a socket that stood is gone.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The relay closed it.
    #[error("the relay closed the connection")]
    Closed,
    /// Nothing was heard for a minute.
    #[error("the relay fell silent")]
    Silent,
    /// The relay sent something that is no frame.
    #[error("the relay sent something strange: {0}")]
    Frame(#[from] FrameError),
    /// The relay sent something else than binary frames.
    #[error("the relay sent a message of a wrong type")]
    Kind,
    /// The network.
    #[error("the connection broke: {0}")]
    Broken(String),
}
