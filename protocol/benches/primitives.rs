//! Envelopes and attachments beside the bare cipher: `cargo bench -p kinline-protocol --features client`.
//!
//! Absolute figures are this machine's; the ratios at the end are what to compare. They come
//! from rounds that alternate between the bare cipher and ours, so that both meet the same load.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a benchmark"
)]

use std::hint::black_box;
use std::io;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group};
use kinline_protocol::attachment::{CHUNK_BYTES, Decryptor, Pointer, encrypt};
use kinline_protocol::envelope::{self, Kind, Payload};
use kinline_protocol::ids::{MailboxId, MessageId};
use kinline_protocol::primitives::chacha::{MessageKey, TAG_BYTES};
use kinline_protocol::primitives::hash;
use kinline_protocol::secrets::Secret;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

/// A large attachment: 64 MiB of plaintext.
const FILE_BYTES: usize = 64 * 1_024 * 1_024;
const KEY: Secret<32> = Secret::new([1; 32]);

fn envelopes(c: &mut Criterion) {
    let mailbox = MailboxId::new([2; 16]);
    let message = MessageId::new([3; 16]);
    let payload = Payload::Inline(vec![4; 400]);
    let mut rng = ChaCha20Rng::from_seed([5; 32]);
    let sealed = envelope::seal(
        &KEY,
        &mailbox,
        &message,
        Kind::Application,
        &payload,
        &mut rng,
    )
    .unwrap();
    let mut group = c.benchmark_group("envelope");
    group.throughput(Throughput::Elements(1));
    group.bench_function("seal", |b| {
        b.iter(|| {
            envelope::seal(
                &KEY,
                &mailbox,
                &message,
                Kind::Application,
                &payload,
                &mut rng,
            )
        });
    });
    group.bench_function("open", |b| {
        b.iter(|| envelope::open(&KEY, &mailbox, &message, &sealed).unwrap());
    });
    let wrong = Secret::new([9; 32]);
    group.bench_function("open with a wrong key", |b| {
        b.iter(|| envelope::open(&wrong, &mailbox, &message, &sealed).unwrap_err());
    });
    group.finish();
}

/// The bare cipher over the same bytes: each 64 KiB of the file copied into one buffer, as
/// reading does, and sealed there in place.
fn bare_seal(plaintext: &[u8], chunk: &mut Vec<u8>) {
    let key = MessageKey::new(KEY.expose());
    for (counter, piece) in plaintext.chunks(CHUNK_BYTES).enumerate() {
        chunk.clear();
        chunk.extend_from_slice(piece);
        key.seal(&nonce(counter as u64), &[], chunk).unwrap();
        black_box(&chunk);
    }
}

/// The same the other way.
fn bare_open(sealed: &[u8], chunk: &mut Vec<u8>) {
    let key = MessageKey::new(KEY.expose());
    for (counter, piece) in sealed.chunks(CHUNK_BYTES + TAG_BYTES).enumerate() {
        chunk.clear();
        chunk.extend_from_slice(piece);
        key.open(&nonce(counter as u64), &[], chunk).unwrap();
        black_box(&chunk);
    }
}

/// The bare cipher at its very best: one buffer that never leaves the cache, nothing copied.
fn cached_seal(chunk: &mut Vec<u8>) {
    let key = MessageKey::new(KEY.expose());
    for counter in 0..(FILE_BYTES / CHUNK_BYTES) as u64 {
        chunk.truncate(CHUNK_BYTES);
        key.seal(&nonce(counter), &[], chunk).unwrap();
        black_box(&chunk);
    }
}

fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    *nonce.last_chunk_mut().unwrap() = counter.to_be_bytes();
    nonce
}

fn encrypt_file(plaintext: &[u8]) {
    let mut source = plaintext;
    black_box(encrypt(&KEY, FILE_BYTES as u64, &mut source, &mut io::sink()).unwrap());
}

fn decrypt_file(pointer: &Pointer, stored: &[u8]) {
    let mut decryptor = Decryptor::new(pointer);
    for piece in stored.chunks(CHUNK_BYTES) {
        decryptor.push(piece, &mut io::sink()).unwrap();
    }
    decryptor.finish().unwrap();
}

struct Files {
    plaintext: Vec<u8>,
    pointer: Pointer,
    stored: Vec<u8>,
    /// The file under the bare cipher.
    bare: Vec<u8>,
}

fn files() -> Files {
    let plaintext = vec![0x5a; FILE_BYTES];
    let mut stored = Vec::new();
    let sealed = encrypt(
        &KEY,
        FILE_BYTES as u64,
        &mut plaintext.as_slice(),
        &mut stored,
    )
    .unwrap();
    let key = MessageKey::new(KEY.expose());
    let bare = plaintext
        .chunks(CHUNK_BYTES)
        .enumerate()
        .flat_map(|(counter, piece)| {
            let mut chunk = piece.to_vec();
            key.seal(&nonce(counter as u64), &[], &mut chunk).unwrap();
            chunk
        })
        .collect();
    Files {
        plaintext,
        pointer: Pointer::new(Secret::new([2; 32]), KEY, &sealed),
        stored,
        bare,
    }
}

fn buffer() -> Vec<u8> {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES + TAG_BYTES);
    chunk.resize(CHUNK_BYTES, 0x5a);
    chunk
}

fn attachments(c: &mut Criterion) {
    let files = files();
    let mut chunk = buffer();
    let mut group = c.benchmark_group("attachment");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(FILE_BYTES as u64));
    group.bench_function("bare cipher, in the cache", |b| {
        b.iter(|| cached_seal(&mut chunk));
    });
    group.bench_function("bare cipher, seal", |b| {
        b.iter(|| bare_seal(&files.plaintext, &mut chunk));
    });
    group.bench_function("encrypt", |b| b.iter(|| encrypt_file(&files.plaintext)));
    group.bench_function("bare cipher, open", |b| {
        b.iter(|| bare_open(&files.bare, &mut chunk));
    });
    group.bench_function("decrypt", |b| {
        b.iter(|| decrypt_file(&files.pointer, &files.stored));
    });
    group.bench_function("SHA-256 alone", |b| b.iter(|| hash::sha256(&files.stored)));
    group.finish();
}

/// Seconds of each of `tasks` at its quickest, run in turns: what else runs on the machine
/// only ever slows.
fn quickest(rounds: usize, tasks: &mut [&mut dyn FnMut()]) -> Vec<f64> {
    let mut best = vec![f64::INFINITY; tasks.len()];
    for _ in 0..rounds {
        for (task, best) in tasks.iter_mut().zip(&mut best) {
            let start = Instant::now();
            task();
            *best = best.min(start.elapsed().as_secs_f64());
        }
    }
    best
}

fn ratios() {
    let files = files();
    let (mut cached, mut sealing, mut opening) = (buffer(), buffer(), buffer());
    let seconds = quickest(
        25,
        &mut [
            &mut || cached_seal(&mut cached),
            &mut || bare_seal(&files.plaintext, &mut sealing),
            &mut || encrypt_file(&files.plaintext),
            &mut || bare_open(&files.bare, &mut opening),
            &mut || decrypt_file(&files.pointer, &files.stored),
            &mut || {
                black_box(hash::sha256(&files.stored));
            },
        ],
    );
    let [cached, bare_seal, encrypt, bare_open, decrypt, digest] = seconds.as_slice() else {
        return;
    };
    let rate = |seconds: &f64| FILE_BYTES as f64 / seconds / 1e9;
    println!("\nattachment of 64 MiB, quickest of 25 alternating rounds (GB/s)");
    for (name, ours, bare) in [
        ("encrypt", encrypt, bare_seal),
        ("decrypt", decrypt, bare_open),
    ] {
        println!(
            "{name} {:.2}, bare cipher {:.2}: {:.0} %   (with the digest on the same thread: {:.0} %)",
            rate(ours),
            rate(bare),
            100.0 * bare / ours,
            100.0 * bare / (bare + digest),
        );
    }
    println!(
        "bare cipher that never leaves the cache {:.2}",
        rate(cached)
    );
    println!("SHA-256 alone {:.2}", rate(digest));
}

criterion_group!(benches, envelopes, attachments);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    if !std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        ratios();
    }
}
