//! The four roles of a simulated member over one ledger. In a daemon each role keeps its own copy, so that one that
//! fails takes nothing with it; while none fails the copies are equal, and here one is folded and lent to each role
//! in turn. Once one failed, they part: each keeps its own from then on, as in a daemon. S11 derives the decisions
//! again with four ledgers.

use crate::core::{EscalationTracker, Ledger, LedgerRole, Promoter, Role, Voter, Witness};
use crate::events::{Actor, Deadline, Event, Record, Settings};
use pgfo_replay::{Answers, BootNanos, Crew, Failures as _, Machine, Seq, fold_batch};

/// The roles and the ledger that they share. What lies in a role's own slot meanwhile is never read, until they part.
#[derive(Clone, Debug)]
pub struct Team {
    /// What the sequencer knows: it fails on nothing.
    ledger: Box<Ledger>,
    /// Each role has its ledger in its own slot.
    parted: bool,
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
            parted: false,
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

    /// Folds records, deciding nothing: whole batches. What a role is recorded to have failed on is left out for it.
    pub fn fold(&mut self, records: &[Record]) {
        let mut rest = records;
        while !rest.is_empty() {
            let more = rest.iter().skip(1).take_while(|r| r.cause.is_some()).count();
            let (batch, after) = rest.split_at(1 + more);
            if self.parted || batch.iter().any(|r| r.event.failed_actor().is_some()) {
                self.part();
                batch.iter().for_each(|record| self.ledger.evolve(record));
                for actor in Actor::ROLES {
                    fold_batch(self.role_mut(actor), actor.number(), batch, &[]);
                }
            } else {
                batch.iter().for_each(|record| self.evolve(record));
            }
            rest = after;
        }
    }

    /// Gives each role a ledger of its own, for good.
    pub fn part(&mut self) {
        if !std::mem::replace(&mut self.parted, true) {
            self.escalation_tracker.ledger_slot().clone_from(&self.ledger);
            self.voter.ledger_slot().clone_from(&self.ledger);
            self.promoter.ledger_slot().clone_from(&self.ledger);
            self.witness.ledger_slot().clone_from(&self.ledger);
        }
    }

    /// Returns a role that has parted from the others, as the shell of a daemon's role has it.
    pub fn role_mut(&mut self, actor: Actor) -> &mut Role {
        match actor {
            Actor::EscalationTracker => &mut self.escalation_tracker,
            Actor::Voter => &mut self.voter,
            Actor::Promoter => &mut self.promoter,
            _ => &mut self.witness,
        }
    }

    /// Folds a record into what the sequencer knows, the roles aside.
    pub fn evolve_ledger(&mut self, record: &Record) {
        self.ledger.evolve(record);
    }

    /// Puts a role that was folded anew into its place: from a fold of the log up to this batch, and from these
    /// records of it, some left out.
    pub fn rebuild(&mut self, actor: Actor, mut before: Self, records: &[Record], failed: &[Seq]) {
        before.part();
        fold_batch(before.role_mut(actor), actor.number(), records, failed);
        match actor {
            Actor::EscalationTracker => self.escalation_tracker = before.escalation_tracker,
            Actor::Voter => self.voter = before.voter,
            Actor::Promoter => self.promoter = before.promoter,
            _ => self.witness = before.witness,
        }
    }

    fn evolve(&mut self, record: &Record) {
        self.ledger.evolve(record);
        lend(&mut self.ledger, &mut self.escalation_tracker, |r| r.evolve_own(record));
        lend(&mut self.ledger, &mut self.voter, |r| r.evolve_own(record));
        lend(&mut self.ledger, &mut self.promoter, |r| r.evolve_own(record));
        lend(&mut self.ledger, &mut self.witness, |r| r.evolve_own(record));
    }

    /// Appends every deadline that any role waits for.
    pub fn deadlines_into(&mut self, all: &mut Vec<(Deadline, BootNanos)>) {
        if self.parted {
            return Actor::ROLES.into_iter().for_each(|actor| self.role_mut(actor).deadlines(all));
        }
        lend(&mut self.ledger, &mut self.escalation_tracker, |r| r.deadlines(all));
        lend(&mut self.ledger, &mut self.voter, |r| r.deadlines(all));
        lend(&mut self.ledger, &mut self.promoter, |r| r.deadlines(all));
        lend(&mut self.ledger, &mut self.witness, |r| r.deadlines(all));
    }

    /// Returns the first role in which what was folded differs from what lived, both in words; `None` if none does.
    #[must_use]
    pub fn difference(mut folded: Self, mut live: Self) -> Option<String> {
        if folded.parted || live.parted {
            folded.part();
            live.part();
            return Self::parted_difference(&folded, &live);
        }
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

impl Team {
    fn parted_difference(folded: &Self, live: &Self) -> Option<String> {
        fn said<R: PartialEq + std::fmt::Debug>(folded: &R, live: &R) -> Option<String> {
            (folded != live).then(|| format!("folded {folded:?}\nlive   {live:?}"))
        }
        said(&folded.ledger, &live.ledger)
            .or_else(|| said(&folded.escalation_tracker, &live.escalation_tracker))
            .or_else(|| said(&folded.voter, &live.voter))
            .or_else(|| said(&folded.promoter, &live.promoter))
            .or_else(|| said(&folded.witness, &live.witness))
    }
}

impl Crew for Team {
    type Event = Event;

    fn deliver(&mut self, record: &Record, answers: &mut Answers<Event>) {
        self.ledger.evolve(record);
        if self.parted {
            for actor in Actor::ROLES {
                let role = self.role_mut(actor);
                role.evolve(record);
                answers.of(actor.number(), |decisions| role.decide(record, decisions));
            }
            return;
        }
        let ledger = &mut self.ledger;
        deliver_to((Actor::EscalationTracker, &mut self.escalation_tracker), ledger, record, answers);
        deliver_to((Actor::Voter, &mut self.voter), ledger, record, answers);
        deliver_to((Actor::Promoter, &mut self.promoter), ledger, record, answers);
        deliver_to((Actor::Witness, &mut self.witness), ledger, record, answers);
    }
}
