//! The relay inside this program, so that the demo needs nothing else.

use std::ffi::OsString;
use std::process::ExitCode;

/// `relay …`
pub(super) fn run(arguments: Vec<OsString>) -> ExitCode {
    let program = std::iter::once(OsString::from("kinline-sim relay"));
    kinline_server::cli::main_with(program.chain(arguments))
}
