//! The relay's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    kinline_server::cli::main_with(std::env::args_os())
}
