//! The program; `hv bitvisor` calls the same.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    bitvisor_config::cli::main(bitvisor_config::cli::Cli::parse())
}
