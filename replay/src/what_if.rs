//! What if: recorded observations are fed to machines of another configuration, beside machines that only
//! fold what was recorded, up to the first decision of substance that differs, and where its counterpart is.

use crate::audit::Failures;
use crate::lockstep::{Batch, Ensemble};
use crate::machine::Machine;
use crate::record::Record;
use crate::stamp::{BootNanos, Seq, WallNanos};
use std::collections::VecDeque;

/// A decision of substance, and when it was, or would have been, made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told<E> {
    /// The instant by the member's boot-time clock.
    pub at: BootNanos,
    /// The wall clock at that instant.
    pub wall: WallNanos,
    /// Its number in the log; of an altered decision, that of the recorded observation it follows.
    pub seq: Seq,
    /// Who decided.
    pub actor: u8,
    /// What.
    pub event: E,
}

/// The first decision of substance that differs. Observations behind it are no longer those that the
/// altered machines would have made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference<E> {
    /// What was decided where the altered machines decide otherwise, later, or not at all.
    pub recorded: Option<Told<E>>,
    /// What they decide instead.
    pub altered: Option<Told<E>>,
    /// Where the record holds the counterpart of what they decide.
    pub recorded_counterpart: Option<Told<E>>,
    /// Where they would decide what was recorded, if all they saw had stayed the same.
    pub altered_counterpart: Option<Told<E>>,
}

impl<E> Difference<E> {
    /// Returns the time from what would have been decided to when it was, in nanoseconds: positive if the
    /// altered machines decide earlier. `None`: one side has no counterpart.
    #[must_use]
    pub fn earlier_by_nanos(&self) -> Option<i128> {
        let apart =
            |recorded: &Told<E>, altered: &Told<E>| i128::from(recorded.at.0) - i128::from(altered.at.0);
        match (&self.altered, &self.recorded_counterpart) {
            (Some(altered), Some(recorded)) => Some(apart(recorded, altered)),
            _ => Some(apart(self.recorded.as_ref()?, self.altered_counterpart.as_ref()?)),
        }
    }
}

/// An observation that the altered machines get instead of a recorded one.
#[derive(Clone, Debug)]
pub struct Instead<E> {
    /// How much later than the recorded one, in nanoseconds.
    pub later_nanos: u64,
    /// Who observed.
    pub actor: u8,
    /// What.
    pub event: E,
}

/// What the caller has to say about events that this crate knows nothing of.
pub struct Terms<E, D> {
    /// Returns whether a decision is of substance: renewals and heartbeats are not.
    pub is_of_substance: fn(&E) -> bool,
    /// Returns whether two decisions are the same in substance, whatever their details.
    pub same: fn(&E, &E) -> bool,
    /// Returns whether one decision does what the other did, though perhaps in other circumstances.
    pub counterpart: fn(&E, &E) -> bool,
    /// Returns the observation that a deadline passed, with its actor.
    pub passed: fn(D) -> (u8, E),
    /// Instants closer than this are the same.
    pub tolerance_nanos: u64,
}

/// Feeds a log to both ensembles.
pub struct WhatIf<M: Machine + ?Sized> {
    recorded: Ensemble<M>,
    altered: Ensemble<M>,
    terms: Terms<M::Event, M::Deadline>,
    /// Observations that reach the altered machines later.
    late: Vec<(BootNanos, u8, M::Event)>,
    fired: Vec<(M::Deadline, BootNanos)>,
    was: VecDeque<Told<M::Event>>,
    would: VecDeque<Told<M::Event>>,
    difference: Option<Difference<M::Event>>,
}

/// Deadlines that are remembered to have been fired: a machine has a finite set of them.
const FIRED_MAX: usize = 64;

impl<M> WhatIf<M>
where
    M: Machine + ?Sized,
    M::Event: Clone + Failures,
    M::Deadline: Copy + PartialEq,
{
    /// Makes both sides from machines in the state before the first record.
    #[must_use]
    pub fn new(recorded: Ensemble<M>, altered: Ensemble<M>, terms: Terms<M::Event, M::Deadline>) -> Self {
        let (was, would) = (VecDeque::new(), VecDeque::new());
        Self { recorded, altered, terms, late: Vec::new(), fired: Vec::new(), was, would, difference: None }
    }

    /// Returns the first difference, if there is one so far.
    #[must_use]
    pub fn difference(&self) -> Option<&Difference<M::Event>> {
        self.difference.as_ref()
    }

    /// Returns whether nothing that is still to be read can add to what is known.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.difference.as_ref().is_some_and(|d| {
            (d.altered.is_none() || d.recorded_counterpart.is_some())
                && (d.recorded.is_none() || d.altered_counterpart.is_some())
        })
    }

    /// Takes one recorded batch, and what the altered machines observe instead of its observation.
    pub fn feed(&mut self, batch: &[Record<M::Event>], instead: Vec<Instead<M::Event>>) {
        let Some(first) = batch.first() else { return };
        let (seq, boot, wall) = (first.seq, first.boot, first.wall);
        self.catch_up(seq, boot, wall);
        for Instead { later_nanos, actor, event } in instead {
            if later_nanos == 0 {
                self.step(seq, boot, wall, actor, event);
            } else {
                self.late.push((boot.plus_nanos(later_nanos), actor, event));
            }
        }
        for record in batch {
            let failure = batch.iter().find(|r| r.cause == Some(record.seq));
            let failed = failure.and_then(|r| r.event.failed_actor()).filter(|_| record.cause.is_none());
            self.recorded.evolve(record, failed);
            if record.cause.is_some() && (self.terms.is_of_substance)(&record.event) {
                let Record { seq, boot, wall, actor, .. } = *record;
                self.was.push_back(Told { at: boot, wall, seq, actor, event: record.event.clone() });
            }
        }
        self.compare(boot);
    }

    /// Ends the feed: what one side decided last and the other did not is a difference, too.
    pub fn finish(mut self) -> Option<Difference<M::Event>> {
        self.compare(BootNanos(u64::MAX));
        self.difference
    }

    /// Lets pass what the altered machines wait for and the recorded ones did not, up to an instant.
    fn catch_up(&mut self, seq: Seq, to: BootNanos, wall: WallNanos) {
        loop {
            let known = self.recorded.deadlines();
            let due = self.altered.deadlines().into_iter();
            let due = due.filter(|d| d.1 < to && !known.contains(d) && !self.fired.contains(d));
            let due = due.min_by_key(|d| d.1);
            let late = (0..self.late.len()).filter(|i| self.late[*i].0 < to).min_by_key(|i| self.late[*i].0);
            let late_at = late.map(|i| self.late[i].0);
            let back =
                |at: BootNanos| WallNanos(wall.0 - i64::try_from(to.nanos_since(at)).unwrap_or(i64::MAX));
            match (due, late) {
                (Some((deadline, at)), _) if late_at.is_none_or(|late| at <= late) => {
                    if self.fired.len() >= FIRED_MAX {
                        self.fired.remove(0);
                    }
                    self.fired.push((deadline, at));
                    let (actor, event) = (self.terms.passed)(deadline);
                    self.step(seq, at, back(at), actor, event);
                }
                (_, Some(i)) => {
                    let (at, actor, event) = self.late.remove(i);
                    self.step(seq, at, back(at), actor, event);
                }
                (Some(_) | None, None) => return,
            }
        }
    }

    fn step(&mut self, seq: Seq, boot: BootNanos, wall: WallNanos, actor: u8, event: M::Event) {
        let batch = Batch::begin(seq, boot, wall, actor, event);
        for record in self.altered.step(batch) {
            if record.cause.is_some() && (self.terms.is_of_substance)(&record.event) {
                let Record { actor, event, .. } = record;
                self.would.push_back(Told { at: boot, wall, seq, actor, event });
            }
        }
    }

    fn compare(&mut self, now: BootNanos) {
        let tolerance = self.terms.tolerance_nanos;
        let old = |told: &Told<M::Event>| now.nanos_since(told.at) > tolerance;
        while self.difference.is_none() {
            let (recorded, altered) = match (self.was.front(), self.would.front()) {
                (Some(a), Some(b)) if (self.terms.same)(&a.event, &b.event) => {
                    if a.at.0.abs_diff(b.at.0) <= tolerance {
                        self.was.pop_front();
                        self.would.pop_front();
                        continue;
                    }
                    (Some(a.clone()), Some(b.clone()))
                }
                (Some(a), Some(b)) => (Some(a.clone()), Some(b.clone())),
                (Some(a), None) if old(a) => (Some(a.clone()), None),
                (None, Some(b)) if old(b) => (None, Some(b.clone())),
                (Some(_), None) | (None, Some(_)) | (None, None) => return,
            };
            let (recorded_counterpart, altered_counterpart) = (None, None);
            self.difference =
                Some(Difference { recorded, altered, recorded_counterpart, altered_counterpart });
        }
        let Some(found) = &mut self.difference else { return };
        let counterpart = self.terms.counterpart;
        let among = |told: &VecDeque<Told<M::Event>>, of: &Option<Told<M::Event>>| {
            let of = of.as_ref()?;
            told.iter().find(|t| counterpart(&t.event, &of.event)).cloned()
        };
        found.recorded_counterpart =
            found.recorded_counterpart.take().or_else(|| among(&self.was, &found.altered));
        found.altered_counterpart =
            found.altered_counterpart.take().or_else(|| among(&self.would, &found.recorded));
        self.was.clear();
        self.would.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lockstep::Seat;

    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Event {
        Knock,
        Passed,
        Opened,
    }

    impl Failures for Event {
        fn failed_actor(&self) -> Option<u8> {
            None
        }
    }

    /// Opens at the `patience`-th knock, or `wait` after the first.
    struct Door {
        patience: u64,
        wait: u64,
        knocks: u64,
        first: Option<BootNanos>,
        opened: bool,
    }

    impl Machine for Door {
        type Event = Event;
        type Deadline = ();

        fn evolve(&mut self, record: &Record<Event>) {
            match record.event {
                Event::Knock => {
                    self.knocks += 1;
                    self.first = self.first.or(Some(record.boot));
                }
                Event::Passed => self.knocks = self.patience,
                Event::Opened => self.opened = true,
            }
        }

        fn decide(&self, record: &Record<Event>, decisions: &mut Vec<Event>) {
            if record.event != Event::Opened && !self.opened && self.knocks >= self.patience {
                decisions.push(Event::Opened);
            }
        }

        fn deadlines(&self, deadlines: &mut Vec<((), BootNanos)>) {
            if let Some(first) = self.first.filter(|_| !self.opened) {
                deadlines.push(((), first.plus_nanos(self.wait)));
            }
        }
    }

    fn door(patience: u64, wait: u64) -> Ensemble<Door> {
        let machine = Door { patience, wait, knocks: 0, first: None, opened: false };
        Ensemble::new(vec![Seat { actor: 9, machine: Box::new(machine) }])
    }

    /// A knock every 100 ns, and what the recorded door made of it.
    fn ask(recorded: (u64, u64), altered: (u64, u64), late: u64) -> Option<Difference<Event>> {
        let terms = Terms {
            is_of_substance: |e| *e == Event::Opened,
            same: PartialEq::eq,
            counterpart: PartialEq::eq,
            passed: |()| (0, Event::Passed),
            tolerance_nanos: 5,
        };
        let mut live = door(recorded.0, recorded.1);
        let mut what_if = WhatIf::new(door(recorded.0, recorded.1), door(altered.0, altered.1), terms);
        let mut seq = Seq(1);
        for knock in 1..=8_u64 {
            let boot = BootNanos(knock * 100);
            let batch = live.step(Batch::begin(seq, boot, WallNanos(0), 0, Event::Knock));
            seq = Seq(seq.0 + batch.len() as u64);
            what_if.feed(&batch, vec![Instead { later_nanos: late, actor: 0, event: Event::Knock }]);
        }
        what_if.finish()
    }

    #[test]
    fn the_same_machines_do_not_differ() {
        assert_eq!(ask((3, 10_000), (3, 10_000), 0), None);
        // A difference within the tolerance is none.
        assert_eq!(ask((3, 10_000), (3, 10_000), 4), None);
    }

    #[test]
    fn an_earlier_decision_is_measured_against_the_record() {
        let found = ask((5, 10_000), (3, 10_000), 0).unwrap();
        assert_eq!(
            (found.recorded.clone(), found.altered.as_ref().map(|t| t.at)),
            (None, Some(BootNanos(300)))
        );
        assert_eq!(found.earlier_by_nanos(), Some(200));
        assert_eq!(found.recorded_counterpart.map(|t| t.at), Some(BootNanos(500)));
    }

    #[test]
    fn a_later_decision_is_measured_as_if_nothing_else_changed() {
        let found = ask((3, 10_000), (5, 10_000), 0).unwrap();
        assert_eq!(
            (found.altered.clone(), found.recorded.as_ref().map(|t| t.at)),
            (None, Some(BootNanos(300)))
        );
        assert_eq!(found.earlier_by_nanos(), Some(-200));
        assert_eq!(ask((3, 10_000), (9, 10_000), 0).unwrap().earlier_by_nanos(), None);
    }

    #[test]
    fn a_deadline_of_the_altered_machines_passes_though_the_record_has_none() {
        let found = ask((5, 10_000), (9, 150), 0).unwrap();
        assert_eq!(found.altered.as_ref().map(|t| t.at), Some(BootNanos(250)));
        assert_eq!(found.earlier_by_nanos(), Some(250));
    }

    #[test]
    fn a_late_observation_makes_a_late_decision() {
        let found = ask((3, 10_000), (3, 10_000), 50).unwrap();
        assert_eq!(found.earlier_by_nanos(), Some(-50));
    }
}
