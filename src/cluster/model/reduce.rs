//! What need not be explored, because another order of events comes to the same: see "Reductions" in
//! docs/protocol.md for why each hides nothing that an invariant could see.

use super::actions::Action;
use super::bounds::{Bounds, MOMENT};
use super::judge::{REFUSED, UNREGISTERED};
use super::mind::Mind;
use super::state::{Cast, Envelope, State, Task};
use super::steps::ClusterModel;
use crate::core::{Effect, MemberId, Promoter, Term};
use crate::events::{Deadline, Decision, LeaseAsk, Message, Observation, Refusal};
use pgfo_replay::Seq;

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
        let thought = self.peek(s, e.to, &received(e));
        let idle = |effect: &Effect| match effect {
            Effect::Send { message, .. } => is_idle_refusal(message),
            _ => false,
        };
        let refused = !thought.effects.is_empty() && thought.effects.iter().all(idle);
        if refused {
            self.pass(REFUSED);
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
                self.pass(UNREGISTERED);
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
        if self.bounds.hasty && self.may_stand_now(s, id) {
            self.act(s, &Action::Deadline(id, Deadline::StandDue));
            return true;
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

    /// Whether a candidate has asked, waits for nobody's promise, and has a term left.
    fn may_stand_now(&self, s: &State, id: MemberId) -> bool {
        let host = &s.hosts[usize::from(id.0)];
        let soon = host.boot(s.now).0 + MOMENT / 2;
        let plan = host.mind.promoter().and_then(Promoter::plan_of);
        plan.is_some_and(|(at, term)| at.0 < soon && term.0 <= self.bounds.terms)
    }

    /// Whether what a candidate asked for leads to a term outside of the bounds.
    pub(super) fn asks_in_vain(&self, s: &State, id: MemberId) -> bool {
        let plan = s.hosts[usize::from(id.0)].mind.promoter().and_then(Promoter::plan_of);
        self.bounds.hasty && plan.is_some_and(|(_, term)| term.0 > self.bounds.terms)
    }

    /// Takes messages out of the network that can do nothing any more, whatever else happens.
    /// What was there `before` lives on if nothing became of its receiver.
    pub(super) fn prune(&self, before: &State, s: &mut State) {
        let same = |id: MemberId| {
            let at = usize::from(id.0);
            (s.now, s.spent) == (before.now, before.spent) && s.hosts[at].same_daemon(&before.hosts[at])
        };
        let mut unchanged = 0_u8;
        for id in self.bounds.ids().filter(|id| same(*id)) {
            unchanged |= 1 << id.0;
        }
        let mut network = std::mem::take(&mut s.network);
        network.retain(|e| Bounds::within(unchanged, e.to) && before.network.holds(e) || self.lives(s, e));
        s.network = network;
        let votes = std::mem::take(&mut s.ghosts.votes);
        let last = |v: &Cast, all: &[Cast]| all.iter().all(|o| o.voter != v.voter || o.term <= v.term);
        let kept = votes.iter().filter(|v| last(v, &votes) || Self::may_use(s, v)).copied().collect();
        s.ghosts.votes = kept;
    }

    /// Whether a vote's candidate may still win by it, or promote.
    fn may_use(s: &State, vote: &Cast) -> bool {
        let host = &s.hosts[usize::from(vote.candidate.0)];
        let uses = |m: &Mind| {
            let standing = m.promoter().and_then(Promoter::standing_with);
            m.ledger().tenure == Some(vote.term) || standing.is_some_and(|ask| ask.term == vote.term)
        };
        uses(&host.mind) || host.durable.as_ref().is_some_and(|left| uses(left))
    }

    fn lives(&self, s: &State, e: &Envelope) -> bool {
        let mind = &s.hosts[usize::from(e.to.0)].mind;
        let nonce = mind.ledger().process.nonce;
        let mine = |ask: &LeaseAsk| ask.process.nonce == nonce;
        let standing = mind.promoter().and_then(Promoter::standing_with);
        let for_good = |holds: &dyn Fn(&Mind) -> bool| self.for_good(s, e.to, holds);
        match &e.message {
            // An answer lives as long as the process that asked, and what it asked for.
            // Once it has won, one more vote holds its lease no longer: a quorum's hold it as long.
            Message::VoteGranted(ask) => mine(ask) && standing == Some(ask),
            Message::VoteRefused(ask, _) => mine(ask) && standing == Some(&**ask),
            // Time only goes on: a grant that is over stays so.
            Message::LeaseGranted(ask) => {
                let over = mind.promoter().is_some_and(|p| p.is_over(ask));
                mine(ask) && mind.ledger().tenure == Some(ask.term) && !(over && self.does_nothing(s, e))
            }
            Message::FreezeReported { term, nonce: n, position, .. } => {
                let freezing = mind.promoter().and_then(Promoter::freezing_for);
                *n == nonce
                    && position.is_some()
                    && (mind.ledger().term_seen() < *term || freezing == Some(*term) && self.tells(s, e))
            }
            // What a member refuses for good, or knows, stays so, also if a crash takes back what it may.
            Message::FreezeRequested { term, .. } => {
                !(for_good(&|m| refuses_for_good(m, *term, None)) && self.is_refused(s, e))
            }
            Message::VoteRequested(ask) => {
                let refuses = |m: &Mind| refuses_for_good(m, ask.ask.term, Some(&ask.ask));
                !(for_good(&refuses) && self.is_refused(s, e))
            }
            Message::LeaseRequested(ask) | Message::RenewalRequested(ask) => {
                !(for_good(&|m| refuses_lease_for_good(m, e.from, ask.term)) && self.is_refused(s, e))
            }
            Message::PrimaryAnnounced(a) => {
                !for_good(&|m| m.ledger().history.iter().any(|k| k.term == a.term))
            }
            // What it ends is over, and it opens no election that could not be opened without it.
            Message::CandidacyEnded { term, .. } => !for_good(&|m| {
                refuses_for_good(m, *term, None) && !promised(m, e.from, *term) && self.stands_no_more(m)
            }),
            Message::LeaseReleased { term, .. } => !for_good(&|m| {
                m.ledger().released >= *term && !promised(m, e.from, *term) && self.stands_no_more(m)
            }),
            _ => true,
        }
    }

    /// Whether a report of a frozen position is more than a reason to wait no longer, which a deadline is, too.
    fn tells(&self, s: &State, e: &Envelope) -> bool {
        let told = &self.peek(s, e.to, &received(e)).told;
        let better =
            |d: &Decision| matches!(d, Decision::CandidacyYielded { .. } | Decision::CatchUpOrdered { .. });
        told.is_empty() || told.iter().any(better)
    }

    /// Whether something holds of a member now, and of what a crash would leave of it. It has to be something that
    /// does not change as long as its log is there.
    fn for_good(&self, s: &State, id: MemberId, holds: &dyn Fn(&Mind) -> bool) -> bool {
        let b = &self.bounds;
        let host = &s.hosts[usize::from(id.0)];
        let keeps_log = !(Bounds::within(b.mortal, id) && s.spent.log_losses < b.log_losses);
        keeps_log && holds(&host.mind) && host.durable.as_ref().is_none_or(|left| holds(left))
    }

    /// Whether a member knows of a term as high as the bounds allow, or is no candidate.
    fn stands_no_more(&self, mind: &Mind) -> bool {
        let l = mind.ledger();
        let known = l.term_seen().max(l.released);
        known.0 >= self.bounds.terms || !Bounds::within(self.bounds.candidates, l.me())
    }

    /// Whether a message would change nothing if it came now.
    fn does_nothing(&self, s: &State, e: &Envelope) -> bool {
        let thought = self.peek(s, e.to, &received(e));
        let mind = &s.hosts[usize::from(e.to.0)].mind;
        let same = thought.next.shape == mind.shape && thought.next.instants == mind.instants;
        same && thought.effects.is_empty()
    }
}

/// Whether a request to freeze or to vote in a term is refused whatever happens to a process.
fn refuses_for_good(mind: &Mind, term: Term, ask: Option<&LeaseAsk>) -> bool {
    let l = mind.ledger();
    let voted = l.voted.is_some_and(|v| v.ask.term >= term && Some(&v.ask) != ask);
    voted || l.term_frozen > term || l.released >= term || l.history.iter().any(|a| a.term >= term)
}

/// The same of a request for a lease.
fn refuses_lease_for_good(mind: &Mind, from: MemberId, term: Term) -> bool {
    let l = mind.ledger();
    l.released >= term || l.history.iter().any(|a| a.term >= term && a.primary != from)
}

/// Whether a member's last promise is to a holder, in a term.
fn promised(mind: &Mind, holder: MemberId, term: Term) -> bool {
    mind.ledger().promise.is_some_and(|p| p.holder == holder && p.term == term)
}

fn received(e: &Envelope) -> Observation {
    Observation::MessageReceived { from: e.from, sent_by: Seq(0), message: e.message.clone() }
}
