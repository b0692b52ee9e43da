//! The promotion of the local standby (E8). It must never report a primary that it did not see out of recovery.

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
const PROMOTE: &str = "SELECT pg_promote(false)"; // Not `true`: it would look only every 100 ms.
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

impl Session {
    /// Promotes the local standby, and waits until it is out of recovery. Promoting twice is the same as once.
    pub async fn promote(&mut self, deadline: Instant) -> Outcome<Promoted> {
        self.promote_and_look(deadline).await.into()
    }

    async fn promote_and_look(&mut self, deadline: Instant) -> Result<Promoted, Stop> {
        let started = Instant::now();
        self.open(deadline).await?;
        let already = !self.in_recovery(deadline).await?;
        if !already {
            let row = self.row(PROMOTE, &[], deadline).await?;
            if !row.try_get::<_, bool>(0).map_err(|e| broken(&e))? {
                return Err(Stop::Failed("pg_promote() could not signal the postmaster".to_owned()));
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
        Ok(Promoted { timeline, switch_lsn, parent, already, took })
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
