//! TLS 1.3 only, X25519MLKEM768 preferred, and the relay's own small CA.
//!
//! Without a certificate of a public CA the relay makes a CA of its own (ECDSA P-256) in
//! its TLS folder, signs a fresh leaf at each start, and sends both. Devices recognise it by
//! the pin: SHA-256 of the CA's SubjectPublicKeyInfo, which travels in the pairing code.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kinline_protocol::primitives::hash;
use kinline_protocol::server_name::Pin;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Why TLS can't be set up; each a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of the TLS folder, or a configured one, can't be used.
    #[error("the TLS file {path} can't be used: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No PEM, or not the kind that it should hold.
    #[error("the TLS file {0} is damaged: it must hold PEM")]
    Damaged(PathBuf),
    /// Certificates could not be made.
    #[error("the relay's own certificates could not be made: {0}")]
    Generate(#[source] rcgen::Error),
    /// Key and certificate don't fit.
    #[error("the TLS key and certificate can't be used together: {0}")]
    Rustls(#[source] rustls::Error),
}

/// What the listener needs.
pub(crate) struct Tls {
    /// For the acceptor.
    pub(crate) config: Arc<ServerConfig>,
    /// Pin of the last certificate of the chain, when devices are to pin it.
    pub(crate) pin: Option<Pin>,
}

/// Uses the operator's chain and key. With `pinned`, devices pin the chain's last certificate:
/// an own CA whose key is kept offline.
///
/// # Errors
/// [`TlsError`].
pub(crate) fn from_files(certificate: &Path, key: &Path, pinned: bool) -> Result<Tls, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::Damaged(certificate.into()))?;
    let last = chain
        .last()
        .ok_or_else(|| TlsError::Damaged(certificate.into()))?;
    let pin = if pinned {
        Some(pin_of(last, certificate)?)
    } else {
        None
    };
    let key =
        PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|_| TlsError::Damaged(key.into()))?;
    Ok(Tls {
        config: server_config(chain, key)?,
        pin,
    })
}

/// Uses the CA of the TLS folder, made now if there is none, and a fresh leaf for `names`.
///
/// # Errors
/// [`TlsError`].
pub(crate) fn own_ca(folder: &Path, names: &[String]) -> Result<Tls, TlsError> {
    let (certificate_path, key_path) = (folder.join("ca.pem"), folder.join("ca.key"));
    if !key_path.exists() {
        make_ca(folder, &certificate_path, &key_path)?;
    }
    let ca = CertificateDer::from_pem_slice(&read(&certificate_path)?)
        .map_err(|_| TlsError::Damaged(certificate_path.clone()))?;
    let text =
        String::from_utf8(read(&key_path)?).map_err(|_| TlsError::Damaged(key_path.clone()))?;
    let issuer = Issuer::new(
        ca_params(),
        KeyPair::from_pem(&text).map_err(|_| TlsError::Damaged(key_path))?,
    );
    let pin = pin_of(&ca, &certificate_path)?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(TlsError::Generate)?;
    let mut params = CertificateParams::new(names.to_vec()).map_err(TlsError::Generate)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "Kinline relay");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let leaf = params
        .signed_by(&key, &issuer)
        .map_err(TlsError::Generate)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok(Tls {
        config: server_config(vec![leaf.der().clone(), ca], key)?,
        pin: Some(pin),
    })
}

/// The same at every start, so that the issuer can be rebuilt from its key alone.
fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "Kinline relay CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn make_ca(folder: &Path, certificate: &Path, key: &Path) -> Result<(), TlsError> {
    crate::files::make_folder(folder).map_err(|source| TlsError::Io {
        path: folder.into(),
        source,
    })?;
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(TlsError::Generate)?;
    let ca = ca_params().self_signed(&pair).map_err(TlsError::Generate)?;
    // The certificate first: a key without it would be useless after a crash between the two.
    write(certificate, &ca.pem(), 0o644)?;
    write(key, &pair.serialize_pem(), 0o600)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Io {
        path: path.into(),
        source,
    })
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let attempt = || {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(mode)
            .open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        crate::files::sync_parent(path)
    };
    attempt().map_err(|source| TlsError::Io {
        path: path.into(),
        source,
    })
}

fn pin_of(certificate: &CertificateDer<'_>, path: &Path) -> Result<Pin, TlsError> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| TlsError::Damaged(path.into()))?;
    Ok(Pin(hash::sha256(parsed.tbs_certificate.subject_pki.raw)))
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Rustls)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Rustls)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::own_ca;
    use rustls::NamedGroup;
    use rustls::crypto::aws_lc_rs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_pin_stays_over_restarts_and_the_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let first = own_ca(folder.path(), &names).unwrap().pin.unwrap();
        let second = own_ca(folder.path(), &names).unwrap().pin.unwrap();
        assert_eq!(first, second);
        let mode = std::fs::metadata(folder.path().join("ca.key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_hybrid_key_exchange_comes_first() {
        let groups = aws_lc_rs::default_provider().kx_groups;
        assert_eq!(groups.first().unwrap().name(), NamedGroup::X25519MLKEM768);
    }
}
