//! How an election goes from phase to phase: what was observed and decided is folded here, nothing is
//! decided (E1, E2, E5 to E10).

use super::{FreezeAnswer, PATIENCE_MAX, Phase, Promoter, WITHHELD_RETRIES, YIELDS_MAX, heard};
use crate::core::{BootNanos, MemberId, Nanos, Term};
use crate::events::{
    CandidacyKind, Deadline, Decision, FollowOutcome, GuardReport, Lineage, Message, NoElection, Observation,
    OperatorRequest, Refusal, Verdict,
};
use std::collections::BTreeMap;

impl Promoter {
    pub(super) fn election_observed(&mut self, observation: &Observation) {
        if let Some((from, message)) = heard(observation) {
            self.hear_answer(from, message);
        }
        let now = self.now();
        match observation {
            Observation::FreezeCompleted { term: frozen_term, .. } => {
                let patience = self.after(self.patience());
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
        match decision {
            Decision::CandidacyOpened { term, .. } => self.opened = self.opened.max(Some(*term)),
            Decision::VoteRequested(ask) => self.asked_in = Some(ask.ask.term),
            Decision::CandidacyClosed { .. } | Decision::ElectionWon { .. } => self.asked_in = None,
            _ => {}
        }
        match decision {
            Decision::TestimonyRequested { number, .. } => {
                let ends_at = self.after(self.patience());
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
            Decision::ElectionAbandoned { why, .. } => {
                let at = self.next_retry();
                self.idle_until(at);
                self.preferred = false;
                if self.ledger.revision >= 4 {
                    self.accepts_unknown |= meets_unknown_line(why);
                    // It may be streamed now, what could not be then (E7).
                    self.accepts_loss &= !self.meets_wal_to_stream(why);
                    self.patience += u8::from(self.answers_came_late(why));
                }
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
            Decision::CandidacyYielded { to, .. } => {
                let at = self.next_retry();
                self.idle_until(at);
                self.preferred = false;
                let before = self.yielded.filter(|(member, _)| member == to).map_or(0, |(_, times)| times);
                self.yielded = Some((*to, before.saturating_add(1).min(YIELDS_MAX)));
                if self.ledger.revision >= 4 {
                    self.accepts_loss = false;
                }
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
            Decision::PromotionOrdered { .. } | Decision::PromotionOrderedOf { .. } => {
                if let Phase::Promoting { ordered, .. } = &mut self.phase {
                    *ordered = true;
                }
            }
            // One that is learned late, of a winner before the newest, is history.
            Decision::PrimaryAnnounced(a) | Decision::AnnouncementAdopted(a)
                if a.term == self.ledger.announced_term() =>
            {
                if self.ledger.tenure.is_none_or(|t| t <= self.ledger.announced_term()) {
                    self.idle_until(self.now());
                }
                self.named = false;
                self.accepts_loss = false;
                self.accepts_unknown = false;
                self.yielded = None;
                self.patience = 0;
                self.preferred = false;
                self.withheld = None;
            }
            Decision::LeaseReleased { .. } => {
                let at = self.next_retry();
                self.idle_until(at);
            }
            // E2, E6: this member froze for another's term: its own lower one is over.
            Decision::FreezePromised { term, candidate, .. } if *candidate != me => {
                let ends = match self.term_stood_in() {
                    Some(own) => own < *term,
                    None => !matches!(self.phase, Phase::Promoting { .. }),
                };
                if ends {
                    let at = self.next_retry();
                    self.idle_until(at);
                }
            }
            Decision::VerdictChanged { to, .. } if !to.is_down() => {
                self.withheld = None;
                self.accepts_loss = false;
                self.accepts_unknown = false;
                self.yielded = None;
                self.patience = 0;
                self.named = false;
            }
            _ => {}
        }
    }

    /// How long answers to a pre-vote, and other members' freezes once the own one is made, are waited for (E1, E2): longer
    /// where they came late before, up to what a freeze may take.
    fn patience(&self) -> Nanos {
        let least = self.settings().testimony_timeout;
        let most = self.settings().freeze_timeout.max(least);
        Nanos(least.0.saturating_mul(1 << self.patience)).min(most)
    }

    /// Whether too few testified in time, though others are connected, and there is more time to give them (E1).
    fn answers_came_late(&self, why: &NoElection) -> bool {
        let NoElection::TooFewHoldItDown { silent, .. } = why else { return false };
        let connected = |m: &MemberId| self.ledger.peer(*m).is_some_and(|p| p.connected);
        silent.iter().any(connected)
            && self.patience < PATIENCE_MAX
            && self.patience() < self.settings().freeze_timeout
    }

    /// Whether a voter that can't be promoted itself refused for bytes of this member's own line, which it may stream.
    fn meets_wal_to_stream(&self, why: &NoElection) -> bool {
        let NoElection::TooFewVotes { refused, .. } = why else { return false };
        let own = self.ledger.lineage;
        refused.iter().any(|(_, why)| match why {
            Refusal::PositionBehind { own: theirs, electable } => Some(theirs.lineage) == own && !electable,
            _ => false,
        })
    }

    pub(super) fn stands_in(&self, term: Term) -> bool {
        matches!(&self.phase, Phase::Standing { ask, .. } if ask.term == term)
    }
}

/// Whether a voter refused for bytes of which nobody knows how they got there (E3).
fn meets_unknown_line(why: &NoElection) -> bool {
    let NoElection::TooFewVotes { refused, .. } = why else { return false };
    refused.iter().any(|(_, why)| match why {
        Refusal::PositionBehind { own, electable } => own.lineage == Lineage::UNKNOWN && !electable,
        _ => false,
    })
}
