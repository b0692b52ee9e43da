//! The audit: runs `decide` again over a recorded log and compares. It trusts the recorded events
//! for the state and the derived ones for the verdict, so that it can go on after a difference.

use crate::lockstep::Ensemble;
use crate::machine::Machine;
use crate::record::Record;
use crate::stamp::Seq;
use std::collections::VecDeque;

/// A place where the recorded decision and the derived one differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence<E> {
    /// The record at which they differ; for a missing decision, the record before which it is missing.
    pub seq: Seq,
    /// The record that was answered.
    pub cause: Seq,
    /// What the log holds, with the actor; `None`: the log holds nothing here.
    pub recorded: Option<(u8, E)>,
    /// What the machines decide now, with the actor; `None`: they decide nothing here.
    pub derived: Option<(u8, E)>,
}

/// Tells the audit of an event that says "this machine failed on that record".
pub trait Failures {
    /// Returns the actor that failed on the record this one answers, if the event says so.
    fn failed_actor(&self) -> Option<u8>;
}

/// Feeds a recorded log, batch by batch, through an ensemble.
pub struct Auditor<M: Machine + ?Sized> {
    ensemble: Ensemble<M>,
    expected: VecDeque<(u8, Seq, M::Event)>,
    decisions_checked: u64,
}

impl<M> Auditor<M>
where
    M: Machine + ?Sized,
    M::Event: Clone + PartialEq + Failures,
{
    /// Makes an auditor over machines in the state before the first record.
    #[must_use]
    pub fn new(ensemble: Ensemble<M>) -> Self {
        Self { ensemble, expected: VecDeque::new(), decisions_checked: 0 }
    }

    /// Returns how many decisions were compared so far.
    #[must_use]
    pub fn decisions_checked(&self) -> u64 {
        self.decisions_checked
    }

    /// Returns the machines as they stand after the last record.
    #[must_use]
    pub fn ensemble(&self) -> &Ensemble<M> {
        &self.ensemble
    }

    /// Checks one whole batch: an observation and the decisions on it, and pushes what differs.
    ///
    /// A machine that is recorded to have failed on a record is left out for that record, as it was
    /// when its state was rebuilt.
    pub fn check(&mut self, batch: &[Record<M::Event>], found: &mut Vec<Divergence<M::Event>>) {
        self.expected.clear();
        let mut decisions = Vec::new();
        let failures: Vec<(u8, Seq)> =
            batch.iter().filter_map(|r| Some((r.event.failed_actor()?, r.cause?))).collect();
        for record in batch {
            if let Some(cause) = record.cause {
                self.decisions_checked += 1;
                self.compare(record, cause, found);
            }
            for seat in self.ensemble.seats_mut() {
                if failures.contains(&(seat.actor, record.seq)) {
                    let actor = seat.actor;
                    let told = batch.iter().find(|r| {
                        r.cause == Some(record.seq)
                            && r.actor == actor
                            && r.event.failed_actor() == Some(actor)
                    });
                    if let Some(told) = told {
                        self.expected.push_back((actor, record.seq, told.event.clone()));
                    }
                    // A decision is a fact whoever failed on it: only its answer is missing.
                    if record.cause.is_some() {
                        seat.machine.evolve(record);
                    }
                    continue;
                }
                seat.machine.evolve(record);
                seat.machine.decide(record, &mut decisions);
                self.expected.extend(decisions.drain(..).map(|d| (seat.actor, record.seq, d)));
            }
        }
        let after = batch.last().map_or(Seq(0), |r| r.seq.next());
        for (actor, cause, event) in self.expected.drain(..) {
            found.push(Divergence { seq: after, cause, recorded: None, derived: Some((actor, event)) });
        }
    }

    fn compare(&mut self, record: &Record<M::Event>, cause: Seq, found: &mut Vec<Divergence<M::Event>>) {
        match self.expected.pop_front() {
            Some((actor, derived_cause, event))
                if actor == record.actor && derived_cause == cause && event == record.event => {}
            derived => found.push(Divergence {
                seq: record.seq,
                cause,
                recorded: Some((record.actor, record.event.clone())),
                derived: derived.map(|(actor, _, event)| (actor, event)),
            }),
        }
    }
}
