//! Owns the stretches of a log between which its wall clock was set, or its host was booted. Within one boot the
//! boot-time clock goes on whatever the wall clock is told, so that a step shows. It must never take drift for one.

use super::gather::Gathered;
use super::page::span;
use crate::core::{BootId, States};
use crate::events::{Event, Observation, Record};
use pgfo_replay::{BootNanos, Seq, WallNanos};

/// A wall clock that leaves the boot-time clock by more than this from one record to the next was set.
const STEP_NANOS: i64 = 250_000_000;

/// And by more than this part of the time between them: two clocks of one host drift apart by less.
const DRIFT_PARTS: i64 = 50;

/// A clock that was off by less is not worth a line on a page.
const TOLD_NANOS: i64 = 1_000_000_000;

/// A stretch of a log within which its wall clock was not set.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// Its first record.
    pub from: Seq,
    /// The wall clock there.
    pub wall: WallNanos,
    /// By how much the clock was set there, nanoseconds; `None`: not known, for the log or a boot begins.
    pub set_by_nanos: Option<i64>,
    /// How far this clock was ahead of the common time, nanoseconds.
    pub ahead_nanos: i64,
}

/// Watches the clocks of one log, record by record.
#[derive(Debug, Default)]
pub(super) struct ClockWatch {
    boot_id: Option<BootId>,
    last: Option<(BootNanos, WallNanos)>,
    pub(super) stretches: Vec<Stretch>,
}

impl ClockWatch {
    /// Begins behind a checkpoint.
    pub(super) fn resume(&mut self, states: &States) {
        self.boot_id = states.start.as_ref().map(|start| start.process.boot_id);
    }

    pub(super) fn see(&mut self, record: &Record) {
        let (from, wall) = (record.seq, record.wall);
        let mut is_new_boot = self.last.is_none();
        if let Event::Observed(Observation::ProcessStarted(start)) = &record.event {
            let boot_id = Some(start.process.boot_id);
            is_new_boot |= boot_id != self.boot_id;
            self.boot_id = boot_id;
        }
        let step = self.last.filter(|_| !is_new_boot).and_then(|last| step(last, (record.boot, wall)));
        if is_new_boot || step.is_some() {
            self.stretches.push(Stretch { from, wall, set_by_nanos: step, ahead_nanos: 0 });
        }
        self.last = Some((record.boot, wall));
    }
}

fn step(before: (BootNanos, WallNanos), after: (BootNanos, WallNanos)) -> Option<i64> {
    let passed = i64::try_from(after.0.nanos_since(before.0)).unwrap_or(i64::MAX);
    let by = after.1.0.saturating_sub(before.1.0).saturating_sub(passed);
    (by.saturating_abs() > STEP_NANOS.saturating_add(passed / DRIFT_PARTS)).then_some(by)
}

/// Returns which stretch a record lies in.
#[must_use]
pub(super) fn stretch_of(stretches: &[Stretch], seq: Seq) -> Option<usize> {
    stretches.partition_point(|stretch| stretch.from <= seq).checked_sub(1)
}

/// Says whose clock was set, or off, between two common instants, and by how much.
#[must_use]
pub(super) fn clock_words(logs: &[Gathered], began: i64, ended: i64) -> Vec<String> {
    logs.iter().filter_map(|log| words(log, began, ended)).collect()
}

fn words(log: &Gathered, began: i64, ended: i64) -> Option<String> {
    let member = log.audit().member()?;
    let at = |stretch: &Stretch| log.common(stretch.from, stretch.wall);
    let mut set = log
        .stretches
        .iter()
        .filter_map(|stretch| Some((stretch, stretch.set_by_nanos?)))
        .filter(|(stretch, by)| by.abs() >= TOLD_NANOS && (began..=ended).contains(&at(stretch)));
    let corrected = "times on this page are corrected";
    if let Some((stretch, by)) = set.next() {
        let how = if by < 0 { "back" } else { "forward" };
        let stood = if by < 0 { "" } else { ", or its host stood still for so long" };
        let again = match set.count() {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let length = span(by.saturating_abs());
        return Some(format!(
            "the clock of {member} was set {how} by {length} at {member}{}{stood}{again}; {corrected}",
            stretch.from
        ));
    }
    let then = log.stretches.iter().rfind(|stretch| at(stretch) <= began).or(log.stretches.first())?;
    let how = if then.ahead_nanos < 0 { "behind" } else { "ahead" };
    let since = then.set_by_nanos.map_or(String::new(), |_| format!(" since {member}{}", then.from));
    let length = span(then.ahead_nanos.saturating_abs());
    (then.ahead_nanos.abs() >= TOLD_NANOS)
        .then(|| format!("the clock of {member} was {length} {how}{since}; {corrected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_no_step() {
        let second = 1_000_000_000;
        let at = |boot: u64, wall: i64| (BootNanos(boot), WallNanos(wall));
        for (after, by) in [
            (at(2, 2), None),
            (at(second, 1_010_000_000), None),
            (at(3_600 * second, 3_636_000_000_000), None),
            (at(second, 2 * 1_000_000_000), Some(1_000_000_000)),
            (at(second, -1_000_000_000), Some(-2_000_000_000)),
        ] {
            assert_eq!(step(at(0, 0), after), by, "{after:?}");
        }
    }
}
