//! Stealing what a relay has on disk, while it runs.

use std::path::{Path, PathBuf};

use kinline_thief::{Canaries, Options, Report};

use crate::relay::Relay;

/// A stolen copy.
#[derive(Debug)]
pub struct Loot {
    folder: tempfile::TempDir,
    addresses: Vec<String>,
    server_name: String,
}

impl Loot {
    /// Copies everything that the relay wrote: its data folder and its log, as they are now.
    ///
    /// # Panics
    /// When a file can't be copied.
    #[must_use]
    pub fn take(relay: &Relay) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(&relay.data(), &folder.path().join("data"));
        std::fs::copy(relay.log(), folder.path().join("relay.log")).unwrap();
        Self {
            folder,
            addresses: vec![relay.address().authority()],
            server_name: relay.address().server_name(),
        }
    }

    /// A file of the copy.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Searches it; with `controls` planted leaks must be caught too.
    ///
    /// # Panics
    /// When it can't be searched.
    #[must_use]
    pub fn search(&self, secrets: &[String], controls: bool) -> Report {
        let options = Options {
            controls,
            addresses_allowed: self.addresses.clone(),
            server_names: vec![self.server_name.clone()],
            verbose: true,
            ..Options::default()
        };
        let canaries = Canaries::from_lines(secrets).unwrap();
        kinline_thief::steal(self.folder.path(), &canaries, &options).unwrap()
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if let Err(error) = std::fs::copy(entry.path(), &target) {
            // A relay at work deletes files between the listing and the copy.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
        }
    }
}
