//! Blobs over HTTPS.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kinline_protocol::blob::{self, OFFSET_HEADER, OWNER_HEADER, PATH, READ_HEADER, SIZE_HEADER};
use kinline_protocol::wire::client_frame::Body as Ask;
use kinline_protocol::wire::server_frame::Body as Say;
use kinline_protocol::wire::{CreateBlob, ErrorCode};

use tokio::io::AsyncWriteExt as _;

use crate::harness::{Device, Here, Reply, TODAY, noise, request, tls};

const SIZE: usize = 1 << 20;

pub(super) struct Secrets {
    read: Vec<u8>,
    owner: Vec<u8>,
}

impl Secrets {
    pub(super) fn random() -> Self {
        Self {
            read: noise(32),
            owner: noise(32),
        }
    }

    pub(super) fn create(&self, size: usize) -> Ask {
        Ask::CreateBlob(CreateBlob {
            read_hash: blob::read_hash(&self.read).to_vec().into(),
            owner_hash: blob::owner_hash(&self.owner).to_vec().into(),
            size: size as u64,
            ticket: String::new(),
        })
    }

    pub(super) fn read(&self) -> (&'static str, String) {
        (READ_HEADER, URL_SAFE_NO_PAD.encode(&self.read))
    }

    pub(super) fn owner(&self) -> (&'static str, String) {
        (OWNER_HEADER, URL_SAFE_NO_PAD.encode(&self.owner))
    }
}

async fn patch(here: &Here, secrets: &Secrets, offset: usize, body: &[u8]) -> Reply {
    let headers = [secrets.owner(), (OFFSET_HEADER, offset.to_string())];
    request(&here.address(), "PATCH", PATH, &headers, body.to_vec()).await
}

async fn created(device: &mut Device, secrets: &Secrets) -> u64 {
    match device.socket.ask(secrets.create(SIZE)).await {
        Say::BlobCreated(created) => {
            assert_eq!(created.expires_day, TODAY + 30);
            created.offset
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn uploaded_in_parts_over_a_restart_read_in_ranges_and_deleted() {
    let mut here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    let (secrets, bytes) = (Secrets::random(), noise(SIZE));
    assert_eq!(created(&mut alice, &secrets).await, 0);
    let reply = patch(&here, &secrets, 0, &bytes[..300_000]).await;
    assert_eq!(
        (reply.status, reply.headers[OFFSET_HEADER].to_str().unwrap()),
        (204, "300000")
    );
    let reply = patch(&here, &secrets, 0, &bytes).await;
    assert_eq!(
        (reply.status, reply.headers[OFFSET_HEADER].to_str().unwrap()),
        (409, "300000")
    );
    let early = request(&here.address(), "GET", PATH, &[secrets.read()], vec![]).await;
    assert_eq!(early.status, 404, "not complete yet");
    here.stop().await;
    here.restart().await;
    let head = request(&here.address(), "HEAD", PATH, &[secrets.owner()], vec![]).await;
    assert_eq!(head.headers["content-length"], "300000");
    assert_eq!(head.headers[SIZE_HEADER], SIZE.to_string());
    alice.again(&here.address()).await;
    assert_eq!(created(&mut alice, &secrets).await, 300_000);
    assert_eq!(
        patch(&here, &secrets, 300_000, &bytes[300_000..])
            .await
            .status,
        204
    );
    let all = request(&here.address(), "GET", PATH, &[secrets.read()], vec![]).await;
    assert_eq!(all.status, 200);
    assert!(all.body == bytes);
    let range = [secrets.read(), ("range", "bytes=1000-1999".to_owned())];
    let part = request(&here.address(), "GET", PATH, &range, vec![]).await;
    assert_eq!(
        (part.status, part.headers["content-range"].to_str().unwrap()),
        (206, "bytes 1000-1999/1048576")
    );
    assert!(part.body == bytes[1_000..2_000]);
    let range = [secrets.read(), ("range", "bytes=1048576-".to_owned())];
    assert_eq!(
        request(&here.address(), "GET", PATH, &range, vec![])
            .await
            .status,
        416
    );
    // Nobody reads with the owner's secret, or deletes with the reader's.
    let crossed = [(READ_HEADER, URL_SAFE_NO_PAD.encode(&secrets.owner))];
    assert_eq!(
        request(&here.address(), "GET", PATH, &crossed, vec![])
            .await
            .status,
        404
    );
    let crossed = [(OWNER_HEADER, URL_SAFE_NO_PAD.encode(&secrets.read))];
    assert_eq!(
        request(&here.address(), "DELETE", PATH, &crossed, vec![])
            .await
            .status,
        404
    );
    assert_eq!(
        request(&here.address(), "DELETE", PATH, &[secrets.owner()], vec![])
            .await
            .status,
        204
    );
    assert_eq!(
        request(&here.address(), "GET", PATH, &[secrets.read()], vec![])
            .await
            .status,
        404
    );
    assert_eq!(files(&here), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn what_was_damaged_on_disk_is_neither_handed_out_nor_gone_on_with() {
    let here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    let (secrets, bytes) = (Secrets::random(), noise(SIZE));
    created(&mut alice, &secrets).await;
    assert_eq!(patch(&here, &secrets, 0, &bytes).await.status, 204);
    flip(&files(&here)[0], 100_000);
    let range = async |range: &str| {
        let headers = [secrets.read(), ("range", format!("bytes={range}"))];
        request(&here.address(), "GET", PATH, &headers, vec![]).await
    };
    for damaged in ["0-", "65536-65536", "99000-200000"] {
        assert!(!range(damaged).await.is_whole, "{damaged}");
    }
    for (good, from, to) in [("0-65535", 0, 65_536), ("131072-", 131_072, SIZE)] {
        let reply = range(good).await;
        assert!(reply.is_whole && reply.body == bytes[from..to], "{good}");
    }
    // One that is not whole yet, in its last chunk.
    let secrets = Secrets::random();
    created(&mut alice, &secrets).await;
    let before = files(&here);
    assert_eq!(
        patch(&here, &secrets, 0, &bytes[..70_000]).await.status,
        204
    );
    let new = files(&here).into_iter().find(|path| !before.contains(path));
    flip(&new.unwrap(), 69_000);
    let reply = patch(&here, &secrets, 70_000, &bytes[70_000..]).await;
    assert_eq!(reply.status, 500);
}

fn flip(path: &std::path::Path, place: usize) {
    let mut file = std::fs::read(path).unwrap();
    file[place] ^= 4;
    std::fs::write(path, file).unwrap();
}

#[tokio::test]
async fn what_is_large_is_durable_on_the_way_and_goes_on_from_there() {
    const LARGE: usize = 20 << 20;
    let here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    let (secrets, bytes) = (Secrets::random(), noise(LARGE));
    alice.socket.ask(secrets.create(LARGE)).await;
    let durable = async || -> usize {
        let head = request(&here.address(), "HEAD", PATH, &[secrets.owner()], vec![]).await;
        let length = head.headers["content-length"].to_str().unwrap();
        length.parse().unwrap()
    };
    let (name, owner) = secrets.owner();
    let head = format!(
        "PATCH {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {LARGE}\r\n\
         {name}: {owner}\r\n{OFFSET_HEADER}: 0\r\n\r\n"
    );
    let mut sender = tls(&here.address()).await;
    sender.write_all(head.as_bytes()).await.unwrap();
    sender.write_all(&bytes[..(17 << 20) + 5]).await.unwrap();
    sender.flush().await.unwrap();
    // It says nothing more, and nobody else may go on meanwhile.
    let offset = loop {
        let offset = durable().await;
        if offset > 0 {
            break offset;
        }
    };
    let other = patch(&here, &secrets, offset, &bytes[offset..]).await;
    assert!(matches!(other.status, 409 | 423), "{}", other.status);
    drop(sender);
    let reply = loop {
        let offset = durable().await;
        let reply = patch(&here, &secrets, offset, &bytes[offset..]).await;
        if !matches!(reply.status, 409 | 423) {
            break reply;
        }
    };
    assert_eq!(reply.status, 204);
    assert_eq!(durable().await, LARGE);
    let all = request(&here.address(), "GET", PATH, &[secrets.read()], vec![]).await;
    assert!(all.is_whole && all.body == bytes);
}

#[tokio::test]
async fn no_more_than_there_is_room_for_and_no_room_without_asking() {
    let here = Here::start_with(|config| config.limits.blob_bytes_per_day = 2 * SIZE as u64).await;
    let mut alice = Device::start(&here.address()).await;
    let mut stranger = here.connect().await;
    let secrets = Secrets::random();
    assert_eq!(
        stranger.refused(secrets.create(SIZE)).await,
        ErrorCode::NotAttached
    );
    assert_eq!(patch(&here, &secrets, 0, b"x").await.status, 404);
    created(&mut alice, &secrets).await;
    created(&mut alice, &secrets).await; // again: costs nothing
    assert_eq!(
        patch(&here, &secrets, 0, &noise(SIZE + 1)).await.status,
        413
    );
    let same_reader = Secrets {
        read: secrets.read.clone(),
        owner: noise(32),
    };
    assert_eq!(
        alice.socket.refused(same_reader.create(SIZE)).await,
        ErrorCode::Taken
    );
    created(&mut alice, &Secrets::random()).await;
    assert_eq!(
        alice.socket.refused(Secrets::random().create(SIZE)).await,
        ErrorCode::Quota
    );
    let bad = [(READ_HEADER, "!!!".to_owned())];
    assert_eq!(
        request(&here.address(), "GET", PATH, &bad, vec![])
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn files_tell_neither_name_nor_hour_and_go_with_their_day() {
    let here = Here::start().await;
    let mut alice = Device::start(&here.address()).await;
    let secrets = Secrets::random();
    created(&mut alice, &secrets).await;
    assert_eq!(patch(&here, &secrets, 0, &noise(SIZE)).await.status, 204);
    let files = files(&here);
    assert_eq!(files.len(), 1);
    let name = files[0].file_name().unwrap().to_str().unwrap().to_owned();
    for hash in [
        blob::read_hash(&secrets.read),
        blob::owner_hash(&secrets.owner),
    ] {
        assert_ne!(name, hex::encode(hash));
    }
    let blobs = here.config.data.join("blobs");
    for path in [files[0].as_path(), files[0].parent().unwrap(), &blobs] {
        let modified = path.metadata().unwrap().modified().unwrap();
        let seconds = modified
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        assert_eq!(seconds, u64::from(TODAY) * 86_400, "{}", path.display());
    }
    here.clock.advance(30);
    here.relay.as_ref().unwrap().run_retention().await;
    let get = request(&here.address(), "GET", PATH, &[secrets.read()], vec![]).await;
    assert_eq!(get.status, 200, "its last day");
    here.clock.advance(1);
    here.relay.as_ref().unwrap().run_retention().await;
    let get = request(&here.address(), "GET", PATH, &[secrets.read()], vec![]).await;
    assert_eq!(get.status, 404);
    assert_eq!(
        crate::stories::blob::files(&here),
        Vec::<std::path::PathBuf>::new()
    );
}

fn files(here: &Here) -> Vec<std::path::PathBuf> {
    let shelves = std::fs::read_dir(here.config.data.join("blobs")).unwrap();
    shelves
        .flat_map(|shelf| std::fs::read_dir(shelf.unwrap().path()).unwrap())
        .map(|file| file.unwrap().path())
        .collect()
}
