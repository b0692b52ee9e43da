//! What becomes of a role that fails on a record: how often it may, what is recorded of it, what it is rebuilt
//! from. It performs nothing: whoever steps a role, in a daemon or in a simulated member, asks here.

use crate::core::{Ledger, Nanos};
use crate::events::{Actor, Decision, Event, Observation, Record};
use pgfo_replay::{BootNanos, Failures as _, Seq};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// More restarts than this within [`RESTART_WINDOW_NANOS`], and the role is quarantined: it would only
/// fail again, and a member that votes every other time is worse than one that does not.
const RESTARTS_MAX: usize = 3;
/// The window of the restart budget.
const RESTART_WINDOW_NANOS: u64 = 60_000_000_000;
/// A panic's words are cut here: they go into a record.
const WHY_CHARS_MAX: usize = 200;

/// A hand that has not told how something ended for so long, and for as long as it may take, never will: its
/// report was lost, or the role failed on it.
const REPORT_MAX: Nanos = Nanos::from_millis(60_000);

/// A deadline that a role still waits for so long after it was told has not been heard: the role failed on it. It is told
/// again, not at once, for the role may fail on it again.
pub const DEADLINE_AGAIN: Nanos = Nanos::from_millis(1_000);

/// Returns since when the report of what is ordered now is waited for; earlier revisions wait for ever.
pub(crate) fn ordered_at(ledger: &Ledger) -> Option<BootNanos> {
    (ledger.revision >= 4).then_some(ledger.now)
}

/// Returns whether the report of something that was ordered at `since` is given up.
pub(crate) fn report_overdue(ledger: &Ledger, since: Option<BootNanos>) -> bool {
    // Streaming what is missing may take the time to follow.
    let settings = &ledger.settings;
    let longest = settings.follow_timeout.0.saturating_add(settings.freeze_timeout.0.saturating_mul(2));
    let patience = REPORT_MAX.0.max(longest);
    since.is_some_and(|since| ledger.now.nanos_since(since) >= patience)
}

/// The failures of one role within one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestartBudget {
    failures: Vec<BootNanos>,
}

impl RestartBudget {
    /// Takes a failure at that time, and returns what is recorded of it.
    #[must_use]
    pub fn spend(&mut self, role: Actor, at: BootNanos, why: &str) -> Decision {
        self.failures.retain(|f| at.nanos_since(*f) < RESTART_WINDOW_NANOS);
        self.failures.push(at);
        let quarantined = self.failures.len() > RESTARTS_MAX;
        let why = why.chars().take(WHY_CHARS_MAX).collect();
        Decision::RoleFailed { role: role.number(), why, quarantined }
    }
}

/// What is to be done about a role that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy<'b> {
    /// It is folded anew from the log before the batch, and then from these records of it, without those that it
    /// failed on.
    Rebuild {
        /// The batch, up to the record that it failed on last.
        records: &'b [Record],
        /// The records of it that it failed on.
        failed: Vec<Seq>,
    },
    /// The process ends: without its start, a role would go on as another process.
    EndProcess,
}

/// Returns what is to be done about a role that failed on a record of the batch under way.
#[must_use]
pub fn remedy(batch: &[Record], role: Actor, failed_on: Seq) -> Remedy<'_> {
    let starts = |event: &Event| matches!(event, Event::Observed(Observation::ProcessStarted(_)));
    if matches!(batch.first(), Some(r) if r.seq == failed_on && starts(&r.event)) {
        return Remedy::EndProcess;
    }
    let upto = batch.iter().take_while(|r| r.seq <= failed_on).count();
    // What it failed on earlier in this batch may be said by a record that is not delivered yet.
    let failures = batch.iter().filter(|r| r.event.failed_actor() == Some(role.number()));
    let failed = failures.filter_map(|r| r.cause).chain([failed_on]).collect();
    Remedy::Rebuild { records: batch.get(..upto).unwrap_or(batch), failed }
}

/// Returns whether the report of a freeze that was ordered at `since` is given up: the hand tells within its
/// time-out whether it was observed, and a PostgreSQL that was started, or went on, meanwhile streams as it was set
/// up (E2). An order that waits for a disk that stands still was not performed yet.
pub(crate) fn freeze_overdue(ledger: &Ledger, since: Option<BootNanos>) -> bool {
    let patience = ledger.settings.freeze_timeout.0.saturating_mul(2);
    !ledger.log_stalled && since.is_some_and(|since| ledger.now.nanos_since(since) >= patience)
}

/// Does something that may fail in a role. The role must not be used after it failed, only be rebuilt.
///
/// # Errors
/// What the panic said.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| words_of(panic.as_ref()))
}

/// Returns what a panic said.
fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgfo_replay::WallNanos;

    fn record(seq: u64, cause: Option<u64>, event: Event) -> Record {
        let (boot, wall, actor) = (BootNanos(0), WallNanos(0), Actor::Clock.number());
        Record { seq: Seq(seq), boot, wall, actor, cause: cause.map(Seq), event }
    }

    fn failed(role: Actor) -> Event {
        Event::Decided(Decision::RoleFailed { role: role.number(), why: String::new(), quarantined: false })
    }

    #[test]
    fn the_fourth_failure_within_a_minute_is_one_too_many() {
        let mut budget = RestartBudget::default();
        let quarantined = |d| matches!(d, Decision::RoleFailed { quarantined: true, .. });
        for second in [1, 2, 3] {
            let told = budget.spend(Actor::Voter, BootNanos(second * 1_000_000_000), "");
            assert!(!quarantined(told), "{second}");
        }
        let mut later = budget.clone();
        assert!(quarantined(budget.spend(Actor::Voter, BootNanos(60_900_000_000), "")));
        assert!(!quarantined(later.spend(Actor::Voter, BootNanos(61_100_000_000), "")));
    }

    #[test]
    fn every_failure_within_the_batch_is_left_out() {
        let batch = [
            record(5, None, Event::Observed(Observation::LogRecovered)),
            record(6, Some(5), failed(Actor::Voter)),
            record(7, Some(5), failed(Actor::Promoter)),
            record(8, Some(6), failed(Actor::Witness)),
        ];
        let Remedy::Rebuild { records, failed } = remedy(&batch, Actor::Voter, Seq(7)) else {
            panic!("it is rebuilt")
        };
        assert_eq!((records.len(), failed), (3, vec![Seq(5), Seq(7)]));
    }

    #[test]
    fn a_panic_is_told_in_its_words() {
        // Without the hook that prints.
        let said = |words: &'static str| guarded(|| std::panic::resume_unwind(Box::new(words.to_owned())));
        assert_eq!(said("no seat"), Err::<(), _>("no seat".to_owned()));
        assert_eq!(guarded(|| 7), Ok(7));
    }
}
