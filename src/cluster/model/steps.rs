//! What an observation brings about: the daemon is stepped, its log flushed where its decisions ask for
//! it, and its effects done or put down for its hands.

use super::bounds::{Bounds, MOMENT};
use super::mind::{Mind, Thinker};
use super::moves::Action;
use super::prelude::begin;
use super::state::{Envelope, State, Task};
use crate::core::{BootNanos, Effect, MemberId, Nanos};
use crate::events::{Decision, GuardReport, Message, Observation, ProbeKind, ProbeReport};
use std::sync::Arc;

/// What every clock shows at the beginning, so that "long ago" exists.
const BOOT_ORIGIN: u64 = 1_000_000_000;

/// A cluster within bounds.
pub struct ClusterModel {
    pub(super) bounds: Bounds,
    pub(super) thinker: Thinker,
    first: State,
    before_each: Box<dyn Fn() + Send + Sync>,
}

impl ClusterModel {
    /// Makes the model: at its beginning.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self::with(bounds, || {})
    }

    /// Makes a model that calls `before_each` before every step it computes, in whatever thread that is.
    #[must_use]
    pub fn with(bounds: Bounds, before_each: impl Fn() + Send + Sync + 'static) -> Self {
        let thinker = Thinker::new(bounds.ids().map(|m| bounds.settings(m)).collect());
        let hosts = Vec::new();
        let first = State {
            now: 0,
            hosts,
            network: super::state::Network::default(),
            lines: Vec::new(),
            spent: super::state::Spent::default(),
            ghosts: super::state::Ghosts::default(),
            touched: false,
            beyond: false,
        };
        let mut model = Self { bounds, thinker, first, before_each: Box::new(before_each) };
        model.first = begin(&model);
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
        s.judge_writers();
        (s.touched && !s.beyond).then_some(s)
    }

    pub(super) fn settings(&self, id: MemberId) -> &crate::events::Settings {
        self.thinker.settings(id)
    }

    /// What a member's clock shows.
    pub(super) fn boot(&self, s: &State, id: MemberId) -> BootNanos {
        BootNanos(BOOT_ORIGIN + s.now * self.rate(id) / 100 + s.hosts[usize::from(id.0)].ahead)
    }

    fn rate(&self, id: MemberId) -> u64 {
        self.bounds.rates.get(usize::from(id.0)).copied().unwrap_or(100)
    }

    /// The first moment of the shared clock at which a member's clock shows this.
    pub(super) fn moment(&self, id: MemberId, boot: BootNanos) -> u64 {
        (boot.0.saturating_sub(BOOT_ORIGIN) * 100).div_ceil(self.rate(id)).next_multiple_of(MOMENT)
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
            if thought.durable || !crashes_left {
                host.durable = None;
            } else if host.durable.is_none() {
                host.durable = Some(before);
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
            Effect::Send { to, message } => return Self::send(s, id, *to, message),
            Effect::Massage { target, attempt } => {
                // Only who can't see it massages: the fresh connection fails, too.
                let report = ProbeReport::Failed(crate::events::ProbeFailure::TimedOut);
                return self.observe(s, id, &Self::probe(*target, ProbeKind::Massage(*attempt), report));
            }
            Effect::ArmGuard { term, until } => {
                let held = host.guard.arm(boot, Nanos(0), *term, *until);
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
            Effect::Promote { term } => Task::Promote(*term),
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

    fn send(s: &mut State, id: MemberId, to: MemberId, message: &Message) {
        match message {
            // Heard as one action, or not at all; testimonies likewise; nobody acts on a refused lease.
            Message::Heartbeat(_) | Message::Testified(_) | Message::LeaseRefused(..) => {}
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

    /// The next moment of the shared clock: the next instant that a promise, a lease or a plan waits for,
    /// or half a lease from now.
    pub(super) fn next_moment(&self, s: &State) -> u64 {
        let mut next = s.now + super::bounds::STEP_MAX;
        for (id, host) in self.bounds.ids().zip(&s.hosts) {
            let l = host.mind.ledger();
            let mut waits: Vec<BootNanos> = host.mind.deadlines.iter().map(|d| d.1).collect();
            waits.extend(l.promise.map(|p| p.until));
            waits.extend(l.lease.map(|l| l.until));
            waits.extend(host.guard.armed().map(|a| a.1));
            waits.push(l.silent_until);
            for at in waits.into_iter().map(|w| self.moment(id, w)).filter(|at| *at > s.now) {
                next = next.min(at);
            }
        }
        next
    }

    /// The daemon of a host that has none yet.
    pub(super) fn blank(&self, id: MemberId) -> Arc<Mind> {
        Arc::new(Mind::new(self.settings(id)))
    }
}
