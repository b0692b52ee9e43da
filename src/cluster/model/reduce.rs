//! What need not be explored, because another order of events comes to the same: see "Reductions" in
//! docs/protocol.md for why each hides nothing that an invariant could see.

use super::actions::Action;
use super::bounds::Bounds;
use super::mind::Mind;
use super::state::{Envelope, State, Task};
use super::steps::ClusterModel;
use crate::core::{Effect, MemberId, Promoter, Term};
use crate::events::{Deadline, LeaseAsk, Message, Refusal};
use std::sync::atomic::Ordering;

/// More local steps than one action can bring about.
const LOCAL_MAX: usize = 100;

/// Whether a message is a refusal that tells no more than silence: only who is better placed tells more.
pub(super) fn is_idle_refusal(message: &Message) -> bool {
    match message {
        Message::VoteRefused(_, why) => !matches!(why, Refusal::PositionBehind { .. }),
        Message::FreezeRefused { .. } | Message::LeaseRefused(..) => true,
        _ => false,
    }
}

impl ClusterModel {
    /// A message that is only refused is as good as lost.
    pub(super) fn arrive(&self, s: &mut State, e: &Envelope) {
        if !self.is_refused(s, e) {
            self.receive(s, e.to, e.from, e.message.clone());
        }
    }

    fn is_refused(&self, s: &State, e: &Envelope) -> bool {
        let asks = matches!(
            e.message,
            Message::FreezeRequested { .. }
                | Message::VoteRequested(_)
                | Message::LeaseRequested(_)
                | Message::RenewalRequested(_)
        );
        if !asks {
            return false;
        }
        let observation = crate::events::Observation::MessageReceived {
            from: e.from,
            sent_by: pgfo_replay::Seq(0),
            message: e.message.clone(),
        };
        let thought = self.peek(s, e.to, &observation);
        let idle = |effect: &Effect| match effect {
            Effect::Send { message, .. } => is_idle_refusal(message),
            _ => false,
        };
        let refused = !thought.effects.is_empty() && thought.effects.iter().all(idle);
        if refused {
            self.refusals[0].store(true, Ordering::Relaxed);
            let unregistered = |effect: &Effect| {
                matches!(
                    effect,
                    Effect::Send {
                        message: Message::VoteRefused(_, Refusal::NotRegistered)
                            | Message::FreezeRefused { why: Refusal::NotRegistered, .. }
                            | Message::LeaseRefused(_, Refusal::NotRegistered),
                        ..
                    }
                )
            };
            if thought.effects.iter().any(unregistered) {
                self.refusals[1].store(true, Ordering::Relaxed);
            }
        }
        refused
    }

    /// Does what concerns nobody else.
    pub(super) fn settle(&self, s: &mut State) {
        for _ in 0..LOCAL_MAX {
            let mut any = false;
            for id in self.bounds.there() {
                any |= self.settle_one(s, id);
            }
            if !any {
                return;
            }
        }
    }

    fn settle_one(&self, s: &mut State, id: MemberId) -> bool {
        let host = &mut s.hosts[usize::from(id.0)];
        if host.asking.is_some() && !host.mind.promoter().is_some_and(Promoter::is_asking) {
            host.asking = None;
        }
        if self.bounds.prompt {
            if let Some(task) = host.tasks.iter().copied().find(|t| matches!(t, Task::Freeze(_))) {
                self.work(s, id, task);
                return true;
            }
            if host.asking.is_some() {
                for by in self.bounds.there().filter(|b| *b != id) {
                    self.answer(s, id, by);
                }
                let host = &mut s.hosts[usize::from(id.0)];
                if host.mind.promoter().is_some_and(Promoter::is_asking) {
                    // Somebody said nothing, or is gone: it does not wait.
                    self.act(s, &Action::Deadline(id, Deadline::TestimonyEnds));
                }
                s.hosts[usize::from(id.0)].asking = None;
                return true;
            }
        }
        let host = &s.hosts[usize::from(id.0)];
        let stale = host.postgres.filter(|p| p.up).map(|p| p.answer(&s.lines));
        if self.bounds.looks && stale.is_some() && host.mind.ledger().local.answer != stale {
            let before = host.mind.id;
            self.look_at_own(s, id);
            return s.hosts[usize::from(id.0)].mind.id != before;
        }
        false
    }

    /// Takes messages out of the network that can do nothing any more, whatever else happens.
    pub(super) fn prune(&self, s: &mut State) {
        let mut network = std::mem::take(&mut s.network);
        network.retain(|e| self.lives(s, e));
        s.network = network;
    }

    fn lives(&self, s: &State, e: &Envelope) -> bool {
        let host = &s.hosts[usize::from(e.to.0)];
        let mind = &host.mind;
        let nonce = mind.ledger().process.nonce;
        let mine = |ask: &LeaseAsk| ask.process.nonce == nonce;
        let tenure = mind.ledger().tenure;
        let standing = mind.promoter().and_then(Promoter::standing_with);
        match &e.message {
            // An answer lives as long as the process that asked, and what it asked for.
            // Once it has won, one more vote holds its lease no longer: a quorum's hold it as long.
            Message::VoteGranted(ask) => mine(ask) && standing == Some(ask),
            Message::VoteRefused(ask, _) => mine(ask) && standing == Some(&**ask),
            // Time only goes on: a grant that is over stays so.
            Message::LeaseGranted(ask) => {
                let over = mind.promoter().is_some_and(|p| p.is_over(ask));
                mine(ask) && tenure == Some(ask.term) && !(over && self.does_nothing(s, e))
            }
            Message::FreezeReported { term, nonce: n, .. } => {
                let freezing = mind.promoter().and_then(Promoter::freezing_for);
                *n == nonce && (freezing == Some(*term) || mind.ledger().term_seen() < *term)
            }
            // What a process once refused for good, or knows, stays so as long as it lives.
            Message::FreezeRequested { term, .. } => {
                self.may_forget(s, e.to) || !refuses_for_good(mind, *term, None) || !self.is_refused(s, e)
            }
            Message::VoteRequested(ask) => {
                let term = ask.ask.term;
                self.may_forget(s, e.to)
                    || !refuses_for_good(mind, term, Some(&ask.ask))
                    || !self.is_refused(s, e)
            }
            Message::PrimaryAnnounced(a) => {
                self.may_forget(s, e.to) || !mind.ledger().history.iter().any(|k| k.term == a.term)
            }
            _ => true,
        }
    }

    /// Whether a message would change nothing if it came now.
    fn does_nothing(&self, s: &State, e: &Envelope) -> bool {
        let observation = crate::events::Observation::MessageReceived {
            from: e.from,
            sent_by: pgfo_replay::Seq(0),
            message: e.message.clone(),
        };
        let thought = self.peek(s, e.to, &observation);
        let mind = &s.hosts[usize::from(e.to.0)].mind;
        let same = thought.next.shape == mind.shape && thought.next.instants == mind.instants;
        same && thought.effects.is_empty()
    }

    /// Whether a member may still come back with less than it knows.
    fn may_forget(&self, s: &State, id: MemberId) -> bool {
        let b = &self.bounds;
        Bounds::within(b.mortal, id) && (s.spent.crashes < b.crashes || s.spent.log_losses < b.log_losses)
    }
}

/// Whether a request to freeze or to vote in a term is refused whatever happens to a process.
fn refuses_for_good(mind: &Mind, term: Term, ask: Option<&LeaseAsk>) -> bool {
    let l = mind.ledger();
    let voted = l.voted.is_some_and(|v| v.ask.term >= term && Some(&v.ask) != ask);
    voted || l.term_frozen > term || l.released >= term || l.history.iter().any(|a| a.term >= term)
}
