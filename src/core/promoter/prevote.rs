//! The pre-vote: asks everybody, reckons when enough promises will have run out, and ranks the
//! candidates (E1, E5). It opens no term.

use super::candidacy::precedes;
use super::{Phase, Promoter, decided};
use crate::core::{BootNanos, MemberId, Nanos, Plant, Term, kth_largest, planted};
use crate::events::{Decision, Event, NoElection, Placement, Refusal, Testimony, Unelectable, Verdict};
use std::cmp::Reverse;
use std::collections::BTreeMap;

impl Promoter {
    /// E1: with verdict down, ask everybody; the term is unchanged.
    pub(super) fn open(&self, out: &mut Vec<Event>) {
        if self.phase != Phase::Idle || self.now() < self.retry_at || !self.ledger.verdict.is_down() {
            return;
        }
        if self.ledger.tenure.is_some()
            || self.fencing
            || self.ledger.ability().is_err() && !self.asks_anyway()
        {
            return;
        }
        match self.ability_to_stand() {
            Ok(()) | Err(Unelectable::Manual) => {
                let number = self.number + 1;
                let about = self.ledger.announced_term();
                out.push(decided(Decision::TestimonyRequested { number, about }));
            }
            Err(why) if self.withheld != Some(why) => {
                let holders = self.ledger.holders_of_down();
                out.push(decided(Decision::CandidacyWithheld { why, holders, rank: 0 }));
            }
            Err(_) => {}
        }
    }

    /// L8: the release that was waited out is here, and the others have it too: asks again, at once.
    pub(super) fn plan_anew(&self, out: &mut Vec<Event>) {
        match &self.phase {
            Phase::Planned { at, .. } if self.now() < *at => {
                let about = self.ledger.announced_term();
                out.push(decided(Decision::TestimonyRequested { number: self.number + 1, about }));
            }
            Phase::Asking { .. } => self.plan_when_answered(out),
            _ => self.open(out),
        }
    }

    /// A silence after restart passes: the pre-vote tells who else is able meanwhile. A member that
    /// has no vote may still stand.
    pub(super) fn asks_anyway(&self) -> bool {
        matches!(self.ledger.ability(), Err(Refusal::SilentAfterRestart { .. } | Refusal::NoVoter))
    }

    /// E5, and the operator's word where he named this member (E10).
    pub(super) fn ability_to_stand(&self) -> Result<(), Unelectable> {
        match self.ledger.electable() {
            Err(Unelectable::Manual | Unelectable::PriorityZero | Unelectable::Lagging { .. })
                if self.named =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// S9: what may change while a candidacy is under way, and forbids to go on with it.
    pub(super) fn forbidden(&self) -> Option<Unelectable> {
        let l = &self.ledger;
        let unnamed = !self.named;
        let reasons = [
            (!l.registered(), Unelectable::NotRegistered),
            (unnamed && l.settings.priority == 0, Unelectable::PriorityZero),
            (l.paused.is_some() && !planted(Plant::VotesWhilePaused), Unelectable::Paused),
            (l.log_stalled, Unelectable::LogStalled),
            (l.quarantined, Unelectable::Quarantined),
            (unnamed && !l.settings.automatic, Unelectable::Manual),
        ];
        reasons.into_iter().find_map(|(holds, why)| holds.then_some(why))
    }

    pub(super) fn plan_when_answered(&self, out: &mut Vec<Event>) {
        let Phase::Asking { ends_at, answers, .. } = &self.phase else { return };
        let waits_for_any = self
            .settings()
            .others()
            .any(|m| self.ledger.peer(m).is_some_and(|p| p.connected) && !answers.contains_key(&m));
        if !waits_for_any || self.now() >= *ends_at {
            self.plan(answers, out);
        }
    }

    pub(super) fn plan(&self, answers: &BTreeMap<MemberId, (BootNanos, Testimony)>, out: &mut Vec<Event>) {
        let about = self.ledger.announced_term();
        let needed = self.ledger.quorum().needed();
        let needed_u8 = self.ledger.quorum().needed_u8();
        let mut holders = Vec::new();
        let mut seers = Vec::new();
        let mut silent = Vec::new();
        let mut unable = Vec::new();
        let mut free_from = Vec::new();
        for member in self.settings().ids().filter(|m| self.settings().votes(*m)) {
            match self.testimony_of(member, answers) {
                Some((t, verdict, free, ability))
                    if t == about && (verdict.is_down() || planted(Plant::VotesWhileSeeing)) =>
                {
                    holders.push(member);
                    match ability {
                        Ok(()) | Err(Refusal::SilentAfterRestart { .. }) => free_from.push(Reverse(free)),
                        Err(why) => unable.push((member, why)),
                    }
                }
                Some(_) => seers.push(member),
                None => silent.push(member),
            }
        }
        if holders.len() < needed {
            let why = NoElection::TooFewHoldItDown { holders, seers, silent, needed: needed_u8 };
            return self.abandon(None, why, out);
        }
        // The Q-th earliest instant at which a holder is free to vote: before it, a lease may stand.
        let Some(Reverse(free_at)) = kth_largest(free_from.iter().copied(), needed) else {
            return self.abandon(None, NoElection::TooFewCanVote { unable, needed: needed_u8 }, out);
        };
        let placements = self.placements(answers);
        let rank = self.rank(&placements);
        if let Err(why) = self.ability_to_stand() {
            out.push(decided(Decision::CandidacyWithheld { why, holders, rank }));
            return;
        }
        let delay = if self.preferred { 0 } else { u64::from(rank) * self.settings().rank_delay.0 };
        // Nobody stands without freezing itself, which its own promise forbids.
        let own_free = self.testimony_of(self.ledger.me(), answers).map_or(free_at, |(_, _, free, _)| free);
        let free_at = free_at.max(own_free);
        let at = free_at.max(self.now()).plus_nanos(delay);
        out.push(decided(Decision::ElectionPlanned { at, rank, holders, placements, free_at }));
    }

    /// What a voter testified: about which term, its verdict, when it will be free, its ability.
    pub(super) fn testimony_of(
        &self,
        member: MemberId,
        answers: &BTreeMap<MemberId, (BootNanos, Testimony)>,
    ) -> Option<(Term, Verdict, BootNanos, Result<(), Refusal>)> {
        let me = self.ledger.me();
        if member == me {
            let promised = self.ledger.standing_promise().filter(|p| p.holder != me).map(|p| p.until);
            let free = promised.unwrap_or_default().max(self.ledger.silent_until);
            return Some((self.ledger.announced_term(), self.ledger.verdict, free, self.ledger.ability()));
        }
        let (heard_at, t) = answers.get(&member)?;
        // A promise to a primary whose tenure is over falls as soon as its release gets there.
        let released = self.ledger.released >= self.ledger.announced_term();
        let over = |holder| holder == me || (released && Some(holder) == self.ledger.primary());
        let promised = t.promise.filter(|(holder, _)| !over(*holder)).map_or(Nanos(0), |(_, left)| left);
        let silence = match t.able {
            Err(Refusal::SilentAfterRestart { left }) => left,
            _ => Nanos(0),
        };
        // The other clock may run 2 % slower (PROTOCOL's failure model).
        let wait = promised.0.max(silence.0);
        Some((t.about, t.verdict, heard_at.plus_nanos(wait + wait / 50), t.able))
    }

    pub(super) fn placements(&self, answers: &BTreeMap<MemberId, (BootNanos, Testimony)>) -> Vec<Placement> {
        self.settings()
            .ids()
            .filter(|m| !self.settings().is_witness(*m))
            .filter_map(|member| {
                if member == self.ledger.me() {
                    let position = self.ledger.rough_position();
                    let priority = self.settings().priority;
                    return Some(Placement {
                        member,
                        position,
                        priority,
                        electable: self.ability_to_stand(),
                    });
                }
                let (_, t) = answers.get(&member)?;
                Some(Placement { member, position: t.position, priority: t.priority, electable: t.electable })
            })
            .collect()
    }

    /// E5: lineage and position, then priority, then name; only those that can be promoted count.
    pub(super) fn rank(&self, placements: &[Placement]) -> u8 {
        let me = self.ledger.me();
        let Some(own) = placements.iter().find(|p| p.member == me) else { return 0 };
        let ahead = placements
            .iter()
            .filter(|p| p.member != me && p.electable.is_ok())
            .filter(|p| precedes(p.member, p.position, p.priority, me, own.position, own.priority))
            .count();
        u8::try_from(ahead).unwrap_or(u8::MAX)
    }
}
