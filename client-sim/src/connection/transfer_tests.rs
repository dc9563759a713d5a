#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kinline_protocol::secrets::Secret;

use super::BlobClient;
use crate::connection::source::{PIECE_BYTES, Source};
use crate::connection::test_relay::{TestBlob, TestRelay};
use crate::connection::{TransferError, client_config};

const SECRET: Secret<32> = Secret::new([3; 32]);

fn name() -> String {
    URL_SAFE_NO_PAD.encode(SECRET.expose())
}

fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect()
}

async fn relay() -> (TestRelay, BlobClient) {
    let relay = TestRelay::start().await;
    let tls = client_config(&relay.address).unwrap();
    let client = BlobClient::new(relay.address.clone(), tls);
    (relay, client)
}

fn put(relay: &TestRelay, bytes: Vec<u8>) {
    let blob = TestBlob { bytes };
    relay.blobs.lock().unwrap().blobs.insert(name(), blob);
}

#[tokio::test]
async fn an_upload_goes_on_where_it_broke() {
    let (relay, client) = relay().await;
    let bytes = noise(2 * PIECE_BYTES + 777);
    let size = bytes.len() as u64;
    put(&relay, Vec::new());
    relay.blobs.lock().unwrap().break_after = [1_000, 5, 0].into();
    let source = Source::Memory(bytes.clone().into());
    client.upload(&SECRET, 0, size, source).await.unwrap();
    let state = relay.blobs.lock().unwrap();
    assert!(state.blobs[&name()].bytes == bytes);
    assert!(state.requests.iter().any(|line| line.starts_with("HEAD")));
}

#[tokio::test]
async fn an_upload_from_a_file_starts_at_the_offset_it_is_given() {
    let (relay, client) = relay().await;
    let bytes = noise(100_000);
    let size = bytes.len() as u64;
    put(&relay, bytes[..60_000].to_vec());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blob");
    std::fs::write(&path, &bytes).unwrap();
    let source = Source::File(tokio::fs::File::open(&path).await.unwrap());
    client.upload(&SECRET, 60_000, size, source).await.unwrap();
    let state = relay.blobs.lock().unwrap();
    assert!(state.blobs[&name()].bytes == bytes);
    assert_eq!(state.requests, ["PATCH Some(60000) 0"]);
}

#[tokio::test]
async fn a_wrong_offset_is_put_right() {
    let (relay, client) = relay().await;
    let bytes = noise(10_000);
    put(&relay, bytes[..4_000].to_vec());
    let source = Source::Memory(bytes.clone().into());
    client.upload(&SECRET, 0, 10_000, source).await.unwrap();
    assert!(relay.blobs.lock().unwrap().blobs[&name()].bytes == bytes);
}

#[tokio::test]
async fn a_fetch_reads_the_announced_size_and_no_more() {
    let (relay, client) = relay().await;
    let bytes = noise(50_000);
    put(&relay, bytes.clone());
    assert_eq!(client.fetch(&SECRET, 50_000).await.unwrap(), bytes);
    for wrong in [49_999, 50_001] {
        assert!(matches!(
            client.fetch(&SECRET, wrong).await,
            Err(TransferError::Size)
        ));
    }
    // Without a content-length the bytes themselves are counted.
    relay.blobs.lock().unwrap().break_after = [50_000; 8].into();
    assert!(matches!(
        client.fetch(&SECRET, 10).await,
        Err(TransferError::Size)
    ));
    let unknown = Secret::new([4; 32]);
    assert!(matches!(
        client.fetch(&unknown, 10).await,
        Err(TransferError::NotFound)
    ));
}

#[tokio::test]
async fn a_fetch_to_a_file_goes_on_by_range() {
    let (relay, client) = relay().await;
    let bytes = noise(300_000);
    put(&relay, bytes.clone());
    relay.blobs.lock().unwrap().break_after = [1_000, 70_000].into();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("part");
    std::fs::write(&path, &bytes[..17]).unwrap();
    client.fetch_to_file(&SECRET, 300_000, &path).await.unwrap();
    assert!(std::fs::read(&path).unwrap() == bytes);
    let requests = relay.blobs.lock().unwrap().requests.clone();
    assert_eq!(requests.first().unwrap(), "GET None 17");
    assert_eq!(requests.len(), 3);
}

#[tokio::test]
async fn a_relay_that_is_not_there_is_given_up() {
    let (relay, client) = relay().await;
    drop(relay);
    tokio::task::yield_now().await;
    assert!(matches!(
        client.fetch(&SECRET, 10).await,
        Err(TransferError::Connect(_))
    ));
}

#[tokio::test]
async fn what_is_deleted_is_gone() {
    let (relay, client) = relay().await;
    put(&relay, noise(10));
    client.delete(&SECRET).await.unwrap();
    client.delete(&SECRET).await.unwrap();
    assert!(relay.blobs.lock().unwrap().blobs.is_empty());
}

#[tokio::test]
async fn a_thief_learns_whether_a_secret_works() {
    let (relay, client) = relay().await;
    put(&relay, noise(10));
    assert!(client.accepts(SECRET.expose()).await.unwrap());
    assert!(!client.accepts(&[9; 32]).await.unwrap());
}
