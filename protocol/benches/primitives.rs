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

/// The bare cipher: 64 KiB chunks, in place, in one buffer that stays in the cache.
fn bare_seal(chunk: &mut Vec<u8>) {
    let key = MessageKey::new(KEY.expose());
    for counter in 0..(FILE_BYTES / CHUNK_BYTES) as u64 {
        chunk.truncate(CHUNK_BYTES);
        key.seal(&nonce(counter), &[], chunk).unwrap();
        black_box(&chunk);
    }
}

/// The same the other way; the copy that opening in place needs is not counted as the
/// cipher's, so it is made from the cache and of one chunk.
fn bare_open(sealed: &[u8], chunk: &mut Vec<u8>) {
    let key = MessageKey::new(KEY.expose());
    for _ in 0..FILE_BYTES / CHUNK_BYTES {
        chunk.clear();
        chunk.extend_from_slice(sealed);
        key.open(&nonce(0), &[], chunk).unwrap();
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
    sealed_chunk: Vec<u8>,
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
    let mut sealed_chunk = vec![0x5a; CHUNK_BYTES];
    MessageKey::new(KEY.expose())
        .seal(&nonce(0), &[], &mut sealed_chunk)
        .unwrap();
    Files {
        plaintext,
        pointer: Pointer::new(Secret::new([2; 32]), KEY, &sealed),
        stored,
        sealed_chunk,
    }
}

fn attachments(c: &mut Criterion) {
    let files = files();
    let mut chunk = Vec::with_capacity(CHUNK_BYTES + TAG_BYTES);
    chunk.resize(CHUNK_BYTES, 0x5a);
    let mut group = c.benchmark_group("attachment");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(FILE_BYTES as u64));
    group.bench_function("bare cipher, seal", |b| b.iter(|| bare_seal(&mut chunk)));
    group.bench_function("encrypt", |b| b.iter(|| encrypt_file(&files.plaintext)));
    group.bench_function("bare cipher, open", |b| {
        b.iter(|| bare_open(&files.sealed_chunk, &mut chunk));
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
    let mut sealing = Vec::with_capacity(CHUNK_BYTES + TAG_BYTES);
    sealing.resize(CHUNK_BYTES, 0x5a);
    let mut opening = Vec::with_capacity(CHUNK_BYTES + TAG_BYTES);
    let seconds = quickest(
        25,
        &mut [
            &mut || bare_seal(&mut sealing),
            &mut || encrypt_file(&files.plaintext),
            &mut || bare_open(&files.sealed_chunk, &mut opening),
            &mut || decrypt_file(&files.pointer, &files.stored),
            &mut || drop(black_box(hash::sha256(&files.stored))),
        ],
    );
    let [bare_seal, encrypt, bare_open, decrypt, digest] = seconds.as_slice() else {
        return;
    };
    let rate = |seconds: &f64| FILE_BYTES as f64 / seconds / 1e9;
    println!("\nattachment of 64 MiB, quickest of 25 alternating rounds (GB/s)");
    println!(
        "encrypt {:.2}, bare cipher {:.2}: {:.0} %   (on one thread it would be {:.0} %)",
        rate(encrypt),
        rate(bare_seal),
        100.0 * bare_seal / encrypt,
        100.0 * bare_seal / (bare_seal + digest),
    );
    println!(
        "decrypt {:.2}, bare cipher {:.2}: {:.0} %   (on one thread it would be {:.0} %)",
        rate(decrypt),
        rate(bare_open),
        100.0 * bare_open / decrypt,
        100.0 * bare_open / (bare_open + digest),
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
