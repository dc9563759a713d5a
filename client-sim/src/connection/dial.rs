//! TCP and TLS to a relay.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use kinline_protocol::server_name::RelayAddress;
use rustls::{CertificateError, ClientConfig};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::ConnectError;

/// A connection, a handshake, or a first answer must not take longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// Connects, and checks the certificate.
pub(super) async fn dial(
    relay: &RelayAddress,
    tls: &Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, ConnectError> {
    let authority = relay.authority();
    let name = ServerName::try_from(relay.host.clone()).map_err(|_| ConnectError::Host {
        host: relay.host.clone(),
    })?;
    let work = async {
        let tcp = TcpStream::connect((relay.host.as_str(), relay.port))
            .await
            .map_err(|source| ConnectError::Unreachable {
                authority: authority.clone(),
                source,
            })?;
        // Frames are small and wanted at once.
        drop(tcp.set_nodelay(true));
        TlsConnector::from(Arc::clone(tls))
            .connect(name, tcp)
            .await
            .map_err(|error| handshake_error(relay, error))
    };
    match timeout(PATIENCE, work).await {
        Ok(result) => result,
        Err(_) => Err(ConnectError::TimedOut {
            authority: relay.authority(),
        }),
    }
}

fn handshake_error(relay: &RelayAddress, error: io::Error) -> ConnectError {
    let authority = relay.authority();
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        .cloned();
    match tls {
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => ConnectError::Expired { authority },
        Some(source @ rustls::Error::InvalidCertificate(_)) => ConnectError::WrongCertificate {
            authority,
            pinned: relay.pin.is_some(),
            source,
        },
        Some(other) => ConnectError::NotARelay {
            authority,
            what: other.to_string(),
        },
        None => ConnectError::Unreachable {
            authority,
            source: error,
        },
    }
}
