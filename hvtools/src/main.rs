//! The program `hv`.

use std::process::ExitCode;

fn main() -> ExitCode {
    hvtools::cli::main()
}
