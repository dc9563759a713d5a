//! TLS of the bare servers: as the relay has it, with a small CA that lives as long as they do.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use kinline_protocol::server_name::RelayAddress;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::connection::{RELAY_NAME, certificate_pin};
use crate::load::trouble::Trouble;

/// Listens on a free port of loopback and says so on standard output, as the relay does.
pub(super) async fn listen() -> Result<(TcpListener, TlsAcceptor), Trouble> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca_key = KeyPair::generate()?;
    let ca = params.self_signed(&ca_key)?.der().clone();
    let names = vec![RELAY_NAME.to_owned(), "127.0.0.1".to_owned()];
    let mut leaf = CertificateParams::new(names)?;
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf_key = KeyPair::generate()?;
    let leaf = leaf.signed_by(&leaf_key, &Issuer::from_params(&params, &ca_key))?;
    let chain = vec![leaf.der().clone(), ca.clone()];
    let key = PrivateKeyDer::Pkcs8(leaf_key.serialize_der().into());
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let address = RelayAddress {
        host: "127.0.0.1".into(),
        port: listener.local_addr()?.port(),
        pin: certificate_pin(&ca),
        operator: None,
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening {address}")?;
    out.flush()?;
    Ok((listener, TlsAcceptor::from(Arc::new(config))))
}
