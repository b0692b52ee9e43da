//! Standing for election: pre-vote, plan, freeze, votes, promotion (E1, E2, E5 to E10).

use super::{FreezeAnswer, Phase, Promoter, WITHHELD_RETRIES, decided, guard_said, heard, is_frozen};
use crate::core::{BootNanos, MemberId, Nanos, Term, kth_largest};
use crate::events::{
    Announcement, CandidacyKind, Deadline, Decision, Event, FollowOutcome, GuardReport, LeaseAsk, Lineage,
    Message, NoElection, Observation, OperatorRequest, Placement, Position, PromotionOutcome, Refusal,
    Roster, Testimony, Unelectable, Verdict, VoteAsk,
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
                self.named = true;
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
        match (message, &mut self.phase) {
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
            (Message::VoteRefused(echo, why), Phase::Standing { ask, refused, .. }) if echo == ask => {
                refused.insert(from, *why);
            }
            (Message::CandidacyYielded { .. }, _) => {
                self.preferred = true;
                self.retry_at = now;
            }
            (Message::AdoptionRequested, _) => self.named = true,
            _ => {}
        }
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
        match decision {
            Decision::TestimonyRequested { number, .. } => {
                let ends_at = self.after(self.settings().testimony_timeout);
                self.phase = Phase::Asking { number: *number, ends_at, answers: BTreeMap::new() };
            }
            Decision::ElectionPlanned { at, .. } => self.phase = Phase::Planned { at: *at },
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
                    && ask == asked
                    && !granted.contains(&me)
                {
                    granted.push(me);
                }
            }
            Decision::VoteRefused { candidate, ask: asked, why } if *candidate == me => {
                if let Phase::Standing { ask, refused, .. } = &mut self.phase
                    && ask == asked
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
                self.adopt_by_name(out);
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
                Message::AdoptionRequested => self.adopt_by_name(out),
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

    fn open_candidacy(&self, term: Term, kind: CandidacyKind, out: &mut Vec<Event>) {
        let roster_number = self.ledger.roster.number;
        out.push(decided(Decision::CandidacyOpened { term, kind, roster_number }));
    }

    fn abandon(&self, term: Option<Term>, why: NoElection, out: &mut Vec<Event>) {
        out.push(decided(Decision::ElectionAbandoned { term, why }));
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

    // ---- pre-vote (E1) --------------------------------------------------------------------

    /// E1: with verdict down, ask everybody; the term is unchanged.
    fn open(&self, out: &mut Vec<Event>) {
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

    /// A silence after restart passes: the pre-vote tells who else is able meanwhile. A member that
    /// has no vote may still stand.
    fn asks_anyway(&self) -> bool {
        matches!(self.ledger.ability(), Err(Refusal::SilentAfterRestart { .. } | Refusal::NoVoter))
    }

    /// E5, and the operator's word where he named this member (E10).
    fn ability_to_stand(&self) -> Result<(), Unelectable> {
        match self.ledger.electable() {
            Err(Unelectable::Manual | Unelectable::PriorityZero | Unelectable::Lagging { .. })
                if self.named =>
            {
                Ok(())
            }
            other => other,
        }
    }

    fn plan_when_answered(&self, out: &mut Vec<Event>) {
        let Phase::Asking { ends_at, answers, .. } = &self.phase else { return };
        let waits_for_any = self
            .settings()
            .others()
            .any(|m| self.ledger.peer(m).is_some_and(|p| p.connected) && !answers.contains_key(&m));
        if !waits_for_any || self.now() >= *ends_at {
            self.plan(answers, out);
        }
    }

    fn plan(&self, answers: &BTreeMap<MemberId, (BootNanos, Testimony)>, out: &mut Vec<Event>) {
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
                Some((t, verdict, free, ability)) if t == about && verdict.is_down() => {
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
        let Some(Reverse(free_at)) = kth_largest(&free_from, needed) else {
            return self.abandon(None, NoElection::TooFewCanVote { unable, needed: needed_u8 }, out);
        };
        let placements = self.placements(answers);
        let rank = self.rank(&placements);
        if let Err(why) = self.ability_to_stand() {
            out.push(decided(Decision::CandidacyWithheld { why, holders, rank }));
            return;
        }
        let delay = if self.preferred { 0 } else { u64::from(rank) * self.settings().rank_delay.0 };
        let at = free_at.max(self.now()).plus_nanos(delay);
        out.push(decided(Decision::ElectionPlanned { at, rank, holders, placements, free_at }));
    }

    /// What a voter testified: about which term, its verdict, when it will be free, its ability.
    fn testimony_of(
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
        let promised = t.promise.filter(|(holder, _)| *holder != me).map_or(Nanos(0), |(_, left)| left);
        let silence = match t.able {
            Err(Refusal::SilentAfterRestart { left }) => left,
            _ => Nanos(0),
        };
        // The other clock may run 2 % slower (PROTOCOL's failure model).
        let wait = promised.0.max(silence.0);
        Some((t.about, t.verdict, heard_at.plus_nanos(wait + wait / 50), t.able))
    }

    fn placements(&self, answers: &BTreeMap<MemberId, (BootNanos, Testimony)>) -> Vec<Placement> {
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
    fn rank(&self, placements: &[Placement]) -> u8 {
        let me = self.ledger.me();
        let Some(own) = placements.iter().find(|p| p.member == me) else { return 0 };
        let ahead = placements
            .iter()
            .filter(|p| p.member != me && p.electable.is_ok())
            .filter(|p| precedes(p.member, p.position, p.priority, me, own.position, own.priority))
            .count();
        u8::try_from(ahead).unwrap_or(u8::MAX)
    }

    // ---- freeze and votes (E2, E6, E7) ----------------------------------------------------

    fn next_term(&self) -> Term {
        let asked = match &self.phase {
            Phase::Asking { answers, .. } => answers.values().map(|(_, t)| t.term_seen).max(),
            _ => None,
        };
        Term(self.ledger.term_heard().max(asked.unwrap_or_default()).max(self.ledger.released).0 + 1)
    }

    fn stand(&self, out: &mut Vec<Event>) {
        let Phase::Planned { at } = &self.phase else { return };
        if self.now() < *at {
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
            let refused = vec![(self.ledger.me(), *why)];
            let why = NoElection::TooFewVotes {
                granted: vec![],
                refused,
                needed: self.ledger.quorum().needed_u8(),
            };
            return self.abandon(Some(*term), why, out);
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

    fn request_votes(
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
        let Phase::Standing { ask, kind, granted, .. } = &self.phase else { return };
        let voters: Vec<MemberId> = granted.iter().copied().filter(|m| self.settings().votes(*m)).collect();
        if voters.len() < self.ledger.quorum().needed() {
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
            if !self.accepts_loss && self.ledger.lineage == Some(position.lineage) {
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
            && self.now() >= *ends_at
        {
            self.give_up(ask, granted, refused, out);
        }
    }

    // ---- candidates that are primaries already (E9, E10) ----------------------------------

    fn ask_as_primary(&self, term: Term, kind: CandidacyKind, out: &mut Vec<Event>) {
        let position = self.ledger.rough_position();
        let adoption = matches!(kind, CandidacyKind::FirstAdoption | CandidacyKind::OperatorAdoption);
        let roster = (adoption && self.ledger.roster.number == 0).then(|| self.first_roster());
        self.request_votes(term, kind, position, roster, out);
    }

    /// M1: the incarnations that all members told.
    fn first_roster(&self) -> Roster {
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
    fn adopt_first(&self, out: &mut Vec<Event>) {
        let l = &self.ledger;
        if self.phase != Phase::Idle || self.now() < self.retry_at || l.term_heard().0 > 0 || !l.is_writable()
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
                    && h.term_seen.0 == 0
                    && h.roster_number == 0
                    && h.able.is_ok() | !self.settings().votes(m)
                    && (self.settings().is_witness(m) || standby)
            })
        });
        if all_agree {
            self.open_candidacy(Term(1), CandidacyKind::FirstAdoption, out);
        }
    }

    /// E10: the operator named this member.
    fn adopt_by_name(&self, out: &mut Vec<Event>) {
        if self.phase != Phase::Idle || self.ledger.tenure.is_some() || self.fencing {
            return;
        }
        if self.ledger.is_writable() || self.ledger.announced().is_none() {
            let term = Term(self.ledger.term_heard().0 + 1);
            self.open_candidacy(term, CandidacyKind::OperatorAdoption, out);
        } else {
            self.open(out);
        }
    }

    /// E9: a lease holder that learns of a higher voted term stands above it, keeping its lease.
    fn stand_above(&self, out: &mut Vec<Event>) {
        let l = &self.ledger;
        let Some(tenure) = l.tenure.filter(|t| *t == l.announced_term()) else { return };
        let heard = l.term_heard();
        if self.phase != Phase::Idle || self.now() < self.retry_at || heard <= tenure || !l.lease_stands() {
            return;
        }
        if !l.is_writable() || l.ability().is_err() || l.verdict.is_down() {
            return;
        }
        let term = Term(heard.0 + 1);
        self.open_candidacy(term, CandidacyKind::Incumbent, out);
    }

    // ---- promotion (E8) -------------------------------------------------------------------

    fn answer_win(&self, term: Term, kind: CandidacyKind, out: &mut Vec<Event>) {
        if matches!(kind, CandidacyKind::FirstAdoption | CandidacyKind::OperatorAdoption)
            && self.ledger.roster.number == 0
        {
            out.push(decided(Decision::RosterCommitted(self.first_roster())));
        }
        if !self.ledger.leases() {
            self.act_on_win(term, kind, out);
        }
    }

    fn go_on_promoting(&self, out: &mut Vec<Event>) {
        let Phase::Promoting { term, kind, armed, ordered, .. } = &self.phase else { return };
        let fresh = self.granted_until().is_some_and(|t| t > self.now());
        if *armed && !*ordered && fresh && self.ledger.lease_stands() && !self.fencing {
            self.act_on_win(*term, *kind, out);
        }
    }

    /// A running primary announces itself; anybody else is promoted first.
    fn act_on_win(&self, term: Term, kind: CandidacyKind, out: &mut Vec<Event>) {
        let Some(answer) = self.ledger.answer() else {
            return out.push(decided(Decision::PromotionOrdered { term }));
        };
        if answer.in_recovery || kind == CandidacyKind::Failover {
            return out.push(decided(Decision::PromotionOrdered { term }));
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

    fn announce(&self, term: Term, outcome: &PromotionOutcome, out: &mut Vec<Event>) {
        let PromotionOutcome::Promoted { timeline, switched_at, system_id } = outcome else { return };
        if self.ledger.tenure != Some(term) || self.fencing || !self.ledger.lease_stands() {
            return;
        }
        out.push(decided(Decision::PrimaryAnnounced(Announcement {
            term,
            primary: self.ledger.me(),
            lineage: Lineage { opened: term, timeline: *timeline },
            forked: self.ledger.lineage.map(|l| (l, *switched_at)),
            system_id: *system_id,
        })));
    }

    /// A winner that can't be guarded must not promote: the term ends here.
    fn guard_refused(&self, term: Term, out: &mut Vec<Event>) {
        if let Phase::Promoting { term: t, ordered: false, .. } = &self.phase
            && *t == term
        {
            out.push(decided(Decision::LeaseReleased { term, last_number: self.number }));
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
fn precedes(
    one: MemberId,
    one_position: Option<Position>,
    one_priority: u32,
    other: MemberId,
    other_position: Option<Position>,
    other_priority: u32,
) -> bool {
    (one_position, one_priority, Reverse(one)) > (other_position, other_priority, Reverse(other))
}
