//! From a won election to the announcement (E8), and candidates that are primaries already (E9, E10).

use super::{Phase, Promoter, decided};
use crate::core::{Plant, Term, Timeline, planted};
use crate::events::{
    Announcement, CandidacyKind, Decision, Event, FenceReason, Lineage, PromotionOutcome, Refusal, Roster,
};

impl Promoter {
    pub(super) fn ask_as_primary(&self, term: Term, kind: CandidacyKind, out: &mut Vec<Event>) {
        let position = self.ledger.rough_position();
        let adoption = kind == CandidacyKind::FirstAdoption || kind.is_by_name();
        let roster = (adoption && self.ledger.roster.number == 0).then(|| self.first_roster());
        self.request_votes(term, kind, position, roster, out);
    }

    /// M1: the incarnations that all members told.
    pub(super) fn first_roster(&self) -> Roster {
        let incarnations = self
            .settings()
            .ids()
            .map(|m| {
                if m == self.ledger.me() {
                    Some(self.ledger.process.incarnation)
                } else {
                    self.ledger.heartbeat(m).map(|h| h.incarnation)
                }
            })
            .collect();
        Roster { number: 1, incarnations, vote_floor: vec![Term(0); self.settings().members.len()] }
    }

    /// E10: all registered members answer, none has a history, and exactly one PostgreSQL is not in
    /// recovery: the one beside this daemon.
    pub(super) fn adopt_first(&self, out: &mut Vec<Event>) {
        let l = &self.ledger;
        if self.phase != Phase::Idle
            || self.now() < self.retry_at
            || !l.history.is_empty()
            || !l.is_writable()
        {
            return;
        }
        if l.roster.number > 0 || l.log_stalled || l.forgetful {
            return;
        }
        let all_agree = self.settings().others().all(|m| {
            l.heartbeat(m).is_some_and(|h| {
                let standby = h.postgres.is_some_and(|p| p.in_recovery == Some(true));
                h.announced.is_none()
                    && h.roster_number == 0
                    && h.able.is_ok() | !self.settings().votes(m)
                    && (self.settings().is_witness(m) || standby)
            })
        });
        if all_agree {
            // Term 1, unless a first attempt was lost on the way.
            self.open_candidacy(self.next_term(), CandidacyKind::FirstAdoption, out);
        }
    }

    /// Why the operator's word is not taken, if it is not.
    ///
    /// M3: a paused primary need not fence, and with its daemon away nobody tells what is left of it: a backend
    /// outlives its postmaster. The word ends a pause only if he vouches for that, too. E10: where nobody was ever
    /// announced, no lease bounds a PostgreSQL that accepts writes; and a member that is not heard may remember who was.
    pub(super) fn naming_forbidden(&self, vouched: bool) -> Option<Refusal> {
        let l = &self.ledger;
        if l.revision < 3 {
            return None;
        }
        if !vouched && l.paused.is_some() && !planted(Plant::NamedWhilePaused) {
            return Some(Refusal::Paused);
        }
        if let Err(why) = l.no_unled_writer_but(l.me()) {
            return Some(why);
        }
        (l.revision >= 4 && l.before_rosters()).then(|| l.nobody_remembers().err()).flatten()
    }

    /// E10: the operator named this member.
    pub(super) fn adopt_by_name(&self, kind: CandidacyKind, out: &mut Vec<Event>) {
        if let Some(why) = self.naming_forbidden(kind == CandidacyKind::OperatorVouched) {
            return out.push(decided(Decision::AdoptionRefused { why }));
        }
        if self.phase != Phase::Idle || self.ledger.tenure.is_some() || self.fencing {
            return;
        }
        // Where nobody can be elected by the rules, for instance because the only member with the newest line
        // of history is lost, the operator's word decides: who sees the primary and who promised it still refuses.
        let l = &self.ledger;
        if l.answer().is_some() && (l.is_writable() || l.announced().is_none() || l.verdict.is_down()) {
            self.open_candidacy(self.next_term(), kind, out);
        } else {
            self.open(out);
        }
    }

    /// E9: a lease holder that learns of a higher voted term stands above it, keeping its lease.
    pub(super) fn stand_above(&self, out: &mut Vec<Event>) {
        let l = &self.ledger;
        let Some(tenure) = l.tenure.filter(|t| *t == l.announced_term()) else { return };
        let heard = l.term_heard();
        // M3: its own pause, which a quorum agreed to, protects it as a lease does. Back within it, it may get none: who
        // voted above it refuses.
        let paused = l.revision >= 4 && l.pause_protects() && !self.leaving;
        if self.phase != Phase::Idle || self.now() < self.retry_at || heard <= tenure {
            return;
        }
        if !l.lease_stands() && !paused {
            return;
        }
        if planted(Plant::NoIncumbent) {
            return;
        }
        // A primary without a vote needs those of the others only.
        let able = l.ability_but(|why| *why == Refusal::NoVoter || paused && *why == Refusal::Paused).is_ok();
        if !l.is_writable() || !able || l.verdict.is_down() {
            return;
        }
        let term = Term(heard.max(self.opened.unwrap_or_default()).0.saturating_add(1));
        self.open_candidacy(term, CandidacyKind::Incumbent, out);
    }

    pub(super) fn answer_win(&self, term: Term, kind: CandidacyKind, out: &mut Vec<Event>) {
        if (kind == CandidacyKind::FirstAdoption || kind.is_by_name()) && self.ledger.roster.number == 0 {
            let roster = self.asked_roster.as_deref().cloned().unwrap_or_else(|| self.first_roster());
            out.push(decided(Decision::RosterCommitted(roster)));
        }
        if !self.ledger.leases() {
            self.act_on_win(term, out);
        }
    }

    /// Only with planted bugs: what a process before this one had begun goes on (E6, E11).
    pub(super) fn go_on_as_before(&self, out: &mut Vec<Event>) {
        match &self.phase {
            Phase::Standing { ask, kind, .. }
                if planted(Plant::CandidacyOutlivesProcess)
                    && ask.process != self.ledger.process
                    && self.ledger.answer().is_some() =>
            {
                self.request_votes(ask.term, *kind, self.ledger.rough_position(), None, out);
            }
            Phase::Promoting { term, ordered: false, .. } if planted(Plant::PromotesFromLog) => {
                match self.ledger.answer() {
                    Some(_) => self.act_on_win(*term, out),
                    None => out.push(decided(Decision::PromotionOrdered { term: *term })),
                }
            }
            _ => {}
        }
    }

    pub(super) fn go_on_promoting(&self, out: &mut Vec<Event>) {
        let Phase::Promoting { term, armed, ordered, .. } = &self.phase else { return };
        let fresh = self.granted_until().is_some_and(|t| t > self.now());
        if *armed && !*ordered && fresh && self.ledger.lease_stands() && !self.fencing {
            self.act_on_win(*term, out);
        }
    }

    /// A running primary announces itself; anybody else is promoted first.
    pub(super) fn act_on_win(&self, term: Term, out: &mut Vec<Event>) {
        let Some(answer) = self.ledger.answer() else {
            // E11: a process that was just started has not looked yet, and what it finds may be a running primary,
            // whose former fork an order to promote would tell anew.
            if self.ledger.revision < 4 {
                self.order_promotion(term, out);
            }
            return;
        };
        if answer.in_recovery || self.ledger.promotion_ordered == Some(term) {
            return self.order_promotion(term, out);
        }
        let Some(timeline) = answer.timeline else { return };
        let lineage = match self.ledger.announced().filter(|a| a.primary == self.ledger.me()) {
            Some(a) if a.lineage.timeline == timeline => a.lineage,
            _ => Lineage { opened: term, timeline },
        };
        out.push(decided(Decision::PrimaryAnnounced(Announcement {
            term,
            primary: self.ledger.me(),
            lineage,
            forked: None,
            system_id: answer.system_id,
        })));
    }

    /// The order may be carried out late: a daemon that was stopped finds PostgreSQL fenced meanwhile and started
    /// anew, as a standby that no lease of this term covers. So it names the postmaster that is meant.
    fn order_promotion(&self, term: Term, out: &mut Vec<Event>) {
        let postmaster_started = self.ledger.local.last_started;
        out.push(decided(match self.ledger.revision {
            0..=3 => Decision::PromotionOrdered { term },
            _ => Decision::PromotionOrderedOf { term, postmaster_started },
        }));
    }

    pub(super) fn announce(&self, term: Term, outcome: &PromotionOutcome, out: &mut Vec<Event>) {
        let PromotionOutcome::Promoted { timeline, switched_at, system_id } = outcome else { return };
        if self.ledger.tenure != Some(term) || self.fencing || !self.ledger.lease_stands() {
            return;
        }
        let me = self.ledger.me();
        let own = |line: &Lineage| self.ledger.history.iter().any(|a| a.lineage == *line && a.primary == me);
        let (lineage, forked) = match self.ledger.lineage.filter(|l| l.timeline == *timeline && own(l)) {
            // A primary before this order, too: no fork was made. By the number alone another's line is not meant (E3).
            Some(same) if self.ledger.revision >= 4 => (same, None),
            _ => {
                let parent = self.parent_line(term).unwrap_or_else(|| self.unknown_parent(term, *timeline));
                (Lineage { opened: term, timeline: *timeline }, Some((parent, *switched_at)))
            }
        };
        out.push(decided(Decision::PrimaryAnnounced(Announcement {
            term,
            primary: self.ledger.me(),
            lineage,
            forked,
            system_id: *system_id,
        })));
    }

    /// The line that was promoted. Before revision 4 the one that its frozen position told was not confirmed.
    fn parent_line(&self, term: Term) -> Option<Lineage> {
        let frozen = self.ledger.frozen_position(term).filter(|_| self.ledger.revision >= 3);
        frozen.map(|p| p.lineage).or(self.ledger.lineage)
    }

    /// E3: promoted by name where its line was not known, it forked off all the same: who is on the same timeline
    /// number already did not get it from here. Only the first primary's parent was opened in term 0.
    fn unknown_parent(&self, term: Term, made: Timeline) -> Lineage {
        let before = self.ledger.answer().and_then(|a| a.timeline).filter(|t| *t < made);
        let opened = if self.ledger.history.is_empty() { Term(0) } else { term };
        Lineage { opened, timeline: before.unwrap_or(Timeline(made.0.saturating_sub(1))) }
    }

    /// A winner that can't be guarded must not promote: the term ends here.
    pub(super) fn guard_refused(&self, term: Term, out: &mut Vec<Event>) {
        // A running primary asks the guard again with the next renewal; its old deadline stands meanwhile.
        if let Phase::Promoting { term: t, ordered: false, .. } = &self.phase
            && *t == term
            && !self.ledger.is_writable()
        {
            self.release_or_fence(term, FenceReason::NoLease, out);
        }
    }
}
