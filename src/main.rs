//! Arguments in, exit status out: the only place that ends the process.

use std::process::ExitCode;

fn main() -> ExitCode {
    fetchimg::program(std::env::args_os().collect()).into()
}
