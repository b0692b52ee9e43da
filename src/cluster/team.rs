//! The four roles of a simulated member over one ledger. In a daemon each role keeps its own copy, so that one that
//! fails takes nothing with it; while none fails the copies are equal, and here one is folded and lent to each role
//! in turn. S11 derives the decisions again with four ledgers.

use crate::core::{EscalationTracker, Ledger, LedgerRole, Promoter, Voter, Witness};
use crate::events::{Actor, Deadline, Event, Record, Settings};
use pgfo_replay::{Answers, BootNanos, Crew, Machine};

/// The roles and the ledger that they share. What lies in a role's own slot meanwhile is never read.
#[derive(Clone, Debug)]
pub struct Team {
    ledger: Box<Ledger>,
    escalation_tracker: EscalationTracker,
    voter: Voter,
    promoter: Promoter,
    witness: Witness,
}

/// Lends the ledger to a role for as long as `with` takes.
#[inline(always)]
fn lend<R: LedgerRole, T>(ledger: &mut Box<Ledger>, role: &mut R, with: impl FnOnce(&mut R) -> T) -> T {
    std::mem::swap(ledger, role.ledger_slot());
    let result = with(role);
    std::mem::swap(ledger, role.ledger_slot());
    result
}

/// Delivers a record that is in the ledger already.
#[inline(always)]
fn deliver_to<R: LedgerRole>(
    (actor, role): (Actor, &mut R),
    ledger: &mut Box<Ledger>,
    record: &Record,
    answers: &mut Answers<Event>,
) {
    lend(ledger, role, |role| {
        role.evolve_own(record);
        answers.of(actor.number(), |decisions| role.decide(record, decisions));
    });
}

/// Compares a role of two teams, each with its ledger.
fn differs<R: LedgerRole + PartialEq + std::fmt::Debug>(
    (folded_ledger, live_ledger): (&mut Box<Ledger>, &mut Box<Ledger>),
    folded: &mut R,
    live: &mut R,
) -> Option<String> {
    lend(folded_ledger, folded, |folded| {
        lend(live_ledger, live, |live| {
            (folded != live).then(|| format!("folded {folded:?}\nlive   {live:?}"))
        })
    })
}

impl Team {
    /// Makes the roles of a member without history.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            ledger: Box::new(Ledger::new(settings.clone())),
            escalation_tracker: EscalationTracker::new(settings.clone()),
            voter: Voter::new(settings.clone()),
            promoter: Promoter::new(settings.clone()),
            witness: Witness::new(settings.clone()),
        }
    }

    /// Returns what the member knows.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Returns what the promoter is about; it needs no ledger for that.
    #[must_use]
    pub fn activity(&self) -> &'static str {
        self.promoter.activity()
    }

    /// Folds a record, deciding nothing.
    pub fn evolve(&mut self, record: &Record) {
        self.ledger.evolve(record);
        lend(&mut self.ledger, &mut self.escalation_tracker, |r| r.evolve_own(record));
        lend(&mut self.ledger, &mut self.voter, |r| r.evolve_own(record));
        lend(&mut self.ledger, &mut self.promoter, |r| r.evolve_own(record));
        lend(&mut self.ledger, &mut self.witness, |r| r.evolve_own(record));
    }

    /// Appends every deadline that any role waits for.
    pub fn deadlines_into(&mut self, all: &mut Vec<(Deadline, BootNanos)>) {
        lend(&mut self.ledger, &mut self.escalation_tracker, |r| r.deadlines(all));
        lend(&mut self.ledger, &mut self.voter, |r| r.deadlines(all));
        lend(&mut self.ledger, &mut self.promoter, |r| r.deadlines(all));
        lend(&mut self.ledger, &mut self.witness, |r| r.deadlines(all));
    }

    /// Returns the first role in which what was folded differs from what lived, both in words; `None` if none does.
    #[must_use]
    pub fn difference(mut folded: Self, mut live: Self) -> Option<String> {
        let ledgers = (&mut folded.ledger, &mut live.ledger);
        differs(ledgers, &mut folded.escalation_tracker, &mut live.escalation_tracker)
            .or_else(|| differs((&mut folded.ledger, &mut live.ledger), &mut folded.voter, &mut live.voter))
            .or_else(|| {
                differs((&mut folded.ledger, &mut live.ledger), &mut folded.promoter, &mut live.promoter)
            })
            .or_else(|| {
                differs((&mut folded.ledger, &mut live.ledger), &mut folded.witness, &mut live.witness)
            })
    }
}

impl Crew for Team {
    type Event = Event;

    fn deliver(&mut self, record: &Record, answers: &mut Answers<Event>) {
        self.ledger.evolve(record);
        let ledger = &mut self.ledger;
        deliver_to((Actor::EscalationTracker, &mut self.escalation_tracker), ledger, record, answers);
        deliver_to((Actor::Voter, &mut self.voter), ledger, record, answers);
        deliver_to((Actor::Promoter, &mut self.promoter), ledger, record, answers);
        deliver_to((Actor::Witness, &mut self.witness), ledger, record, answers);
    }
}
