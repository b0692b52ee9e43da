//! One measured takeover: a client writes to the old primary without a pause, others try every
//! standby each millisecond over connections that are open already. Whoever promotes is measured
//! by the same clients, so that two ways of promoting can be compared. It promotes nobody itself.

use super::cluster::Cluster;
use super::error::{DemoError, Result};
use super::ledger::AckKey;
use super::node::Node;
use super::session::Session;
use super::wait::Deadline;
use crate::os;
use pgfo_replay::BootNanos;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Commits before the kill, so that the old primary is busy when it dies.
const WARM_UP_COMMITS: u64 = 100;
/// Between two tries of a standby that still refuses writes: what the measurement is exact to. No
/// pause at all would keep a core busy, and slow down whoever promotes.
const TRY_PAUSE: Duration = Duration::from_millis(1);

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The postmaster alone, with SIGKILL.
    Postmaster,
    /// Every process of the node at one instant: PostgreSQL, daemon and guard.
    Node,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Takeover {
    /// From the last commit acknowledged before the kill to the first by the new primary.
    pub outage: Duration,
    /// From the kill to the first commit acknowledged by the new primary.
    pub kill_to_first_ack: Duration,
    /// Acknowledged commits that the new primary doesn't have.
    pub lost: usize,
    /// When the kill was sent.
    pub killed: BootNanos,
    /// The new primary's name.
    pub new_primary: String,
}

/// Makes the table that [`measure`] writes to, and waits until every standby has it.
///
/// # Errors
/// When it can't be made, or isn't on a standby within 10 s.
pub fn prepare(cluster: &Cluster, old: &Node) -> Result<()> {
    old.query("CREATE TABLE takeover (id bigint PRIMARY KEY)")?;
    for standby in standbys(cluster, old) {
        cluster.wait_until("the table to be on every standby", Deadline::secs(10), || {
            standby.query("SELECT 1 FROM takeover").map(drop).map_err(|error| error.to_string())
        })?;
    }
    Ok(())
}

/// Kills `old` under load, calls `at_the_kill` at once, and measures until a standby takes writes.
///
/// # Errors
/// When nobody takes writes `within`, or what writes or kills fails.
pub fn measure(
    cluster: &Cluster,
    old: &Node,
    fault: Fault,
    within: Duration,
    at_the_kill: impl FnOnce() -> Result<()>,
) -> Result<Takeover> {
    let (found, first) = channel();
    let stop = Arc::new(AtomicBool::new(false));
    let trying: Vec<_> = standbys(cluster, old)
        .map(|standby| Try::start(standby, found.clone(), Arc::clone(&stop), within))
        .collect::<Result<_>>()?;
    let writer = Writer::start(old.session()?, within);
    writer.await_commits(WARM_UP_COMMITS)?;
    let (killed_at, killed) = (Instant::now(), os::boot_now());
    match fault {
        Fault::Postmaster => drop(old.signal_postmaster_kill()?),
        Fault::Node => old.kill_node()?,
    }
    at_the_kill()?;
    let first = first.recv_timeout(within);
    stop.store(true, Ordering::Relaxed);
    let (new_primary, first_ack) = first.map_err(|why| nobody(cluster, within, why))?;
    for one in trying {
        one.join().map_err(|_| DemoError::State("a client panicked".into()))?;
    }
    let acked = writer.finish()?;
    // A busy backend outlives its postmaster and goes on acknowledging what nobody will find again:
    // that is no service, so the outage begins with the last commit before the kill.
    let last_ack = acked.iter().rev().find(|(_, at)| *at <= killed_at).map_or(killed_at, |(_, at)| *at);
    let rows = cluster.node(&new_primary).query("SELECT id FROM takeover")?;
    let present: BTreeSet<AckKey> = rows.iter().filter_map(|row| key(row)).collect();
    let lost = acked.iter().filter(|(id, _)| !present.contains(&AckKey { writer: 0, id: *id })).count();
    Ok(Takeover {
        outage: first_ack.saturating_duration_since(last_ack),
        kill_to_first_ack: first_ack.saturating_duration_since(killed_at),
        lost,
        killed,
        new_primary,
    })
}

fn standbys<'a>(cluster: &'a Cluster, old: &'a Node) -> impl Iterator<Item = &'a Node> {
    cluster.data_nodes().filter(|node| node.name() != old.name())
}

fn nobody(cluster: &Cluster, within: Duration, why: RecvTimeoutError) -> DemoError {
    DemoError::TimedOut {
        what: "a standby to take writes".into(),
        within_ms: within.as_millis(),
        last_seen: why.to_string(),
        evidence: cluster.evidence(),
    }
}

fn key(row: &[Option<String>]) -> Option<AckKey> {
    let id = row.first()?.as_ref()?.parse().ok()?;
    Some(AckKey { writer: 0, id })
}

/// Tries to write to one standby until it is allowed to.
struct Try;

impl Try {
    fn start(
        standby: &Node,
        found: Sender<(String, Instant)>,
        stop: Arc<AtomicBool>,
        within: Duration,
    ) -> Result<JoinHandle<()>> {
        let mut session = standby.session()?;
        let name = standby.name().to_owned();
        // A row of its own: negative, so that it meets none of the old primary's.
        let row = 0 - i64::from(standby.postgres_port()?);
        let sql = format!("INSERT INTO takeover VALUES ({row})");
        Ok(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if session.query(&sql, within).is_ok() {
                    // Nobody listens after the first.
                    let _unheard = found.send((name, Instant::now()));
                    return;
                }
                std::thread::sleep(TRY_PAUSE);
            }
        }))
    }
}

/// Writes to the old primary without a pause until its connection breaks.
struct Writer {
    thread: JoinHandle<Vec<(u64, Instant)>>,
    progress: Receiver<u64>,
}

impl Writer {
    fn start(mut session: Session, within: Duration) -> Self {
        let (sender, progress) = channel();
        let thread = std::thread::spawn(move || {
            let mut acked = Vec::new();
            for id in 1.. {
                if session.query(&format!("INSERT INTO takeover VALUES ({id})"), within).is_err() {
                    break;
                }
                acked.push((id, Instant::now()));
                // Nobody listens any more after the warm-up.
                let _unheard = sender.send(id);
            }
            acked
        });
        Self { thread, progress }
    }

    fn await_commits(&self, commits: u64) -> Result<()> {
        while self.progress.recv().map_err(|_| DemoError::State("the old primary refused a write".into()))?
            < commits
        {}
        Ok(())
    }

    fn finish(self) -> Result<Vec<(u64, Instant)>> {
        drop(self.progress);
        self.thread.join().map_err(|_| DemoError::State("the writer panicked".into()))
    }
}
