//! The command: arguments in, exit status out.

use std::process::ExitCode;

fn main() -> ExitCode {
    fetchimg::cli::main(std::env::args_os().collect()).into()
}
