//! `pgfo daemon`: runs a member. Puts the actors together, and ends them in order; decides nothing.

mod answers;
mod assemble;
mod certificate;
mod disk;
mod guarding;
mod settings;
mod status;

use crate::cli::exit::Exit;
use crate::cli::logging;
use crate::config::Config;
use anyhow::Context as _;
use slog::{crit, o, warn};
use std::path::PathBuf;

/// Arguments of `pgfo daemon`.
#[derive(clap::Args, Debug)]
pub struct DaemonArgs {
    /// Configuration file.
    #[arg(long, short, value_name = "FILE", default_value = "/etc/pgfo/pgfo.toml")]
    pub config: PathBuf,
    /// Reads and checks the configuration, prints it as it takes effect, and ends.
    #[arg(long)]
    pub check: bool,
}

/// Runs the daemon until it is told to end.
///
/// # Errors
/// When it can't start; what happens later is in the logs.
pub fn run(args: &DaemonArgs) -> anyhow::Result<Exit> {
    let (config, mut warnings) = match Config::load(&args.config) {
        Ok(loaded) => loaded,
        Err(errors) => {
            anstream::eprintln!("{errors}");
            return Ok(Exit::Usage);
        }
    };
    match config.check_files(&args.config) {
        Ok(more) => warnings.extend(more),
        Err(errors) => {
            anstream::eprintln!("{errors}");
            return Ok(Exit::Usage);
        }
    }
    if args.check {
        for warning in &warnings {
            anstream::eprintln!("{warning}");
        }
        anstream::print!("{}", config.effective().text);
        return Ok(Exit::Ok);
    }
    let path = std::path::absolute(&args.config).context("the configuration's path")?;
    let (logger, guard) =
        logging::to_stderr(config.log.level, config.log.format, o!("member" => config.node.name.clone()));
    for warning in &warnings {
        warn!(logger, "{}", warning);
    }
    // A process in the data directory would count as PostgreSQL's and be killed by a fence.
    std::env::set_current_dir("/").context("changing to the root directory")?;
    let system = actix::System::new();

    let failed = logger.clone();
    system.block_on(assemble::serve(config, path, logger, guard)).or_else(|why| {
        // The configuration was checked: what fails now, such as a port that is still taken, may pass.
        crit!(failed, "the daemon ends: {:#}", why);
        Ok(Exit::Internal)
    })
}
