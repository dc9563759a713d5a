#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use std::io;
use std::sync::Arc;

use rand::{RngExt as _, SeedableRng as _};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Secure;

fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["relay".to_owned()]).unwrap();
    let provider = || Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

type Ends = (Secure<DuplexStream>, TlsStream<DuplexStream>);

/// Both ends over a pipe that holds `bytes`.
async fn pair(bytes: usize) -> Ends {
    let (server, client) = configs();
    let turns = Semaphore::new(1);
    let (ours, theirs) = duplex(bytes);
    let name = ServerName::try_from("relay").unwrap();
    let (ours, theirs) = tokio::join!(
        Secure::accept(ours, server, &turns),
        TlsConnector::from(client).connect(name, theirs)
    );
    (ours.unwrap(), theirs.unwrap())
}

fn random(rng: &mut rand::rngs::StdRng, len: usize) -> Vec<u8> {
    (0..len).map(|_| rng.random()).collect()
}

#[tokio::test]
async fn everything_arrives_through_pipes_of_any_width() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    for width in [1, 7, 100, 5_000, 1 << 20] {
        let (ours, theirs) = pair(width).await;
        let bytes = if width < 50 { 5_000 } else { 200_000 };
        let (there, back) = (random(&mut rng, bytes), random(&mut rng, bytes));
        let (mut our_read, mut our_write) = tokio::io::split(ours);
        let (mut their_read, mut their_write) = tokio::io::split(theirs);
        let (mut heard, mut answered) = (vec![0; bytes], vec![0; bytes]);
        let chunk = rng.random_range(1..30_000);
        let (a, b, c, d) = tokio::join!(
            async {
                for part in there.chunks(chunk) {
                    their_write.write_all(part).await?;
                }
                their_write.flush().await
            },
            our_read.read_exact(&mut heard),
            async {
                for part in back.chunks(chunk) {
                    our_write.write_all(part).await?;
                }
                our_write.flush().await
            },
            their_read.read_exact(&mut answered),
        );
        a.unwrap();
        b.unwrap();
        c.unwrap();
        d.unwrap();
        assert!(heard == there && answered == back, "width {width}");
    }
}

#[tokio::test]
async fn at_rest_it_keeps_no_room() {
    let (mut ours, mut theirs) = pair(1 << 20).await;
    let mut heard = [0; 3_000];
    theirs.write_all(&[7; 3_000]).await.unwrap();
    ours.read_exact(&mut heard).await.unwrap();
    ours.write_all(&heard).await.unwrap();
    ours.flush().await.unwrap();
    theirs.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, [7; 3_000]);
    let kept = [&ours.received, &ours.opened, &ours.sealed].map(Vec::capacity);
    assert_eq!(kept, [0; 3]);
}

#[tokio::test]
async fn a_farewell_is_an_end_and_a_cut_is_an_error() {
    let (mut ours, mut theirs) = pair(1 << 20).await;
    theirs.write_all(b"last words").await.unwrap();
    theirs.shutdown().await.unwrap();
    let mut heard = Vec::new();
    ours.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"last words");
    // The other direction is still open, until we say so.
    ours.write_all(b"and ours").await.unwrap();
    ours.shutdown().await.unwrap();
    assert!(ours.write_all(b"more").await.is_err());
    heard.clear();
    theirs.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"and ours");

    let (mut ours, theirs) = pair(1 << 20).await;
    drop(theirs);
    let error = ours.read_to_end(&mut heard).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn other_keys_in_the_middle_are_followed() {
    let (mut ours, mut theirs) = pair(1 << 20).await;
    let mut heard = [0; 5];
    for _ in 0..3 {
        theirs.get_mut().1.refresh_traffic_keys().unwrap();
        theirs.write_all(b"there").await.unwrap();
        theirs.flush().await.unwrap();
        ours.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"there");
        ours.write_all(b"again").await.unwrap();
        ours.flush().await.unwrap();
        theirs.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"again");
    }
}

#[tokio::test]
async fn what_is_no_handshake_is_refused() {
    let (server, _) = configs();
    let turns = Semaphore::new(1);
    let request = b"GET / HTTP/1.1\r\n\r\n";
    for garbage in [&[0; 600][..], request, &[22, 3, 1, 0, 4, 9, 9, 9, 9]] {
        let (ours, mut theirs) = duplex(1 << 20);
        theirs.write_all(garbage).await.unwrap();
        let accepted = Secure::accept(ours, Arc::clone(&server), &turns).await;
        assert_eq!(accepted.err().unwrap().kind(), io::ErrorKind::InvalidData);
    }
}

#[tokio::test]
async fn who_speaks_an_older_version_is_told() {
    let (server, _) = configs();
    let turns = Semaphore::new(1);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let old = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let (ours, theirs) = duplex(1 << 20);
    let name = ServerName::try_from("relay").unwrap();
    let (accepted, connected) = tokio::join!(
        Secure::accept(ours, server, &turns),
        TlsConnector::from(Arc::new(old)).connect(name, theirs)
    );
    assert!(accepted.is_err());
    let error = connected.unwrap_err().into_inner().unwrap();
    let error = error.downcast_ref::<rustls::Error>().unwrap();
    let alert = rustls::AlertDescription::ProtocolVersion;
    assert_eq!(*error, rustls::Error::AlertReceived(alert));
}

#[tokio::test]
async fn a_handshake_without_an_end_takes_bounded_room() {
    let (server, _) = configs();
    let turns = Semaphore::new(1);
    let (ours, mut theirs) = duplex(1 << 20);
    // A ClientHello that claims 60,000 bytes, in records of 1,000.
    let mut first = vec![1, 0, 0xea, 0x60];
    first.resize(1_000, 0);
    theirs.write_all(&record(&first)).await.unwrap();
    for _ in 0..58 {
        theirs.write_all(&record(&[0; 1_000])).await.unwrap();
    }
    let error = Secure::accept(ours, server, &turns).await.err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

fn record(bytes: &[u8]) -> Vec<u8> {
    let mut record = vec![22, 3, 1];
    record.extend((bytes.len() as u16).to_be_bytes());
    record.extend(bytes);
    record
}

#[tokio::test]
async fn damaged_records_end_it() {
    let (server, client) = configs();
    let turns = Semaphore::new(1);
    let (ours, theirs) = duplex(1 << 20);
    let name = ServerName::try_from("relay").unwrap();
    let (ours, theirs) = tokio::join!(
        Secure::accept(ours, server, &turns),
        TlsConnector::from(client).connect(name, theirs)
    );
    let (mut ours, theirs) = (ours.unwrap(), theirs.unwrap());
    let (mut pipe, _) = theirs.into_inner();
    pipe.write_all(&[23, 3, 3, 0, 40]).await.unwrap();
    pipe.write_all(&[9; 40]).await.unwrap();
    let error = ours.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn who_says_nothing_keeps_no_turn() {
    let (server, client) = configs();
    let turns = Semaphore::new(1);
    let (silent, mut pipe) = duplex(1 << 20);
    pipe.write_all(&[22]).await.unwrap();
    let (ours, theirs) = duplex(1 << 20);
    let name = ServerName::try_from("relay").unwrap();
    tokio::select! {
        _ = Secure::accept(silent, Arc::clone(&server), &turns) => panic!("accepted nothing"),
        (ours, theirs) = async { tokio::join!(
            Secure::accept(ours, server, &turns),
            TlsConnector::from(client).connect(name, theirs)
        ) } => assert!(ours.is_ok() && theirs.is_ok()),
    }
}
