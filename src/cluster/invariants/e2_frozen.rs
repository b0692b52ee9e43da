//! E2: who promised to freeze attaches to nobody but a winner of that term or above, and does not go on streaming.
//!
//! A PostgreSQL that is started while its member is frozen streams until its daemon sees it and has stopped it:
//! that takes a probe and a freeze, not more. While catching up (E7) a receiver runs by order.

use super::{Fact, Invariant, World};
use crate::cluster::node::Node;
use crate::cluster::postgres::Process;
use crate::cluster::queue::Run;
use crate::cluster::time::SimNanos;
use crate::core::{MemberId, Nanos, Term};
use crate::events::Decision;
use std::collections::BTreeMap;

/// How long catching up may go on.
const CATCHES_UP: Nanos = Nanos::from_millis(15_000);

/// A stretch of streaming against a promise: one receiver, under one run of the daemon.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stretch {
    receiver: Run,
    daemon: Option<Run>,
    since: SimNanos,
}

/// The invariant: the highest term each member promised to freeze for, how it streams against that promise, and when it
/// was ordered to catch up.
#[derive(Default)]
pub(super) struct StaysFrozen {
    promised: BTreeMap<MemberId, Term>,
    stretches: BTreeMap<MemberId, Stretch>,
    catching_up: BTreeMap<MemberId, SimNanos>,
}

/// The receiver that runs against the member's promise, and until when its daemon was last unable to do something
/// about it: it is not let in, or is answered too late.
fn streams(node: &Node, probe_deadline: Nanos) -> Option<(Run, SimNanos)> {
    node.ledger().filter(|l| l.freeze.is_some() && l.tenure.is_none() && !l.log_stalled)?;
    let p = node.postgres.as_ref().filter(|p| p.process == Process::Up && p.in_recovery)?;
    let (slower_by, slow_until) = node.slow_answers;
    let unanswered_until = if slower_by >= probe_deadline { slow_until } else { SimNanos(0) };
    let unable = [
        node.frozen.until,
        node.daemon_frozen_until(),
        node.log.full_until,
        node.log.slow.0,
        node.freeze_unseen_until,
        p.frozen.until,
        p.crowded_until,
        p.locked_until,
        unanswered_until,
        p.full_until,
        node.losing.iter().map(|(_, _, until)| *until).max().unwrap_or_default(),
    ];
    Some((p.receiver.as_ref()?.run, unable.into_iter().max()?))
}

/// Whether it streams from a winner of the promised term or above, who writes: as it was set up, without an order.
fn is_at_winner(world: &World, node: &Node) -> bool {
    let Some(l) = node.ledger() else { return false };
    let winner = l.announced().filter(|w| l.freeze.as_ref().is_none_or(|f| w.term >= f.term));
    let upstream = node.postgres.as_ref().and_then(|p| p.upstream);
    winner.is_some_and(|w| {
        let writes = world.node(w.primary).postgres.as_ref().is_some_and(|p| p.is_writable());
        upstream == Some(w.primary) && writes
    })
}

impl Invariant for StaysFrozen {
    fn id(&self) -> &'static str {
        "E2"
    }
    fn says(&self) -> &'static str {
        "who promised to freeze attaches to no older primary, and does not go on streaming"
    }
    fn look(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        let now = world.now();
        match fact {
            Fact::Decided { member, decision } => match &**decision {
                Decision::CatchUpOrdered { .. } => {
                    self.catching_up.insert(*member, now);
                }
                Decision::FreezePromised { term, .. } => {
                    let promised = self.promised.entry(*member).or_default();
                    *promised = (*promised).max(*term);
                }
                Decision::FollowOrdered { term, primary } => {
                    if let Some(promised) = self.promised.get(member).filter(|promised| term < *promised) {
                        return Err(format!(
                            "member {} promised to freeze for term {promised}, and attaches to {}, the primary of term {term}",
                            member.0, primary.0
                        ));
                    }
                }
                _ => {}
            },
            Fact::LogLost { member, .. } => {
                self.promised.remove(member);
            }
            // A promise that a crash took from its log was told to nobody.
            Fact::DaemonStarted { member, .. } => {
                let kept = world.node(*member).ledger().map_or(Term(0), |l| l.term_frozen);
                self.promised.entry(*member).and_modify(|promised| *promised = (*promised).min(kept));
            }
            _ => {}
        }
        let probe_deadline = Nanos::from_millis(world.scenario.timings.probe_ms);
        for node in &world.nodes {
            let by_order = || self.catching_up.get(&node.id).is_some_and(|at| now.since(*at) < CATCHES_UP);
            let Some((receiver, unable_until)) =
                streams(node, probe_deadline).filter(|_| !by_order() && !is_at_winner(world, node))
            else {
                self.stretches.remove(&node.id);
                continue;
            };
            let daemon = node.daemon_run();
            let known = self.stretches.get(&node.id).filter(|s| (s.receiver, s.daemon) == (receiver, daemon));
            let since = known.map_or(now, |s| s.since).max(unable_until);
            self.stretches.insert(node.id, Stretch { receiver, daemon, since });
            let settings = &node.settings;
            let allowed = Nanos(3 * settings.heartbeat_interval.0 + 2 * settings.freeze_timeout.0);
            if now.since(since) > allowed {
                let how_long = now.since(since);
                return Err(format!("member {} has streamed for {how_long} since it promised", node.id.0));
            }
        }
        Ok(())
    }
}
