//! A large file up and down, beside a bare file server over the same TLS.

use std::time::Instant;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use kinline_protocol::{blob, padme};
use std::convert::Infallible;

use super::Bench;
use crate::load::child::{Child, RelaySetup, Role};
use crate::load::people::{attached, noise};
use crate::load::process::Process;
use crate::load::report::{JobReport, Target};
use crate::load::trouble::Trouble;
use crate::load::wire::Dial;

/// Bytes of one piece on its way out.
const PIECE: usize = 64 * 1_024;
/// Bytes that the relay may grow by, whatever the file's size.
const GROWTH_MIB: f64 = 16.0;

/// What one transfer took.
struct Moved {
    mib_per_s: f64,
    server_cores: f64,
    generator_cores: f64,
}

/// Pieces of noise, `size` bytes in all: nothing of that size is in memory here either.
fn pieces(size: u64) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> {
    let piece = Bytes::from(noise(PIECE));
    stream::unfold(size, move |left| {
        let part = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let next = (part > 0).then(|| (Ok(Frame::data(piece.slice(..part))), left - part as u64));
        std::future::ready(next)
    })
}

/// One request over a connection of its own; returns the bytes of its answer.
async fn request(
    dial: &Dial,
    server: Process,
    method: Method,
    headers: &[(&str, String)],
    upload: Option<u64>,
    size: u64,
) -> Result<Moved, Trouble> {
    let (mut requests, connection) =
        http1::handshake::<_, BoxBody<Bytes, Infallible>>(TokioIo::new(dial.tls().await?)).await?;
    let driver = tokio::task::spawn_local(async { drop(connection.await) });
    let mut request = Request::builder()
        .method(method)
        .uri(blob::PATH)
        .header("host", dial.address.authority());
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let body = match upload {
        Some(size) => {
            request = request.header("content-length", size);
            BodyExt::boxed(StreamBody::new(pieces(size)))
        }
        None => Empty::new().boxed(),
    };
    let request = request
        .body(body)
        .map_err(|error| Trouble::new(error.to_string()))?;
    let usage = || {
        (
            Instant::now(),
            server.cpu_seconds(),
            Process::own().cpu_seconds(),
        )
    };
    let (began, server_before, own_before) = usage();
    let response = requests.send_request(request).await?;
    let status = response.status();
    let mut body = response.into_body();
    let mut came = 0;
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            came += data.len() as u64;
        }
    }
    let (ended, server_after, own_after) = usage();
    driver.abort();
    let whole = upload.is_some() || came == size;
    if !matches!(status, StatusCode::OK | StatusCode::NO_CONTENT) || !whole {
        return Err(Trouble::new(format!(
            "a file of {size} bytes did not go through: {status}, {came} bytes came back"
        )));
    }
    let took = (ended - began).as_secs_f64().max(1e-9);
    Ok(Moved {
        mib_per_s: size as f64 / took / 1_048_576.0,
        server_cores: (server_after - server_before) / took,
        generator_cores: (own_after - own_before) / took,
    })
}

/// Up and down, `rounds` times; the quickest of each.
async fn quickest(
    bench: &Bench,
    dial: &Dial,
    server: Process,
    size: u64,
    up: impl AsyncFn() -> Result<Vec<(&'static str, String)>, Trouble>,
    down: impl Fn() -> Vec<(&'static str, String)>,
) -> Result<(Moved, Moved), Trouble> {
    let mut best: Option<(Moved, Moved)> = None;
    for _ in 0..bench.plan.rounds {
        let headers = up().await?;
        let sent = request(dial, server, Method::PATCH, &headers, Some(size), size).await?;
        let fetched = request(dial, server, Method::GET, &down(), None, size).await?;
        bench.progress.line(&format!(
            "{:.0} MiB/s up, {:.0} MiB/s down",
            sent.mib_per_s, fetched.mib_per_s
        ));
        best = Some(match best {
            None => (sent, fetched),
            Some((up, down)) => (
                if sent.mib_per_s > up.mib_per_s {
                    sent
                } else {
                    up
                },
                if fetched.mib_per_s > down.mib_per_s {
                    fetched
                } else {
                    down
                },
            ),
        });
    }
    best.ok_or_else(|| Trouble::new("no round was run"))
}

/// The bare file server's up and down.
async fn bare(bench: &Bench, size: u64) -> Result<(Moved, Moved), Trouble> {
    bench.progress.begin("Blobs, bare file server");
    let folder = bench.launcher.folder()?;
    let child = Child::bare(Role::Files, folder.path(), bench.launcher.cores).await?;
    let dial = child.dial()?;
    quickest(
        bench,
        &dial,
        child.process(),
        size,
        async || Ok(vec![]),
        Vec::new,
    )
    .await
}

/// The bare file server's speed, up and down, in MiB/s.
pub(in crate::load) async fn bare_speed(bench: &Bench) -> Result<(f64, f64), Trouble> {
    let (up, down) = bare(bench, padme::class(bench.plan.blob_bytes)).await?;
    Ok((up.mib_per_s, down.mib_per_s))
}

/// Runs the job.
pub(in crate::load) async fn run(bench: &Bench) -> Result<Vec<JobReport>, Trouble> {
    let size = padme::class(bench.plan.blob_bytes);
    let (bare_up, bare_down) = bare(bench, size).await?;

    bench.progress.begin("Blobs, relay");
    let relay = bench.launcher.relay(&RelaySetup::default()).await?;
    let dial = relay.child.dial()?;
    let process = relay.child.process();
    let mut rng = crate::random::os();
    let (_, connection) = attached(&dial, &mut rng, 8).await?;
    let connection = tokio::sync::Mutex::new(connection);
    let secrets = std::cell::RefCell::new((Vec::new(), Vec::new()));
    let before = process.peak_kib();
    let (up, down) = quickest(
        bench,
        &dial,
        process,
        size,
        async || {
            let (read, owner) = (noise(32), noise(32));
            connection
                .lock()
                .await
                .create_blob(&blob::read_hash(&read), &blob::owner_hash(&owner), size)
                .await?;
            let headers = vec![
                (blob::OWNER_HEADER, URL_SAFE_NO_PAD.encode(&owner)),
                (blob::OFFSET_HEADER, "0".to_owned()),
            ];
            secrets.replace((read, owner));
            Ok(headers)
        },
        || {
            let (read, _) = &*secrets.borrow();
            vec![(blob::READ_HEADER, URL_SAFE_NO_PAD.encode(read))]
        },
    )
    .await?;
    let growth = (process.peak_kib() - before) / 1_024.0;
    relay.stop().await?;

    let mib = size >> 20;
    let row = |name: &str, way: &str, moved: &Moved, bare: &Moved| {
        let title = format!("Blobs, {mib} MiB {way}");
        let mut job = JobReport::new(name, &title, moved.mib_per_s, "MiB/s")
            .beside(bare.mib_per_s, "a bare file server over the same TLS")
            .aims_at(Target::RatioAtLeast(0.7))
            .detail("bare_server_cores", bare.server_cores)
            .detail("bare_generator_cores", bare.generator_cores);
        job.relay_cores = Some(moved.server_cores);
        job.generator_cores = Some(moved.generator_cores);
        job.generator_was_the_bottleneck = moved.generator_cores > 0.9 && moved.server_cores < 0.9;
        job
    };
    Ok(vec![
        row("blobs-up", "up", &up, &bare_up)
            .note("Both have synced the file when they answer; the relay also on the way."),
        row("blobs-down", "down", &down, &bare_down),
        JobReport::new(
            "blobs-memory",
            "Blobs: how much the relay grew",
            growth,
            "MiB",
        )
        .aims_at(Target::FigureBelow(GROWTH_MIB)),
    ])
}
