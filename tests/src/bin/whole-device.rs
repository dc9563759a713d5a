//! A device as the tests start it: `kinline-sim` itself, and `chat`, which is fed line by line.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|verb| verb == "chat") {
        kinline_tests::chat::main(arguments)
    } else {
        kinline_client_sim::cli::main()
    }
}
