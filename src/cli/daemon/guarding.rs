//! Keeps a guard at hand: reaches it, starts it, and finds it again (L6). It asks nothing of it.

use crate::actors::{GuardReached, PostgresOperator};
use crate::config::{Config, FencingMode};
use crate::guard::{self, GuardClient, GuardError, GuardEvents};
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
/// The same under a service manager, whose unit for the guard must not find its place taken; there may be none.
const UNIT_MAX: Duration = Duration::from_secs(30);

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
            // systemd says so to what it started.
            let managed = std::env::var_os("INVOCATION_ID").is_some();
            let mut finder = Finder { exe, args, run_dir, own: false, managed };
            let (client, events) = finder.first().await.context("starting the guard")?;
            operator.send(GuardReached(client, events)).await.context("the operator did not start")?;
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
    /// Whether a service manager runs this daemon.
    managed: bool,
}

impl Finder {
    /// Reaches the guard that serves already, or starts one.
    async fn first(&mut self) -> Result<(GuardClient, GuardEvents), GuardError> {
        match self.reconnect(if self.managed { RESTART_MAX } else { Duration::ZERO }).await {
            Some(reached) => Ok(reached),
            None => self.spawn().await,
        }
    }

    async fn find(&mut self, logger: &Logger) -> (GuardClient, GuardEvents) {
        loop {
            // One of this daemon's own nobody starts but it.
            let patience = match (self.own, self.managed) {
                (true, _) => Duration::ZERO,
                (false, true) => UNIT_MAX,
                (false, false) => RESTART_MAX,
            };
            if let Some(reached) = self.reconnect(patience).await {
                // It may be its unit's, which starts it anew.
                self.own = false;
                return reached;
            }
            match self.spawn().await {
                Ok(reached) => return reached,
                Err(why) => warn!(logger, "no guard can be reached or started"; "why" => %why),
            }
            sleep(RETRY).await;
        }
    }

    async fn spawn(&mut self) -> Result<(GuardClient, GuardEvents), GuardError> {
        let reached = guard::spawn(&self.exe, &self.args, &self.run_dir, START_MAX).await?;
        self.own = true;
        Ok(reached)
    }

    /// Waits for a guard that another starts.
    async fn reconnect(&self, within: Duration) -> Option<(GuardClient, GuardEvents)> {
        let until = Instant::now() + within;
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
