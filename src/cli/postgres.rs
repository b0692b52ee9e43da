//! `pgfo postgres start|stop|reload`: operates the PostgreSQL beside this daemon by the configured commands.
//! A start asks the guard's question first (L9), where no service manager does.

use super::exit::Exit;
use super::{Target, guard, load};
use crate::postgres::{CommandEnd, CommandReport, PgCtl, PgCtlCommands, StopMode};
use anyhow::Context as _;
use std::time::Duration;
use tokio::time::Instant;

/// How long a start may take: crash recovery takes minutes.
const START_MAX: Duration = Duration::from_secs(600);
/// How long a stop or a reload may take.
const STOP_MAX: Duration = Duration::from_secs(120);

/// What is to be done.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Starts it; sealed, unless this member holds a standing lease.
    Start,
    /// Stops it cleanly.
    Stop,
    /// Has it read its configuration again.
    Reload,
}

/// Arguments of `pgfo postgres`.
#[derive(clap::Args, Debug)]
pub struct PostgresArgs {
    /// What is to be done.
    what: What,
    #[command(flatten)]
    target: Target,
    /// Says what would be done, and does nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
///
/// # Errors
/// When the configuration can't be read, or the command does not succeed.
pub fn run(args: &PostgresArgs) -> anyhow::Result<Exit> {
    let config = load(&args.target.config)?;
    let Some(postgres) = &config.postgres else {
        anyhow::bail!("{}: this member is a witness; it has no PostgreSQL", args.target.config.display());
    };
    let defaults = PgCtlCommands::default();
    let or = |own: &Option<crate::config::CommandLine>, default: String| {
        own.as_ref().map_or(default, |line| line.expose().to_owned())
    };
    let commands = PgCtlCommands {
        start: or(&postgres.start_command, defaults.start),
        stop: or(&postgres.stop_command, defaults.stop),
        reload: or(&postgres.reload_command, defaults.reload),
    };
    let control = PgCtl::new(&postgres.bin_directory, &postgres.data_directory, commands)
        .context("the start, stop or reload command")?;
    if args.what == What::Start {
        guard::decide(&config, args.dry_run)?;
    }
    if args.dry_run {
        anstream::println!("would {:?} the PostgreSQL in {}", args.what, postgres.data_directory.display());
        return Ok(Exit::Ok);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        match args.what {
            What::Start => control.start(Instant::now() + START_MAX).await,
            What::Stop => control.stop(StopMode::Fast, Instant::now() + STOP_MAX).await,
            What::Reload => control.reload(Instant::now() + STOP_MAX).await,
        }
    })?;
    tell(&report)
}

fn tell(report: &CommandReport) -> anyhow::Result<Exit> {
    if !report.output_tail.trim().is_empty() {
        anstream::eprintln!("{}", report.output_tail.trim_end());
    }
    match report.end {
        CommandEnd::Exited(0) => {
            anstream::println!("done after {}", report.took);
            Ok(Exit::Ok)
        }
        CommandEnd::Exited(code) => anyhow::bail!("the command exited with {code} after {}", report.took),
        CommandEnd::Signalled(signal) => anyhow::bail!("the command was killed by signal {signal}"),
        CommandEnd::NotStarted(code) => {
            anyhow::bail!("the command could not be started: system error {code}")
        }
        CommandEnd::TimedOut => {
            anstream::eprintln!("the command was ended at its deadline: whether it took effect is unknown");
            Ok(Exit::Unknown)
        }
    }
}
