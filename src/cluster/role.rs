//! A role by its type, so that states can be compared and asked. The same machines as in production.

use crate::core::{EscalationTracker, Ledger, Promoter, Shape, Voter, Witness};
use crate::events::{Actor, Deadline, Event, Record, Settings};
use pgfo_replay::{BootNanos, Ensemble, Machine, Seat};

/// One role of a simulated member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(clippy::large_enum_variant, reason = "one of each kind a member: a box would only cost a look-up")]
pub enum SimRole {
    /// The verdict.
    EscalationTracker(EscalationTracker),
    /// Votes and grants.
    Voter(Voter),
    /// Lease and election.
    Promoter(Promoter),
    /// Heartbeats and testimonies.
    Witness(Witness),
}

impl SimRole {
    /// Returns what the role knows.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        match self {
            Self::EscalationTracker(r) => r.ledger(),
            Self::Voter(r) => r.ledger(),
            Self::Promoter(r) => r.ledger(),
            Self::Witness(r) => r.ledger(),
        }
    }
}

impl SimRole {
    /// Takes the role's shape, the ledger's aside.
    pub(super) fn project(&self, shape: &mut Shape<'_>) {
        match self {
            Self::EscalationTracker(r) => r.project(shape),
            Self::Voter(r) => r.project(shape),
            Self::Promoter(r) => r.project(shape),
            // It has nothing but its ledger.
            Self::Witness(_) => {}
        }
    }
}

impl Machine for SimRole {
    type Event = Event;
    type Deadline = Deadline;

    #[inline(always)]
    fn evolve(&mut self, record: &Record) {
        match self {
            Self::EscalationTracker(r) => r.evolve(record),
            Self::Voter(r) => r.evolve(record),
            Self::Promoter(r) => r.evolve(record),
            Self::Witness(r) => r.evolve(record),
        }
    }

    #[inline(always)]
    fn decide(&self, record: &Record, decisions: &mut Vec<Event>) {
        match self {
            Self::EscalationTracker(r) => r.decide(record, decisions),
            Self::Voter(r) => r.decide(record, decisions),
            Self::Promoter(r) => r.decide(record, decisions),
            Self::Witness(r) => r.decide(record, decisions),
        }
    }

    #[inline(always)]
    fn deadlines(&self, deadlines: &mut Vec<(Deadline, BootNanos)>) {
        match self {
            Self::EscalationTracker(r) => r.deadlines(deadlines),
            Self::Voter(r) => r.deadlines(deadlines),
            Self::Promoter(r) => r.deadlines(deadlines),
            Self::Witness(r) => r.deadlines(deadlines),
        }
    }
}

/// Makes the roles of a member without history, in the order of delivery.
#[must_use]
pub fn sim_roles(settings: &Settings) -> Ensemble<SimRole> {
    let seat = |actor: Actor, role: SimRole| Seat { actor: actor.number(), machine: Box::new(role) };
    Ensemble::new(vec![
        seat(Actor::EscalationTracker, SimRole::EscalationTracker(EscalationTracker::new(settings.clone()))),
        seat(Actor::Voter, SimRole::Voter(Voter::new(settings.clone()))),
        seat(Actor::Promoter, SimRole::Promoter(Promoter::new(settings.clone()))),
        seat(Actor::Witness, SimRole::Witness(Witness::new(settings.clone()))),
    ])
}
