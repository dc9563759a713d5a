//! The theft: everything the relay has on disk is copied, then searched for every secret.

use std::path::{Path, PathBuf};

use kinline_thief::{Canaries, Options, Report, steal};

use super::Obstacle;
use super::relay::RelayProcess;

/// A stolen copy.
pub(super) struct Theft {
    pub(super) when: &'static str,
    pub(super) folder: PathBuf,
}

/// Copies the relay's files as a thief with access to the disk would.
pub(super) async fn rob(
    relay: &RelayProcess,
    when: &'static str,
    home: &Path,
) -> Result<Option<Theft>, Obstacle> {
    let Some(source) = relay.loot.clone() else {
        return Ok(None);
    };
    relay.dump_metrics().await;
    let folder = home.join("loot").join(when.replace(' ', "-"));
    let target = folder.clone();
    let copied = tokio::task::spawn_blocking(move || copy(&source, &target)).await;
    copied.map_err(|error| Obstacle(error.to_string()))??;
    Ok(Some(Theft { when, folder }))
}

/// Copies a folder with everything in it.
pub(super) fn copy(source: &Path, target: &Path) -> Result<(), Obstacle> {
    std::fs::create_dir_all(target).map_err(|error| Obstacle::file(target, &error))?;
    for entry in std::fs::read_dir(source).map_err(|error| Obstacle::file(source, &error))? {
        let entry = entry.map_err(|error| Obstacle::file(source, &error))?;
        let kind = entry
            .file_type()
            .map_err(|error| Obstacle::file(&entry.path(), &error))?;
        let to = target.join(entry.file_name());
        if kind.is_dir() {
            copy(&entry.path(), &to)?;
        } else if kind.is_file() {
            match std::fs::copy(entry.path(), &to) {
                // A relay at work deletes files between the listing and the copy.
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Obstacle::file(&entry.path(), &error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Searches a stolen copy.
pub(super) async fn search(
    theft: &Theft,
    secrets: &[String],
    relay: &RelayProcess,
) -> Result<Report, Obstacle> {
    let canaries = Canaries::from_lines(secrets).map_err(|error| Obstacle(error.to_string()))?;
    let options = Options {
        when: theft.when.to_owned(),
        addresses_allowed: relay.own_addresses(),
        server_names: vec![relay.address.server_name()],
        ..Options::default()
    };
    let folder = theft.folder.clone();
    let searched = tokio::task::spawn_blocking(move || steal(&folder, &canaries, &options)).await;
    searched
        .map_err(|error| Obstacle(error.to_string()))?
        .map_err(|error| Obstacle(error.to_string()))
}
