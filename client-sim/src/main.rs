//! The simulator's command line; see `kinline-sim --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    kinline_client_sim::cli::main()
}
