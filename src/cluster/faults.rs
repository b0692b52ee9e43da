//! Faults: how each begins, ends, and how everything is mended. Nothing here is drawn: faults are data.

use super::fact::Fact;
use super::fault::Fault;
use super::frozen::Frozen;
use super::guard::STALL_MAX;
use super::hands_time::LINK_IDLE;
use super::postgres::{Fit, Postgres, Process};
use super::queue::{Event, Happening};
use super::time::{HostClock, SimNanos};
use super::world::World;
use crate::core::{BootId, Incarnation, MemberId, Nanos, Quorum};
use crate::events::{Actor, LogFound, Observation, OperatorRequest};
use pgfo_replay::Seq;

/// A process comes back this long after it died, at the earliest.
pub(super) const RESTART: Nanos = Nanos::from_millis(100);

impl World {
    pub(super) fn begin_fault(&mut self, i: usize) {
        let Some(timed) = self.scenario.faults.get(i).cloned() else { return };
        if self.healed {
            return;
        }
        self.fact(Fact::FaultBegan(i));
        self.tell(|_| format!("-- fault: {:?}", timed.fault));
        let ends = |w: &Self, for_ms: u64| w.scenario.fault_end(timed.at_ms, for_ms);
        let now = self.now();
        match timed.fault {
            Fault::KillPostgres { member } => self.kill_postgres(member),
            Fault::StopPostgres { member, for_ms } => {
                let until = ends(self, for_ms);
                if let Some(p) = self.node_mut(member).postgres.as_mut() {
                    p.stopped_until = until;
                    let run = p.run;
                    self.postgres_killed(member, run);
                    self.queue_start(member, until);
                }
            }
            Fault::FreezePostgres { member, for_ms } => {
                let until = ends(self, for_ms);
                // Stopped twice, it goes on when the longer stop ends: what it had to do waits for that.
                if let Some(p) = self.node_mut(member).postgres.as_mut() {
                    p.frozen.extend(now, until);
                }
                self.queue.at(until, Event::Thaw(member));
            }
            Fault::TooManyClients { member, for_ms } => {
                let until = ends(self, for_ms);
                if let Some(p) = self.node_mut(member).postgres.as_mut() {
                    p.crowded_until = until;
                }
            }
            Fault::LagStandby { member, for_ms } => {
                let until = ends(self, for_ms);
                if let Some(p) = self.node_mut(member).postgres.as_mut() {
                    p.lags_until = until;
                }
            }
            Fault::KillDaemon { member, for_ms } => {
                self.crash_daemon(member);
                self.daemon_returns(member, ends(self, for_ms));
            }
            Fault::StopDaemon { member, for_ms } => {
                let asked = Observation::OperatorRequested(OperatorRequest::Stop);
                self.told(member, asked);
                let until = ends(self, for_ms);
                self.node_mut(member).daemon_down_until = until;
                self.daemon_returns(member, until);
            }
            Fault::FreezeDaemon { member, for_ms } => {
                let until = ends(self, for_ms);
                if let Some(d) = self.node_mut(member).daemon.as_mut() {
                    d.frozen.extend(now, until);
                    d.thawed_at = d.frozen.until;
                }
            }
            Fault::KillGuard { member } => self.kill_guard(member),
            Fault::KillHost { member, for_ms } => self.kill_host(member, ends(self, for_ms)),
            Fault::FreezeHost { member, for_ms } => {
                let until = ends(self, for_ms);
                let node = self.node_mut(member);
                node.frozen.extend(now, until);
                node.thawed_at = node.frozen.until;
                self.queue.at(until, Event::Thaw(member));
                self.queue.at(now, Event::LinkIdle(member, member));
            }
            Fault::PowerCut { for_ms } => {
                let until = ends(self, for_ms);
                for id in self.scenario.ids() {
                    self.kill_host(id, until);
                }
            }
            Fault::Cut { from, to, for_ms } => {
                self.cut(&from, &to, true);
                self.queue.at(ends(self, for_ms), Event::FaultEnds(i));
            }
            Fault::Split { one, other, for_ms } => {
                self.cut(&one, &other, true);
                self.cut(&other, &one, true);
                self.queue.at(ends(self, for_ms), Event::FaultEnds(i));
            }
            Fault::Loss { permille, for_ms } => self.network.loss = (permille, ends(self, for_ms)),
            Fault::Duplicate { permille, for_ms } => self.network.duplicate = (permille, ends(self, for_ms)),
            Fault::Delay { up_to_ms, for_ms } => self.network.delay = (up_to_ms, ends(self, for_ms)),
            Fault::SlowMember { member, by_ms, for_ms } => {
                self.network.slow(member, Nanos::from_millis(by_ms), ends(self, for_ms));
            }
            Fault::SlowDisk { member, flush_ms, for_ms } => {
                self.node_mut(member).log.slow = (ends(self, for_ms), flush_ms);
            }
            Fault::DiskFull { member, for_ms } => {
                let until = ends(self, for_ms);
                // Filled twice, it has room again when the longer of the two ends.
                let log = &mut self.node_mut(member).log;
                log.full_until = until.max(log.full_until);
                let why = "no space left on device".to_owned();
                self.told(member, Observation::LogStalled { why });
                self.queue.at(ends(self, for_ms), Event::FaultEnds(i));
            }
            Fault::LoseLog { member } => {
                self.crash_daemon(member);
                self.lose_log(member);
                self.daemon_returns(member, now.plus(RESTART));
            }
            Fault::RollBackLog { member, records, noticed } => {
                self.crash_daemon(member);
                self.roll_back_log(member, records, noticed);
                self.daemon_returns(member, now.plus(RESTART));
            }
            Fault::Promotion { member, fault, for_ms } => {
                self.node_mut(member).promotion_fault = Some((fault, ends(self, for_ms)));
            }
            Fault::FreezeUnobserved { member, for_ms } => {
                self.node_mut(member).freeze_unseen_until = ends(self, for_ms);
            }
            Fault::StubbornBackend { member, for_ms } => {
                self.node_mut(member).stubborn_until = ends(self, for_ms);
            }
            Fault::Adopt { at, member } => {
                if !self.would_spoil(member) {
                    let asked = Observation::OperatorRequested(OperatorRequest::Adopt { member });
                    self.told(at, asked);
                }
            }
            Fault::AdoptVouched { at, member } => {
                let left = self.nodes.iter().filter(|n| n.id != member).any(|n| {
                    let writes = |p: &Postgres| p.is_writable() || !p.in_recovery && p.lives();
                    now < n.frozen.until
                        || n.postgres.as_ref().is_some_and(|p| writes(p) || now < p.orphans_until)
                });
                if !left && !self.would_spoil(member) {
                    let asked = Observation::OperatorRequested(OperatorRequest::AdoptVouched { member });
                    self.told(at, asked);
                }
            }
            other => self.begin_disturbance(i, timed.at_ms, other),
        }
    }

    pub(super) fn end_fault(&mut self, i: usize) {
        let Some(timed) = self.scenario.faults.get(i).cloned() else { return };
        match timed.fault {
            Fault::Cut { from, to, .. } => {
                self.cut(&from, &to, false);
                self.tell(|_| format!("-- mended: {:?} to {:?}", from, to));
            }
            Fault::Split { one, other, .. } => {
                self.cut(&one, &other, false);
                self.cut(&other, &one, false);
                self.tell(|_| format!("-- mended: {one:?} and {other:?}"));
            }
            Fault::DiskFull { member, .. } if self.now() >= self.node(member).log.full_until => {
                self.told(member, Observation::LogRecovered);
            }
            Fault::Flap { one, other, every_ms, .. } => self.flap(i, one, other, every_ms),
            _ => {}
        }
    }

    /// Everything ends that has not ended yet; what is down comes up.
    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.fact(Fact::Healed);
        self.tell(|_| "-- everything is mended".to_owned());
        for id in self.scenario.ids() {
            if self.node(id).postgres.as_ref().is_some_and(|p| !p.lives()) {
                self.queue_start(id, self.now().plus(Nanos::from_millis(1_000)));
            }
            if self.node(id).ledger().is_some_and(|l| l.quarantined) {
                self.tell(|_| {
                    format!("-- operator starts the daemon of m{} anew: a role is quarantined", id.0)
                });
                self.crash_daemon(id);
            }
            self.daemon_returns(id, self.now().plus(RESTART));
        }
    }

    pub(super) fn cut(&mut self, from: &[MemberId], to: &[MemberId], cut: bool) {
        for a in from {
            for b in to {
                self.network.cut(*a, *b, cut);
                if cut && a != b {
                    self.queue.after(LINK_IDLE, Event::LinkIdle(*a, *b));
                }
            }
        }
    }

    /// A link over which one hears nothing is closed by it, and then by the other.
    pub(super) fn link_idle(&mut self, one: MemberId, other: MemberId) {
        if one == other {
            return;
        }
        if self.network.reaches(one, other) {
            return;
        }
        let gone = |peer| Happening::Disconnected { peer, refused: false };
        self.for_daemon(other, Nanos(0), gone(one));
        self.for_daemon(one, Nanos(1_000_000), gone(other));
    }

    /// The postmaster dies; a busy backend may outlive it, and write (D3).
    pub(super) fn kill_postgres(&mut self, id: MemberId) {
        let now = self.now();
        let outlives = self.takes_us(id, 0, 4_000_000);
        let node = self.node_mut(id);
        let Some(p) = node.postgres.as_mut() else { return };
        let wrote = p.is_writable();
        let run = p.run;
        self.postgres_killed(id, run);
        let outlives = Some(outlives).filter(|o| wrote && o.0 < 2_300_000_000);
        if let (Some(p), Some(outlives)) = (self.node_mut(id).postgres.as_mut(), outlives) {
            p.orphans_until = now.plus(outlives);
        }
    }

    /// The daemon is told something, as soon as it runs.
    pub(super) fn told(&mut self, id: MemberId, observation: Observation) {
        self.for_daemon(id, Nanos(0), Happening::Observed(Actor::Daemon, Box::new(observation)));
    }

    fn queue_start(&mut self, id: MemberId, at: SimNanos) {
        if !std::mem::replace(&mut self.node_mut(id).start_queued, true) {
            self.queue.at(at, Event::StartPostgres(id));
        }
    }

    pub(super) fn daemon_returns(&mut self, id: MemberId, at: SimNanos) {
        self.queue.at(at, Event::StartDaemon(id));
    }

    /// systemd ties PostgreSQL to the guard: both end, both come back.
    fn kill_guard(&mut self, id: MemberId) {
        let now = self.now();
        let fresh = self.fresh();
        let node = self.node_mut(id);
        let asked = node.guard.fencing;
        node.guard.restart(fresh);
        let Some(run) = node.postgres.as_ref().map(|p| p.run) else { return };
        self.for_daemon(id, Nanos(100_000), Happening::GuardReplied(crate::events::GuardReport::Lost));
        self.postgres_killed(id, run);
        if asked {
            // Whoever asked it for a fence, and gets no answer, makes the same fence without it.
            let took = Nanos(5_000_000);
            self.for_daemon(id, took, Happening::FenceEnded(Box::new(Self::fenced(0, took))));
        }
        self.queue_start(id, now.plus(Nanos::from_millis(1_000)));
        let present = crate::events::GuardReport::Present { armed: None };
        self.for_daemon(id, Nanos::from_millis(1_000), Happening::GuardReplied(present));
    }

    pub(super) fn kill_host(&mut self, id: MemberId, until: SimNanos) {
        let node = self.node_mut(id);
        if !node.powered {
            return;
        }
        node.powered = false;
        self.crash_daemon(id);
        let fresh = self.fresh();
        let node = self.node_mut(id);
        node.guard.restart(fresh);
        node.start_queued = false;
        node.frozen = Frozen::default();
        if let Some(p) = node.postgres.as_mut() {
            p.process = Process::Down;
            p.run = fresh;
            p.receiver = None;
            p.orphans_until = SimNanos(0);
            p.frozen = Frozen::default();
        }
        self.fact(Fact::WritabilityChanged);
        self.lose_streams(id);
        self.queue.at(until.max(self.now().plus(RESTART)), Event::BootHost(id));
    }

    pub(super) fn boot_host(&mut self, id: MemberId) {
        let now = self.now();
        let boot = BootId(u128::from(self.identity(id)));
        let ppm_draw = self.draws.draw(super::draw::Domain::Clock, &[u64::from(id.0), now.0]);
        let ppm = i64::try_from(ppm_draw.below(19_801)).unwrap_or(0) - 9_900;
        let postgres_first = ppm_draw.again().happens(500);
        let node = self.node_mut(id);
        if node.powered {
            return;
        }
        node.powered = true;
        node.boot_id = boot;
        node.clock = HostClock::new(now, ppm);
        self.tell(|_| format!("m{} host boots", id.0));
        let (first, second) = (Nanos::from_millis(300), Nanos::from_millis(900));
        if self.node(id).postgres.is_some() {
            self.queue_start(id, now.plus(if postgres_first { first } else { second }));
        }
        self.daemon_returns(id, now.plus(if postgres_first { second } else { first }));
    }

    /// A frozen host goes on: its guard sees that the clocks moved apart.
    pub(super) fn thaw(&mut self, id: MemberId) {
        let now = self.now();
        self.fact(Fact::WritabilityChanged);
        let node = self.node(id);
        let host_thawed = node.thawed_at == now && node.powered;
        if host_thawed && node.guard.armed().is_some() && STALL_MAX.0 > 0 {
            let boot = node.boot(now);
            let late = node.guard.armed().is_some_and(|(_, until)| until <= boot);
            if late || self.frozen_long(id) {
                self.fence(id, true);
            }
        }
    }

    fn frozen_long(&self, id: MemberId) -> bool {
        // The fault that froze it says for how long.
        self.scenario.faults.iter().any(|f| {
            matches!(&f.fault, Fault::FreezeHost { member, for_ms }
                if *member == id
                    && self.scenario.fault_end(f.at_ms, *for_ms) == self.now()
                    && Nanos::from_millis(*for_ms) >= STALL_MAX)
        })
    }

    pub(super) fn postmaster_seen(&mut self, id: MemberId) {
        let Some(p) = self.node(id).postgres.as_ref().filter(|p| p.lives()) else { return };
        let seen = Observation::PostmasterSeen { pid: 1, sealed: p.signal };
        self.observe(id, Actor::PostgresOperator, seen);
    }

    // ---- logs and rebuilding ----------------------------------------------------------------

    pub(super) fn lose_log(&mut self, id: MemberId) {
        let fresh = Incarnation(self.identity(id));
        let node = self.node_mut(id);
        node.log.records.clear();
        node.log.flushed = 0;
        node.log.incarnation = fresh;
        node.log.condition = LogFound::Fresh;
        self.fact(Fact::LogLost { member: id, noticed: true });
    }

    fn roll_back_log(&mut self, id: MemberId, records: u64, noticed: bool) {
        let fresh = Incarnation(self.identity(id));
        let node = self.node_mut(id);
        let head = Seq(node.log.records.len() as u64);
        let mut keep = node.log.records.len().saturating_sub(usize::try_from(records).unwrap_or(usize::MAX));
        while keep > 0 && node.log.records.get(keep).is_some_and(|r| r.cause.is_some()) {
            keep -= 1;
        }
        node.log.records.truncate(keep);
        node.log.flushed = keep;
        if noticed {
            node.log.condition = LogFound::TailLost { head };
            node.log.incarnation = fresh;
        }
        self.fact(Fact::LogLost { member: id, noticed });
    }

    pub(super) fn plan_rebuild(&mut self, id: MemberId) {
        let Some(ms) = self.scenario.rebuild_ms else { return };
        if !std::mem::replace(&mut self.node_mut(id).rebuild_queued, true) {
            self.queue.after(Nanos::from_millis(ms), Event::Rebuild(id));
        }
    }

    /// Once every log was lost, no member knows whose a timeline's number is. Before the operator names one, he compares
    /// the history files of the others with its own, and names none that another would spoil its data from (E3).
    fn would_spoil(&self, named: MemberId) -> bool {
        let Some(source) = self.node(named).postgres.as_ref().filter(|_| self.every_log_lost) else {
            return false;
        };
        let others = self.nodes.iter().filter(|n| n.id != named).filter_map(|n| n.postgres.as_ref());
        let fit = |p: &Postgres| self.histories.fit(p.branch, p.lsn, source.branch, source.lsn);
        others.map(fit).any(|fit| fit == Fit::StreamsWrongly)
    }

    /// One at a time: a new log grants nothing for a while (M1), and until then the primary's lease needs the others'.
    fn can_spare(&self, id: MemberId) -> bool {
        let others = self.nodes.iter().filter(|n| n.id != id && n.settings.votes(n.id));
        let grant = others.filter_map(|n| n.ledger()).filter(|l| l.registered() && l.silence_left().0 == 0);
        !self.node(id).settings.votes(id) || grant.count() >= Quorum::of(&self.node(id).settings).blocking()
    }

    /// The operator makes a fresh base backup of the primary, and a fresh log with it.
    pub(super) fn rebuild(&mut self, id: MemberId) {
        let run = self.fresh();
        let again = Nanos::from_millis(5_000);
        let source = self.writers().into_iter().find(|w| *w != id && self.network.both_ways(*w, id));
        let powered = self.node(id).powered;
        // He asks every host first: a standby that still points there would go on from what it has, whatever line
        // of history that is, because PostgreSQL compares timeline numbers (E3).
        let in_use =
            self.nodes.iter().filter(|n| n.id != id).any(|n| {
                n.postgres.as_ref().is_some_and(|p| !p.held && p.in_recovery && p.upstream == Some(id))
            });
        let leads = self.writers().contains(&id) || self.node(id).guard.armed().is_some();
        let source = source.filter(|_| self.can_spare(id)).filter(|s| {
            // Only from one that the cluster announced, so that no operator copies a stray.
            let term = self.node(*s).ledger().map(crate::core::Ledger::announced_term);
            self.node(*s).ledger().is_some_and(|l| l.primary() == Some(*s) && l.lease_stands())
                && self.nodes.iter().all(|n| n.ledger().map(crate::core::Ledger::announced_term) <= term)
        });
        let Some(source) = source.filter(|_| powered && !leads && !in_use) else {
            if leads {
                self.node_mut(id).rebuild_queued = false;
            } else {
                self.queue.after(again, Event::Rebuild(id));
            }
            return;
        };
        self.tell(|_| format!("-- operator rebuilds m{} from m{}", id.0, source.0));
        let place = self.node(source).postgres.as_ref().map(|p| (p.branch, p.lsn));
        self.crash_daemon(id);
        self.lose_log(id);
        self.lose_streams(id);
        let node = self.node_mut(id);
        node.rebuild_queued = false;
        node.guard.restart(run);
        if let (Some(p), Some((branch, lsn))) = (node.postgres.as_mut(), place) {
            p.process = Process::Down;
            p.run = run;
            p.signal = true;
            p.receiver = None;
            p.held = false;
            p.spoilt = false;
            p.upstream = Some(source);
            p.orphans_until = SimNanos(0);
            (p.branch, p.lsn) = (branch, lsn);
        }
        self.queue_start(id, self.now().plus(Nanos::from_millis(500)));
        self.daemon_returns(id, self.now().plus(Nanos::from_millis(1_000)));
    }
}
