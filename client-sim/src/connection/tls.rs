//! The TLS configuration of a device: 1.3 only, post-quantum key exchange first.

use std::sync::Arc;

use kinline_protocol::server_name::RelayAddress;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};

use super::PinVerifier;

/// The configuration for one relay: its pin when it has one, the public CAs otherwise.
///
/// X25519MLKEM768 comes first among the key exchanges (rustls' `prefer-post-quantum`).
/// Sessions are not resumed: every connection checks the certificate.
///
/// # Errors
/// [`rustls::Error`] when the provider lacks TLS 1.3, which it does not.
pub fn client_config(relay: &RelayAddress) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut config = match relay.pin {
        Some(pin) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(PinVerifier::new(pin, provider)))
            .with_no_client_auth(),
        None => {
            let mut roots = RootCertStore::empty();
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            builder.with_root_certificates(roots).with_no_client_auth()
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}
