//! `pgfo guard`: decides whether the local PostgreSQL may start unsealed (L9), for `ExecStartPre=`;
//! with `--serve`, is the guard process itself (L6).

use super::exit::Exit;
use super::{Target, connect, load};
use crate::config::{Config, FencingMode};
use crate::control::Request;
use crate::core::Nanos;
use crate::guard::protocol::{GuardState, Reply, Status};
use crate::guard::{self, GuardError, ServeOptions, seal};
use crate::os::boot_now;
use anyhow::Context as _;
use std::path::Path;
use std::time::Duration;

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
        let served = guard::serve(ServeOptions {
            run_dir: config.node.run_directory.clone(),
            data_dir: postgres.data_directory.clone(),
            fence_reserve: config.fencing.reserve,
            detach: args.detach,
            announce: args.detach,
            log: guard::log::stderr(),
        });
        return match served {
            Ok(()) => Ok(Exit::Ok),
            Err(why @ GuardError::NotOwner { .. }) => Err(why.into()),
            // Another may have to end first, or the run directory to appear: the next start may serve.
            Err(why) => {
                anstream::eprintln!("pgfo: {why}");
                Ok(Exit::Internal)
            }
        };
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
    let marked = seal::is_marked(data)
        .with_context(|| format!("looking for {} in {}", seal::MARK_FILE, data.display()))?;
    let (unsealed, why) = ask(config, marked);
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

/// Longest wait for an answer of the guard; PostgreSQL does not start meanwhile.
const GUARD_ANSWER_MAX: Duration = Duration::from_secs(2);

/// Whoever can't say that a lease stands, says that none does.
fn ask(config: &Config, marked: bool) -> (bool, String) {
    let answer = connect(config).map_err(|e| e.to_string());
    let answer = answer.and_then(|mut client| client.call(&Request::MayStart).map_err(|e| e.to_string()));
    let answer = match answer {
        Ok(value) => value,
        Err(why) => return (false, format!("the daemon can't be asked ({why})")),
    };
    let why = answer["why"].as_str().unwrap_or("the daemon gave no reason").to_owned();
    let by = answer["by"].as_str();
    match answer["unsealed"].as_bool().unwrap_or(false).then_some(by) {
        None => (false, why),
        // Every log may be lost: what nobody remembers may have been.
        Some(Some("nobody")) if marked => (
            false,
            format!(
                "{why}, but this data was guarded before ({} is in it), so it may be a former primary's",
                seal::MARK_FILE
            ),
        ),
        Some(Some("nobody" | "pause")) => (true, why),
        // A daemon of an older release does not say what allows it.
        Some(_) if config.fencing.mode == FencingMode::Guard => guarded(config, why),
        Some(_) => (true, why),
    }
}

/// A lease lets nobody start whom no guard would fence at its end: one that was started anew knows of none.
fn guarded(config: &Config, why: String) -> (bool, String) {
    match guard_time_left(&config.node.run_directory) {
        Ok(Some(left)) if left > config.fencing.reserve => (true, why),
        Ok(_) => (false, format!("{why}, but no guard is armed that would fence at its end")),
        Err(e) => (false, format!("{why}, but its guard can't be asked ({e})")),
    }
}

/// Returns how long the deadline lies ahead that the guard is armed for.
fn guard_time_left(run_dir: &Path) -> anyhow::Result<Option<Nanos>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = runtime.block_on(async {
        let (client, _events) = guard::GuardClient::connect(run_dir).await?;
        client.request(guard::protocol::Request::Status, GUARD_ANSWER_MAX).await
    })?;
    Ok(match status {
        Reply::Status(Status { state: GuardState::Armed { deadline, .. }, .. }) => {
            Some(Nanos(deadline.nanos_since(boot_now())))
        }
        _ => None,
    })
}
