//! Standing for election: pre-vote, plan, freeze, votes, promotion (E1, E2, E5 to E10).

use super::{FreezeAnswer, Phase, Promoter, WITHHELD_RETRIES, decided, guard_said, heard, is_frozen};
use crate::core::{BootNanos, MemberId, Nanos, Plant, Term, Vote, planted};
use crate::events::{
    CandidacyKind, Deadline, Decision, Event, FollowOutcome, GuardReport, LeaseAsk, Message, NoElection,
    Observation, OperatorRequest, Position, Refusal, Roster, Unelectable, Verdict, VoteAsk,
};
use std::cmp::Reverse;
use std::collections::BTreeMap;

impl Promoter {
    // ---- folding --------------------------------------------------------------------------

    pub(super) fn election_observed(&mut self, observation: &Observation) {
        if let Some((from, message)) = heard(observation) {
            self.hear_answer(from, message);
        }
        let now = self.now();
        match observation {
            Observation::FreezeCompleted { term: frozen_term, .. } => {
                let patience = self.after(self.settings().testimony_timeout);
                if let Phase::Freezing { term, ends_at, .. } = &mut self.phase
                    && term == frozen_term
                {
                    *ends_at = (*ends_at).min(patience);
                }
            }
            Observation::GuardReported(GuardReport::Armed { term: armed_term, until }) if *until > now => {
                if let Phase::Promoting { term, armed, .. } = &mut self.phase
                    && term == armed_term
                {
                    *armed = true;
                }
            }
            Observation::OperatorRequested(OperatorRequest::Adopt { member })
                if *member == self.ledger.me() =>
            {
                self.name_it(false);
            }
            Observation::OperatorRequested(OperatorRequest::AdoptVouched { member })
                if *member == self.ledger.me() =>
            {
                self.name_it(true);
            }
            Observation::DeadlinePassed(Deadline::ElectionDue) => {
                if matches!(self.phase, Phase::CatchingUp { ends_at } if now >= ends_at) {
                    self.accepts_loss = true;
                    self.idle_until(now);
                }
            }
            Observation::CatchUpCompleted { outcome, .. } => {
                self.accepts_loss = !matches!(outcome, FollowOutcome::Streaming { .. });
                if matches!(self.phase, Phase::CatchingUp { .. }) {
                    self.idle_until(now);
                }
            }
            _ => {}
        }
    }

    fn hear_answer(&mut self, from: MemberId, message: &Message) {
        let now = self.now();
        let nonce = self.ledger.process.nonce;
        let released = self.ledger.released >= self.ledger.announced_term();
        let primary = self.ledger.primary();
        let confirmed = self.ledger.verdict == Verdict::ConfirmedDown;
        // It refuses for what this member knows to be over, and will freeze as soon as it knows, too.
        let passes = |why: &Refusal| match why {
            Refusal::PromiseStands { holder, .. } => released && Some(*holder) == primary,
            Refusal::SeesPrimary(_) => confirmed,
            _ => false,
        };
        match (message, &mut self.phase) {
            (Message::FreezeRefused { why, .. }, Phase::Freezing { .. }) if passes(why) => {}
            (Message::Testified(t), Phase::Asking { number, answers, .. })
                if t.nonce == nonce && t.number == *number =>
            {
                answers.insert(from, (now, (**t).clone()));
            }
            (
                Message::FreezeReported { term: t, nonce: n, position, electable, priority },
                Phase::Freezing { term, answers, .. },
            ) if t == term && *n == nonce => {
                let answer =
                    FreezeAnswer::Frozen { position: *position, electable: *electable, priority: *priority };
                answers.insert(from, answer);
            }
            (Message::FreezeRefused { term: t, nonce: n, why }, Phase::Freezing { term, answers, .. })
                if t == term && *n == nonce =>
            {
                answers.insert(from, FreezeAnswer::Refused(*why));
            }
            (Message::VoteGranted(echo), Phase::Standing { ask, granted, .. })
                if echo == ask && !granted.contains(&from) =>
            {
                granted.push(from);
            }
            (Message::VoteRefused(echo, why), Phase::Standing { ask, refused, .. }) if **echo == *ask => {
                refused.insert(from, *why);
            }
            (Message::CandidacyYielded { .. }, _) => {
                self.preferred = true;
                self.retry_at = now;
            }
            (Message::AdoptionRequested, _) => self.name_it(false),
            (Message::AdoptionVouched, _) => self.name_it(true),
            _ => {}
        }
    }

    /// The operator's word counts for the election at hand, not for one in weeks.
    fn name_it(&mut self, vouched: bool) {
        if self.naming_forbidden(vouched).is_some() {
            return;
        }
        self.named = self.ledger.verdict.is_down() || self.ledger.announced().is_none();
    }

    fn idle_until(&mut self, at: BootNanos) {
        self.phase = Phase::Idle;
        self.retry_at = at;
    }

    /// A pause before the next attempt, different for each member, so that they do not collide.
    fn next_retry(&self) -> BootNanos {
        let spread = u64::from(self.ledger.me().0) * self.settings().rank_delay.0;
        self.after(Nanos(self.settings().retry_interval.0 + spread))
    }

    pub(super) fn election_decided(&mut self, decision: &Decision) {
        let me = self.ledger.me();
        if let Decision::CandidacyOpened { term, .. } = decision {
            self.opened = self.opened.max(Some(*term));
        }
        match decision {
            Decision::TestimonyRequested { number, .. } => {
                let ends_at = self.after(self.settings().testimony_timeout);
                self.phase = Phase::Asking { number: *number, ends_at, answers: BTreeMap::new() };
            }
            Decision::ElectionPlanned { at, .. } => {
                let above = self.term_asked();
                self.phase = Phase::Planned { at: *at, above };
            }
            Decision::CandidacyWithheld { why, .. } => {
                self.withheld = Some(*why);
                let pause = WITHHELD_RETRIES * self.settings().retry_interval.0;
                self.idle_until(self.after(Nanos(pause)));
            }
            Decision::ElectionAbandoned { .. } => {
                let at = self.next_retry();
                self.idle_until(at);
                self.preferred = false;
            }
            Decision::CandidacyOpened { term, kind: CandidacyKind::Failover, .. } => {
                let ends_at = self.after(self.settings().freeze_timeout);
                self.phase = Phase::Freezing { term: *term, ends_at, answers: BTreeMap::new() };
            }
            Decision::FreezeRefused { to, term, why, .. } if *to == me => {
                if let Phase::Freezing { term: t, answers, .. } = &mut self.phase
                    && t == term
                {
                    answers.insert(me, FreezeAnswer::Refused(*why));
                }
            }
            Decision::VoteRequested(ask) => {
                let ends_at = self.after(self.settings().freeze_timeout);
                self.phase = Phase::Standing {
                    ask: ask.ask,
                    kind: ask.kind,
                    ends_at,
                    granted: Vec::new(),
                    refused: BTreeMap::new(),
                };
            }
            Decision::VoteGranted { candidate, ask: asked, .. } if *candidate == me => {
                if let Phase::Standing { ask, granted, .. } = &mut self.phase
                    && *ask == **asked
                    && !granted.contains(&me)
                {
                    granted.push(me);
                }
            }
            Decision::VoteRefused { candidate, ask: asked, why } if *candidate == me => {
                if let Phase::Standing { ask, refused, .. } = &mut self.phase
                    && *ask == **asked
                {
                    refused.insert(me, *why);
                }
            }
            Decision::CandidacyYielded { .. } => {
                let at = self.next_retry();
                self.idle_until(at);
                self.preferred = false;
            }
            Decision::CatchUpOrdered { .. } => {
                self.phase = Phase::CatchingUp { ends_at: self.after(self.settings().follow_timeout) };
            }
            Decision::ElectionWon { term, kind, .. } => {
                let ends_at = self.after(self.settings().promote_timeout);
                self.phase =
                    Phase::Promoting { term: *term, kind: *kind, armed: false, ordered: false, ends_at };
                self.preferred = false;
            }
            Decision::PromotionOrdered { .. } => {
                if let Phase::Promoting { ordered, .. } = &mut self.phase {
                    *ordered = true;
                }
            }
            Decision::PrimaryAnnounced(_) | Decision::AnnouncementAdopted(_) => {
                if self.ledger.tenure.is_none_or(|t| t <= self.ledger.announced_term()) {
                    self.idle_until(self.now());
                }
                self.named = false;
                self.accepts_loss = false;
                self.preferred = false;
                self.withheld = None;
            }
            Decision::LeaseReleased { .. } => {
                let at = self.next_retry();
                self.idle_until(at);
            }
            // E2, E6: this member froze for another's term: its own lower one is over.
            Decision::FreezePromised { term, candidate, .. } if *candidate != me => {
                let own = match &self.phase {
                    Phase::Freezing { term, .. } => Some(*term),
                    Phase::Standing { ask, .. } => Some(ask.term),
                    _ => None,
                };
                if own.is_none_or(|own| own < *term) && !matches!(self.phase, Phase::Promoting { .. }) {
                    let at = self.next_retry();
                    self.idle_until(at);
                }
            }
            Decision::VerdictChanged { to, .. } if !to.is_down() => {
                self.withheld = None;
                self.accepts_loss = false;
                self.named = false;
            }
            _ => {}
        }
    }

    pub(super) fn stands_in(&self, term: Term) -> bool {
        matches!(&self.phase, Phase::Standing { ask, .. } if ask.term == term)
    }

    // ---- deciding -------------------------------------------------------------------------

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
            Decision::ElectionAbandoned { term: Some(term), .. }
            | Decision::CandidacyYielded { term, .. }
            | Decision::CatchUpOrdered { term, .. } => self.close_candidacy(*term, out),
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
    fn vote_for_another(&self, term: Term) -> Option<Vote> {
        self.ledger.voted.filter(|v| v.candidate != self.ledger.me() && v.ask.term >= term)
    }

    /// This member itself stands in the way of its candidacy.
    fn abandon_refused(&self, term: Term, why: Refusal, out: &mut Vec<Event>) {
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

    fn under_way(&self) -> Option<Option<Term>> {
        match &self.phase {
            Phase::Asking { .. } | Phase::Planned { .. } => Some(None),
            Phase::Freezing { term, .. } => Some(Some(*term)),
            Phase::Standing { ask, .. } => Some(Some(ask.term)),
            Phase::Idle | Phase::Promoting { .. } | Phase::CatchingUp { .. } => None,
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
    fn abandon_if_forbidden(&self, out: &mut Vec<Event>) -> bool {
        let term = match &self.phase {
            Phase::Freezing { term, .. } => *term,
            Phase::Standing { ask, kind: CandidacyKind::Failover, .. } => ask.term,
            _ => return false,
        };
        let Some(why) = self.forbidden() else { return false };
        self.abandon(Some(term), NoElection::NotElectable(why), out);
        true
    }

    // ---- freeze and votes (E2, E6, E7) ----------------------------------------------------

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

    /// Once the own position is frozen and the others' are known, or waited for long enough: yield to
    /// the better placed, or ask for votes.
    fn ask_for_votes(&self, out: &mut Vec<Event>) {
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
            if electable {
                return out.push(decided(Decision::CandidacyYielded { term: *term, to, position }));
            }
            if !self.accepts_loss && position.lineage == own.lineage && position.lsn > own.lsn {
                let until = position.lsn;
                return out.push(decided(Decision::CatchUpOrdered { term: *term, from: to, until }));
            }
        }
        self.request_votes(*term, CandidacyKind::Failover, Some(own), None, out);
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
            let ahead = if can {
                precedes(*member, Some(*position), *theirs, me, Some(own), priority) && !self.named
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
            accepts_loss: self.accepts_loss,
        };
        out.push(decided(Decision::VoteRequested(Box::new(ask))));
    }

    fn win(&self, out: &mut Vec<Event>) {
        let Phase::Standing { ask, kind, granted, ends_at, .. } = &self.phase else { return };
        // A vote that comes late may meet one that its voter forgot (M1).
        if self.fencing || self.now() >= *ends_at {
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

    fn lose(&self, out: &mut Vec<Event>) {
        let Phase::Standing { ask, refused, kind, granted, .. } = &self.phase else { return };
        let behind = refused.iter().find_map(|(m, why)| match why {
            Refusal::PositionBehind { own, electable } => Some((*m, *own, *electable)),
            _ => None,
        });
        if let (Some((to, position, electable)), CandidacyKind::Failover) = (behind, kind) {
            if electable {
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

    fn end_candidacy(&self, out: &mut Vec<Event>) {
        if let Phase::Standing { ask, granted, refused, ends_at, .. } = &self.phase
            && (self.now() >= *ends_at || planted(Plant::DeadlineActsEarly))
        {
            self.give_up(ask, granted, refused, out);
        }
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
