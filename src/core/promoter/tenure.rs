//! The tenure of a primary: asking for the lease, counting grants, fencing, releasing, and the
//! orderly end of its daemon.

use super::{PAUSE_HEARTBEATS, Pausing, Phase, Promoter, decided, guard_said, heard};
use crate::core::{BootNanos, MemberId, Nanos, Term, kth_largest};
use crate::events::{
    Deadline, Decision, Event, FenceReason, GuardReport, LeaseAsk, Message, Observation, OperatorRequest,
    PauseId, PromotionOutcome, Verdict,
};

impl Promoter {
    // ---- folding --------------------------------------------------------------------------

    pub(super) fn tenure_observed(&mut self, observation: &Observation) {
        if let Some((from, Message::LeaseGranted(echo) | Message::VoteGranted(echo))) = heard(observation) {
            self.count_grant(from, echo);
        }
        self.roster_observed(observation);
        if let (Some((from, Message::PauseAgreed(pause))), Some(p)) = (heard(observation), &mut self.pausing)
            && p.pause == *pause
            && !p.agreed.contains(&from)
        {
            p.agreed.push(from);
        }
        match observation {
            Observation::FenceCompleted(_) => self.fencing = false,
            Observation::GuardReported(GuardReport::Lost) => self.guard_present = false,
            Observation::GuardReported(_) => self.guard_present = true,
            _ => {}
        }
    }

    pub(super) fn tenure_decided(&mut self, decision: &Decision) {
        let me = self.ledger.me();
        self.roster_decided(decision);
        match decision {
            Decision::LeaseRequested(ask) => self.number = ask.number,
            Decision::VoteRequested(ask) => self.number = ask.ask.number,
            Decision::TestimonyRequested { number, .. } => self.number = *number,
            Decision::LeaseGranted { to, ask, .. } if *to == me => self.count_grant(me, ask),
            Decision::VoteGranted { candidate, ask, .. } if *candidate == me => self.count_grant(me, ask),
            // A deadline taken over from the guard is no grant of this process.
            Decision::LeaseExtended { .. } => {
                self.extended |= self.granted_until().is_some_and(|t| t > self.now());
            }
            Decision::FenceOrdered { .. } => self.fencing = true,
            Decision::LeaseReleased { .. } => {
                self.grants.fill(BootNanos(0));
                self.extended = false;
                self.proposal = None;
            }
            Decision::PauseRequested(pause) => {
                self.number = pause.number;
                self.pausing = Some(Pausing {
                    pause: *pause,
                    agreed: Vec::new(),
                    ends_at: self.after(Nanos(PAUSE_HEARTBEATS * self.settings().heartbeat_interval.0)),
                    confirmed: false,
                });
            }
            Decision::PauseAgreed(pause) => {
                if let Some(p) =
                    self.pausing.as_mut().filter(|p| p.pause == *pause && !p.agreed.contains(&me))
                {
                    p.agreed.push(me);
                }
            }
            Decision::PauseConfirmed { .. } => {
                if let Some(p) = &mut self.pausing {
                    p.confirmed = true;
                }
            }
            Decision::StopRefused { .. } => self.pausing = None,
            _ => {}
        }
    }

    fn count_grant(&mut self, from: MemberId, echo: &LeaseAsk) {
        let of_tenure = self.ledger.tenure == Some(echo.term) || self.stands_in(echo.term);
        if !of_tenure || !self.is_own_echo(echo) || !self.settings().votes(from) {
            return;
        }
        let until = Self::counts_until(echo);
        if let Some(grant) = self.grants.get_mut(usize::from(from.0)) {
            *grant = (*grant).max(until);
        }
    }

    /// L2: the instant until which at least `K` grants, the own one included, stand.
    pub(super) fn granted_until(&self) -> Option<BootNanos> {
        let me = self.ledger.me();
        let blocking = self.ledger.quorum().blocking();
        let own = self.grants.get(usize::from(me.0)).copied().unwrap_or_default();
        if !self.settings().votes(me) {
            return kth_largest(&self.grants, blocking).filter(|t| t.0 > 0);
        }
        let others: Vec<BootNanos> =
            self.settings().others().filter_map(|m| self.grants.get(usize::from(m.0)).copied()).collect();
        match blocking {
            0 | 1 => Some(own),
            k => kth_largest(&others, k - 1).map(|t| t.min(own)),
        }
        .filter(|t| t.0 > 0)
    }

    // ---- deciding -------------------------------------------------------------------------

    pub(super) fn decide_tenure(&self, observation: &Observation, out: &mut Vec<Event>) {
        match observation {
            Observation::HeartbeatDue { .. } => self.renew(out),
            Observation::PostmasterGone { .. } => {
                if let Some(term) = self.ledger.tenure.filter(|_| !self.fencing) {
                    let seen_alive = self.ledger.local.report.is_some();
                    let why = if seen_alive { FenceReason::PostmasterGone } else { FenceReason::FoundDown };
                    out.push(decided(Decision::FenceOrdered { term, why }));
                }
            }
            Observation::ProbeCompleted { target, .. } if *target == self.ledger.me() => {
                self.look_at_own(out)
            }
            Observation::FenceCompleted(outcome) => {
                let done = outcome.nothing_left && (outcome.sealed || !self.ledger.leases());
                if let (true, Some(term)) = (done, self.ledger.tenure) {
                    out.push(decided(Decision::LeaseReleased { term, last_number: self.number }));
                }
            }
            Observation::DeadlinePassed(Deadline::LeaseEnds) => self.expire(out),
            Observation::DeadlinePassed(Deadline::PauseEnds) => self.refuse_stop(out),
            Observation::DeadlinePassed(Deadline::PromotionEnds) => {
                if let Phase::Promoting { term, ends_at, ordered, .. } = &self.phase
                    && self.now() >= *ends_at
                    && !self.fencing
                {
                    self.give_up_promotion(*term, *ordered, FenceReason::PromotionUnknown, out);
                }
            }
            Observation::PromotionCompleted { term, outcome, .. } if self.ledger.tenure == Some(*term) => {
                match outcome {
                    PromotionOutcome::Promoted { .. } => {}
                    PromotionOutcome::Vetoed { .. } => {
                        out.push(decided(Decision::LeaseReleased { term: *term, last_number: self.number }));
                    }
                    PromotionOutcome::Failed { .. } => {
                        self.give_up_promotion(*term, true, FenceReason::PromotionFailed, out);
                    }
                    PromotionOutcome::Unknown { .. } => {
                        self.give_up_promotion(*term, true, FenceReason::PromotionUnknown, out);
                    }
                }
            }
            Observation::OperatorRequested(OperatorRequest::Stop) => self.stop(out),
            Observation::GuardReported(GuardReport::StoodDown)
                if self.pausing.as_ref().is_some_and(|p| p.confirmed) =>
            {
                out.push(decided(Decision::StopAllowed));
            }
            Observation::MessageReceived { message, .. } => match message {
                Message::LeaseGranted(_) => self.extend(out),
                Message::PauseAgreed(_) => self.confirm_pause(out),
                Message::Heartbeat(_) | Message::Testified(_) => self.give_in_to_quorum(out),
                _ => {}
            },
            _ => {}
        }
        if let Some(GuardReport::Present { armed }) = guard_said(observation) {
            self.take_over_guard(armed, out);
        }
    }

    pub(super) fn answer_tenure(&self, decision: &Decision, out: &mut Vec<Event>) {
        match decision {
            Decision::LeaseGranted { to, .. } if *to == self.ledger.me() => self.extend(out),
            Decision::PauseAgreed(_) => self.confirm_pause(out),
            Decision::VerdictChanged { .. } => self.give_in_to_quorum(out),
            Decision::RosterAccepted { to, .. } if *to == self.ledger.me() => self.commit_roster(out),
            Decision::AnnouncementAdopted(winner) => {
                let superseded = self.ledger.tenure.is_some_and(|t| t < winner.term);
                if superseded && winner.primary != self.ledger.me() && !self.fencing {
                    let term = self.ledger.tenure.unwrap_or_default();
                    let why = FenceReason::Superseded { term: winner.term };
                    out.push(decided(Decision::FenceOrdered { term, why }));
                }
            }
            _ => {}
        }
    }

    /// L1: the primary asks with every heartbeat.
    fn renew(&self, out: &mut Vec<Event>) {
        if let Some(term) = self.ledger.tenure.filter(|_| self.ledger.leases() && !self.fencing) {
            out.push(decided(Decision::LeaseRequested(self.ask(term))));
        }
    }

    fn extend(&self, out: &mut Vec<Event>) {
        let Some(term) = self.ledger.tenure.filter(|_| !self.fencing) else { return };
        let Some(until) = self.granted_until() else { return };
        let held = self.ledger.lease.filter(|l| l.term == term).map_or(BootNanos(0), |l| l.until);
        if until > self.now() && (until > held || !self.extended) {
            out.push(decided(Decision::LeaseExtended { term, until: until.max(held) }));
        }
    }

    /// A guard that outlived the last daemon holds the deadline that was granted to it (L6).
    fn take_over_guard(&self, armed: Option<(Term, BootNanos)>, out: &mut Vec<Event>) {
        let Some((term, until)) = armed else { return };
        let held = self.ledger.lease.map_or(BootNanos(0), |l| l.until);
        if self.ledger.tenure == Some(term) && until > held && until > self.now() && !self.fencing {
            out.push(decided(Decision::LeaseExtended { term, until }));
        }
    }

    /// While paused, nobody need fence (M3).
    fn pause_protects(&self) -> bool {
        self.ledger.paused.is_some_and(|p| p.primary == self.ledger.me())
    }

    fn expire(&self, out: &mut Vec<Event>) {
        let Some((term, lease)) = self.ledger.tenure.zip(self.ledger.lease) else { return };
        if self.now() < lease.until || self.fencing || self.pause_protects() || !self.ledger.leases() {
            return;
        }
        out.push(decided(Decision::LeaseExpired { term, at: lease.until }));
        if self.unsent_promotion(term) {
            // Won, but nothing was sent to PostgreSQL: there is nothing to stop.
            out.push(decided(Decision::LeaseReleased { term, last_number: self.number }));
        } else {
            out.push(decided(Decision::FenceOrdered { term, why: FenceReason::LeaseExpired }));
        }
    }

    /// Whether this term was won here, but its promotion never ordered, and PostgreSQL is no primary.
    fn unsent_promotion(&self, term: Term) -> bool {
        self.ledger.announced_term() != term
            && self.ledger.promotion_ordered != Some(term)
            && !self.ledger.is_writable()
    }

    /// L9: a PostgreSQL out of recovery without a standing lease of this boot is stopped.
    fn look_at_own(&self, out: &mut Vec<Event>) {
        let has_history = self.ledger.announced_term().0 > 0 || self.ledger.tenure.is_some();
        if !self.ledger.is_writable() || !has_history || self.fencing || !self.ledger.leases() {
            return;
        }
        if self.pause_protects() || self.ledger.lease_stands() || self.waits_for_guard() {
            return;
        }
        let term = self.ledger.tenure.unwrap_or_default();
        out.push(decided(Decision::FenceOrdered { term, why: FenceReason::NoLease }));
    }

    /// A restarted daemon first asks the guard which deadline it holds; the guard keeps it meanwhile.
    fn waits_for_guard(&self) -> bool {
        self.ledger.tenure.is_some()
            && !self.guard_present
            && self.now().nanos_since(self.ledger.started_at) < self.settings().heartbeat_interval.0
    }

    /// A PostgreSQL that does not answer its own daemon, and that a quorum holds down, is stopped at
    /// once instead of at the lease's end.
    fn give_in_to_quorum(&self, out: &mut Vec<Event>) {
        let Some(term) = self.ledger.tenure.filter(|_| !self.fencing && !self.pause_protects()) else {
            return;
        };
        let own = self.ledger.announced().is_some_and(|a| a.primary == self.ledger.me() && a.term == term);
        if own && self.ledger.verdict == Verdict::Unreachable && self.ledger.quorum_holds_down() {
            out.push(decided(Decision::FenceOrdered { term, why: FenceReason::HungAndQuorumAgrees }));
        }
    }

    /// E8: failure or unknown outcome: fence.
    fn give_up_promotion(&self, term: Term, ordered: bool, why: FenceReason, out: &mut Vec<Event>) {
        if self.fencing {
            return;
        }
        if ordered || self.ledger.promotion_ordered == Some(term) {
            out.push(decided(Decision::FenceOrdered { term, why }));
        } else {
            out.push(decided(Decision::LeaseReleased { term, last_number: self.number }));
        }
    }

    // ---- orderly end (L6) -----------------------------------------------------------------

    fn stop(&self, out: &mut Vec<Event>) {
        match self.ledger.tenure {
            Some(term) if self.ledger.leases() && self.ledger.local.runs != Some(false) => {
                let pause = PauseId { term, number: self.number + 1, primary: self.ledger.me() };
                out.push(decided(Decision::PauseRequested(pause)));
            }
            _ => out.push(decided(Decision::StopAllowed)),
        }
    }

    fn confirm_pause(&self, out: &mut Vec<Event>) {
        let Some(p) = self.pausing.as_ref().filter(|p| !p.confirmed) else { return };
        let agreed: Vec<MemberId> = p.agreed.iter().copied().filter(|m| self.settings().votes(*m)).collect();
        if agreed.len() >= self.ledger.quorum().needed() {
            out.push(decided(Decision::PauseConfirmed { pause: p.pause, agreed }));
        }
    }

    fn refuse_stop(&self, out: &mut Vec<Event>) {
        let Some(p) = self.pausing.as_ref().filter(|p| !p.confirmed && self.now() >= p.ends_at) else {
            return;
        };
        let needed = self.ledger.quorum().needed_u8();
        out.push(decided(Decision::StopRefused { agreed: p.agreed.clone(), needed }));
    }

    pub(super) fn tenure_deadlines(&self, out: &mut Vec<(Deadline, BootNanos)>) {
        if let Some((_, lease)) = self.ledger.tenure.zip(self.ledger.lease)
            && !self.fencing
            && !self.pause_protects()
            && self.ledger.leases()
        {
            out.push((Deadline::LeaseEnds, lease.until));
        }
        if let Some(p) = self.pausing.as_ref().filter(|p| !p.confirmed) {
            out.push((Deadline::PauseEnds, p.ends_at));
        }
        if let Phase::Promoting { ends_at, .. } = &self.phase {
            out.push((Deadline::PromotionEnds, *ends_at));
        }
    }
}
