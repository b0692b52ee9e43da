//! `pgfo guard`: decides whether the local PostgreSQL may start unsealed (L9), for `ExecStartPre=`;
//! with `--serve`, is the guard process itself (L6).

use super::exit::Exit;
use super::{Target, connect, load};
use crate::config::{Config, FencingMode};
use crate::control::Request;
use crate::guard::{self, ServeOptions, seal};
use anyhow::Context as _;

/// Arguments of `pgfo guard`.
#[derive(clap::Args, Debug)]
pub struct GuardArgs {
    #[command(flatten)]
    target: Target,
    /// Runs the guard process in the foreground.
    #[arg(long)]
    serve: bool,
    /// With --serve: leaves the session of the parent.
    #[arg(long, requires = "serve")]
    detach: bool,
    /// Says what would be done, and does nothing.
    #[arg(long, conflicts_with = "serve")]
    dry_run: bool,
}

/// Runs the command.
///
/// # Errors
/// When the configuration can't be read, or the seal can't be written: PostgreSQL must then not start.
pub fn run(args: &GuardArgs) -> anyhow::Result<Exit> {
    let config = load(&args.target.config)?;
    let Some(postgres) = &config.postgres else {
        anyhow::bail!(
            "{}: this member is a witness; there is no PostgreSQL to guard",
            args.target.config.display()
        );
    };
    if args.serve {
        guard::serve(ServeOptions {
            run_dir: config.node.run_directory.clone(),
            data_dir: postgres.data_directory.clone(),
            fence_reserve: config.fencing.reserve,
            detach: args.detach,
            announce: args.detach,
            log: guard::log::stderr(),
        })?;
        return Ok(Exit::Ok);
    }
    decide(&config, args.dry_run)?;
    Ok(Exit::Ok)
}

/// L9: seals, unless this member holds a standing lease or the cluster has no history; says why.
///
/// # Errors
/// When the seal can't be looked at or written: PostgreSQL must then not start.
pub(super) fn decide(config: &Config, dry_run: bool) -> anyhow::Result<()> {
    let Some(postgres) = &config.postgres else { return Ok(()) };
    let data = &postgres.data_directory;
    if config.fencing.mode == FencingMode::Off {
        anstream::println!("fencing is off: PostgreSQL starts as it is");
        return Ok(());
    }
    if seal::is_sealed(data).with_context(|| format!("looking for standby.signal in {}", data.display()))? {
        anstream::println!("standby.signal is there: PostgreSQL starts in recovery");
        return Ok(());
    }
    let (unsealed, why) = ask(config);
    if unsealed {
        anstream::println!("PostgreSQL may start as a primary: {why}");
    } else if dry_run {
        anstream::println!("PostgreSQL would be sealed, to start read-only: {why}");
    } else {
        seal::seal(data).with_context(|| format!("sealing {}", data.display()))?;
        anstream::println!(
            "sealed, PostgreSQL starts read-only: {why}. It becomes primary by winning an election; \
             `pgfo adopt {}` asks for one",
            config.node.name
        );
    }
    Ok(())
}

/// Whoever can't say that a lease stands, says that none does.
fn ask(config: &Config) -> (bool, String) {
    let answer = connect(config).map_err(|e| e.to_string());
    let answer = answer.and_then(|mut client| client.call(&Request::MayStart).map_err(|e| e.to_string()));
    match answer {
        Ok(value) => (
            value["unsealed"].as_bool().unwrap_or(false),
            value["why"].as_str().unwrap_or("the daemon gave no reason").to_owned(),
        ),
        Err(why) => (false, format!("the daemon can't be asked ({why})")),
    }
}
