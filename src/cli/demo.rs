//! `pgfo demo`: throw-away clusters, killed and watched.

use super::exit::Exit;
use crate::demo::acts::{self, DemoOptions};
use std::path::PathBuf;

/// Arguments of `pgfo demo`.
#[derive(clap::Args, Debug)]
pub struct DemoArgs {
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
    /// Keeps the members' directories, logs included.
    #[arg(long)]
    keep: bool,
    /// Another PostgreSQL's bin directory.
    #[arg(long, value_name = "DIR")]
    postgres_bin: Option<PathBuf>,
}

/// Runs the demo.
///
/// # Errors
/// When a cluster can't be made.
pub fn run(args: &DemoArgs) -> anyhow::Result<Exit> {
    let pgfo = std::env::current_exe()?;
    let options = DemoOptions {
        json: args.json,
        keep: args.keep,
        postgres_bin: args.postgres_bin.clone(),
        pgfo: Some(pgfo),
    };
    let report = acts::run(&options)?;
    if args.json {
        anstream::println!("{}", serde_json::to_string(&report)?);
    }
    Ok(if report.good { Exit::Ok } else { Exit::Degraded })
}
