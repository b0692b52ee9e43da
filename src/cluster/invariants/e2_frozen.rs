//! E2: who promised to freeze does not go on streaming.
//!
//! A PostgreSQL that is started while its member is frozen streams until its daemon sees it and has stopped it:
//! that takes a probe and a freeze, not more. While catching up (E7) a receiver runs by order.

use super::{Fact, Invariant, World};
use crate::cluster::node::Node;
use crate::cluster::postgres::Process;
use crate::cluster::time::SimNanos;
use crate::core::{MemberId, Nanos};
use crate::events::Decision;
use std::collections::BTreeMap;

/// How long catching up may go on.
const CATCHES_UP: Nanos = Nanos::from_millis(15_000);

/// The invariant: since when each member streams against its promise, when it was looked at last, and when it was
/// ordered to catch up.
#[derive(Default)]
pub(super) struct StaysFrozen {
    since: BTreeMap<MemberId, (SimNanos, SimNanos)>,
    catching_up: BTreeMap<MemberId, SimNanos>,
}

/// Whether it streams though it promised not to, and its daemon is able to do something about it.
fn streams(node: &Node, now: SimNanos) -> bool {
    let able = node.runs(now)
        && now >= node.daemon_frozen_until()
        && now >= node.log.full_until
        && now >= node.log.slow.0
        && now >= node.freeze_unseen_until;
    let promised = node.ledger().is_some_and(|l| l.freeze.is_some() && l.tenure.is_none() && !l.log_stalled);
    able && promised
        && node.postgres.as_ref().is_some_and(|p| {
            let answers = p.process == Process::Up && now >= p.frozen_until && now >= p.crowded_until;
            answers && p.in_recovery && p.receiver.is_some()
        })
}

impl Invariant for StaysFrozen {
    fn id(&self) -> &'static str {
        "E2"
    }
    fn says(&self) -> &'static str {
        "who promised to freeze does not go on streaming"
    }
    fn look(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        let now = world.now();
        if let Fact::Decided { member, decision } = fact
            && let Decision::CatchUpOrdered { .. } = &**decision
        {
            self.catching_up.insert(*member, now);
        }
        for node in &world.nodes {
            let by_order = self.catching_up.get(&node.id).is_some_and(|at| now.since(*at) < CATCHES_UP);
            if by_order || !streams(node, now) {
                self.since.remove(&node.id);
                continue;
            }
            let heartbeats = Nanos(3 * node.settings.heartbeat_interval.0);
            let allowed = Nanos(heartbeats.0 + 2 * node.settings.freeze_timeout.0);
            let (since, looked) = self.since.get(&node.id).copied().unwrap_or((now, now));
            // What happened between two looks far apart is not known.
            let since = if now.since(looked) > heartbeats { now } else { since };
            self.since.insert(node.id, (since, now));
            if now.since(since) > allowed {
                return Err(format!(
                    "member {} has streamed for {} since it promised",
                    node.id.0,
                    now.since(since)
                ));
            }
        }
        Ok(())
    }
}
