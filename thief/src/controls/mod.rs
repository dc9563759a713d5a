//! Planted leaks: the proof that the search can find what it says is not there.
//!
//! The loot is copied into a scratch folder, [`CONTROLS`] leaks of different kinds are planted in
//! the copy (into the copied database where there is one), and the same search runs over it with
//! the canaries of the controls. A leak counts as caught only when it was found where it was
//! planted and as what it is.

mod catch;
mod forge;
mod plant;

use std::path::Path;

use crate::loot::Loot;
use crate::report::ControlReport;
use crate::{Canaries, Options, ThiefError, examine::examine};

pub(crate) use catch::LEAKS;

/// The relay at which a planted account was made.
const SERVER_NAME: &str = "control.invalid";

/// How many leaks are planted in every run.
pub const CONTROLS: usize = LEAKS.len();

/// Plants all leaks in a copy of the loot and reports which of them were caught.
pub(crate) fn run(data: &Path, options: &Options) -> Result<Vec<ControlReport>, ThiefError> {
    let scratch = tempfile::tempdir().map_err(|source| ThiefError::Scratch { source })?;
    copy(data, scratch.path())?;
    let mut options = options.clone();
    options.server_names = vec![SERVER_NAME.to_owned()];
    let database = plant::all(scratch.path(), &options)?;
    let canaries = Canaries::from_lines(LEAKS.iter().map(catch::Leak::line))?;
    options.controls = false;
    options.verbose = false;
    options.live_checks.clear();
    options.findings_max = usize::MAX;
    let report = examine(scratch.path(), &canaries, &options)?;
    let caught = |leak: &catch::Leak| leak.caught(&canaries, &report.findings, &database);
    Ok(LEAKS
        .iter()
        .map(|leak| ControlReport {
            name: leak.name.to_owned(),
            caught: caught(leak),
        })
        .collect())
}

/// Copies the regular files of a loot.
fn copy(data: &Path, scratch: &Path) -> Result<(), ThiefError> {
    let failed = |source| ThiefError::Scratch { source };
    for file in Loot::list(data)?.files {
        let relative = file.path.strip_prefix(data).unwrap_or(&file.path);
        let target = scratch.join(relative);
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        match std::fs::copy(&file.path, &target) {
            Ok(_) => {}
            // A live relay deletes files; the search of the original says so where it matters.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}
