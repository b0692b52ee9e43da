//! Watches the event log's disk and says when it takes no records: an error, or a call that does not come
//! back. It decides nothing; the roles neither vote nor stand meanwhile, and keep their lease.

use crate::actors::Observer;
use crate::events::{Event, EventLog, LogCondition, Observation};
use slog::{Logger, crit, info, warn};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A disk that has not come back for so long hangs: no flush that works takes a second.
const HUNG_AFTER: Duration = Duration::from_secs(3);
/// How often a hung one is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Why the log can't be written now, for one reason or both.
#[derive(Debug, Default)]
struct Disk {
    error: Option<String>,
    hung: bool,
}

impl Disk {
    const fn works(&self) -> bool {
        self.error.is_none() && !self.hung
    }

    /// Takes a change in; returns what there is to tell of it.
    fn change(&mut self, change: impl FnOnce(&mut Self)) -> Option<Observation> {
        let worked = self.works();
        change(self);
        match (worked, self.works()) {
            (true, false) => {
                let hung = || format!("the disk has not come back for {} s", HUNG_AFTER.as_secs());
                Some(Observation::LogStalled { why: self.error.clone().unwrap_or_else(hung) })
            }
            (false, true) => Some(Observation::LogRecovered),
            _ => None,
        }
    }
}

/// Watches for ever.
pub(super) async fn watch_the_disk(
    log: Arc<EventLog<Event>>,
    mut conditions: mpsc::Receiver<LogCondition>,
    daemon: Observer,
    logger: Logger,
) {
    let mut disk = Disk::default();
    loop {
        let look = next_look(log.busy_for());
        let told = tokio::select! {
            condition = conditions.recv() => match condition {
                None => return,
                Some(LogCondition::Stalled { why }) => disk.change(|d| d.error = Some(why)),
                Some(LogCondition::Recovered) => disk.change(|d| d.error = None),
                Some(LogCondition::Slow { nanos }) => {
                    warn!(logger, "flushing the event log was slow"; "took_ms" => nanos / 1_000_000);
                    None
                }
            },
            () = tokio::time::sleep(look) => {
                let hung = log.busy_for() >= HUNG_AFTER;
                disk.change(|d| d.hung = hung)
            }
        };
        match &told {
            Some(Observation::LogStalled { why }) => crit!(logger,
                "the event log can't be written: this member neither votes nor stands"; "why" => why),
            Some(_) => info!(logger, "the event log can be written again"),
            None => continue,
        }
        if let Some(observation) = told {
            daemon.tell(observation).await;
        }
    }
}

/// The first instant at which what is under way, or begins now, can be a hang.
fn next_look(busy: Duration) -> Duration {
    match HUNG_AFTER.saturating_sub(busy) {
        Duration::ZERO => LOOK_INTERVAL,
        left => left,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_when_a_hang_can_first_be_told() {
        assert_eq!(next_look(Duration::ZERO), HUNG_AFTER);
        assert_eq!(next_look(Duration::from_secs(1)) + Duration::from_secs(1), HUNG_AFTER);
        assert_eq!(next_look(HUNG_AFTER), LOOK_INTERVAL);
        assert_eq!(next_look(HUNG_AFTER * 2), LOOK_INTERVAL);
    }

    #[test]
    fn a_hung_disk_is_told_like_a_full_one_and_recovery_once_both_are_over() {
        let mut disk = Disk::default();
        let stalled = |o: Option<Observation>| matches!(o, Some(Observation::LogStalled { .. }));
        assert!(disk.change(|d| d.hung = false).is_none());
        assert!(stalled(disk.change(|d| d.hung = true)));
        assert!(disk.change(|d| d.hung = true).is_none());
        assert!(disk.change(|d| d.error = Some("no space left".to_owned())).is_none());
        assert!(disk.change(|d| d.hung = false).is_none());
        assert_eq!(disk.change(|d| d.error = None), Some(Observation::LogRecovered));
        assert!(stalled(disk.change(|d| d.error = Some("no space left".to_owned()))));
    }
}
