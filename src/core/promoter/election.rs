//! Standing for election: what moves it on, when it is opened, and what ends it (E1, E2, E5 to E10).

use super::{Phase, Promoter, decided, guard_said};
use crate::core::{BootNanos, Plant, Term, Vote, planted};
use crate::events::{
    CandidacyKind, Deadline, Decision, Event, GuardReport, Message, NoElection, Observation, OperatorRequest,
    Refusal, Verdict,
};

impl Promoter {
    pub(super) fn decide_election(&self, observation: &Observation, out: &mut Vec<Event>) {
        if let Some(GuardReport::Armed { .. }) = guard_said(observation) {
            self.go_on_promoting(out);
        }
        match observation {
            Observation::HeartbeatDue { .. } => {
                self.go_on_as_before(out);
                self.adopt_first(out);
                self.open(out);
                self.stand_above(out);
            }
            Observation::DeadlinePassed(Deadline::ElectionDue) => self.open(out),
            Observation::DeadlinePassed(Deadline::TestimonyEnds) => self.plan_when_answered(out),
            Observation::DeadlinePassed(Deadline::StandDue) => self.stand(out),
            Observation::DeadlinePassed(Deadline::FreezeEnds) => self.ask_for_votes(out),
            Observation::DeadlinePassed(Deadline::CandidacyEnds) => self.end_candidacy(out),
            Observation::FreezeCompleted { .. } => self.ask_for_votes(out),
            Observation::CatchUpCompleted { .. } => self.open(out),
            Observation::ProbeCompleted { target, .. }
                if *target == self.ledger.me() && self.ledger.revision >= 4 =>
            {
                self.go_on_promoting(out);
            }
            Observation::PromotionCompleted { term, outcome, .. } => self.announce(*term, outcome, out),
            Observation::GuardReported(GuardReport::Refused { term }) => self.guard_refused(*term, out),
            Observation::OperatorRequested(OperatorRequest::Adopt { member })
                if *member == self.ledger.me() =>
            {
                self.adopt_by_name(CandidacyKind::OperatorAdoption, out);
            }
            Observation::OperatorRequested(OperatorRequest::AdoptVouched { member })
                if *member == self.ledger.me() =>
            {
                self.adopt_by_name(CandidacyKind::OperatorVouched, out);
            }
            Observation::SettingsChanged { .. } => {
                self.abandon_if_forbidden(out);
            }
            Observation::PeerDisconnected { .. } => {
                self.plan_when_answered(out);
                self.ask_for_votes(out);
            }
            Observation::MessageReceived { message, .. } => match message {
                Message::Testified(_) => self.plan_when_answered(out),
                Message::FreezeReported { .. } | Message::FreezeRefused { .. } => self.ask_for_votes(out),
                Message::VoteGranted(_) => self.win(out),
                Message::VoteRefused(..) => self.lose(out),
                Message::CandidacyYielded { .. } | Message::ConfirmedDown { .. } => self.open(out),
                Message::LeaseReleased { .. } | Message::CandidacyEnded { .. } => self.plan_anew(out),
                Message::AdoptionRequested => self.adopt_by_name(CandidacyKind::OperatorAdoption, out),
                Message::AdoptionVouched => self.adopt_by_name(CandidacyKind::OperatorVouched, out),
                _ => {}
            },
            _ => {}
        }
    }

    pub(super) fn answer_election(&self, decision: &Decision, out: &mut Vec<Event>) {
        let me = self.ledger.me();
        match decision {
            Decision::VerdictChanged { to, .. } if to.is_down() => self.open(out),
            Decision::VerdictChanged { to, .. } => self.abandon_if_back(*to, out),
            Decision::CandidacyOpened { term, kind, .. } if *kind != CandidacyKind::Failover => {
                self.ask_as_primary(*term, *kind, out);
            }
            Decision::FreezeRefused { to, .. } if *to == me => self.ask_for_votes(out),
            Decision::FreezePromised { candidate, .. } if *candidate != me => self.close_superseded(out),
            Decision::ElectionAbandoned { term: Some(term), .. }
            | Decision::CandidacyYielded { term, .. }
            | Decision::CatchUpOrdered { term, .. } => self.close_candidacy(*term, out),
            Decision::AnnouncementAdopted(_) | Decision::LeaseReleased { .. } => self.close_superseded(out),
            Decision::VoteGranted { candidate, .. } if *candidate == me => self.win(out),
            Decision::VoteRefused { candidate, .. } if *candidate == me => self.lose(out),
            Decision::ElectionWon { term, kind, .. } => {
                self.answer_win(*term, *kind, out);
            }
            // E11: after a restart, a promotion goes on only with fresh grants of its own term.
            Decision::LeaseExtended { .. } => self.go_on_promoting(out),
            _ => {}
        }
    }

    pub(super) fn open_candidacy(&self, term: Term, kind: CandidacyKind, out: &mut Vec<Event>) {
        let roster_number = self.ledger.roster.number;
        out.push(decided(Decision::CandidacyOpened { term, kind, roster_number }));
    }

    pub(super) fn abandon(&self, term: Option<Term>, why: NoElection, out: &mut Vec<Event>) {
        out.push(decided(Decision::ElectionAbandoned { term, why }));
    }

    /// This member's vote for another candidate, in that term or above.
    pub(super) fn vote_for_another(&self, term: Term) -> Option<Vote> {
        self.ledger.voted.filter(|v| v.candidate != self.ledger.me() && v.ask.term >= term)
    }

    /// This member itself stands in the way of its candidacy.
    pub(super) fn abandon_refused(&self, term: Term, why: Refusal, out: &mut Vec<Event>) {
        let needed = self.ledger.quorum().needed_u8();
        let refused = vec![(self.ledger.me(), why)];
        self.abandon(Some(term), NoElection::TooFewVotes { granted: vec![], refused, needed }, out);
    }

    /// L8, for a candidacy: whoever promised with its vote need not wait it out. Not while a lease is held:
    /// its grants are the same members' promises (E9).
    fn close_candidacy(&self, term: Term, out: &mut Vec<Event>) {
        if self.ledger.tenure.is_none() {
            let nonce = self.ledger.process.nonce;
            out.push(decided(Decision::CandidacyClosed { term, nonce }));
        }
    }

    /// L8: another's win, a freeze for another's higher term (only who has no vote comes to that), or the end of the tenure
    /// that stood above itself, ended the candidacy. Who voted for it would else go on refusing others, the winner's lease
    /// included.
    fn close_superseded(&self, out: &mut Vec<Event>) {
        let silent = self.ledger.revision < 4 || planted(Plant::SupersededUntold);
        if let Some(term) = self.asked_in.filter(|asked| !silent && self.term_stood_in() != Some(*asked)) {
            self.close_candidacy(term, out);
        }
    }

    /// The term of a candidacy that others were told of, and that is not won.
    pub(super) fn term_stood_in(&self) -> Option<Term> {
        match &self.phase {
            Phase::Freezing { term, .. } => Some(*term),
            Phase::Standing { ask, .. } => Some(ask.term),
            _ => None,
        }
    }

    fn under_way(&self) -> Option<Option<Term>> {
        match &self.phase {
            Phase::Asking { .. } | Phase::Planned { .. } => Some(None),
            _ => self.term_stood_in().map(Some),
        }
    }

    fn abandon_if_back(&self, verdict: Verdict, out: &mut Vec<Event>) {
        let kind_needs_down =
            !matches!(&self.phase, Phase::Standing { kind, .. } if *kind != CandidacyKind::Failover);
        if let (Some(term), true) = (self.under_way(), kind_needs_down) {
            self.abandon(term, NoElection::PrimaryBack(verdict), out);
        }
    }

    /// S9: a failover ends with the operator's word against it, or a pause. Returns whether it did.
    pub(super) fn abandon_if_forbidden(&self, out: &mut Vec<Event>) -> bool {
        let term = match &self.phase {
            Phase::Freezing { term, .. } => *term,
            Phase::Standing { ask, kind: CandidacyKind::Failover, .. } => ask.term,
            _ => return false,
        };
        let Some(why) = self.forbidden() else { return false };
        self.abandon(Some(term), NoElection::NotElectable(why), out);
        true
    }

    // ---- terms ----------------------------------------------------

    /// The highest term that testimonies told of.
    pub(super) fn term_asked(&self) -> Term {
        match &self.phase {
            Phase::Asking { answers, .. } => {
                answers.values().map(|(_, t)| t.term_seen).max().unwrap_or_default()
            }
            Phase::Planned { above, .. } => *above,
            _ => Term(0),
        }
    }

    pub(super) fn next_term(&self) -> Term {
        let seen = self.ledger.term_heard().max(self.term_asked()).max(self.ledger.released);
        let highest = seen.max(self.opened.unwrap_or_default());
        Term(highest.0.saturating_add(1))
    }

    fn stand(&self, out: &mut Vec<Event>) {
        let Phase::Planned { at, .. } = &self.phase else { return };
        if self.now() < *at && !planted(Plant::DeadlineActsEarly) {
            return;
        }
        if let Err(why) = self.ability_to_stand() {
            return self.abandon(None, NoElection::NotElectable(why), out);
        }
        let term = self.next_term();
        self.open_candidacy(term, CandidacyKind::Failover, out);
    }

    pub(super) fn election_deadlines(&self, out: &mut Vec<(Deadline, BootNanos)>) {
        match &self.phase {
            Phase::Idle => {
                let waits = self.ledger.verdict.is_down() && self.ledger.tenure.is_none();
                if waits && self.retry_at > self.now() {
                    out.push((Deadline::ElectionDue, self.retry_at));
                }
            }
            Phase::Asking { ends_at, .. } => out.push((Deadline::TestimonyEnds, *ends_at)),
            Phase::Planned { at, .. } => out.push((Deadline::StandDue, *at)),
            Phase::Freezing { ends_at, .. } => out.push((Deadline::FreezeEnds, *ends_at)),
            Phase::Standing { ends_at, .. } => out.push((Deadline::CandidacyEnds, *ends_at)),
            Phase::Promoting { .. } => {}
            Phase::CatchingUp { ends_at } => out.push((Deadline::ElectionDue, *ends_at)),
        }
    }
}
