//! The `lipservice` command: parse arguments, run a subcommand, print its error.
//!
//! Never: holds logic. Each subcommand lives in `lipservice::cli`.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    lipservice::cli::main()
}
