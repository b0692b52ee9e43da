//! What an observation brings about: the daemon is stepped, its log flushed where its decisions ask for
//! it, and its effects done or put down for its hands.

use super::actions::Action;
use super::bounds::{BOOT_ORIGIN, Bounds, MOMENT};
use super::judge::PASSING;
use super::mind::{Mind, Thinker};
use super::prelude::begin;
use super::reduce::is_idle_refusal;
use super::state::{Envelope, State, Task};
use crate::core::{BootNanos, Effect, MemberId, Nanos};
use crate::events::{Decision, GuardReport, Message, Observation, ProbeKind, ProbeReport};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A cluster within bounds.
pub struct ClusterModel {
    pub(super) bounds: Bounds,
    pub(super) thinker: Thinker,
    first: State,
    before_each: Box<dyn Fn() + Send + Sync>,
    /// The marks seen so far that no state shows.
    pub(super) passing: [AtomicBool; PASSING.len()],
}

impl ClusterModel {
    /// Makes the model: at its beginning.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self::with(bounds, None, || {})
    }

    /// Makes a model that calls `before_each` before every step it computes, in whatever thread that is, and
    /// that leaves a part of every daemon out when it tells states apart.
    #[must_use]
    pub fn with(
        bounds: Bounds,
        left_out: Option<&'static str>,
        before_each: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let thinker = Thinker::new(bounds.ids().map(|m| bounds.settings(m)).collect(), left_out);
        let hosts = Vec::new();
        let first = State {
            now: 0,
            hosts,
            network: super::state::Network::default(),
            lines: Vec::new(),
            spent: super::state::Spent::default(),
            ghosts: super::state::Ghosts::default(),
            id: 0,
            touched: false,
            beyond: false,
        };
        let before_each = Box::new(before_each);
        let mut model = Self { bounds, thinker, first, before_each, passing: Default::default() };
        let mut first = begin(&model);
        model.settle(&mut first);
        first.spent = super::state::Spent::default();
        first.ghosts.unjudged = model.bounds.unjudged;
        first.project();
        model.first = first;
        model
    }

    /// Returns the bounds.
    #[must_use]
    pub const fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Returns the state at the beginning.
    #[must_use]
    pub fn first(&self) -> State {
        self.first.clone()
    }

    /// Returns the state after an action; none, if it changes nothing or leaves the bounds.
    #[must_use]
    pub fn next(&self, state: &State, action: &Action) -> Option<State> {
        (self.before_each)();
        let mut s = state.clone();
        (s.touched, s.beyond) = (false, false);
        self.act(&mut s, action);
        self.settle(&mut s);
        s.judge_writers();
        if let Action::Beats(id) = action {
            s.beyond |= self.asks_in_vain(&s, *id);
        }
        if !s.touched || s.beyond {
            return None;
        }
        self.prune(state, &mut s);
        s.project();
        Some(s)
    }

    pub(super) fn settings(&self, id: MemberId) -> &crate::events::Settings {
        self.thinker.settings(id)
    }

    /// What a member's clock shows.
    pub(super) fn boot(&self, s: &State, id: MemberId) -> BootNanos {
        s.hosts[usize::from(id.0)].boot(s.now)
    }

    /// The moment of the shared clock at which a member's clock shows this, give or take what deadlines take.
    fn moment(&self, id: MemberId, boot: BootNanos) -> u64 {
        let rate = self.bounds.rate(id);
        let nanos = boot.0.saturating_sub(BOOT_ORIGIN) * 100 / rate;
        (nanos + MOMENT / 2) / MOMENT * MOMENT
    }

    /// Steps a daemon and does what comes of it.
    pub(super) fn observe(&self, s: &mut State, id: MemberId, observation: &Observation) {
        let boot = self.boot(s, id);
        let crashes_left = s.spent.crashes < self.bounds.crashes && Bounds::within(self.bounds.mortal, id);
        let host = &mut s.hosts[usize::from(id.0)];
        let thought = self.thinker.think(&host.mind, boot, observation);
        if thought.next.id != host.mind.id {
            s.touched = true;
            let before = std::mem::replace(&mut host.mind, Arc::clone(&thought.next));
            let left = host.durable.take().unwrap_or(before);
            if crashes_left && !thought.durable && !self.starts_alike(s, id, &left) {
                s.hosts[usize::from(id.0)].durable = Some(left);
            }
        }
        for decision in &thought.told {
            self.judge_decision(s, id, decision);
            if let Decision::CandidacyOpened { term, .. } = decision {
                let may = Bounds::within(self.bounds.candidates, id);
                s.beyond |= term.0 > self.bounds.terms || !may;
            }
        }
        for effect in &thought.effects {
            self.judge_effect(s, id, effect);
            self.perform(s, id, effect);
        }
    }

    fn perform(&self, s: &mut State, id: MemberId, effect: &Effect) {
        let boot = self.boot(s, id);
        let host = &mut s.hosts[usize::from(id.0)];
        let task = match effect {
            Effect::Send { to, message } => return self.send(s, id, *to, message),
            Effect::Massage { target, attempt } => {
                // Only who can't see it massages: the fresh connection fails, too.
                let report = ProbeReport::Failed(crate::events::ProbeFailure::TimedOut);
                return self.observe(s, id, &Self::probe(*target, ProbeKind::Massage(*attempt), report));
            }
            Effect::ArmGuard { term, until } => {
                let log = host.mind.ledger().process.incarnation;
                let held = host.guard.arm(boot, Nanos(0), *term, *until, log);
                let report = if held {
                    GuardReport::Armed { term: *term, until: *until }
                } else {
                    GuardReport::Refused { term: *term }
                };
                s.touched = true;
                return self.observe(s, id, &Observation::GuardReported(report));
            }
            Effect::ReleaseGuard { term } => {
                if let Some(p) = host.postgres {
                    host.guard.release(*term, p.sealed || p.in_recovery, p.up);
                }
                return;
            }
            Effect::Fence { .. } => Task::Fence,
            Effect::Freeze { term } => Task::Freeze(*term),
            Effect::Promote { term, postmaster_started } => Task::Promote(*term, *postmaster_started),
            Effect::Follow { term, primary } => Task::Follow(*term, *primary),
            Effect::CatchUp { term, from, .. } => Task::CatchUp(*term, *from),
            Effect::WatchPrimary(_)
            | Effect::StandDownGuard
            | Effect::Stop
            | Effect::StayRunning
            | Effect::StartAnew => return,
        };
        s.touched |= host.tasks.insert(task);
    }

    fn send(&self, s: &mut State, id: MemberId, to: MemberId, message: &Message) {
        match message {
            // Heard as one action, or not at all; testimonies likewise; nobody acts on a refused lease.
            Message::Heartbeat(_) | Message::Testified(_) => {}
            // A refusal only says earlier what a deadline says anyway.
            m if is_idle_refusal(m) => {}
            // Once the model has let go of them, and the state has an identity.
            _ if Bounds::within(self.bounds.gone, to) && s.id > 0 => {}
            Message::TestimonyRequested { number, about, .. } => {
                let asking = Some((*number, *about));
                let host = &mut s.hosts[usize::from(id.0)];
                s.touched |= host.asking != asking;
                host.asking = asking;
            }
            other => {
                let before = s.network.len();
                s.network.add(Envelope { from: id, to, message: other.clone() });
                s.touched |= s.network.len() > before;
            }
        }
    }

    pub(super) fn probe(target: MemberId, kind: ProbeKind, report: ProbeReport) -> Observation {
        Observation::ProbeCompleted { target, kind, report, took: Nanos(0), stalled: Nanos(0) }
    }

    /// Whether a crash that loses what was not flushed leaves the same as one that loses nothing.
    fn starts_alike(&self, s: &State, id: MemberId, left: &Arc<Mind>) -> bool {
        let boot = self.boot(s, id);
        let start = self.start_of(s, id, false, None);
        let kept = self.thinker.think(&s.hosts[usize::from(id.0)].mind, boot, &start);
        let lost = self.thinker.think(left, boot, &start);
        kept.next.shape == lost.next.shape
            && kept.next.instants == lost.next.instants
            && kept.effects == lost.effects
    }

    /// The next moment of the shared clock, if there is one: a moment after the next instant that a promise,
    /// a lease or a plan waits for, or half a lease from now.
    pub(super) fn next_moment(&self, s: &State) -> Option<u64> {
        let mut next = (!self.bounds.leaps).then(|| s.now + super::bounds::STEP_MAX);
        for id in self.bounds.there() {
            let host = &s.hosts[usize::from(id.0)];
            let boot = host.boot(s.now);
            let l = host.mind.ledger();
            // What is about to fire needs no time.
            let far = |at: &BootNanos| at.0 >= boot.0 + MOMENT / 2;
            let deadlines = host.mind.deadlines.iter().map(|d| d.1).filter(far);
            let ends = [
                l.promise.map(|p| p.until),
                l.lease.map(|l| l.until),
                host.guard.armed().map(|a| a.1),
                Some(l.silent_until),
            ];
            for at in ends.into_iter().flatten().filter(|at| *at > boot).chain(deadlines) {
                let after = self.moment(id, at).max(s.now) + MOMENT;
                next = Some(next.map_or(after, |n| n.min(after)));
            }
        }
        next
    }

    /// The daemon of a host that has none yet.
    pub(super) fn blank(&self, id: MemberId) -> Arc<Mind> {
        Arc::new(Mind::new(self.settings(id)))
    }
}
