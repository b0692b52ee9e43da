//! `pgfo simulate`, on its own.

use clap::Parser;
use pgfo::cli::simulate::{SimulateArgs, run};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    simulate: SimulateArgs,
}

fn main() -> anyhow::Result<std::process::ExitCode> {
    Ok(run(&Arguments::parse().simulate)?.into())
}
