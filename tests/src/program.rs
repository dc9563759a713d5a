//! The programs under test, and the environment they run in.

use std::path::PathBuf;

/// `kinline-server`, under another name.
pub const RELAY: &str = "whole-relay";
/// `kinline-sim`, under another name, and the device of [`crate::chat`].
pub const DEVICE: &str = "whole-device";

/// Where cargo put one of this package's programs: beside the folder of its tests.
///
/// # Panics
/// When the test was not built by cargo.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test has a path");
    let built = test
        .parent()
        .and_then(|deps| deps.parent())
        .expect("target/profile/deps/test");
    let program = built.join(name);
    assert!(program.exists(), "{} was not built", program.display());
    program
}

/// What every process inherits: only what it takes to run a shell. A developer's `KINLINE_…`
/// variables must not change a relay's configuration.
#[must_use]
pub fn environment() -> Vec<(String, String)> {
    ["PATH", "TMPDIR", "LLVM_PROFILE_FILE"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
        .collect()
}
