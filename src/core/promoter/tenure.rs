//! The tenure of a primary: asking for the lease, counting grants, fencing and releasing.

use super::{Phase, Promoter, decided, guard_said, heard};
use crate::core::{BootNanos, MemberId, Plant, Term, kth_largest, ordered_at, planted};
use crate::events::{
    Announcement, Deadline, Decision, Event, FenceReason, GuardReport, LeaseAsk, Message, Observation,
    ProbeReport, PromotionOutcome, Verdict,
};

impl Promoter {
    // ---- folding --------------------------------------------------------------------------

    pub(super) fn tenure_observed(&mut self, observation: &Observation) {
        if let Some((from, Message::LeaseGranted(echo) | Message::VoteGranted(echo))) = heard(observation) {
            self.count_grant(from, echo);
        }
        self.roster_observed(observation);
        self.leaving_observed(observation);
        match observation {
            Observation::FenceCompleted(outcome) => {
                self.fencing = false;
                let failed = !outcome.nothing_left || (self.ledger.leases() && !outcome.sealed);
                self.fence_again_at =
                    if failed { self.after(self.settings().retry_interval) } else { BootNanos(0) };
            }
            Observation::GuardReported(GuardReport::Lost) => self.guard_present = false,
            Observation::GuardReported(_) => self.guard_present = true,
            _ => {}
        }
    }

    pub(super) fn tenure_decided(&mut self, decision: &Decision) {
        let me = self.ledger.me();
        self.roster_decided(decision);
        self.leaving_decided(decision);
        match decision {
            Decision::LeaseRequested(ask) | Decision::RenewalRequested(ask) => self.number = ask.number,
            Decision::VoteRequested(ask) => {
                self.number = ask.ask.number;
                self.asked_roster = ask.roster.clone().map(Box::new);
            }
            // L8: the votes' promises are no grants any more, nor is the own one.
            Decision::CandidacyClosed { .. } => self.grants.fill(BootNanos(0)),
            Decision::TestimonyRequested { number, .. } => self.number = *number,
            Decision::LeaseGranted { to, ask, .. } if *to == me => self.count_grant(me, ask),
            Decision::VoteGranted { candidate, ask, .. } if *candidate == me => self.count_grant(me, ask),
            // A deadline taken over from the guard is no grant of this process.
            Decision::LeaseExtended { .. } => {
                self.extended |= self.granted_until().is_some_and(|t| t > self.now());
            }
            Decision::FenceOrdered { .. } => {
                self.fencing = true;
                self.ordered_at = ordered_at(&self.ledger);
            }
            Decision::LeaseReleased { .. } => {
                self.grants.fill(BootNanos(0));
                self.extended = false;
                self.proposal = None;
            }
            _ => {}
        }
    }

    fn count_grant(&mut self, from: MemberId, echo: &LeaseAsk) {
        let of_tenure = self.ledger.tenure == Some(echo.term) || self.stands_in(echo.term);
        if !of_tenure || !self.is_own_echo(echo) || !self.settings().votes(from) {
            return;
        }
        let mut until = Self::counts_until(echo);
        if planted(Plant::LeaseFromReceipt) {
            until = self.now().plus_nanos(until.nanos_since(echo.sent_at));
        }
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
            return kth_largest(self.grants.iter().copied(), blocking).filter(|t| t.0 > 0);
        }
        let others = self.settings().others().filter_map(|m| self.grants.get(usize::from(m.0)).copied());
        match blocking {
            0 | 1 => Some(own),
            k => kth_largest(others, k - 1).map(|t| t.min(own)),
        }
        .filter(|t| t.0 > 0)
    }

    // ---- deciding -------------------------------------------------------------------------

    pub(super) fn decide_tenure(&self, observation: &Observation, out: &mut Vec<Event>) {
        match observation {
            Observation::HeartbeatDue { .. } => self.end_superseded(out),
            Observation::PostmasterGone { .. } => {
                if let Some(term) = self.ledger.tenure.filter(|_| planted(Plant::ConfirmedWithoutScan)) {
                    out.push(decided(Decision::LeaseReleased { term, last_number: self.number }));
                } else if let Some(term) = self.ledger.tenure.filter(|_| !self.fencing) {
                    let seen_alive = self.ledger.local.report.is_some();
                    let why = if seen_alive { FenceReason::PostmasterGone } else { FenceReason::FoundDown };
                    out.push(decided(Decision::FenceOrdered { term, why }));
                }
            }
            Observation::ProbeCompleted { target, .. } if *target == self.ledger.me() => {
                self.look_at_own(out);
                self.end_vain_pause(out);
                self.end_forgotten_pause(out);
            }
            Observation::FenceCompleted(outcome) => {
                let done = outcome.nothing_left && (outcome.sealed || !self.ledger.leases());
                if let (true, Some(term)) = (done, self.ledger.tenure) {
                    out.push(decided(Decision::LeaseReleased { term, last_number: self.number }));
                }
            }
            Observation::DeadlinePassed(Deadline::LeaseEnds) => self.expire(out),
            Observation::DeadlinePassed(Deadline::PromotionEnds) => {
                if let Phase::Promoting { term, ends_at, ordered, .. } = &self.phase
                    && self.now() >= *ends_at
                    && (*ordered || !self.ledger.is_writable())
                {
                    self.release_or_fence(*term, FenceReason::PromotionUnknown, out);
                }
            }
            Observation::PromotionCompleted { term, outcome, .. } if self.ledger.tenure == Some(*term) => {
                match outcome {
                    PromotionOutcome::Promoted { .. } => {}
                    PromotionOutcome::Unknown { .. } if planted(Plant::UnknownIsFailure) => {
                        self.release_or_fence(*term, FenceReason::PromotionFailed, out);
                    }
                    PromotionOutcome::Vetoed { .. } | PromotionOutcome::Refused { .. } => {
                        self.release_or_fence(*term, FenceReason::PromotionFailed, out);
                    }
                    PromotionOutcome::Failed { .. } => {
                        self.fence(*term, FenceReason::PromotionFailed, out);
                    }
                    PromotionOutcome::Unknown { .. } => {
                        self.fence(*term, FenceReason::PromotionUnknown, out);
                    }
                }
            }
            Observation::MessageReceived { message, .. } => match message {
                Message::LeaseGranted(_) => self.extend(out),
                Message::Heartbeat(_) | Message::Testified(_) => self.give_in_to_quorum(out),
                _ => {}
            },
            _ => {}
        }
        self.decide_leaving(observation, out);
        match guard_said(observation) {
            Some(GuardReport::Present { armed }) => {
                self.take_over_guard(armed, out);
                if let Some((term, _)) = armed {
                    self.release_again(term, out);
                }
            }
            Some(GuardReport::Fenced { term }) => {
                self.release_again(term, out);
                // M3: a guard that was not told in time to stand down fenced within the pause, whose end the
                // others wait for: nothing is left that it protects.
                if self.ledger.tenure == Some(term) && self.ledger.pause_protects() {
                    self.release_or_fence(term, FenceReason::GuardDecided, out);
                }
            }
            // L6: the guard acts by itself. What is decided here makes it known, with its reason, before the
            // postmaster's end is seen.
            Some(GuardReport::FenceBegun { lease_over }) => {
                if let Some(term) = self.ledger.tenure.filter(|_| !self.fencing) {
                    let why = if lease_over { FenceReason::LeaseExpired } else { FenceReason::GuardDecided };
                    out.push(decided(Decision::FenceOrdered { term, why }));
                }
            }
            _ => {}
        }
    }

    pub(super) fn answer_tenure(&self, decision: &Decision, out: &mut Vec<Event>) {
        self.answer_leaving(decision, out);
        match decision {
            Decision::LeaseGranted { to, .. } if *to == self.ledger.me() => self.extend(out),
            // Behind the heartbeat, which whoever grants must have heard first (M1).
            Decision::HeartbeatSent(_) => self.renew(out),
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

    /// A tenure below the newest winner's was to be fenced when this process, or the one before, ended.
    fn end_superseded(&self, out: &mut Vec<Event>) {
        let Some(winner) = self.ledger.announced() else { return };
        let newer = winner.term;
        if let Some(term) = self.ledger.tenure.filter(|t| *t < newer) {
            self.fence(term, FenceReason::Superseded { term: newer }, out);
        }
    }

    /// L1: the primary asks with every heartbeat.
    fn renew(&self, out: &mut Vec<Event>) {
        let current = self.ledger.tenure.filter(|t| *t >= self.ledger.announced_term());
        if let Some(term) = current.filter(|_| self.ledger.leases() && !self.fencing) {
            // L5: once announced, only who knows that grants on.
            let announced = self.ledger.told().is_some_and(|a| a.term == term);
            let ask = self.ask(term);
            out.push(decided(if announced {
                Decision::RenewalRequested(ask)
            } else {
                Decision::LeaseRequested(ask)
            }));
        }
    }

    pub(super) fn extend(&self, out: &mut Vec<Event>) {
        // L6: an extension arms the guard, which was told to stand down.
        let Some(term) = self.ledger.tenure.filter(|_| !self.fencing && !self.leaving) else { return };
        let Some(until) = self.granted_until() else { return };
        let held = self.ledger.lease.filter(|l| l.term == term).map_or(BootNanos(0), |l| l.until);
        if until > self.now() && (until > held || !self.extended) {
            out.push(decided(Decision::LeaseExtended { term, until: until.max(held) }));
        }
    }

    /// A guard that outlived the last daemon holds the deadline that was granted to it (L6).
    fn take_over_guard(&self, armed: Option<(Term, BootNanos)>, out: &mut Vec<Event>) {
        if self.leaving {
            return;
        }
        let Some((term, until)) = armed else { return self.arm_anew(out) };
        let held = self.ledger.lease.map_or(BootNanos(0), |l| l.until);
        if self.ledger.tenure == Some(term) && until > held && until > self.now() && !self.fencing {
            out.push(decided(Decision::LeaseExtended { term, until }));
        }
    }

    /// L6: a guard that took another's place holds no deadline; without one it would not fence if no grant came any
    /// more. What it is told is the lease that stands, no longer one.
    pub(super) fn arm_anew(&self, out: &mut Vec<Event>) {
        let l = &self.ledger;
        let held = l.lease.filter(|e| l.leases() && l.lease_stands() && l.tenure == Some(e.term));
        // Who is just back within a pause waits for grants of its own: a lease that is about to end would fence
        // what the pause protects.
        let may = l.revision >= 3 && !self.fencing && !self.leaving && (self.extended || !l.pause_protects());
        if let Some(lease) = held.filter(|_| may) {
            out.push(decided(Decision::LeaseExtended { term: lease.term, until: lease.until }));
        }
    }

    /// L8: this log knows that the tenure is over, but the daemon died before the guard was told, and
    /// the guard would go on sealing or, at its deadline, stop what is a standby by now.
    fn release_again(&self, term: Term, out: &mut Vec<Event>) {
        if self.ledger.tenure.is_none() && term.0 > 0 && term <= self.ledger.released {
            out.push(decided(Decision::LeaseReleased { term, last_number: self.number }));
        }
    }

    fn expire(&self, out: &mut Vec<Event>) {
        let Some((term, lease)) = self.ledger.tenure.zip(self.ledger.lease) else { return };
        if self.now() < lease.until && !planted(Plant::DeadlineActsEarly) || self.fence_blocked() {
            return;
        }
        if self.ledger.pause_protects() || !self.ledger.leases() || planted(Plant::WritesWithoutLease) {
            return;
        }
        out.push(decided(Decision::LeaseExpired { term, at: lease.until }));
        self.release_or_fence(term, FenceReason::LeaseExpired, out);
    }

    /// L8: a tenure ends without a fence only if PostgreSQL is known to be a standby and no promotion of
    /// that term can still be under way. "Not known to be writable" is not enough.
    pub(super) fn release_or_fence(&self, term: Term, why: FenceReason, out: &mut Vec<Event>) {
        if self.fence_blocked() {
            return;
        }
        let standby = match planted(Plant::ReleasedThoughWritable) {
            true => !self.ledger.is_writable(),
            false => self.ledger.answer().is_some_and(|a| a.in_recovery),
        };
        if standby && self.ledger.promotion_ordered != Some(term) && !self.repeated {
            out.push(decided(Decision::LeaseReleased { term, last_number: self.number }));
        } else {
            out.push(decided(Decision::FenceOrdered { term, why }));
        }
    }

    /// E8: failure or unknown outcome: fence.
    fn fence(&self, term: Term, why: FenceReason, out: &mut Vec<Event>) {
        if !self.fence_blocked() {
            out.push(decided(Decision::FenceOrdered { term, why }));
        }
    }

    /// A fence is under way, or one just ended without success and is tried again a little later.
    pub(super) fn fence_blocked(&self) -> bool {
        self.fencing || self.now() < self.fence_again_at
    }

    /// L9: a PostgreSQL out of recovery without a standing lease of this boot is stopped.
    fn look_at_own(&self, out: &mut Vec<Event>) {
        let others_have = || {
            self.settings().others().any(|m| self.ledger.heartbeat(m).is_some_and(|h| h.announced.is_some()))
        };
        // A log that may have forgotten may have forgotten that (S8).
        let l = &self.ledger;
        let has_history = l.announced_term().0 > 0 || l.tenure.is_some() || l.forgetful || others_have();
        if !self.ledger.is_writable() || !has_history || self.fence_blocked() || !self.ledger.leases() {
            return;
        }
        let stands = self.ledger.lease_stands() || planted(Plant::WritesWithoutLease);
        if self.ledger.pause_protects() || stands || self.waits_for_guard() {
            return;
        }
        let term = self.ledger.tenure.unwrap_or_default();
        out.push(decided(Decision::FenceOrdered { term, why: FenceReason::NoLease }));
    }

    /// M3: within its pause PostgreSQL ended, and is down or was started anew as a standby (L9): there is nothing left that
    /// the pause protects, and nobody else may end it. The end of a fence may not have been heard.
    fn end_vain_pause(&self, out: &mut Vec<Event>) {
        let l = &self.ledger;
        let vain = l.local.runs == Some(false) || l.answer().is_some_and(|a| a.in_recovery);
        let Some(term) = l.tenure.filter(|t| l.revision >= 4 && vain && *t == l.announced_term()) else {
            return;
        };
        if l.pause_protects() && self.phase == Phase::Idle {
            self.release_or_fence(term, FenceReason::PostmasterGone, out);
        }
    }

    /// M3: the log that held the tenure is lost, the others wait within its pause, and PostgreSQL is down, or hangs and a
    /// quorum holds it down: once nothing is left of it, that is said, and ends the pause.
    fn end_forgotten_pause(&self, out: &mut Vec<Event>) {
        let l = &self.ledger;
        let (me, unsaid) = (l.me(), l.verdict != Verdict::ConfirmedDown);
        let led = |a: &&Announcement| a.primary == me && a.term > l.released && unsaid;
        let Some(winner) = l.announced().filter(led).filter(|_| l.revision >= 4 && l.tenure.is_none()) else {
            return;
        };
        let waits = |m| l.heartbeat(m).and_then(|h| h.paused).is_some_and(|p| p.primary == me);
        let why = match l.local.runs {
            Some(false) => FenceReason::FoundDown,
            // One that answers is a standby, or of another system: it hangs not, and protects nothing.
            _ if matches!(l.local.report, Some(ProbeReport::Answered(_))) => return,
            _ if l.verdict == Verdict::Unreachable && l.quorum_holds_down() => {
                FenceReason::HungAndQuorumAgrees
            }
            _ => return,
        };
        if self.settings().others().any(waits) {
            self.fence(winner.term, why, out);
        }
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
        // M3: a pause is for the time without a daemon. One that is back, and stays, ends what hangs.
        let away = self.leaving || self.pausing.is_some() || self.ledger.revision < 4;
        let protected = self.ledger.pause_protects() && away;
        let Some(term) = self.ledger.tenure.filter(|_| !self.fencing && !protected) else { return };
        let own = self.ledger.announced().is_some_and(|a| a.primary == self.ledger.me() && a.term == term);
        if own && self.ledger.verdict == Verdict::Unreachable && self.ledger.quorum_holds_down() {
            out.push(decided(Decision::FenceOrdered { term, why: FenceReason::HungAndQuorumAgrees }));
        }
    }

    pub(super) fn tenure_deadlines(&self, out: &mut Vec<(Deadline, BootNanos)>) {
        if let Some((_, lease)) = self.ledger.tenure.zip(self.ledger.lease)
            && !self.fencing
            && !self.ledger.pause_protects()
            && self.ledger.leases()
        {
            out.push((Deadline::LeaseEnds, lease.until.max(self.fence_again_at)));
        }
        if let Some(p) = self.pausing.as_ref().filter(|p| self.is_answer_due(p)) {
            out.push((Deadline::PauseEnds, p.ends_at));
        }
        if let Phase::Promoting { ends_at, ordered, .. } = &self.phase {
            // A primary that runs already only waits for its guard: its lease bounds that.
            if !self.fencing && (*ordered || !self.ledger.is_writable()) {
                out.push((Deadline::PromotionEnds, (*ends_at).max(self.fence_again_at)));
            }
        }
    }
}
