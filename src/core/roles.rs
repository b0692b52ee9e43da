//! The four roles of a member, put together in the order of delivery.

use crate::core::{EscalationTracker, Ledger, Promoter, Voter, Witness};
use crate::events::{Actor, Deadline, Event, Record, Settings};
use pgfo_replay::{Ensemble, Machine, Seat};

/// Revision of the deciding code: bumped whenever `decide` changes its meaning for any input.
pub const CORE_REVISION: u32 = 4;

/// A role as the loop sees it.
pub type Role = dyn Machine<Event = Event, Deadline = Deadline> + Send;

/// A role with a ledger. Copies that were folded from the same records are equal, so whoever steps all roles of a
/// member together may fold one ledger and lend it to each in turn: put it into the slot, evolve what is the role's
/// own, decide, take it back.
pub trait LedgerRole: Machine<Event = Event, Deadline = Deadline> {
    /// Returns where the role keeps its ledger.
    fn ledger_slot(&mut self) -> &mut Box<Ledger>;

    /// Folds a record that is in the ledger already into what is the role's own.
    fn evolve_own(&mut self, record: &Record);
}

/// Makes one role of a member without history; `None` if the actor is no role.
#[must_use]
pub fn role(actor: Actor, settings: &Settings) -> Option<Box<Role>> {
    Some(match actor {
        Actor::EscalationTracker => Box::new(EscalationTracker::new(settings.clone())),
        Actor::Voter => Box::new(Voter::new(settings.clone())),
        Actor::Promoter => Box::new(Promoter::new(settings.clone())),
        Actor::Witness => Box::new(Witness::new(settings.clone())),
        _ => return None,
    })
}

/// Makes all roles of a member without history.
#[must_use]
pub fn roles(settings: &Settings) -> Ensemble<Role> {
    let seats = Actor::ROLES
        .into_iter()
        .filter_map(|actor| Some(Seat { actor: actor.number(), machine: role(actor, settings)? }))
        .collect();
    Ensemble::new(seats)
}
