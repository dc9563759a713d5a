//! Whether a stolen database tells which mailboxes belong to which account: [`kinline_tests::links`].

use std::process::ExitCode;

fn main() -> ExitCode {
    kinline_tests::links::main(std::env::args_os().skip(1))
}
