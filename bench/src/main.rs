//! The program behind `make bench` and `make stress`.

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    runcast_bench::main()
}
