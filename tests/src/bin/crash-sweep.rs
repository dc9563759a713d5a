//! The crash sweep: [`kinline_tests::sweep`].

use std::process::ExitCode;

fn main() -> ExitCode {
    kinline_tests::sweep::run::main(std::env::args_os().skip(1))
}
