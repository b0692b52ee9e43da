//! One node: its PostgreSQL, started, stopped and asked. The daemon beside it is in `daemon.rs`,
//! faults are in `faults.rs`. Judges nothing.

use super::daemon::{Pgfo, RunningDaemon};
use super::error::{DemoError, Result};
use super::networks::Place;
use super::processes::{NODE_MARK, Process};
use super::sandbox::{Sandbox, tail};
use super::session::{Rows, Session};
use super::template::ROLE;
use super::wait::{Deadline, Look, poll};
use crate::core::Timeline;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A start includes crash recovery.
const START_WITHIN_SECS: u64 = 60;
/// Between `pg_ctl`'s return and the postmaster's lock file, on a loaded machine.
const STARTED_OR_FAILED_AFTER: Duration = Duration::from_secs(3);
/// A fresh connection on loopback takes milliseconds; a frozen node never answers.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// The harness' own questions are small.
const QUERY_WITHIN: Duration = Duration::from_secs(5);

/// How PostgreSQL is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Ends sessions, writes a shutdown checkpoint, waits for the standbys.
    Fast,
    /// Ends at once, as after a crash.
    Immediate,
}

/// How a PostgreSQL is reached. Its debug output has no password.
#[derive(Clone)]
pub(crate) struct Access {
    address: String,
    /// The directory of PostgreSQL's Unix socket, where only that leads to it from here.
    socket: Option<PathBuf>,
    port: u16,
    password: Option<String>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("port", &self.port).finish_non_exhaustive()
    }
}

impl Access {
    /// `dir` is the node's directory.
    pub(crate) fn new(place: &Place, dir: &Path, port: u16, password: Option<String>) -> Self {
        let socket = place.namespace.is_some().then(|| dir.join("run"));
        Self { address: place.address.clone(), socket, port, password }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// Returns the connection string of `user`, with the password if there is one.
    pub(crate) fn conninfo(&self, user: &str) -> String {
        self.conninfo_at(&self.address, user)
    }

    fn conninfo_at(&self, host: &str, user: &str) -> String {
        let password = self.password.as_ref().map_or_else(String::new, |p| format!(" password={p}"));
        format!("host={host} port={} user={user} dbname=postgres{password}", self.port)
    }

    /// Returns the harness' own connection string: as superuser, whatever the role `pgfo` may do.
    pub(crate) fn superuser(&self, application: &str) -> String {
        let socket = self.socket.as_ref().map(|dir| dir.display().to_string());
        let host = socket.as_deref().unwrap_or(&self.address);
        format!("{} application_name={application}", self.conninfo_at(host, "postgres"))
    }
}

/// The PostgreSQL of a data member.
#[derive(Debug)]
pub(crate) struct Postgres {
    data: PathBuf,
    log: PathBuf,
    access: Access,
}

impl Postgres {
    pub(crate) fn new(dir: &Path, access: Access) -> Self {
        Self { data: dir.join("data"), log: dir.join("postgres.log"), access }
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    pub(crate) fn access(&self) -> &Access {
        &self.access
    }
}

/// One member of the cluster: a PostgreSQL and its daemon, or a witness' daemon alone.
#[derive(Debug)]
pub struct Node {
    name: String,
    dir: PathBuf,
    pub(super) place: Place,
    postgres: Option<Postgres>,
    daemon_port: u16,
    pub(super) pgfo: Option<Pgfo>,
    pub(super) daemon: Mutex<Option<RunningDaemon>>,
    pub(super) sandbox: Arc<Sandbox>,
}

impl Node {
    pub(super) fn new(
        name: String,
        dir: PathBuf,
        place: Place,
        postgres: Option<Postgres>,
        daemon_port: u16,
        sandbox: Arc<Sandbox>,
        pgfo: Option<Pgfo>,
    ) -> Self {
        Self { name, dir, place, postgres, daemon_port, pgfo, daemon: Mutex::new(None), sandbox }
    }

    /// Returns the member's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns true if it has no PostgreSQL.
    #[must_use]
    pub fn is_witness(&self) -> bool {
        self.postgres.is_none()
    }

    /// Returns the directory of all that belongs to this node.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the daemon's configuration file.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.dir.join("pgfo.toml")
    }

    /// Returns the daemon's port on loopback.
    #[must_use]
    pub fn daemon_port(&self) -> u16 {
        self.daemon_port
    }

    /// Returns PostgreSQL's data directory.
    ///
    /// # Errors
    /// When it is a witness.
    pub fn data_directory(&self) -> Result<&Path> {
        Ok(self.require_postgres()?.data())
    }

    /// Returns PostgreSQL's port on loopback.
    ///
    /// # Errors
    /// When it is a witness.
    pub fn postgres_port(&self) -> Result<u16> {
        Ok(self.require_postgres()?.access.port())
    }

    /// Returns the connection string of the role `pgfo`. It may hold a password.
    ///
    /// # Errors
    /// When it is a witness.
    pub fn conninfo(&self) -> Result<String> {
        Ok(self.require_postgres()?.access.conninfo(ROLE))
    }

    pub(super) fn postgres(&self) -> Option<&Postgres> {
        self.postgres.as_ref()
    }

    pub(super) fn require_postgres(&self) -> Result<&Postgres> {
        let witness = || DemoError::State(format!("{} is a witness, it has no PostgreSQL", self.name));
        self.postgres.as_ref().ok_or_else(witness)
    }

    /// Starts PostgreSQL, detached, and returns when it accepts connections.
    ///
    /// # Errors
    /// When it doesn't within a minute; the error quotes its log.
    pub fn start_postgres(&self) -> Result<()> {
        let postgres = self.require_postgres()?;
        self.sandbox.run_in(self.place.namespace.as_deref(), "pg_ctl", |command| {
            command.args(["start", "--no-wait", "--silent", "--pgdata"]).arg(&postgres.data);
            command.arg("--log").arg(&postgres.log);
            command.env(NODE_MARK, &self.dir);
            // A pipe of ours would stay open as long as PostgreSQL runs.
            command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        })?;
        let deadline = Deadline::secs(START_WITHIN_SECS);
        // A moment passes before the lock file is there; after it, no postmaster is a failed one.
        let settled = Deadline::after(STARTED_OR_FAILED_AFTER);
        let started = poll(deadline, || match self.session() {
            Ok(_session) => Look::Done(Ok(())),
            Err(error) if settled.has_passed() && !self.is_postgres_running() => {
                Look::Done(Err(error.to_string()))
            }
            Err(error) => Look::NotYet(error.to_string()),
        });
        started.and_then(|ended| ended).map_err(|last_seen| DemoError::TimedOut {
            what: format!("{} to start", self.name),
            within_ms: deadline.elapsed().as_millis(),
            last_seen,
            evidence: self.postgres_log_tail(),
        })
    }

    /// Stops PostgreSQL and returns when it is gone.
    ///
    /// # Errors
    /// When it isn't running, or doesn't stop within a minute.
    pub fn stop_postgres(&self, mode: StopMode) -> Result<()> {
        let postgres = self.require_postgres()?;
        let mode = match mode {
            StopMode::Fast => "fast",
            StopMode::Immediate => "immediate",
        };
        let stopped = self.sandbox.run("pg_ctl", |command| {
            command.args(["stop", "--silent", "--wait", "--mode", mode, "--pgdata"]).arg(&postgres.data);
        });
        stopped.map(drop)
    }

    /// Stops PostgreSQL orderly, and starts it again.
    ///
    /// # Errors
    /// As [`Self::stop_postgres`] and [`Self::start_postgres`].
    pub fn restart_postgres(&self) -> Result<()> {
        self.stop_postgres(StopMode::Fast)?;
        self.start_postgres()
    }

    /// Returns the process that heads PostgreSQL, `None` if it is gone.
    pub(super) fn postmaster(&self) -> Option<Process> {
        let postgres = self.postgres.as_ref()?;
        let file = std::fs::read_to_string(postgres.data.join("postmaster.pid")).ok()?;
        let process = Process::read(file.lines().next()?.trim().parse().ok()?)?;
        // The file outlives a killed postmaster, and its number may be somebody else's by then.
        (process.runs_in(&postgres.data) && !process.is_dead()).then_some(process)
    }

    /// Returns true while a postmaster runs, frozen or not.
    #[must_use]
    pub fn is_postgres_running(&self) -> bool {
        self.postmaster().is_some()
    }

    /// Makes this node a standby of `primary` by a base backup, and starts it.
    ///
    /// # Errors
    /// When the base backup fails, or PostgreSQL doesn't start.
    pub fn base_backup_from(&self, primary: &Self) -> Result<()> {
        let postgres = self.require_postgres()?;
        let source = &primary.require_postgres()?.access;
        let conninfo = format!(
            "host={} port={} user={ROLE} application_name={}",
            source.address, source.port, self.name
        );
        self.sandbox.run_in(self.place.namespace.as_deref(), "pg_basebackup", |command| {
            command.arg("--pgdata").arg(&postgres.data).arg("--dbname").arg(conninfo);
            command.args(["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"]);
            if let Some(password) = source.password() {
                command.env("PGPASSWORD", password);
            }
        })?;
        self.start_postgres()
    }

    /// Opens a connection as superuser.
    ///
    /// # Errors
    /// When it is refused, or not there within two seconds.
    pub fn session(&self) -> Result<Session> {
        Session::open(&self.name, &self.require_postgres()?.access.superuser("pgfo_harness"), CONNECT_WITHIN)
    }

    /// Runs `sql` over a fresh connection as superuser.
    ///
    /// # Errors
    /// When it is refused, or not answered within five seconds (then the outcome is unknown).
    pub fn query(&self, sql: &str) -> Result<Rows> {
        self.session()?.query(sql, QUERY_WITHIN)
    }

    /// Runs `sql` and returns its first column of its first row as text; empty if there is none.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub fn query_one(&self, sql: &str) -> Result<String> {
        let rows = self.query(sql)?;
        Ok(rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten().unwrap_or_default())
    }

    /// Returns true if PostgreSQL is in recovery, that is, not a primary.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub fn is_in_recovery(&self) -> Result<bool> {
        Ok(self.query_one("SELECT pg_is_in_recovery()")? == "t")
    }

    /// Returns the timeline that is written, or, on a standby, received or last replayed.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub fn timeline(&self) -> Result<Timeline> {
        let text = self.query_one(
            "SELECT CASE WHEN pg_is_in_recovery() THEN coalesce( \
               (SELECT received_tli FROM pg_stat_wal_receiver), \
               (SELECT min_recovery_end_timeline FROM pg_control_recovery())) \
             ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END",
        )?;
        let parsed = text.parse().map(Timeline);
        parsed.map_err(|_| DemoError::State(format!("{}: not a timeline: {text:?}", self.name)))
    }

    /// Returns the end of PostgreSQL's log.
    #[must_use]
    pub fn postgres_log_tail(&self) -> String {
        let log = self.postgres.as_ref().and_then(|p| std::fs::read_to_string(&p.log).ok());
        tail(&log.unwrap_or_default()).to_owned()
    }
}
