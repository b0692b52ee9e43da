//! Where the time of a takeover goes, read from the members' event logs: all members run on one
//! host here, so that their boot-time stamps can be compared.

use super::spread::Spread;
use crate::demo::Node;
use crate::events::{Decision, Event, GuardReport, LogReader, Message, Observation, Record, Verdict};
use anyhow::Context as _;
use pgfo_replay::BootNanos;
use serde::Serialize;
use std::time::Duration;

/// Whose log tells of a milestone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Old,
    New,
}

/// A step of a takeover, in the order in which they come.
struct Milestone {
    name: &'static str,
    side: Side,
    is: fn(&Event) -> bool,
}

const fn at(name: &'static str, side: Side, is: fn(&Event) -> bool) -> Milestone {
    Milestone { name, side, is }
}

const MILESTONES: &[Milestone] = &[
    at("postmaster gone seen", Side::Old, |e| {
        matches!(e, Event::Observed(Observation::PostmasterGone { .. }))
    }),
    at("fence done", Side::Old, |e| matches!(e, Event::Observed(Observation::FenceCompleted(_)))),
    at("confirmed down, lease released", Side::Old, |e| {
        matches!(e, Event::Decided(Decision::DownConfirmed { .. }))
    }),
    at("first suspicion at the new primary", Side::New, |e| {
        matches!(e, Event::Decided(Decision::SuspicionRaised { .. }))
    }),
    at("told to the new primary", Side::New, |e| {
        matches!(
            e,
            Event::Observed(Observation::MessageReceived { message: Message::ConfirmedDown { .. }, .. })
        )
    }),
    at("verdict down", Side::New, |e| {
        matches!(
            e,
            Event::Decided(Decision::VerdictChanged {
                to: Verdict::Unreachable | Verdict::ConfirmedDown,
                ..
            })
        )
    }),
    at("others asked", Side::New, |e| matches!(e, Event::Decided(Decision::TestimonyRequested { .. }))),
    at("candidacy opened", Side::New, |e| matches!(e, Event::Decided(Decision::CandidacyOpened { .. }))),
    at("frozen", Side::New, |e| matches!(e, Event::Observed(Observation::FreezeCompleted { .. }))),
    at("votes asked", Side::New, |e| matches!(e, Event::Decided(Decision::VoteRequested(_)))),
    at("elected", Side::New, |e| matches!(e, Event::Decided(Decision::ElectionWon { .. }))),
    at("guard armed", Side::New, |e| {
        matches!(e, Event::Observed(Observation::GuardReported(GuardReport::Armed { .. })))
    }),
    at("promotion ordered", Side::New, |e| {
        matches!(e, Event::Decided(Decision::PromotionOrdered { .. } | Decision::PromotionOrderedOf { .. }))
    }),
    at("promoted", Side::New, |e| matches!(e, Event::Observed(Observation::PromotionCompleted { .. }))),
    at("announced", Side::New, |e| matches!(e, Event::Decided(Decision::PrimaryAnnounced(_)))),
];

/// The last one: what the client sees.
const FIRST_COMMIT: &str = "first commit acknowledged";

/// When the milestones of one takeover were reached, after the kill.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    reached: Vec<(&'static str, Duration)>,
}

impl Timeline {
    /// Reads it from the logs of two members, whose daemons must have ended.
    pub(super) fn read(
        old: &Node,
        new: &Node,
        killed: BootNanos,
        first_ack: Duration,
    ) -> anyhow::Result<Self> {
        let (old, new) = (records(old)?, records(new)?);
        let mut timeline = Self::default();
        for milestone in MILESTONES {
            let log = if milestone.side == Side::Old { &old } else { &new };
            let found = log.iter().find(|r| r.boot >= killed && (milestone.is)(&r.event));
            if let Some(record) = found {
                let after = Duration::from_nanos(record.boot.nanos_since(killed));
                timeline.reached.push((milestone.name, after));
            }
        }
        timeline.reached.push((FIRST_COMMIT, first_ack));
        Ok(timeline)
    }
}

/// One line of the breakdown.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Phase {
    /// What was reached.
    pub(super) milestone: &'static str,
    /// Time after the kill.
    pub(super) after_kill: Spread,
    /// Median of the time since the line before, in milliseconds; of parallel work it may be negative.
    pub(super) step_ms: f64,
    /// In how many runs it was seen.
    pub(super) runs: usize,
}

/// Puts the timelines of several runs together.
pub(super) fn breakdown(timelines: &[Timeline]) -> Vec<Phase> {
    let names = MILESTONES.iter().map(|m| m.name).chain([FIRST_COMMIT]);
    let mut before = 0.0;
    let mut phases = Vec::new();
    for name in names {
        let times: Vec<Duration> = timelines
            .iter()
            .filter_map(|t| t.reached.iter().find(|(reached, _)| *reached == name).map(|(_, after)| *after))
            .collect();
        if times.is_empty() {
            continue;
        }
        let runs = times.len();
        let after_kill = Spread::of(times);
        phases.push(Phase { milestone: name, after_kill, step_ms: after_kill.median_ms - before, runs });
        before = after_kill.median_ms;
    }
    phases
}

/// Reads a member's whole log.
pub(super) fn records(node: &Node) -> anyhow::Result<Vec<Record>> {
    let reader = LogReader::<Event>::open(node.event_log())
        .with_context(|| format!("reading the log of {}", node.name()))?;
    let mut records = Vec::new();
    for record in reader {
        match record {
            Ok(record) => records.push(record),
            // A daemon that was killed leaves an end that is not proven.
            Err(_damage) => break,
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_between_medians() {
        let ms = Duration::from_millis;
        let one = |gone, first| Timeline {
            reached: vec![("postmaster gone seen", ms(gone)), (FIRST_COMMIT, ms(first))],
        };
        let phases = breakdown(&[one(1, 100), one(2, 110), one(3, 90)]);
        assert_eq!(phases.len(), 2);
        assert_eq!((phases[0].after_kill.median_ms, phases[1].after_kill.median_ms), (2.0, 100.0));
        assert!((phases[1].step_ms - 98.0).abs() < 1e-9);
    }
}
