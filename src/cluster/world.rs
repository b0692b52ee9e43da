//! The simulated world: all members, the network, the clients, one queue. It moves from event to event
//! and tells facts; it judges nothing.

use super::draw::{Domain, Draws};
use super::fact::Fact;
use super::frozen::Frozen;
use super::guard::Guard;
use super::marks::Noted;
use super::network::Network;
use super::node::{Log, Node, Waiting};
use super::parcels::Parcels;
use super::postgres::{Histories, Postgres};
use super::queue::{Event, Happening, Queue, Run, SOURCE_POSTMASTER};
use super::scenario::Scenario;
use super::telling::Telling;
use super::time::{HostClock, SimNanos};
use crate::core::{BootId, BootNanos, Effect, Incarnation, MemberId, Nanos};
use crate::events::{Deadline, Event as LogEvent, Fencing, LogFound, ProbeReport, Record};
use pgfo_replay::simulation::TraceHash;
use pgfo_replay::{Answers, Seq};
use std::hash::Hash;

/// Within so long after it goes on, a process has taken up all that waited for it.
const WAKING_MAX: Nanos = Nanos::from_millis(2);

/// The world.
pub struct World {
    /// What happens in it.
    pub scenario: Scenario,
    /// Every random choice.
    pub draws: Draws,
    /// What is to come.
    pub queue: Queue,
    /// The members.
    pub nodes: Vec<Node>,
    /// The network.
    pub network: Network,
    /// All lines of history.
    pub histories: Histories,
    /// Whether every member's log was lost at once.
    pub every_log_lost: bool,
    /// Whether what happens is told: not when a run is only repeated, whose first time was judged.
    pub(super) told: bool,
    /// What happened since the invariants looked last.
    pub facts: Vec<Fact>,
    /// The run so far, in a number.
    pub trace: TraceHash,
    /// Numbers of runs, of writes, of draws.
    pub(super) counter: u64,
    /// Whether everything was mended.
    pub healed: bool,
    /// Promotions that took effect.
    pub promotions: u64,
    /// Batches stepped.
    pub batches: u64,
    /// Lines for machines and tests: records and faults as they are, when asked for.
    pub story: Option<Vec<String>>,
    /// The same for people, when asked for besides.
    pub(super) telling: Option<Telling>,
    /// The rare states that members' records showed.
    pub(super) noted: Noted,
    pub(super) scratch: Scratch,
    /// Messages on their way, as they will be observed.
    pub(super) messages: Parcels<LogEvent>,
    /// Reports of probes on their way.
    pub(super) reports: Parcels<ProbeReport>,
}

/// Lists that are empty between two observations, kept for their memory. An observation within an
/// observation takes new ones.
#[derive(Default)]
pub(super) struct Scratch {
    /// How many of `effects` each record has, in order, that may be performed at once.
    pub(super) at_once: Vec<(Seq, usize)>,
    pub(super) answers: Answers<LogEvent>,
    pub(super) batch: Vec<Record>,
    pub(super) effects: Vec<Effect>,
    pub(super) deadlines: Vec<(Deadline, BootNanos)>,
    pub(super) flushed: Vec<Waiting>,
}

impl World {
    /// Makes the world at the beginning of a scenario: PostgreSQL streams, no daemon has run yet. Logs are
    /// written into spare memory, if there is any.
    #[must_use]
    pub fn new(scenario: Scenario, spare: &mut Vec<Vec<Record>>) -> Self {
        let draws = Draws::new(scenario.seed);
        let members = scenario.members.len();
        let network = Network::new(members, scenario.delay_us_max, &draws);
        let mut world = Self {
            draws,
            queue: Queue::default(),
            nodes: Vec::new(),
            network,
            histories: Histories::default(),
            every_log_lost: false,
            told: true,
            facts: Vec::new(),
            trace: TraceHash::default(),
            counter: 0,
            healed: false,
            promotions: 0,
            batches: 0,
            story: None,
            telling: None,
            noted: Noted::default(),
            scratch: Scratch::default(),
            messages: Parcels::default(),
            reports: Parcels::default(),
            scenario,
        };
        for id in world.scenario.ids() {
            let mut node = world.new_node(id);
            node.log.records = spare.pop().unwrap_or_default();
            world.nodes.push(node);
        }
        world.begin();
        world
    }

    fn new_node(&mut self, id: MemberId) -> Node {
        let settings = self.scenario.settings(id);
        let key = u64::from(id.0);
        let clock = self.draws.draw(Domain::Clock, &[key]);
        let ppm = i64::try_from(clock.below(19_801)).unwrap_or(0) - 9_900;
        let start = self.fresh();
        let primary = id == self.scenario.primary;
        let upstream = (!primary).then_some(self.scenario.primary);
        let postgres = settings.has_postgres().then(|| Postgres::running(primary, upstream, start));
        Node {
            id,
            powered: true,
            frozen: Frozen::default(),
            thawed_at: SimNanos(0),
            clock: HostClock::new(SimNanos(0), ppm),
            boot_id: BootId(u128::from(self.identity(id))),
            daemon: None,
            daemon_down_until: SimNanos(0),
            log: Log {
                records: Vec::new(),
                flushed: 0,
                incarnation: Incarnation(self.identity(id)),
                condition: LogFound::Fresh,
                slow: (SimNanos(0), 0),
                full_until: SimNanos(0),
                folded: None,
            },
            guard: Guard::new(start),
            postgres,
            promotion_fault: None,
            freeze_unseen_until: SimNanos(0),
            stubborn_until: SimNanos(0),
            start_queued: false,
            rebuild_queued: false,
            promoting: None,
            stray_until: SimNanos(0),
            slow_answers: (Nanos(0), SimNanos(0)),
            wall_off: 0,
            crash_at: None,
            poisons: Vec::new(),
            losing: Vec::new(),
            rejects: None,
            grain: (Nanos(0), SimNanos(0)),
            settings,
        }
    }

    fn begin(&mut self) {
        for id in self.scenario.ids() {
            let late = self.draws.draw(Domain::Start, &[u64::from(id.0)]).below(800_000_000);
            self.queue.after(Nanos(late), Event::StartDaemon(id));
            if let Some(run) = self.node(id).postgres.as_ref().map(|p| p.run) {
                self.queue.after(Nanos(1_000), Event::ReceiverStarts(id, run));
            }
        }
        self.queue.after(Nanos::from_millis(self.scenario.write_every_ms), Event::Write);
        for (i, timed) in self.scenario.faults.iter().enumerate() {
            self.queue.at(SimNanos::from_millis(timed.at_ms), Event::FaultBegins(i));
        }
        self.queue.at(SimNanos::from_millis(self.scenario.heal_at_ms), Event::Heal);
    }

    // ---- small questions --------------------------------------------------------------------

    /// Returns true time.
    #[must_use]
    pub fn now(&self) -> SimNanos {
        self.queue.now()
    }

    /// Returns a member.
    #[must_use]
    pub fn node(&self, id: MemberId) -> &Node {
        &self.nodes[usize::from(id.0)]
    }

    pub(super) fn node_mut(&mut self, id: MemberId) -> &mut Node {
        &mut self.nodes[usize::from(id.0)]
    }

    /// Returns a number that was never used before.
    pub(super) fn fresh(&mut self) -> Run {
        self.counter += 1;
        self.counter
    }

    pub(super) fn identity(&mut self, id: MemberId) -> u64 {
        let number = self.fresh();
        self.draws.draw(Domain::Identity, &[u64::from(id.0), number]).bits() | 1
    }

    /// Draws a length between two numbers of microseconds for something PostgreSQL does.
    pub(super) fn takes_us(&mut self, id: MemberId, low: u64, high: u64) -> Nanos {
        let number = self.fresh();
        let draw = self.draws.draw(Domain::Postgres, &[u64::from(id.0), number]);
        Nanos(draw.between(low, high) * 1_000)
    }

    /// Returns the members whose PostgreSQL accepts writes now.
    #[must_use]
    pub fn writers(&self) -> Vec<MemberId> {
        let now = self.now();
        self.nodes.iter().filter(|n| n.writes(now)).map(|n| n.id).collect()
    }

    #[inline]
    pub(super) fn fact(&mut self, fact: Fact) {
        if self.told {
            self.facts.push(fact);
        }
    }

    /// Tells what happens around the members.
    pub(super) fn tell(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.story.is_some() {
            let (at, line) = (self.now(), line(self));
            if let (Some(telling), Some(node)) = (&mut self.telling, self.nodes.first()) {
                telling.happening(at, &line, &node.settings);
            }
            self.tell_machines(&line);
        }
    }

    pub(super) fn tell_machines(&mut self, line: &str) {
        let at_s = self.now().0 as f64 / 1e9;
        if let Some(story) = &mut self.story {
            story.push(format!("{at_s:>10.3} s  {line}"));
        }
    }

    /// Queues something for a member's running daemon.
    pub(super) fn for_daemon(&mut self, id: MemberId, after: Nanos, happening: Happening) {
        if let Some(run) = self.node(id).daemon_run() {
            self.queue.after(after, Event::Daemon(id, run, happening));
        }
    }

    // ---- moving -----------------------------------------------------------------------------

    /// Does the next thing before `end`; false when there is none.
    pub fn step(&mut self, end: SimNanos) -> bool {
        match self.queue.next(end) {
            // Most events by far.
            Some(Event::Daemon(id, run, happening)) => self.handle_daemon(id, run, happening),
            Some(other) => self.handle(other),
            None => return false,
        }
        true
    }

    fn handle(&mut self, event: Event) {
        let until = self.held_back(&event);
        if self.now() < until {
            return self.queue.at(until, event);
        }
        match event {
            Event::Daemon(id, run, happening) => self.handle_daemon(id, run, happening),
            Event::GuardDeadline(id, run, until) => self.guard_deadline(id, run, until),
            Event::FenceDone(id, fence, took) => self.fence_done(id, fence, took),
            Event::PostmasterSeen(id, run) => {
                if self.node(id).daemon_run() == Some(run) {
                    self.postmaster_seen(id);
                }
            }
            Event::LinkIdle(one, other) => self.link_idle(one, other),
            Event::PostgresKilled(id, run) => self.postgres_killed(id, run),
            Event::PostgresReady(id, run) => self.postgres_ready(id, run),
            Event::PostgresReplayed(id, run) => {
                if let Some(p) = self.node_mut(id).postgres.as_mut().filter(|p| p.run == run) {
                    p.replayed = true;
                }
            }
            Event::PostgresPromoted(id, run) => self.postgres_promoted(id, run),
            Event::PostgresHalfPromoted(id, run) => self.half_promoted(id, run),
            Event::ReceiverStarts(id, run) => self.receiver_starts(id, run),
            Event::ReceiverLost(id, run) => self.receiver_lost(id, run),
            Event::FreezeBites(id, run) => self.freeze_bites(id, run),
            Event::WalArrives(id, run) => self.wal_arrives(id, run),
            Event::StartPostgres(id) => self.start_postgres(id),
            Event::StartDaemon(id) => self.start_daemon(id),
            Event::BootHost(id) => self.boot_host(id),
            Event::Rebuild(id) => self.rebuild(id),
            Event::Write => self.write(),
            Event::FaultBegins(i) => self.begin_fault(i),
            Event::FaultEnds(i) => self.end_fault(i),
            Event::Heal => self.heal(),
            Event::Thaw(id) => self.thaw(id),
        }
    }

    /// What belongs to a frozen daemon waits, in order, until it goes on; a probe on its way goes on.
    #[inline]
    fn handle_daemon(&mut self, id: MemberId, run: Run, happening: Happening) {
        let node = self.node(id);
        let stood_still = node.daemon_holds_until(self.now()).plus(WAKING_MAX) > self.now();
        if stood_still && !matches!(happening, Happening::ProbeArrives { .. }) {
            let until = self.wakes_at(id, happening.source());
            if self.now() < until {
                return self.queue.at(until, Event::Daemon(id, run, happening));
            }
        }
        let node = self.node(id);
        if node.daemon_run() == Some(run) {
            self.happen(id, happening);
        } else {
            self.forget(happening);
        }
    }

    /// A process that goes on after it stood still takes up what waits in any order, but that of each source stays.
    #[cold]
    fn wakes_at(&self, id: MemberId, source: u64) -> SimNanos {
        let until = self.node(id).daemon_holds_until(self.now());
        if until == SimNanos(0) {
            return until;
        }
        let later = self.draws.draw(Domain::Thaw, &[u64::from(id.0), until.0, source]).below(WAKING_MAX.0);
        until.plus(Nanos(later))
    }

    /// What was meant for a run of a daemon that is over.
    #[cold]
    fn forget(&mut self, happening: Happening) {
        match happening {
            Happening::Delivery { message, .. } => drop(self.messages.take(message)),
            Happening::ProbeEnds { report, .. } => {
                self.reports.take(report);
            }
            _ => {}
        }
    }

    /// What belongs to a frozen host or process waits, in order, until it goes on: returns when. Of a daemon's own
    /// run, see [`Self::handle_daemon`].
    fn held_back(&self, event: &Event) -> SimNanos {
        let now = self.now();
        match event {
            Event::PostmasterSeen(id, _) if self.node(*id).daemon_holds_until(now).plus(WAKING_MAX) > now => {
                self.wakes_at(*id, SOURCE_POSTMASTER)
            }
            Event::PostgresPromoted(id, _)
            | Event::PostgresHalfPromoted(id, _)
            | Event::ReceiverStarts(id, _)
            | Event::WalArrives(id, _)
            | Event::ReceiverLost(id, _)
            | Event::PostgresReady(id, _)
            | Event::PostgresReplayed(id, _) => {
                let node = self.node(*id);
                match &node.postgres {
                    Some(p) if now >= node.frozen.until => p.frozen.holds_until(now),
                    _ => node.frozen.holds_until(now),
                }
            }
            Event::GuardDeadline(id, ..) if self.node(*id).settings.fencing == Fencing::Daemon => {
                self.node(*id).daemon_holds_until(now)
            }
            Event::GuardDeadline(id, ..)
            | Event::PostgresKilled(id, _)
            | Event::FenceDone(id, ..)
            | Event::StartPostgres(id)
            | Event::StartDaemon(id)
            | Event::Rebuild(id) => self.node(*id).frozen.holds_until(now),
            _ => SimNanos(0),
        }
    }

    pub(super) fn hash_into_trace(&mut self, value: &impl Hash) {
        value.hash(&mut self.trace);
    }
}
