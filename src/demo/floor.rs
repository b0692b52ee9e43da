//! The floor: how long a takeover lasts when nothing has to be found out. The postmaster is killed,
//! and a standby promoted at once over a connection that was open already. No daemon is involved.

use super::cluster::Cluster;
use super::error::{DemoError, Result};
use super::ledger::AckKey;
use super::sandbox::SandboxOptions;
use super::session::Session;
use super::wait::Deadline;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A promotion just after the primary's death can wait for `wal_retrieve_retry_interval`, 5 s by
/// default; twice that and some.
const PROMOTED_WITHIN: Duration = Duration::from_secs(15);
/// Commits before the kill, so that the old primary is busy when it dies.
const WARM_UP_COMMITS: u64 = 100;

/// How the floor is measured.
#[derive(Clone, Debug)]
pub struct FloorOptions {
    /// How many times; each on a fresh cluster of a primary and a standby.
    pub runs: usize,
    /// The standby's `wal_retrieve_retry_interval`; PostgreSQL's default (5 s) if not given.
    pub wal_retrieve_retry_interval: Option<Duration>,
    /// Where the clusters live and as whom.
    pub sandbox: SandboxOptions,
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct FloorRun {
    /// From the last commit acknowledged by the old primary to the first by the new one.
    pub outage: Duration,
    /// From the kill to the first commit acknowledged by the new primary.
    pub kill_to_first_ack: Duration,
    /// Acknowledged commits that the new primary doesn't have.
    pub lost: usize,
}

/// Measures the floor; `each` is called after every run.
///
/// # Errors
/// When a cluster can't be built, or a promotion takes over 15 s.
pub fn measure(options: &FloorOptions, mut each: impl FnMut(&FloorRun)) -> Result<Vec<FloorRun>> {
    let mut runs = Vec::with_capacity(options.runs);
    for _ in 0..options.runs {
        let run = one_run(options)?;
        each(&run);
        runs.push(run);
    }
    Ok(runs)
}

/// Returns the smallest, the median and the largest of `values`; zeros if there is none.
#[must_use]
pub fn spread(mut values: Vec<Duration>) -> (Duration, Duration, Duration) {
    values.sort_unstable();
    let at = |index: usize| values.get(index).copied().unwrap_or_default();
    (at(0), at(values.len() / 2), at(values.len().saturating_sub(1)))
}

fn one_run(options: &FloorOptions) -> Result<FloorRun> {
    let mut builder = Cluster::builder().data(2).sandbox(options.sandbox.clone());
    if let Some(interval) = options.wal_retrieve_retry_interval {
        builder = builder.setting(format!("wal_retrieve_retry_interval = '{}ms'", interval.as_millis()));
    }
    let cluster = builder.build()?;
    let (old, new) = (cluster.node("node1"), cluster.node("node2"));
    old.query("CREATE TABLE floor (id bigint PRIMARY KEY)")?;
    cluster.wait_until("the table to be on the standby", Deadline::secs(10), || {
        new.query("SELECT 1 FROM floor").map(drop).map_err(|error| error.to_string())
    })?;
    let mut promoter = new.session()?;
    let inserter = new.session()?;
    promoter.query("SELECT 1", PROMOTED_WITHIN)?;
    let writer = Hammer::start(old.session()?);
    writer.await_commits(WARM_UP_COMMITS)?;
    let killed = Instant::now();
    old.signal_postmaster_kill()?;
    promoter.query("SELECT pg_promote(false)", PROMOTED_WITHIN)?;
    let first = first_commit(inserter)?;
    let acked = writer.finish()?;
    let last = acked.last().map_or(killed, |(_, at)| *at);
    let present: BTreeSet<AckKey> =
        new.query("SELECT id FROM floor")?.iter().filter_map(|row| key(row)).collect();
    let lost = acked.iter().filter(|(id, _)| !present.contains(&AckKey { writer: 0, id: *id })).count();
    Ok(FloorRun {
        outage: first.saturating_duration_since(last),
        kill_to_first_ack: first.duration_since(killed),
        lost,
    })
}

fn key(row: &[Option<String>]) -> Option<AckKey> {
    let id = row.first()?.as_ref()?.parse().ok()?;
    Some(AckKey { writer: 0, id })
}

/// Inserts without a pause until one is acknowledged.
fn first_commit(mut session: Session) -> Result<Instant> {
    let deadline = Deadline::after(PROMOTED_WITHIN);
    let mut last_seen = String::new();
    while !deadline.has_passed() {
        match session.query("INSERT INTO floor VALUES (-1)", PROMOTED_WITHIN) {
            Ok(_rows) => return Ok(Instant::now()),
            Err(error @ DemoError::Postgres { .. }) => last_seen = error.to_string(),
            Err(error) => return Err(error),
        }
    }
    let within_ms = PROMOTED_WITHIN.as_millis();
    Err(DemoError::TimedOut { what: "a promotion".into(), within_ms, last_seen, evidence: String::new() })
}

/// Writes to the old primary without a pause until its connection breaks.
struct Hammer {
    thread: std::thread::JoinHandle<Vec<(u64, Instant)>>,
    progress: std::sync::mpsc::Receiver<u64>,
}

impl Hammer {
    fn start(mut session: Session) -> Self {
        let (sender, progress) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut acked = Vec::new();
            for id in 1.. {
                if session.query(&format!("INSERT INTO floor VALUES ({id})"), PROMOTED_WITHIN).is_err() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_of_three() {
        let ms = Duration::from_millis;
        assert_eq!(spread(vec![ms(3), ms(1), ms(2)]), (ms(1), ms(2), ms(3)));
        assert_eq!(spread(Vec::new()), (ms(0), ms(0), ms(0)));
    }
}
