//! The relay as the tests start it: `kinline-server` itself.

use std::process::ExitCode;

fn main() -> ExitCode {
    kinline_server::cli::main_with(std::env::args_os())
}
