//! Inputs that a member's roles fail on, and reports that never reach them. What becomes of a role that fails is
//! the rule of `core::supervision`, as in a daemon. Nothing here is drawn but how long a rebuild takes.

use super::draw::Domain;
use super::fault::Report;
use super::faults::RESTART;
use super::node::Node;
use super::time::SimNanos;
use super::world::World;
use crate::core::{MemberId, Nanos, Remedy, guarded, remedy};
use crate::events::{Actor, Event, Observation, ProbeKind, Record};
use pgfo_replay::{Batch, DECISIONS_MAX};

/// What a role fails on.
#[derive(Clone, Debug)]
pub struct Poison {
    /// The role.
    pub role: Actor,
    /// Records whose text holds this.
    pub on: String,
    /// How many of them still.
    pub left: u64,
    /// Until then.
    pub until: SimNanos,
}

impl Node {
    pub(super) fn is_poisoned(&self, now: SimNanos) -> bool {
        self.poisons.iter().any(|p| p.left > 0 && now < p.until)
    }

    fn poisons(&mut self, role: Actor, record: &Record, now: SimNanos) -> bool {
        let armed = |p: &&mut Poison| p.role == role && p.left > 0 && now < p.until;
        let holds = |p: &&mut Poison| p.on.is_empty() || format!("{:?}", record.event).contains(&p.on);
        let Some(poison) = self.poisons.iter_mut().filter(armed).find(holds) else { return false };
        poison.left -= 1;
        true
    }
}

/// Which report of its own hands an observation is.
fn report_of(id: MemberId, observation: &Observation) -> Option<Report> {
    Some(match observation {
        Observation::ProbeCompleted { target, kind: ProbeKind::Heartbeat, .. } if *target == id => {
            Report::Probe
        }
        Observation::FreezeCompleted { .. } => Report::Freeze,
        Observation::PromotionCompleted { .. } => Report::Promotion,
        Observation::FollowCompleted { .. } => Report::Follow,
        Observation::CatchUpCompleted { .. } => Report::CatchUp,
        Observation::FenceCompleted(_) => Report::Fence,
        Observation::PostmasterGone { .. } => Report::PostmasterGone,
        Observation::PostmasterSeen { .. } => Report::PostmasterSeen,
        Observation::ReceiverEnded => Report::ReceiverEnded,
        Observation::ReceiverSeen { .. } => Report::ReceiverSeen,
        Observation::GuardReported(_) => Report::Guard,
        _ => return None,
    })
}

impl World {
    /// Whether a report is lost on its way to the roles.
    pub(super) fn loses(&mut self, id: MemberId, record: &Record) -> bool {
        let now = self.now();
        let Event::Observed(observation) = &record.event else { return false };
        let node = self.node_mut(id);
        node.losing.retain(|(_, left, until)| *left > 0 && now < *until);
        let Some(kind) = report_of(id, observation) else { return false };
        let Some(losing) = node.losing.iter_mut().find(|(k, ..)| *k == kind) else { return false };
        losing.1 -= 1;
        self.tell(|_| format!("-- m{} is never told: {kind:?}", id.0));
        true
    }

    /// Steps the roles as a daemon's sequencer does: each has its own ledger, a panic is caught, the role is rebuilt
    /// from the log and the batch under way. `None`: the process ended.
    pub(super) fn step_poisoned(&mut self, id: MemberId, mut batch: Batch<Event>) -> Option<Vec<Record>> {
        let now = self.now();
        let mut rebuilt = false;
        self.node_mut(id).daemon.as_mut()?.roles.part();
        while let Some(record) = batch.current().cloned() {
            self.node_mut(id).daemon.as_mut()?.roles.evolve_ledger(&record);
            for (seat, actor) in Actor::ROLES.into_iter().enumerate() {
                let node = self.node_mut(id);
                let strikes = node.poisons(actor, &record, now);
                let daemon = node.daemon.as_mut()?;
                let role = daemon.roles.role_mut(actor);
                let answer = guarded(|| {
                    let mut decisions = Vec::new();
                    role.evolve(&record);
                    if strikes {
                        // In the midst of it, and without the hook that prints.
                        std::panic::resume_unwind(Box::new("a poisoned input"));
                    }
                    role.decide(&record, &mut decisions);
                    decisions
                });
                let why = match answer {
                    Ok(decisions) => {
                        batch.answer(actor.number(), decisions);
                        continue;
                    }
                    Err(why) if strikes => why,
                    Err(why) => panic!("{} failed on {record:?}: {why}", actor.name()),
                };
                if batch.records().len() >= DECISIONS_MAX {
                    return self.process_fails(id);
                }
                let failed = daemon.budgets[seat].spend(actor, record.boot, &why);
                batch.answer(actor.number(), [Event::Decided(failed)]);
                let Remedy::Rebuild { records, failed } = remedy(batch.records(), actor, record.seq) else {
                    return self.process_fails(id);
                };
                let before = node.log.fold(node.log.records.len(), &node.settings);
                daemon.roles.rebuild(actor, before, records, &failed);
                rebuilt = true;
            }
            batch.advance();
        }
        if rebuilt {
            self.stands_still_for_a_rebuild(id);
        }
        Some(batch.finish())
    }

    /// Nothing is delivered while a role is folded anew.
    fn stands_still_for_a_rebuild(&mut self, id: MemberId) {
        let now = self.now();
        let number = self.fresh();
        let takes = self.draws.draw(Domain::Start, &[u64::from(id.0), number]).between(2, 300);
        if let Some(daemon) = self.node_mut(id).daemon.as_mut() {
            daemon.frozen.extend(now, now.plus(Nanos::from_millis(takes)));
            daemon.thawed_at = daemon.frozen.until;
        }
    }

    /// The process ends in the midst of a batch, of which nothing is left, and is started anew.
    fn process_fails(&mut self, id: MemberId) -> Option<Vec<Record>> {
        self.tell(|_| format!("-- m{} can't rebuild a role: its process ends", id.0));
        let node = self.node_mut(id);
        let folded = node.log.fold(node.log.records.len(), &node.settings);
        node.daemon.as_mut()?.roles = folded;
        self.crash_daemon(id);
        self.daemon_returns(id, self.now().plus(RESTART));
        None
    }
}

/// Returns when a timer fires at last, where timers are coarse until then.
pub(super) fn coarse((grain, until): (Nanos, SimNanos), now: SimNanos, at: SimNanos) -> SimNanos {
    if now >= until || grain.0 == 0 {
        return at;
    }
    SimNanos(at.0.div_ceil(grain.0) * grain.0)
}
