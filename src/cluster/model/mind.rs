//! A member's daemon as a value, and the memory of every step it ever took: a step is a function of the
//! daemon's state, its clock and the observation alone, so each is computed once.

use super::super::role::{SimRole, sim_roles};
use crate::core::{BootNanos, Effect, Ledger, MemberId, Promoter, Shape, Urgency, effects, urgency};
use crate::events::{Actor, Deadline, Decision, Event, Observation, Settings};
use pgfo_replay::{Batch, Ensemble, Seat, Seq, WallNanos};
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

/// Steps remembered in each shard; a full one is emptied, which costs time only.
const REMEMBERED_MAX: usize = 4_000;
const SHARDS: usize = 64;

/// The four roles of one running daemon, and how far its log goes.
pub(super) struct Mind {
    roles: Ensemble<SimRole>,
    last: u64,
    flushed: u64,
    nonce: u64,
    /// Equal for minds that are the same, their log's numbers aside.
    pub(super) id: u64,
    /// Equal for minds that will do the same, if their instants lie equally far ahead.
    pub(super) shape: u64,
    /// The instants of its shape.
    pub(super) instants: Vec<BootNanos>,
    /// What the roles wait for.
    pub(super) deadlines: Vec<(Deadline, BootNanos)>,
}

impl Mind {
    /// Makes the daemon of a member whose log is empty.
    pub(super) fn new(settings: &Settings) -> Self {
        Self::of(sim_roles(settings), settings.me, 0, 0, 0, None)
    }

    fn of(
        roles: Ensemble<SimRole>,
        me: MemberId,
        last: u64,
        flushed: u64,
        nonce: u64,
        left_out: Option<&'static str>,
    ) -> Self {
        let mut hasher = DefaultHasher::new();
        (me, nonce).hash(&mut hasher);
        for seat in roles.seats() {
            seat.machine.hash(&mut hasher);
        }
        let mut deadlines = roles.deadlines();
        deadlines.sort_unstable();
        deadlines.dedup();
        let id = hasher.finish();
        let mut next = Self { roles, last, flushed, nonce, id, shape: 0, instants: Vec::new(), deadlines };
        next.take_shape(me, left_out);
        next
    }

    /// Every role holds the same ledger: it counts once.
    fn take_shape(&mut self, me: MemberId, left_out: Option<&'static str>) {
        let mut hasher = DefaultHasher::new();
        let mut instants = Vec::new();
        (me, self.nonce).hash(&mut hasher);
        let l = self.ledger();
        // What the next heartbeat will tell the roles of the flush.
        let not = |at: Seq| at.0 > self.flushed;
        (not(l.bound_at), not(l.winner_at), not(l.announced_at)).hash(&mut hasher);
        let mut shape = Shape::new(&mut hasher, &mut instants, left_out);
        l.project(&mut shape);
        for seat in self.roles.seats() {
            seat.machine.project(&mut shape);
        }
        self.shape = hasher.finish();
        self.instants = instants;
    }

    /// Returns whether every role holds the same ledger.
    pub(super) fn agrees(&self) -> bool {
        self.roles.seats().iter().all(|s| s.machine.ledger() == self.ledger())
    }

    fn copy(&self) -> Ensemble<SimRole> {
        let seats = self.roles.seats().iter();
        Ensemble::new(seats.map(|s| Seat { actor: s.actor, machine: s.machine.clone() }).collect())
    }

    /// Returns the promoter; each mind has one.
    pub(super) fn promoter(&self) -> Option<&Promoter> {
        match &*self.roles.seats()[2].machine {
            SimRole::Promoter(p) => Some(p),
            _ => None,
        }
    }

    /// Returns what it is doing about an election.
    pub(super) fn activity(&self) -> &'static str {
        self.promoter().map_or("", Promoter::activity)
    }

    /// Returns what the promoter knows.
    pub(super) fn ledger(&self) -> &Ledger {
        self.roles.seats()[2].machine.ledger()
    }
}

/// What comes of one observation.
pub(super) struct Thought {
    /// The daemon afterwards.
    pub(super) next: Arc<Mind>,
    /// What the hands are to do, in order.
    pub(super) effects: Vec<Effect>,
    /// What was decided.
    pub(super) told: Vec<Decision>,
    /// Whether the log is flushed before anything of it is done.
    pub(super) durable: bool,
}

/// Steps daemons.
pub(super) struct Thinker {
    settings: Vec<Settings>,
    /// A part of the shape that is left out, to see whether that is noticed.
    left_out: Option<&'static str>,
    remembered: Vec<Mutex<HashMap<u64, Arc<Thought>>>>,
}

impl Thinker {
    /// Makes one for members of these settings.
    pub(super) fn new(settings: Vec<Settings>, left_out: Option<&'static str>) -> Self {
        Self { settings, left_out, remembered: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// Returns a member's settings.
    pub(super) fn settings(&self, member: MemberId) -> &Settings {
        &self.settings[usize::from(member.0)]
    }

    /// Steps a daemon with one observation.
    pub(super) fn think(&self, mind: &Arc<Mind>, boot: BootNanos, observation: &Observation) -> Arc<Thought> {
        let mut hasher = DefaultHasher::new();
        (mind.id, boot, observation).hash(&mut hasher);
        let key = hasher.finish();
        let shard = &self.remembered[usize::try_from(key % SHARDS as u64).unwrap_or(0)];
        let lock = || shard.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(&key) {
            return Arc::clone(known);
        }
        let thought = Arc::new(self.step(mind, boot, observation.clone()));
        let mut shard = lock();
        if shard.len() >= REMEMBERED_MAX {
            shard.clear();
        }
        shard.insert(key, Arc::clone(&thought));
        thought
    }

    fn step(&self, mind: &Arc<Mind>, boot: BootNanos, observation: Observation) -> Thought {
        let mut nonce = mind.nonce;
        let observation = match observation {
            // Numbers of the log are not the caller's affair.
            Observation::HeartbeatDue { .. } => Observation::HeartbeatDue { flushed: Seq(mind.flushed) },
            Observation::ProcessStarted(start) => {
                nonce = start.process.nonce;
                Observation::ProcessStarted(start)
            }
            other => other,
        };
        let me = mind.ledger().me();
        let mut roles = mind.copy();
        let first = Seq(mind.last + 1);
        let actor = Actor::Daemon.number();
        let records =
            roles.step(Batch::begin(first, boot, WallNanos(0), actor, Event::Observed(observation)));
        let mut done = Vec::new();
        let mut told = Vec::new();
        let mut durable = false;
        for record in &records {
            durable |= urgency(&record.event) == Urgency::Durable;
            effects(record, self.settings(me), nonce, &mut done);
            if let Event::Decided(decision) = &record.event {
                told.push(decision.clone());
            }
        }
        let last = records.last().map_or(mind.last, |r| r.seq.0);
        let flushed = if durable { last } else { mind.flushed };
        let next = Mind::of(roles, me, last, flushed, nonce, self.left_out);
        // One that will do the same is the same: its numbers need not go on.
        let next = if next.id == mind.id { Arc::clone(mind) } else { Arc::new(next) };
        Thought { next, effects: done, told, durable }
    }
}
