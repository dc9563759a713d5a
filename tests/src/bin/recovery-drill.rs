//! The recovery drill: [`kinline_tests::drill`]. With `relay` first it is the relay that it needs.

use std::process::ExitCode;

use kinline_tests::program::AS_RELAY;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next();
    let mut rest = arguments.peekable();
    if rest.peek().is_some_and(|first| first == AS_RELAY) {
        rest.next();
        return kinline_server::cli::main_with(name.into_iter().chain(rest));
    }
    kinline_tests::drill::main(rest)
}
