//! How often a second the disk says that something is safe.

use std::fs::File;
use std::io::Write as _;
use std::time::Instant;

use crate::load::jobs::Bench;
use crate::load::people::noise;
use crate::load::tally::{Latency, histogram};
use crate::load::trouble::Trouble;

/// Bytes appended before each sync: an envelope and a page's head, as a small group writes.
const APPEND_BYTES: usize = 8_192;

/// Syncs a second, and how long one takes.
pub(in crate::load) fn run(bench: &Bench) -> Result<(f64, Latency), Trouble> {
    bench.progress.begin("bare syncs");
    let folder = bench.launcher.folder()?;
    let mut file = File::create(folder.path().join("appended"))?;
    let piece = noise(APPEND_BYTES);
    let mut took = histogram();
    let began = Instant::now();
    for _ in 0..bench.plan.syncs {
        file.write_all(&piece)?;
        let before = Instant::now();
        file.sync_data()?;
        took.saturating_record(u64::try_from(before.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    let rate = f64::from(bench.plan.syncs) / began.elapsed().as_secs_f64().max(1e-9);
    Ok((rate, Latency::from(&took)))
}
