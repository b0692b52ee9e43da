//! The guard's machine: what a request, an instant or a fact about processes means for the deadline
//! (L6 to L8). Pure: no clock, no I/O; the loop in `run` performs what it returns.

use super::facts::{Action, Asker, ClientId, Input};
use super::frame::cut_text;
use super::protocol::{
    FenceOutcome, FenceReason, GuardState, Notice, Postmaster, Refusal, Reply, Request, Status,
};
use crate::core::{Incarnation, Nanos, Term};
use pgfo_replay::BootNanos;

/// Furthest a deadline may lie ahead. A lease lasts seconds; what is minutes ahead is a mistake in
/// arithmetic or another boot's clock, and would leave PostgreSQL unguarded.
pub const ARM_AHEAD_MAX: Nanos = Nanos(600 * 1_000_000_000);
/// A standstill of the host that fences at once while armed. Shorter ones are the ordinary steps of
/// clock synchronisation, which must not fence a healthy primary.
pub const STALL_MAX: Nanos = Nanos::from_millis(1_000);
/// Pause between passes of a fence that is not complete.
pub const FENCE_RETRY: Nanos = Nanos::from_millis(200);

/// The machine.
#[derive(Clone, Debug)]
pub struct Machine {
    reserve: Nanos,
    state: GuardState,
    /// Highest term ever armed: arming never goes back.
    highest: Term,
    /// Highest term whose tenure ended (L8).
    ended: Term,
    /// The log whose terms these are.
    terms_of: Option<Incarnation>,
    /// The connection and incarnation of the last hello.
    daemon: Option<(ClientId, Incarnation)>,
    /// Who waits for the fence under way.
    fence_asker: Option<Asker>,
    /// When the next pass of an incomplete fence is due.
    retry_at: BootNanos,
    postmaster: Option<Postmaster>,
    sealed: Option<bool>,
}

impl Machine {
    /// Returns an idle machine that fences `reserve` before each deadline.
    #[must_use]
    pub const fn new(reserve: Nanos) -> Self {
        Self {
            reserve,
            state: GuardState::Idle,
            highest: Term(0),
            ended: Term(0),
            terms_of: None,
            daemon: None,
            fence_asker: None,
            retry_at: BootNanos(0),
            postmaster: None,
            sealed: None,
        }
    }

    /// Returns what the guard is about.
    #[must_use]
    pub const fn state(&self) -> &GuardState {
        &self.state
    }

    /// Returns the connection of the current daemon, the last to be dropped for want of room.
    #[must_use]
    pub fn daemon_client(&self) -> Option<ClientId> {
        self.daemon.map(|(client, _)| client)
    }

    /// Returns the instant at which [`Input::Instant`] must arrive at the latest.
    #[must_use]
    pub fn wake_at(&self) -> Option<BootNanos> {
        match &self.state {
            GuardState::Armed { deadline, .. } => Some(self.planned(*deadline)),
            GuardState::Fenced { outcome: Some(outcome), .. } if !outcome.is_complete() => {
                Some(self.retry_at)
            }
            _ => None,
        }
    }

    /// Takes one input at `now` and appends what is to be done. An expired deadline comes before
    /// whatever the input is.
    pub fn step(&mut self, now: BootNanos, input: Input, out: &mut Vec<Action>) {
        self.expire(now, out);
        match input {
            Input::Instant => {}
            Input::Asked(asker, request) => self.asked(now, asker, request, out),
            Input::ClientGone(client) => self.client_gone(client),
            Input::Looked { sealed, postmaster } => self.looked(now, sealed, postmaster, out),
            Input::PostmasterEnded(postmaster) => self.postmaster_ended(now, postmaster, out),
            Input::FenceEnded(outcome) => self.fence_ended(now, outcome, out),
            Input::SealTried(asker, result) => self.seal_tried(asker, result, out),
            Input::ReleaseChecked { asker, term, sealed, left } => {
                out.push(Action::Reply(asker, self.release(term, sealed, left)));
            }
            Input::HostStalled(stalled) => self.host_stalled(now, stalled, out),
            Input::TerminationAsked => out.push(self.termination()),
        }
    }

    const fn planned(&self, deadline: BootNanos) -> BootNanos {
        BootNanos(deadline.0.saturating_sub(self.reserve.0))
    }

    fn expire(&mut self, now: BootNanos, out: &mut Vec<Action>) {
        match &self.state {
            GuardState::Armed { deadline, .. } if self.planned(*deadline) <= now => {
                let late = Nanos(now.nanos_since(self.planned(*deadline)));
                self.begin_fence(now, FenceReason::Deadline { deadline: *deadline, late }, out);
            }
            GuardState::Fenced { outcome: Some(outcome), .. }
                if !outcome.is_complete() && self.retry_at <= now =>
            {
                self.fence_again(FenceReason::Incomplete, out);
            }
            _ => {}
        }
    }

    fn begin_fence(&mut self, now: BootNanos, why: FenceReason, out: &mut Vec<Action>) {
        let by = match self.state {
            GuardState::Armed { deadline, .. } => Some(deadline),
            // Nobody counts on a deadline: PostgreSQL gets its whole grace.
            _ => Some(now.plus_nanos(self.reserve.0)),
        };
        // A fence ends every tenure known here, also one that was stood down from.
        self.ended = self.ended.max(self.highest);
        self.state = GuardState::Fenced { term: self.ended, why: why.clone(), at: now, outcome: None };
        out.push(Action::Notify(Notice::FenceStarted { why: why.clone() }));
        out.push(Action::Fence { why, by });
    }

    fn fence_again(&mut self, why: FenceReason, out: &mut Vec<Action>) {
        if let GuardState::Fenced { outcome, .. } = &mut self.state
            && why != FenceReason::Incomplete
        {
            *outcome = None;
        }
        // Not due again before this pass has ended, however long it takes.
        self.retry_at = BootNanos(u64::MAX);
        out.push(Action::Fence { why, by: None });
    }

    fn fence_ended(&mut self, now: BootNanos, outcome: FenceOutcome, out: &mut Vec<Action>) {
        self.sealed = if outcome.sealed { Some(true) } else { self.sealed };
        self.retry_at = now.plus_nanos(FENCE_RETRY.0);
        if let Some(asker) = self.fence_asker.take() {
            out.push(Action::Reply(asker, Reply::Fenced(outcome.clone())));
        }
        if let GuardState::Fenced { outcome: last, .. } = &mut self.state {
            let changed = last.as_ref().is_none_or(|l| {
                (l.sealed, l.left, l.uninterruptible)
                    != (outcome.sealed, outcome.left, outcome.uninterruptible)
            });
            *last = Some(outcome.clone());
            if changed {
                out.push(Action::Notify(Notice::Fenced { outcome }));
            }
        }
        out.push(Action::Look);
    }

    fn looked(
        &mut self,
        now: BootNanos,
        sealed: Option<bool>,
        found: Option<Postmaster>,
        out: &mut Vec<Action>,
    ) {
        self.sealed = sealed;
        if let Some(old) = self.postmaster
            && found != Some(old)
        {
            out.push(Action::Notify(Notice::PostmasterGone { postmaster: old, at: now }));
        }
        if let Some(new) = found
            && self.postmaster != Some(new)
        {
            out.push(Action::Notify(Notice::PostmasterSeen { postmaster: new }));
        }
        self.postmaster = found;
        let settled = matches!(&self.state, GuardState::Fenced { outcome: Some(o), .. } if o.is_complete());
        if settled && sealed == Some(false) {
            out.push(Action::Notify(Notice::SealLost));
            self.fence_again(FenceReason::SealLost, out);
        }
    }

    fn postmaster_ended(&mut self, now: BootNanos, postmaster: Postmaster, out: &mut Vec<Action>) {
        if self.postmaster == Some(postmaster) {
            self.postmaster = None;
            out.push(Action::Notify(Notice::PostmasterGone { postmaster, at: now }));
            out.push(Action::Look);
        }
    }

    fn asked(&mut self, now: BootNanos, asker: Asker, request: Request, out: &mut Vec<Action>) {
        let reply = match request {
            Request::Hello { incarnation } => {
                self.daemon = Some((asker.client, incarnation));
                self.subscribe(asker.client, out);
                Reply::Ok
            }
            Request::Watch => {
                self.subscribe(asker.client, out);
                out.push(Action::Look);
                Reply::Status(self.status(now))
            }
            Request::Status => Reply::Status(self.status(now)),
            Request::Arm { term, deadline, incarnation } => {
                match self.arm(now, asker.client, term, deadline, incarnation, out) {
                    Ok(()) => Reply::Ok,
                    Err(refusal) => Reply::Refused(refusal),
                }
            }
            Request::StandDown { why } => self.stand_down(why, out),
            Request::Fence { why } => {
                self.fence_asker = Some(asker);
                return self.begin_fence(now, FenceReason::Asked(cut_text(why)), out);
            }
            Request::SealOnly => return out.push(Action::Seal(asker)),
            Request::Release { term } => return out.push(Action::CheckRelease(asker, term)),
        };
        out.push(Action::Reply(asker, reply));
    }

    fn subscribe(&self, client: ClientId, out: &mut Vec<Action>) {
        out.push(Action::Subscribe(client));
        if let Some(postmaster) = self.postmaster {
            out.push(Action::NotifyOne(client, Notice::PostmasterSeen { postmaster }));
        }
    }

    fn arm(
        &mut self,
        now: BootNanos,
        client: ClientId,
        term: Term,
        deadline: BootNanos,
        incarnation: Incarnation,
        out: &mut Vec<Action>,
    ) -> Result<(), Refusal> {
        let (daemon, registered) = self.daemon.ok_or(Refusal::NotCurrentDaemon)?;
        if daemon != client {
            return Err(Refusal::NotCurrentDaemon);
        }
        if registered != incarnation {
            return Err(Refusal::OtherIncarnation);
        }
        // Terms are counted by a log: one that was begun anew starts from 1 again, once every log is lost.
        if self.terms_of != Some(incarnation) && !matches!(self.state, GuardState::Armed { .. }) {
            self.terms_of = Some(incarnation);
            (self.highest, self.ended) = (Term(0), Term(0));
        }
        if term <= self.ended {
            return Err(Refusal::TermEnded { ended: self.ended });
        }
        if self.fence_is_open() {
            return Err(Refusal::FenceIncomplete);
        }
        if term < self.highest {
            return Err(Refusal::TermLower { highest: self.highest });
        }
        let held = match self.state {
            GuardState::Armed { term: t, deadline, .. } if t == term => Some(deadline),
            _ => None,
        };
        if deadline == BootNanos(0) && held.is_some() {
            self.begin_fence(now, FenceReason::DeadlineLost, out);
            return Err(Refusal::DeadlineLost);
        }
        if deadline.0 > now.0.saturating_add(ARM_AHEAD_MAX.0) {
            return Err(Refusal::DeadlineTooFar);
        }
        if let Some(held) = held
            && deadline <= held
        {
            // A lease once proven to last until `held` does so: deadlines never move backwards.
            return Ok(());
        }
        if self.planned(deadline) <= now {
            return Err(Refusal::DeadlinePassed { now });
        }
        if held.is_none() {
            out.push(Action::Log(format!("armed for term {term}")));
            out.push(Action::Mark);
            out.push(Action::Look);
        }
        self.highest = term;
        self.state = GuardState::Armed { term, deadline, incarnation };
        Ok(())
    }

    fn stand_down(&mut self, why: String, out: &mut Vec<Action>) -> Reply {
        if self.fence_is_open() {
            return Reply::Refused(Refusal::FenceIncomplete);
        }
        let why = cut_text(why);
        out.push(Action::Log(format!("stood down: {why}")));
        self.state = GuardState::StoodDown { why };
        Reply::Ok
    }

    fn fence_is_open(&self) -> bool {
        matches!(&self.state, GuardState::Fenced { outcome, .. }
            if !outcome.as_ref().is_some_and(FenceOutcome::is_complete))
    }

    fn release(&mut self, term: Term, sealed: bool, left: u32) -> Reply {
        if self.fence_is_open() {
            return Reply::Refused(Refusal::FenceIncomplete);
        }
        if term < self.highest {
            // The later tenure goes on; the released one had ended with its arming.
            self.ended = self.ended.max(term);
            return Reply::Ok;
        }
        // A fence completed for this term has proven both; a read-only PostgreSQL may run since.
        let fenced = matches!(self.state, GuardState::Fenced { .. });
        if !sealed {
            return Reply::Refused(Refusal::NotSealed);
        }
        if left > 0 && !fenced {
            return Reply::Refused(Refusal::ProcessesLeft { count: left });
        }
        self.ended = self.ended.max(term);
        self.highest = self.highest.max(term);
        if !matches!(self.state, GuardState::StoodDown { .. }) {
            self.state = GuardState::Idle;
        }
        Reply::Ok
    }

    fn seal_tried(&mut self, asker: Asker, result: Result<(), String>, out: &mut Vec<Action>) {
        let reply = match result {
            Ok(()) => {
                self.sealed = Some(true);
                Reply::Ok
            }
            Err(why) => Reply::Refused(Refusal::SealFailed { why: cut_text(why) }),
        };
        out.push(Action::Reply(asker, reply));
    }

    fn host_stalled(&mut self, now: BootNanos, stalled: Nanos, out: &mut Vec<Action>) {
        if !matches!(self.state, GuardState::Armed { .. }) {
            return;
        }
        if stalled >= STALL_MAX {
            self.begin_fence(now, FenceReason::HostStalled { stalled }, out);
        } else {
            out.push(Action::Log(format!("the clocks moved apart by {stalled}; going on")));
        }
    }

    fn client_gone(&mut self, client: ClientId) {
        if self.daemon_client() == Some(client) {
            self.daemon = None;
        }
        if self.fence_asker.is_some_and(|a| a.client == client) {
            self.fence_asker = None;
        }
    }

    fn termination(&self) -> Action {
        match &self.state {
            GuardState::Idle | GuardState::StoodDown { .. } => Action::Exit,
            GuardState::Armed { .. } | GuardState::Fenced { .. } => {
                Action::Log("SIGTERM ignored while armed or fenced: stand the guard down first".into())
            }
        }
    }

    /// Returns how things are.
    #[must_use]
    pub fn status(&self, now: BootNanos) -> Status {
        Status {
            state: self.state.clone(),
            postmaster: self.postmaster,
            sealed: self.sealed,
            ended: self.ended,
            now,
        }
    }
}

#[cfg(test)]
mod tests;
