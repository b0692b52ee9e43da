//! The promoter's shape, and what answers it waits for.

use super::{FreezeAnswer, Phase, Promoter};
use crate::core::{BootNanos, MemberId, Shape, Term, request};
use crate::events::{LeaseAsk, Refusal};

impl Promoter {
    /// Returns the term for which it waits for freezes.
    pub(crate) fn freezing_for(&self) -> Option<Term> {
        match &self.phase {
            Phase::Freezing { term, .. } => Some(*term),
            _ => None,
        }
    }

    /// Returns the request whose votes it waits for.
    pub(crate) fn standing_with(&self) -> Option<&LeaseAsk> {
        match &self.phase {
            Phase::Standing { ask, .. } => Some(ask),
            _ => None,
        }
    }

    /// Returns whether it waits for the answers to a pre-vote.
    pub(crate) fn is_asking(&self) -> bool {
        matches!(self.phase, Phase::Asking { .. })
    }

    /// Returns when it is to stand, and in which term it would now.
    pub(crate) fn plan_of(&self) -> Option<(BootNanos, Term)> {
        match &self.phase {
            Phase::Planned { at, .. } => Some((*at, self.next_term())),
            _ => None,
        }
    }

    /// Returns whether nothing of an election is under way.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle)
    }

    /// Returns whether a grant that echoes this request holds no lease any more.
    pub(crate) fn is_over(&self, echo: &LeaseAsk) -> bool {
        Self::counts_until(echo) <= self.now()
    }

    /// Takes its shape, the ledger's aside.
    pub(crate) fn project(&self, s: &mut Shape<'_>) {
        self.project_phase(s);
        s.instant("retry_at", self.retry_at);
        for at in &self.grants {
            s.instant("grants", *at);
        }
        s.put("extended", self.extended);
        s.put("fencing", (self.fencing, self.repeated, self.guard_present, self.freezing, self.leaving));
        // As with the ledger, no interval of a heartbeat ever ends.
        s.put("unattached", (self.unattached_since.is_some(), self.doubt_since.is_some()));
        // It stands once in a term: what it opened matters while nothing else is as high.
        let known = self.ledger.term_seen().max(self.ledger.released);
        s.put("opened", self.opened.filter(|t| *t > known));
        s.put("asked_in", self.asked_in);
        s.put("seen_writing", self.seen_writing);
        for (member, (log, _)) in &self.strangers {
            s.put("strangers", (member, log));
            s.maybe("strangers", self.owes_until(*member, *log));
        }
        s.put("asked_roster", &self.asked_roster);
        s.instant("fencing", self.fence_again_at);
        let pausing =
            self.pausing.as_ref().map(|p| (p.pause, &p.agreed, p.confirmed, p.confirmed_in, p.lost));
        s.put("pausing", pausing);
        s.maybe("pausing", self.pausing.as_ref().map(|p| p.ends_at));
        s.put("proposal", &self.proposal);
        s.put("following", self.following.map(|f| (f.term, f.under_way, f.refused)));
        s.maybe("following", self.following.map(|f| f.due_at));
        s.put("intent", (self.named, self.accepts_loss, self.accepts_unknown, self.preferred, self.withheld));
        s.put("tried", (self.yielded, self.patience));
        // A daemon that restarted waits for its guard for a while.
        let waits = self.ledger.tenure.is_some() && !self.guard_present;
        s.maybe("started_at", waits.then_some(self.ledger.started_at));
    }

    fn project_phase(&self, s: &mut Shape<'_>) {
        s.put("phase", std::mem::discriminant(&self.phase));
        let mut ends = None;
        match &self.phase {
            Phase::Idle => {}
            Phase::Asking { ends_at, answers, .. } => {
                ends = Some(*ends_at);
                for (member, (heard_at, t)) in answers {
                    s.put("testimony", (member, t.about, t.verdict, t.promise, t.able, t.term_seen));
                    s.put("testimony", (t.position, t.electable, t.priority, t.roster_number));
                    s.instant("testimony", *heard_at);
                }
            }
            Phase::Planned { at, above } => {
                ends = Some(*at);
                let known = self.ledger.term_seen().max(self.ledger.released);
                s.put("above", Some(*above).filter(|t| *t > known));
            }
            Phase::Freezing { term, ends_at, answers } => {
                ends = Some(*ends_at);
                s.put("phase_term", term);
                for (member, answer) in answers {
                    s.put("freeze_answers", *member);
                    if let FreezeAnswer::Frozen { position, electable, priority } = answer {
                        s.put("freeze_answers", (position, electable, priority));
                    }
                }
            }
            Phase::Standing { ask, kind, ends_at, granted, refused } => {
                ends = Some(*ends_at);
                s.put("phase_term", (request(ask), kind));
                s.instant("asked_at", Self::counts_until(ask));
                let votes: u128 = granted.iter().map(|m| 1 << m.0.min(127)).fold(0, |all, bit| all | bit);
                s.put("votes", votes);
                let refused = refused.iter().map(|(m, why)| (*m, Self::matters(why)));
                s.put("votes_refused", refused.collect::<Vec<(MemberId, Option<Refusal>)>>());
            }
            Phase::Promoting { term, kind, armed, ordered, ends_at } => {
                ends = Some(*ends_at);
                s.put("phase_term", (term, kind, armed, ordered));
            }
            Phase::CatchingUp { ends_at } => ends = Some(*ends_at),
        }
        s.maybe("phase_ends", ends);
    }

    /// Only one refusal is more than a refusal: it tells who is better placed.
    fn matters(why: &Refusal) -> Option<Refusal> {
        matches!(why, Refusal::PositionBehind { .. }).then_some(*why)
    }
}
