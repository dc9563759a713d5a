//! What can stop a search before it has an answer.

use std::path::PathBuf;

/// Why the thief has no report to give; what it could not read *within* a loot is a note in the
/// report instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ThiefError {
    /// The data folder is not there, is no folder, or can't be listed.
    #[error("the data folder {path} can't be read")]
    DataFolder {
        /// The folder asked for.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The data folder holds no byte: a search that finds nothing there would prove nothing.
    #[error(
        "the data folder {path} holds no bytes, so there is nothing to steal and nothing shown"
    )]
    NothingStolen {
        /// The folder asked for.
        path: PathBuf,
    },
    /// The canaries file can't be read.
    #[error("the canaries file {path} can't be read")]
    CanaryFile {
        /// The file asked for.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A line of the canaries file is no UTF-8; skipping it would leave a secret unsought.
    #[error("line {line} of the canaries file is not UTF-8")]
    CanaryNotUtf8 {
        /// The line, counted from 1.
        line: usize,
    },
    /// There is no canary to look for.
    #[error("there are no canaries: without a secret to look for, finding none shows nothing")]
    NoCanaries,
    /// The table of needles could not be built.
    #[error("the needles could not be made into a search table: {reason}")]
    Needles {
        /// What the matcher said.
        reason: String,
    },
    /// The scratch folder for copies could not be made or filled.
    #[error("no scratch copy of the loot could be made")]
    Scratch {
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A planted leak could not be planted, so nothing can be said about whether it is caught.
    #[error("the planted leak \"{name}\" could not be planted: {reason}")]
    Control {
        /// The name of the control.
        name: &'static str,
        /// Why not.
        reason: String,
    },
}
