//! Keeps a guard at hand: reaches it, starts it, and finds it again (L6). It asks nothing of it.

use crate::actors::{GuardReached, PostgresOperator};
use crate::config::{Config, FencingMode};
use crate::guard::{self, GuardClient, GuardEvents};
use actix::Addr;
use anyhow::Context as _;
use slog::{Logger, warn};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

/// How long a guard may take to start.
const START_MAX: Duration = Duration::from_secs(5);
/// Pause before a guard is looked for again.
const RETRY: Duration = Duration::from_millis(500);
/// How long a guard that this daemon did not start may take to be back, and how often it is looked for.
const RESTART_MAX: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(50);

/// Reaches the guard, starting it if need be, and again whenever it is `lost`. The run directory must be there.
///
/// # Errors
/// When no guard can be started at first.
pub(super) async fn keep_guard(
    config: &Config,
    path: &Path,
    operator: Addr<PostgresOperator>,
    mut lost: mpsc::Receiver<()>,
    logger: Logger,
) -> anyhow::Result<()> {
    let Some(postgres) = config.postgres.clone() else { return Ok(()) };
    let reserve = config.fencing.reserve;
    match config.fencing.mode {
        FencingMode::Off => Ok(()),
        FencingMode::Daemon => {
            warn!(logger, "fencing.mode = \"daemon\": a dead daemon leaves PostgreSQL unguarded");
            let (client, events) =
                guard::inline::start(&postgres.data_directory, reserve, guard::log::stderr())?;
            operator.send(GuardReached(client, events)).await.context("the operator did not start")
        }
        FencingMode::Guard => {
            let exe = std::env::current_exe().context("this program's own path")?;
            let args =
                vec!["guard".into(), "--config".into(), path.into(), "--serve".into(), "--detach".into()];
            let run_dir = config.node.run_directory.clone();
            let started = guard::connect_or_spawn(&exe, &args, &run_dir, START_MAX).await;
            let ((client, events), own) = started.context("starting the guard")?;
            operator.send(GuardReached(client, events)).await.context("the operator did not start")?;
            // systemd says so to what it started.
            let managed = std::env::var_os("INVOCATION_ID").is_some();
            let mut finder = Finder { exe, args, run_dir, own, managed };
            actix::spawn(async move {
                while lost.recv().await.is_some() {
                    let (client, events) = finder.find(&logger).await;
                    // The guardian notices when the operator is gone.
                    let _ = operator.send(GuardReached(client, events)).await;
                    sleep(RETRY).await;
                }
            });
            Ok(())
        }
    }
}

/// Finds a guard that was lost.
struct Finder {
    exe: PathBuf,
    args: Vec<OsString>,
    run_dir: PathBuf,
    /// Whether this daemon started the last one.
    own: bool,
    /// Whether a service manager runs this daemon: then a guard that another started has a unit, which starts it anew,
    /// and must not find its place taken.
    managed: bool,
}

impl Finder {
    async fn find(&mut self, logger: &Logger) -> (GuardClient, GuardEvents) {
        loop {
            if let Some(reached) = self.reconnect().await {
                return reached;
            }
            if self.managed && !self.own {
                warn!(logger, "the guard is not back; its unit, pgfo-guard.service, has to start it");
            } else {
                match guard::spawn(&self.exe, &self.args, &self.run_dir, START_MAX).await {
                    Ok(reached) => {
                        self.own = true;
                        return reached;
                    }
                    Err(why) => warn!(logger, "no guard can be reached or started"; "why" => %why),
                }
            }
            sleep(RETRY).await;
        }
    }

    /// Waits for a guard that another starts anew; one of this daemon's own nobody starts but it.
    async fn reconnect(&self) -> Option<(GuardClient, GuardEvents)> {
        let until = Instant::now() + if self.own { Duration::ZERO } else { RESTART_MAX };
        loop {
            if let Ok(reached) = GuardClient::connect(&self.run_dir).await {
                return Some(reached);
            }
            if Instant::now() >= until {
                return None;
            }
            sleep(LOOK).await;
        }
    }
}
