//! The relay with faults that the crash sweep plants and must catch; nobody else builds it.

use std::process::ExitCode;

fn main() -> ExitCode {
    kinline_server::cli::main_with(std::env::args_os())
}
