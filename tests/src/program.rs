//! The programs under test, and the environment they run in.

use std::path::PathBuf;
use std::sync::OnceLock;

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

/// The first argument with which a program of this package is the relay itself
/// ([`be_own_relay`]).
pub const AS_RELAY: &str = "relay";

static OWN_RELAY: OnceLock<()> = OnceLock::new();

/// From now on the relay is this very program, called with [`AS_RELAY`] first: `cargo run --bin`
/// builds no other.
pub fn be_own_relay() {
    let _ = OWN_RELAY.set(());
}

/// The relay's program, and what its arguments begin with.
///
/// # Panics
/// As [`path`].
#[must_use]
pub fn relay() -> (PathBuf, &'static [&'static str]) {
    match OWN_RELAY.get() {
        Some(()) => (
            std::env::current_exe().expect("this program has a path"),
            &[AS_RELAY],
        ),
        None => (path(RELAY), &[]),
    }
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
