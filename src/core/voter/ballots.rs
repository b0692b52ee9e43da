//! Ballots: what a request for a vote comes to (E6, E7, E9, E10). It changes nothing of the voter.

use super::{CastOn, Voter};
use crate::core::{Freeze, Lsn, MemberId, Plant, planted};
use crate::events::{
    CandidacyKind, Decision, Event, FreezeOutcome, Lineage, Position, Refusal, Unelectable, Verdict, VoteAsk,
};

/// What a vote request comes to.
enum Ballot {
    Grant {
        own: Option<Position>,
        loss_bytes: u64,
    },
    Refuse(Refusal),
    /// Freeze first (E2); the vote follows when it is observed.
    Freeze,
    /// The freeze is under way.
    Wait,
}

impl Voter {
    pub(super) fn vote(&self, from: MemberId, ask: &VoteAsk, out: &mut Vec<Event>) {
        match self.ballot(from, ask) {
            Ballot::Grant { own, loss_bytes } => out.push(Event::Decided(Decision::VoteGranted {
                candidate: from,
                ask: Box::new(ask.ask),
                position: ask.position,
                own,
                verdict: self.ledger.verdict,
                loss_bytes,
                until: self.promised_until(from, &ask.ask),
            })),
            Ballot::Refuse(why) => {
                let ask = Box::new(ask.ask);
                out.push(Event::Decided(Decision::VoteRefused { candidate: from, ask, why }));
            }
            Ballot::Freeze => out.push(Event::Decided(Decision::FreezePromised {
                term: ask.ask.term,
                candidate: from,
                nonce: ask.ask.process.nonce,
            })),
            Ballot::Wait => {}
        }
    }

    /// E6.
    fn ballot(&self, from: MemberId, ask: &VoteAsk) -> Ballot {
        let l = &self.ledger;
        if l.voted.is_some_and(|v| v.candidate == from && v.ask == ask.ask) {
            return self.ballot_again(from, ask);
        }
        let adoption = ask.kind == CandidacyKind::FirstAdoption || ask.kind.is_by_name();
        let untouched = l.nobody_remembers().is_ok();
        if adoption && l.before_rosters() && !untouched {
            return Ballot::Refuse(Refusal::NotRegistered);
        }
        // An adoption brings the roster along.
        let brings_roster = adoption && ask.roster.is_some() && untouched;
        if !brings_roster && !l.peer_registered(from, &ask.ask.process) {
            return Ballot::Refuse(Refusal::NotRegistered);
        }
        if l.system_id().is_some_and(|id| id != ask.system_id) {
            return Ballot::Refuse(Refusal::OtherSystem);
        }
        let waived = |why: &Refusal| match why {
            Refusal::NotRegistered => brings_roster,
            Refusal::Paused => self.ends_pause(from, ask.kind),
            _ => false,
        };
        if let Some(why) = self.refuses_term(from, ask.ask.term, ask.ask.roster_number, waived) {
            return Ballot::Refuse(why);
        }
        match ask.kind {
            CandidacyKind::FirstAdoption if l.history.is_empty() => {
                Ballot::Grant { own: None, loss_bytes: 0 }
            }
            CandidacyKind::FirstAdoption => Ballot::Refuse(Refusal::HistoryExists),
            CandidacyKind::OperatorAdoption | CandidacyKind::OperatorVouched => {
                self.ballot_for_named(from, ask)
            }
            CandidacyKind::Incumbent => self.ballot_for_incumbent(from, ask),
            CandidacyKind::Failover => self.ballot_for_failover(ask),
        }
    }

    /// M3: the operator's word ends a pause whose primary can't end it, if he vouches that nothing is left of that one.
    /// Before revision 3 it did so alone. So does the paused primary itself, which is back and stands above what was
    /// opened meanwhile (E9): it is whom the pause protects.
    fn ends_pause(&self, candidate: MemberId, kind: CandidacyKind) -> bool {
        let alone = self.ledger.revision < 3 || planted(Plant::NamedWhilePaused);
        let itself = self.ledger.revision >= 4
            && kind == CandidacyKind::Incumbent
            && self.ledger.paused.is_some_and(|p| p.primary == candidate);
        kind == CandidacyKind::OperatorVouched || alone && kind.is_by_name() || itself
    }

    /// The reply was lost: the same vote again, with the loss that it recorded (E7), unless the promise went to a later holder since, or ended with
    /// its candidacy or tenure (L8), or this member binds itself to nobody by now.
    fn ballot_again(&self, from: MemberId, ask: &VoteAsk) -> Ballot {
        let l = &self.ledger;
        let stops = |why: &Refusal| match why {
            Refusal::LogStalled | Refusal::Quarantined => true,
            Refusal::Paused => !self.ends_pause(from, ask.kind),
            _ => false,
        };
        if let Err(why) = l.ability_but(|why| !stops(why)) {
            return Ballot::Refuse(why);
        }
        if l.promise.is_some_and(|p| p.holder == from && p.term == ask.ask.term)
            || planted(Plant::RepeatedVoteTakesPromise)
        {
            let told_again = l.revision >= 4 && !planted(Plant::RepeatedVoteForgetsLoss);
            return match self.cast_on.filter(|_| told_again) {
                Some(CastOn { own, loss_bytes }) => Ballot::Grant { own, loss_bytes },
                None => Ballot::Grant { own: l.frozen_position(ask.ask.term), loss_bytes: 0 },
            };
        }
        Ballot::Refuse(Refusal::VotedInTerm { term: ask.ask.term, candidate: from })
    }

    /// E10: the operator's word replaces the comparison of positions, not the veto of who sees.
    fn ballot_for_named(&self, from: MemberId, ask: &VoteAsk) -> Ballot {
        let l = &self.ledger;
        let other = l.primary().is_some_and(|p| p != from);
        if other && !l.verdict.is_down() {
            return Ballot::Refuse(Refusal::SeesPrimary(l.verdict));
        }
        if let Err(why) = l.no_unled_writer_but(from) {
            return Ballot::Refuse(why);
        }
        let loss_bytes = match (l.rough_position(), ask.position) {
            (Some(own), Some(candidate)) => own.lsn.bytes_since(candidate.lsn),
            _ => 0,
        };
        Ballot::Grant { own: l.rough_position(), loss_bytes }
    }

    /// E9: for the holder of the promise, "verdict down" and "frozen" are waived.
    fn ballot_for_incumbent(&self, from: MemberId, ask: &VoteAsk) -> Ballot {
        let l = &self.ledger;
        let holder = l.promise.is_some_and(|p| p.holder == from) || from == l.me();
        if l.primary() != Some(from) || !(holder || l.verdict == Verdict::Reachable) {
            return Ballot::Refuse(Refusal::SeesPrimary(l.verdict));
        }
        match self.newest_lineage() {
            Some(known) if ask.position.is_none_or(|p| p.lineage < known) => {
                Ballot::Refuse(Refusal::LineageOlder { known })
            }
            _ => Ballot::Grant { own: l.rough_position(), loss_bytes: 0 },
        }
    }

    fn ballot_for_failover(&self, ask: &VoteAsk) -> Ballot {
        let l = &self.ledger;
        if !l.verdict.is_down() && !planted(Plant::VotesWhileSeeing) {
            return Ballot::Refuse(Refusal::SeesPrimary(l.verdict));
        }
        let Some(position) = ask.position else { return Ballot::Refuse(Refusal::Unsettled) };
        if let Some(known) = self.newest_lineage().filter(|known| position.lineage < *known)
            && !planted(Plant::TimelineIgnored)
        {
            return Ballot::Refuse(Refusal::LineageOlder { known });
        }
        if planted(Plant::FreezeLeftOut) {
            return self.compare(position, ask.accepts_loss, l.rough_position());
        }
        if !l.settings.has_postgres() {
            return Ballot::Grant { own: None, loss_bytes: 0 };
        }
        match l.freeze.as_ref().filter(|f| f.term == ask.ask.term) {
            None => Ballot::Freeze,
            // This process did not order it since the daemon was restarted, or since it began to stream what
            // it lacks (E7): that ends with the next freeze.
            Some(f) if f.outcome.is_none() && !self.freezing => Ballot::Freeze,
            Some(f) => match &f.outcome {
                None | Some(FreezeOutcome::NotObserved { .. }) if planted(Plant::FreezeNotObserved) => {
                    self.compare(position, ask.accepts_loss, l.rough_position())
                }
                None => Ballot::Wait,
                // E7: nobody can stream from what does not run, and it may not come back.
                Some(FreezeOutcome::NothingRuns) => {
                    let had = l.last_position().filter(|own| *own > position);
                    let loss_bytes = had.map_or(0, |own| own.lsn.bytes_since(position.lsn));
                    Ballot::Grant { own: None, loss_bytes }
                }
                Some(FreezeOutcome::NotObserved { .. }) => Ballot::Refuse(Refusal::FreezeNotObserved),
                Some(
                    FreezeOutcome::Frozen { lsn, settled, system_id }
                    | FreezeOutcome::FrozenOn { lsn, settled, system_id, .. }
                    | FreezeOutcome::FrozenAt { lsn, settled, system_id, .. },
                ) => {
                    let foreign = l.system_id().is_some_and(|id| id != *system_id);
                    match *lsn {
                        _ if !settled => Ballot::Refuse(Refusal::Unsettled),
                        // A foreign PostgreSQL holds nothing of this cluster.
                        _ if foreign => Ballot::Grant { own: None, loss_bytes: 0 },
                        None => Ballot::Refuse(Refusal::Unsettled),
                        // E3: its data is off the announced history; nobody may stream it, so it counts for
                        // nothing.
                        Some(_) if l.diverged() => Ballot::Grant { own: None, loss_bytes: 0 },
                        Some(lsn) => match l.frozen_position(ask.ask.term) {
                            Some(own) => self.compare(position, ask.accepts_loss, Some(own)),
                            None => self.compare_bytes(position, ask.accepts_loss, lsn, f),
                        },
                    }
                }
            },
        }
    }

    /// E6, E7: the candidate's position is at least this member's own.
    fn compare(&self, candidate: Position, accepts_loss: bool, own: Option<Position>) -> Ballot {
        let better = |own: &Position| match planted(Plant::TimelineIgnored) {
            true => own.lsn > candidate.lsn,
            false => *own > candidate,
        };
        let Some(own_position) = own.filter(|p| better(p) && !planted(Plant::PositionNotCompared)) else {
            return Ballot::Grant { own, loss_bytes: 0 };
        };
        let electable = self.ledger.electable();
        let for_good = matches!(
            electable,
            Err(Unelectable::PriorityZero
                | Unelectable::Manual
                | Unelectable::PromotionFailed
                | Unelectable::Diverged)
        );
        if accepts_loss && for_good {
            return Ballot::Grant { own, loss_bytes: own_position.lsn.bytes_since(candidate.lsn) };
        }
        Ballot::Refuse(Refusal::PositionBehind { own: own_position, electable: electable.is_ok() })
    }

    /// Without a known line of history the bytes alone are compared: never nothing. But they are of no line that
    /// the candidate could stream (E3), so nobody could be elected for ever while this vote is needed: a candidate that
    /// heard of them once accepts their loss (E7). On an older timeline number they are not on the candidate's line, which
    /// is the newest that is known here, and count for nothing.
    fn compare_bytes(&self, candidate: Position, accepts_loss: bool, lsn: Lsn, freeze: &Freeze) -> Ballot {
        let own = Position { lineage: Lineage::UNKNOWN, lsn };
        let ahead = lsn > candidate.lsn && !planted(Plant::PositionNotCompared);
        let knows_the_way_out = self.ledger.revision >= 4;
        let timeline = freeze.outcome.as_ref().and_then(FreezeOutcome::frozen).and_then(|f| f.timeline);
        if knows_the_way_out && timeline.is_some_and(|t| t < candidate.lineage.timeline) {
            return Ballot::Grant { own: None, loss_bytes: 0 };
        }
        if ahead && !(accepts_loss && knows_the_way_out) {
            return Ballot::Refuse(Refusal::PositionBehind { own, electable: false });
        }
        Ballot::Grant { own: Some(own), loss_bytes: lsn.bytes_since(candidate.lsn) }
    }

    fn newest_lineage(&self) -> Option<Lineage> {
        self.ledger
            .announced()
            .map(|a| a.lineage)
            .max(self.ledger.lineage.filter(|_| !self.ledger.diverged()))
    }
}
