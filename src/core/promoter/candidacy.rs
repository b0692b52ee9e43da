//! A candidacy, once everybody is asked to freeze: compare, ask for votes, win, lose, give up (E2, E5, E6,
//! E7). It never promotes.

use super::{FreezeAnswer, Phase, Promoter, YIELDS_MAX, decided, is_frozen};
use crate::core::{MemberId, Plant, Term, planted};
use crate::events::{
    CandidacyKind, Decision, Event, LeaseAsk, NoElection, Position, Refusal, Roster, Unelectable, VoteAsk,
};
use std::cmp::Reverse;
use std::collections::BTreeMap;

impl Promoter {
    /// Once the own position is frozen and the others' are known, or waited for long enough: yield to
    /// the better placed, or ask for votes.
    pub(super) fn ask_for_votes(&self, out: &mut Vec<Event>) {
        let Phase::Freezing { term, ends_at, answers } = &self.phase else { return };
        if let Some(FreezeAnswer::Refused(why)) = answers.get(&self.ledger.me()) {
            return self.abandon_refused(*term, *why, out);
        }
        if self.abandon_if_forbidden(out) {
            return;
        }
        // Its vote was cast on where it stands: it must not get further, nor compete with whom it voted for.
        if let Some(v) = self.vote_for_another(*term) {
            let why = Refusal::VotedInTerm { term: v.ask.term, candidate: v.candidate };
            return self.abandon_refused(*term, why, out);
        }
        let over = self.now() >= *ends_at;
        let outcome =
            self.ledger.freeze.as_ref().filter(|f| f.term == *term).and_then(|f| f.outcome.as_ref());
        let Some(own) = outcome.filter(|o| is_frozen(o)).and_then(|_| self.ledger.frozen_position(*term))
        else {
            if over || outcome.is_some() {
                self.abandon(Some(*term), NoElection::NotFrozen, out);
            }
            return;
        };
        let waits = self.settings().others().any(|m| {
            !self.settings().is_witness(m)
                && self.ledger.peer(m).is_some_and(|p| p.connected)
                && !answers.contains_key(&m)
        });
        if waits && !over {
            return;
        }
        if let Some((to, position, electable)) = self.better(own, answers) {
            if electable && self.gives_way(to, Some(own), position) {
                return out.push(decided(Decision::CandidacyYielded { term: *term, to, position }));
            }
            if !self.accepts_loss && position.lineage == own.lineage && position.lsn > own.lsn {
                let until = position.lsn;
                return out.push(decided(Decision::CatchUpOrdered { term: *term, from: to, until }));
            }
        }
        self.request_votes(*term, CandidacyKind::Failover, Some(own), None, out);
    }

    /// E5: whether it gives way to a better placed member that says that it can be promoted. Not for ever: that one may be
    /// heard by too few. But no WAL is given up by standing beside it: it has no more, or what it has more can be streamed
    /// from it first (E7).
    fn gives_way(&self, to: MemberId, own: Option<Position>, theirs: Position) -> bool {
        let in_vain = self.ledger.revision >= 4
            && self.yielded.is_some_and(|(member, times)| member == to && times >= YIELDS_MAX);
        let gives_up_nothing =
            |own: Position| theirs.lineage == own.lineage && (theirs.lsn <= own.lsn || !self.accepts_loss);
        !(in_vain && own.is_some_and(gives_up_nothing))
    }

    /// The best frozen member that precedes this one, if any; those that can be promoted first.
    fn better(
        &self,
        own: Position,
        answers: &BTreeMap<MemberId, FreezeAnswer>,
    ) -> Option<(MemberId, Position, bool)> {
        let me = self.ledger.me();
        let priority = self.settings().priority;
        let mut best: Option<(MemberId, Position, u32, bool)> = None;
        for (member, answer) in answers {
            let FreezeAnswer::Frozen { position: Some(position), electable, priority: theirs } = answer
            else {
                continue;
            };
            let can = electable.is_ok();
            // One that can't be promoted matters only for the WAL it has.
            // The operator's word does not outweigh a newer line of history: nobody would vote for the older one, and
            // whoever freezes for it in vain does not stand meanwhile.
            let insists = self.named && position.lineage == own.lineage;
            let ahead = if can {
                precedes(*member, Some(*position), *theirs, me, Some(own), priority) && !insists
            } else {
                *position > own
            };
            let beats = best.is_none_or(|(m, p, pr, c)| {
                (can && !c) || (can == c && precedes(*member, Some(*position), *theirs, m, Some(p), pr))
            });
            if ahead && beats {
                best = Some((*member, *position, *theirs, can));
            }
        }
        best.map(|(m, p, _, c)| (m, p, c))
    }

    pub(super) fn request_votes(
        &self,
        term: Term,
        kind: CandidacyKind,
        position: Option<Position>,
        roster: Option<Roster>,
        out: &mut Vec<Event>,
    ) {
        let Some(system_id) = self.ledger.answer().map(|a| a.system_id) else {
            return self.abandon(Some(term), NoElection::NotElectable(Unelectable::PostgresDown), out);
        };
        let ask = VoteAsk {
            kind,
            ask: self.ask(term),
            position,
            system_id,
            roster,
            accepts_loss: self.accepts_loss || self.accepts_unknown,
        };
        out.push(decided(Decision::VoteRequested(Box::new(ask))));
    }

    pub(super) fn win(&self, out: &mut Vec<Event>) {
        let Phase::Standing { ask, kind, granted, ends_at, .. } = &self.phase else { return };
        // A vote that comes late may meet one that its voter forgot (M1).
        if self.fencing || self.now() >= *ends_at {
            return;
        }
        // L6: the guard that a win arms was told, or is about to be told, to stand down.
        if self.leaving || self.pausing.is_some() {
            return;
        }
        let voters: Vec<MemberId> = granted.iter().copied().filter(|m| self.settings().votes(*m)).collect();
        if voters.len() < self.ledger.quorum().needed() {
            return;
        }
        if self.abandon_if_forbidden(out) {
            return;
        }
        let until = self.granted_until().unwrap_or_else(|| Self::counts_until(ask));
        let loss_bytes_max = match kind {
            CandidacyKind::Failover => self.ledger.behind_bytes(),
            _ => None,
        };
        out.push(decided(Decision::ElectionWon {
            term: ask.term,
            voters,
            until,
            kind: *kind,
            loss_bytes_max,
        }));
    }

    pub(super) fn lose(&self, out: &mut Vec<Event>) {
        let Phase::Standing { ask, refused, kind, granted, .. } = &self.phase else { return };
        let behind = refused.iter().find_map(|(m, why)| match why {
            Refusal::PositionBehind { own, electable } => Some((*m, *own, *electable)),
            _ => None,
        });
        if let (Some((to, position, electable)), CandidacyKind::Failover) = (behind, kind) {
            if electable && self.gives_way(to, self.ledger.frozen_position(ask.term), position) {
                return out.push(decided(Decision::CandidacyYielded { term: ask.term, to, position }));
            }
            // As in `ask_for_votes`: where it stands is what its vote for another was cast on.
            let stays = self.accepts_loss || self.vote_for_another(ask.term).is_some();
            if !stays && self.ledger.lineage == Some(position.lineage) {
                let until = position.lsn;
                return out.push(decided(Decision::CatchUpOrdered { term: ask.term, from: to, until }));
            }
        }
        let against = refused.keys().filter(|m| self.settings().votes(**m)).count();
        if self.ledger.quorum().voters - against < self.ledger.quorum().needed() {
            self.give_up(ask, granted, refused, out);
        }
    }

    fn give_up(
        &self,
        ask: &LeaseAsk,
        granted: &[MemberId],
        refused: &BTreeMap<MemberId, Refusal>,
        out: &mut Vec<Event>,
    ) {
        let why = NoElection::TooFewVotes {
            granted: granted.to_vec(),
            refused: refused.iter().map(|(m, why)| (*m, *why)).collect(),
            needed: self.ledger.quorum().needed_u8(),
        };
        self.abandon(Some(ask.term), why, out);
    }

    pub(super) fn end_candidacy(&self, out: &mut Vec<Event>) {
        if let Phase::Standing { ask, granted, refused, ends_at, .. } = &self.phase
            && (self.now() >= *ends_at || planted(Plant::DeadlineActsEarly))
        {
            self.give_up(ask, granted, refused, out);
        }
    }
}

/// E5: whether one member comes before another: position, then priority, then name. Members are
/// numbered in the order of their names.
pub(super) fn precedes(
    one: MemberId,
    one_position: Option<Position>,
    one_priority: u32,
    other: MemberId,
    other_position: Option<Position>,
    other_priority: u32,
) -> bool {
    if planted(Plant::TimelineIgnored) {
        let (one_lsn, other_lsn) = (one_position.map(|p| p.lsn), other_position.map(|p| p.lsn));
        return (one_lsn, one_priority, Reverse(one)) > (other_lsn, other_priority, Reverse(other));
    }
    (one_position, one_priority, Reverse(one)) > (other_position, other_priority, Reverse(other))
}
