//! The one long-lived session with the local PostgreSQL, over which it is controlled. It must never decide
//! whether to act, and never act twice on its own: what timed out is reported as unknown.

use super::answer::{ReceiverStatus, StartupWait, WalReceiver};
use super::link::{Connector, Link, LinkError};
use super::outcome::{Outcome, Stop};
use super::{promote, settings, sql};
use crate::core::{Lsn, Nanos, Timeline};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

/// How often a fast operation looks whether it took effect: short against the milliseconds that it takes, long
/// against the quarter of a millisecond that a look costs.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// What the control operations look at while they wait, in one round trip. The backend's own view of the
/// settings, the process list rather than `pg_stat_wal_receiver` for the receiver (which hides one that is starting).
const LOOK: &str = "\
SELECT pg_is_in_recovery() AS in_recovery, \
 (extract(epoch FROM pg_conf_load_time()) * 1000000)::bigint AS load_time, \
 current_setting('primary_conninfo') AS primary_conninfo, current_setting('restore_command') AS restore_command, \
 current_setting('wal_retrieve_retry_interval') AS retry_interval, \
 pg_last_wal_receive_lsn() AS receive_lsn, pg_last_wal_replay_lsn() AS replay_lsn, \
 c.timeline_id AS checkpoint_tli, m.min_recovery_end_timeline AS recovery_end_tli, \
 coalesce(w.pid, v.pid) AS receiver_pid, w.status AS receiver_status, w.received_tli, w.sender_host, \
 w.sender_port, w.latest_end_lsn AS sender_lsn, a.pid AS startup_pid, a.wait_event AS startup_wait \
FROM pg_control_checkpoint() c CROSS JOIN pg_control_recovery() m LEFT JOIN pg_stat_wal_receiver w ON true \
 LEFT JOIN pg_stat_activity a ON a.backend_type = 'startup' \
 LEFT JOIN pg_stat_activity v ON v.backend_type = 'walreceiver' LIMIT 1";

/// One look at a standby.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) in_recovery: bool,
    /// When this session last read the configuration; changes with every reload.
    pub(super) load_time: i64,
    pub(super) primary_conninfo: String,
    pub(super) restore_command: String,
    pub(super) retry_interval: String,
    pub(super) receive: Option<Lsn>,
    pub(super) replay: Option<Lsn>,
    pub(super) checkpoint_timeline: Timeline,
    pub(super) recovery_end_timeline: Option<Timeline>,
    pub(super) receiver_pid: Option<i32>,
    pub(super) receiver: Option<WalReceiver>,
    pub(super) startup_wait: StartupWait,
}

impl Look {
    fn decode(row: &Row) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            in_recovery: row.try_get("in_recovery")?,
            load_time: row.try_get("load_time")?,
            primary_conninfo: row.try_get("primary_conninfo")?,
            retry_interval: row.try_get("retry_interval")?,
            restore_command: row.try_get("restore_command")?,
            receive: sql::lsn(row, "receive_lsn")?,
            replay: sql::lsn(row, "replay_lsn")?,
            checkpoint_timeline: sql::timeline(row, "checkpoint_tli")?.unwrap_or_default(),
            recovery_end_timeline: sql::timeline(row, "recovery_end_tli")?,
            receiver_pid: row.try_get("receiver_pid")?,
            receiver: sql::receiver(row)?,
            startup_wait: sql::startup_wait(row)?,
        })
    }

    /// The highest timeline that this look shows.
    pub(super) fn seen_tli(&self) -> Timeline {
        let received = self.receiver.as_ref().and_then(|r| r.received_tli);
        self.checkpoint_timeline.max(received.max(self.recovery_end_timeline).unwrap_or_default())
    }

    pub(super) fn streaming_tli(&self) -> Option<Timeline> {
        let receiver = self.receiver.as_ref().filter(|r| r.status == ReceiverStatus::Streaming)?;
        receiver.received_tli
    }
}

/// The open connection to the local PostgreSQL, and its data directory.
#[derive(Debug)]
pub struct Session {
    connector: Connector,
    data_dir: PathBuf,
    link: Option<Link>,
    statements: HashMap<&'static str, Statement>,
}

impl Session {
    /// Returns a session, not yet open, with the PostgreSQL whose data directory on this host is `data_dir`.
    #[must_use]
    pub fn new(connector: Connector, data_dir: &Path) -> Self {
        Self { connector, data_dir: data_dir.to_path_buf(), link: None, statements: HashMap::new() }
    }

    /// Returns the data directory.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Makes sure that the session is open, so that the next operation needs no new connection.
    ///
    /// # Errors
    /// When no connection can be opened until `deadline`.
    pub async fn ensure_open(&mut self, deadline: Instant) -> Result<(), LinkError> {
        if self.link.as_ref().is_none_or(Link::is_closed) {
            self.close();
            self.link = Some(self.connector.open(None, deadline).await?);
            self.warm_up(deadline).await?;
        }
        Ok(())
    }

    /// Prepares what a failover will need, and runs what only reads: a backend's first run of a query fills its
    /// caches, which costs milliseconds that a failover need not spend.
    async fn warm_up(&mut self, deadline: Instant) -> Result<(), LinkError> {
        for query in promote::STATEMENTS {
            self.statement(query, deadline).await?;
        }
        for query in [LOOK, settings::READ] {
            let statement = self.statement(query, deadline).await?;
            let Some(link) = &self.link else { return Ok(()) };
            let warmed = link.within(link.client.query(&statement, &[]), deadline).await;
            // A refusal is told by the operation that needs it.
            if let Some(error) = warmed.err().filter(|e| !e.by_server) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Closes the session; the next operation opens it again.
    pub fn close(&mut self) {
        self.link = None;
        self.statements.clear();
    }

    /// Waits until the session is lost; without one it waits for ever.
    pub async fn lost(&self) -> LinkError {
        match &self.link {
            Some(link) => link.closed().await,
            None => std::future::pending().await,
        }
    }

    /// Returns a future that ends when the connection that is open now has ended; at once, if none is.
    pub fn ended(&self) -> impl Future<Output = ()> + 'static + use<> {
        let end = self.link.as_ref().map(Link::end);
        async move {
            if let Some(mut end) = end {
                // Its sender is gone with the connection, which is an end, too.
                let _ended = end.wait_for(Option::is_some).await;
            }
        }
    }

    /// Sets `synchronous_standby_names` to `value`, and observes that this session sees it after a reload. The
    /// checkpointer, which tells committing sessions whether to wait at all, gets the same signal, but may act on it
    /// milliseconds later.
    pub async fn set_synchronous_standby_names(&mut self, value: &str, deadline: Instant) -> Outcome<()> {
        self.set_names(value, deadline).await.into()
    }

    async fn set_names(&mut self, value: &str, deadline: Instant) -> Result<(), Stop> {
        const SEEN: &str = "SELECT current_setting('synchronous_standby_names') = $1";
        self.open(deadline).await?;
        self.alter(&[alter_set("synchronous_standby_names", value)], deadline).await?;
        loop {
            let row = self.row(SEEN, &[&value], deadline).await?;
            if row.try_get::<_, bool>(0).map_err(|e| broken(&e))? {
                return Ok(());
            }
            pause(deadline, LOOK_INTERVAL, "synchronous_standby_names to take effect").await?;
        }
    }

    /// Runs `CHECKPOINT` on a connection of its own, so that this session stays free.
    pub async fn checkpoint(&self, deadline: Instant) -> Outcome<Nanos> {
        let started = Instant::now();
        let link = match self.connector.open(None, deadline).await {
            Ok(link) => link,
            Err(e) => return Err(Stop::before_sending(&e)).into(),
        };
        let result = link.within(link.client.simple_query("CHECKPOINT"), deadline).await;
        result.map(|_| since(started)).map_err(|e| after_sending(&e, "CHECKPOINT")).into()
    }

    /// Asks for a reload of the configuration.
    pub async fn reload(&mut self, deadline: Instant) -> Outcome<()> {
        self.send_reload(deadline).await.into()
    }

    async fn send_reload(&mut self, deadline: Instant) -> Result<(), Stop> {
        self.open(deadline).await?;
        self.row("SELECT pg_reload_conf()", &[], deadline).await.map(drop)
    }

    pub(super) async fn open(&mut self, deadline: Instant) -> Result<(), Stop> {
        self.ensure_open(deadline).await.map_err(|e| Stop::before_sending(&e))
    }

    pub(super) async fn look(&mut self, deadline: Instant) -> Result<Look, Stop> {
        let row = self.row(LOOK, &[], deadline).await?;
        Look::decode(&row).map_err(|e| broken(&e))
    }

    /// Runs `statements`, each alone, and a reload after them, all in one round trip.
    pub(super) async fn alter(&mut self, statements: &[String], deadline: Instant) -> Result<(), Stop> {
        let link = self.link.as_ref().ok_or_else(|| Stop::Failed("no session".to_owned()))?;
        // Each is sent when it is first polled, and the server takes them in this order: no waiting in between. It
        // refuses ALTER SYSTEM in the implicit transaction of a joint query.
        let mut all: Vec<_> = statements.iter().map(|s| Box::pin(link.client.simple_query(s))).collect();
        all.push(Box::pin(link.client.simple_query("SELECT pg_reload_conf()")));
        let together = async {
            let sent: Vec<_> = all.into_iter().map(Pipelined::new).collect();
            let mut first_error = Ok(());
            for answer in start_all(sent).await {
                if let (Err(e), Ok(())) = (answer.await, &first_error) {
                    first_error = Err(e);
                }
            }
            first_error
        };
        let result = link.within(together, deadline).await;
        self.checked(result, "a change of settings")
    }

    /// Runs a prepared query that returns one row.
    pub(super) async fn row(
        &mut self,
        query: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
        deadline: Instant,
    ) -> Result<Row, Stop> {
        let result = async {
            let statement = self.statement(query, deadline).await?;
            let link = self.link.as_ref().ok_or_else(|| LinkError::timed_out(super::Step::Query))?;
            link.within(link.client.query_one(&statement, parameters), deadline).await
        }
        .await;
        self.checked(result, query)
    }

    pub(super) async fn rows(&mut self, query: &'static str, deadline: Instant) -> Result<Vec<Row>, Stop> {
        let result = async {
            let statement = self.statement(query, deadline).await?;
            let link = self.link.as_ref().ok_or_else(|| LinkError::timed_out(super::Step::Query))?;
            link.within(link.client.query(&statement, &[]), deadline).await
        }
        .await;
        self.checked(result, query)
    }

    /// Keeps the session only as long as the server answers on it.
    fn checked<T>(&mut self, result: Result<T, LinkError>, what: &str) -> Result<T, Stop> {
        result.map_err(|e| {
            if !e.by_server {
                self.close();
            }
            after_sending(&e, what)
        })
    }

    async fn statement(&mut self, query: &'static str, deadline: Instant) -> Result<Statement, LinkError> {
        if let Some(statement) = self.statements.get(query) {
            return Ok(statement.clone());
        }
        let link = self.link.as_ref().ok_or_else(|| LinkError::timed_out(super::Step::Query))?;
        let statement = link.within(link.client.prepare(query), deadline).await?;
        self.statements.insert(query, statement.clone());
        Ok(statement)
    }
}

type Query<T> = std::pin::Pin<Box<T>>;

/// A request that was polled once, so that it is on its way, and its answer if that came at once.
struct Pipelined<T: Future> {
    query: Query<T>,
    answer: Option<T::Output>,
}

impl<T: Future> Pipelined<T> {
    fn new(query: Query<T>) -> Self {
        Self { query, answer: None }
    }

    async fn start(mut self) -> Self {
        let answer = &mut self.answer;
        let query = &mut self.query;
        std::future::poll_fn(|cx| {
            if let std::task::Poll::Ready(value) = query.as_mut().poll(cx) {
                *answer = Some(value);
            }
            std::task::Poll::Ready(())
        })
        .await;
        self
    }

    async fn finish(self) -> T::Output {
        match self.answer {
            Some(answer) => answer,
            None => self.query.await,
        }
    }
}

async fn start_all<T: Future>(requests: Vec<Pipelined<T>>) -> Vec<impl Future<Output = T::Output>> {
    let mut started = Vec::with_capacity(requests.len());
    for request in requests {
        started.push(request.start().await);
    }
    started.into_iter().map(Pipelined::finish).collect()
}

/// Waits for the next look.
pub(super) async fn pause(deadline: Instant, interval: Duration, what: &str) -> Result<(), Stop> {
    let now = Instant::now();
    if now >= deadline {
        return Err(Stop::Unknown(format!("deadline passed while waiting for {what}")));
    }
    sleep_until((now + interval).min(deadline)).await;
    Ok(())
}

pub(super) fn since(started: Instant) -> Nanos {
    Nanos(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

pub(super) fn broken(error: &tokio_postgres::Error) -> Stop {
    Stop::Unknown(format!("unexpected answer: {error}"))
}

/// What the server refused did not happen; whatever else went wrong, it may have.
fn after_sending(error: &LinkError, what: &str) -> Stop {
    // The first words name the query well enough; a whole one is a page.
    let what: String = what.chars().take(48).collect();
    match error.by_server {
        true => Stop::Failed(format!("\"{what}\" was refused: {error}")),
        false => Stop::Unknown(format!("\"{what}\" got no answer: {error}")),
    }
}

/// Returns an `ALTER SYSTEM SET`, whose value means the same under either `standard_conforming_strings`.
pub(super) fn alter_set(name: &str, value: &str) -> String {
    let escaped = value.replace('\\', r"\\").replace('\'', "''");
    format!("ALTER SYSTEM SET {name} = E'{escaped}'")
}

pub(super) fn alter_reset(name: &str) -> String {
    format!("ALTER SYSTEM RESET {name}")
}
