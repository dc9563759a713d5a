//! Recognises a relay by the pin of its own CA (PROTOCOL §3.1).
//!
//! The pin is the SHA-256 of the CA's SubjectPublicKeyInfo. The relay presents its leaf and
//! that CA; the leaf must be signed by it, be in date, and be made out to the host that was
//! dialled or to [`RELAY_NAME`]: a family's relay is reached by addresses that change, and
//! who holds the CA's key is the relay whatever the address.

use std::sync::Arc;

use kinline_protocol::primitives::hash;
use kinline_protocol::server_name::Pin;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// The name in every certificate that a relay makes for itself.
pub const RELAY_NAME: &str = "kinline-relay";
/// Certificates of a chain that are looked at.
const CHAIN_MAX: usize = 8;

/// No presented certificate has the pinned key.
#[derive(Debug, thiserror::Error)]
#[error("no presented certificate has the pinned key")]
struct PinMissing;

/// Checks certificates against one pin.
#[derive(Debug)]
pub struct PinVerifier {
    pin: Pin,
    provider: Arc<CryptoProvider>,
}

impl PinVerifier {
    /// A verifier that accepts leaves of the CA with this pin and nothing else.
    #[must_use]
    pub const fn new(pin: Pin, provider: Arc<CryptoProvider>) -> Self {
        Self { pin, provider }
    }
}

/// The pin of a certificate: SHA-256 of its SubjectPublicKeyInfo; `None` when it is none, or
/// when bytes follow that another parser might read otherwise.
#[must_use]
pub fn certificate_pin(certificate: &[u8]) -> Option<Pin> {
    let (rest, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    rest.is_empty()
        .then(|| Pin(hash::sha256(parsed.tbs_certificate.subject_pki.raw)))
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let authority = intermediates
            .iter()
            .take(CHAIN_MAX)
            .find(|certificate| certificate_pin(certificate) == Some(self.pin))
            .ok_or_else(|| {
                Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(PinMissing))))
            })?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let leaf = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &leaf,
            &roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        verify_server_name(&leaf, server_name).or_else(|error| {
            let own_name = ServerName::try_from(RELAY_NAME).map_err(|_| error)?;
            verify_server_name(&leaf, &own_name)
        })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // The configuration allows TLS 1.3 alone.
        Err(Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        reason = "tests"
    )]

    use std::sync::Arc;

    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::{CertificateError, Error};
    use rustls_pki_types::{ServerName, UnixTime};

    use super::PinVerifier;
    use crate::connection::test_relay::TestCa;

    fn verifier(ca: &TestCa) -> PinVerifier {
        PinVerifier::new(
            ca.pin(),
            Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
        )
    }

    fn verify(
        pinned: &TestCa,
        signer: &TestCa,
        presented: &[&TestCa],
        names: &[&str],
        dialled: &'static str,
    ) -> Result<(), Error> {
        let leaf = signer.leaf(names);
        let chain: Vec<_> = presented.iter().map(|ca| ca.certificate()).collect();
        verifier(pinned)
            .verify_server_cert(
                &leaf.0,
                &chain,
                &ServerName::try_from(dialled).unwrap(),
                &[],
                UnixTime::now(),
            )
            .map(|_| ())
    }

    #[test]
    fn the_right_relay_is_recognised() {
        let ca = TestCa::new();
        verify(&ca, &ca, &[&ca], &["localhost"], "localhost").unwrap();
        // Another certificate before it in the chain does no harm.
        let other = TestCa::new();
        verify(&ca, &ca, &[&other, &ca], &["localhost"], "localhost").unwrap();
        // Reached by a new address.
        verify(&ca, &ca, &[&ca], &["kinline-relay"], "192.0.2.7").unwrap();
    }

    #[test]
    fn another_ca_is_refused() {
        let (pinned, other) = (TestCa::new(), TestCa::new());
        let error = verify(&pinned, &other, &[&other], &["localhost"], "localhost");
        assert!(matches!(
            error,
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
        ));
    }

    #[test]
    fn a_leaf_that_the_pinned_ca_did_not_sign_is_refused() {
        // The thief presents the pinned CA's certificate, which is public, beside his leaf.
        let (pinned, thief) = (TestCa::new(), TestCa::new());
        let presented = [&pinned, &thief];
        let error = verify(&pinned, &thief, &presented, &["localhost"], "localhost");
        assert!(
            matches!(error, Err(Error::InvalidCertificate(_))),
            "{error:?}"
        );
    }

    #[test]
    fn a_leaf_without_the_ca_is_refused() {
        let ca = TestCa::new();
        assert!(verify(&ca, &ca, &[], &["localhost"], "localhost").is_err());
    }

    #[test]
    fn a_leaf_for_another_name_is_refused() {
        let ca = TestCa::new();
        let error = verify(&ca, &ca, &[&ca], &["mail.example.org"], "localhost");
        assert!(
            matches!(error, Err(Error::InvalidCertificate(_))),
            "{error:?}"
        );
    }

    #[test]
    fn garbage_for_a_certificate_is_refused() {
        let ca = TestCa::new();
        let junk = rustls_pki_types::CertificateDer::from(vec![0x30, 0x82, 0xFF, 0xFF, 1]);
        let result = verifier(&ca).verify_server_cert(
            &junk,
            &[junk.clone(), ca.certificate()],
            &ServerName::try_from("localhost").unwrap(),
            &[],
            UnixTime::now(),
        );
        assert!(result.is_err());
    }
}
