//! The state of every role of a member, and of the ledger beside them, as one value: what a checkpoint
//! keeps. It folds and never decides.

use crate::core::{EscalationTracker, Ledger, Promoter, Role, Voter, Witness};
use crate::events::{Actor, Event, Observation, ProcessStart, Record, Settings};
use pgfo_replay::{Ensemble, Seat, fold_batch};
use serde::{Deserialize, Serialize};

/// Every role of a member, folded from its log up to the end of some batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct States {
    /// The role.
    pub escalation_tracker: EscalationTracker,
    /// The role.
    pub voter: Voter,
    /// The role.
    pub promoter: Promoter,
    /// The role.
    pub witness: Witness,
    /// What the sequencer knows: it fails on nothing.
    pub ledger: Ledger,
    /// The last process start, with the settings that are in force since; `None`: none was recorded.
    pub start: Option<Box<ProcessStart>>,
}

impl States {
    /// Makes the state of a member without history.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            escalation_tracker: EscalationTracker::new(settings.clone()),
            voter: Voter::new(settings.clone()),
            promoter: Promoter::new(settings.clone()),
            witness: Witness::new(settings.clone()),
            ledger: Ledger::new(settings.clone()),
            start: None,
        }
    }

    /// Folds one whole batch: an observation and all decisions on it. What a role is recorded to have
    /// failed on is left out for that role, as when it was rebuilt.
    pub fn fold(&mut self, batch: &[Record]) {
        fold_batch(&mut self.escalation_tracker, Actor::EscalationTracker.number(), batch, &[]);
        fold_batch(&mut self.voter, Actor::Voter.number(), batch, &[]);
        fold_batch(&mut self.promoter, Actor::Promoter.number(), batch, &[]);
        fold_batch(&mut self.witness, Actor::Witness.number(), batch, &[]);
        for record in batch {
            self.ledger.evolve(record);
            match &record.event {
                Event::Observed(Observation::ProcessStarted(start)) => self.start = Some(start.clone()),
                Event::Observed(Observation::SettingsChanged { settings, configuration_digest }) => {
                    if let Some(start) = &mut self.start {
                        start.settings = (**settings).clone();
                        start.configuration_digest.clone_from(configuration_digest);
                    }
                }
                Event::Observed(_) | Event::Decided(_) => {}
            }
        }
    }

    /// Returns one role; `None` if the actor is no role.
    #[must_use]
    pub fn role(&self, actor: Actor) -> Option<Box<Role>> {
        Some(match actor {
            Actor::EscalationTracker => Box::new(self.escalation_tracker.clone()),
            Actor::Voter => Box::new(self.voter.clone()),
            Actor::Promoter => Box::new(self.promoter.clone()),
            Actor::Witness => Box::new(self.witness.clone()),
            _ => return None,
        })
    }

    /// Returns all roles, in the order of delivery.
    #[must_use]
    pub fn roles(&self) -> Ensemble<Role> {
        let seats = Actor::ROLES
            .into_iter()
            .filter_map(|actor| Some(Seat { actor: actor.number(), machine: self.role(actor)? }))
            .collect();
        Ensemble::new(seats)
    }
}
