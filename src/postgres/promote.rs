//! The promotion of the local standby (E8). It must never report a primary that it did not see out of recovery.

use super::answer::PostmasterStart;
use super::outcome::{Outcome, Stop};
use super::session::{LOOK_INTERVAL, Session, broken, pause, since};
use super::sql;
use crate::core::{Lsn, Nanos, Timeline};
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// After this long in recovery, and every so often, the startup process is woken by a reload: a request right
/// after the primary's death can otherwise sleep for `wal_retrieve_retry_interval`.
const WAKE_INTERVAL: Duration = Duration::from_millis(50);
const IN_RECOVERY: &str = "SELECT pg_is_in_recovery()";
/// The backend that signals its postmaster says which one that is: in between, another can't take its place.
/// Not `pg_promote(true)`: it would look only every 100 ms.
const PROMOTE: &str = "SELECT p.started, CASE WHEN $1::bigint IS NULL OR $1::bigint = p.started \
 THEN pg_promote(false) END \
 FROM (SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint AS started) p";
const WAL_FILE: &str = "SELECT pg_walfile_name(pg_current_wal_insert_lsn())";
/// What a promotion runs; a session prepares it ahead.
pub(super) const STATEMENTS: [&str; 3] = [IN_RECOVERY, PROMOTE, WAL_FILE];
/// A timeline history grows by a line per promotion; this is a million of them.
const HISTORY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A promoted standby.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promoted {
    /// The timeline that it writes.
    pub timeline: Timeline,
    /// Where that timeline leaves its parent; `None` if the history file can't be read.
    pub switch_lsn: Option<Lsn>,
    /// The timeline that it left.
    pub parent: Option<Timeline>,
    /// Whether it was no standby any more when it was asked.
    pub already: bool,
    /// From the call until it was seen out of recovery.
    pub took: Nanos,
}

/// What became of the order to promote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Promotion {
    /// It is out of recovery.
    Promoted(Promoted),
    /// Refused, and nothing was done: it is in recovery, but run by another postmaster than the one that was named.
    OtherPostmaster {
        /// The one that runs.
        found: PostmasterStart,
    },
}

impl Session {
    /// Promotes the local standby, and waits until it is out of recovery. Promoting twice is the same as once.
    /// Only the postmaster that is `named` is promoted; `None`: whichever runs.
    pub async fn promote(&mut self, named: Option<PostmasterStart>, deadline: Instant) -> Outcome<Promotion> {
        self.promote_and_look(named, deadline).await.into()
    }

    async fn promote_and_look(
        &mut self,
        named: Option<PostmasterStart>,
        deadline: Instant,
    ) -> Result<Promotion, Stop> {
        let started = Instant::now();
        self.open(deadline).await?;
        let already = !self.in_recovery(deadline).await?;
        if !already {
            let row = self.row(PROMOTE, &[&named.map(|start| start.0)], deadline).await?;
            match row.try_get::<_, Option<bool>>(1).map_err(|e| broken(&e))? {
                Some(true) => {}
                Some(false) => {
                    return Err(Stop::Failed("pg_promote() could not signal the postmaster".to_owned()));
                }
                None => {
                    let found = PostmasterStart(row.try_get(0).map_err(|e| broken(&e))?);
                    return Ok(Promotion::OtherPostmaster { found });
                }
            }
            self.await_promotion(deadline).await?;
        }
        let took = since(started);
        let row = self.row(WAL_FILE, &[], deadline).await?;
        let file = row.try_get::<_, &str>(0).map_err(|e| broken(&e))?;
        let timeline = sql::timeline_of_file(file);
        let timeline = timeline.ok_or_else(|| Stop::Unknown(format!("WAL file without timeline: {file}")))?;
        let fork = read_fork(self.data_dir(), timeline);
        let (parent, switch_lsn) = fork.map_or((None, None), |(parent, lsn)| (Some(parent), Some(lsn)));
        Ok(Promotion::Promoted(Promoted { timeline, switch_lsn, parent, already, took }))
    }

    async fn await_promotion(&mut self, deadline: Instant) -> Result<(), Stop> {
        let mut woken = Instant::now();
        while self.in_recovery(deadline).await? {
            if woken.elapsed() >= WAKE_INTERVAL {
                self.alter(&[], deadline).await?;
                woken = Instant::now();
            }
            pause(deadline, LOOK_INTERVAL, "the end of recovery").await?;
        }
        Ok(())
    }

    async fn in_recovery(&mut self, deadline: Instant) -> Result<bool, Stop> {
        let row = self.row(IN_RECOVERY, &[], deadline).await?;
        row.try_get(0).map_err(|e| broken(&e))
    }
}

/// Reads where `timeline` left its parent, from its history file: SQL tells it to superusers only, the file
/// system to the user that PostgreSQL runs as.
fn read_fork(data_dir: &Path, timeline: Timeline) -> Option<(Timeline, Lsn)> {
    let path = data_dir.join("pg_wal").join(format!("{:08X}.history", timeline.0));
    let small = std::fs::metadata(&path).is_ok_and(|m| m.len() <= HISTORY_BYTES_MAX);
    let text = small.then(|| std::fs::read_to_string(&path).ok()).flatten()?;
    parse_fork(&text)
}

/// Returns parent and switch point from a history file's last entry, `parent<tab>lsn<tab>reason`.
fn parse_fork(history: &str) -> Option<(Timeline, Lsn)> {
    let entry = |line: &str| -> Option<(Timeline, Lsn)> {
        let mut fields = line.split_whitespace();
        Some((Timeline(fields.next()?.parse().ok()?), fields.next()?.parse().ok()?))
    };
    history.lines().rev().find_map(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fork_is_the_last_entry_of_the_history() {
        let text =
            "1\t0/3000148\tno recovery target specified\n\n2\t16/B374D848\tno recovery target specified\n";
        assert_eq!(parse_fork(text), Some((Timeline(2), Lsn(0x16_B374_D848))));
        assert_eq!(parse_fork("# nothing\n"), None);
    }
}
