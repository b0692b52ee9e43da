//! PostgreSQL's processes and WAL, the guard, and the clients: what moves below the daemon.

use super::draw::Domain;
use super::fact::Fact;
use super::frozen::Frozen;
use super::guard::GuardState;
use super::hands_time::{FENCE_RETRY, RECEIVER_RETRY, RECEIVER_TIMEOUT};
use super::postgres::{Fit, Postgres, Process, Receiver};
use super::queue::{Event, Happening, Run};
use super::time::SimNanos;
use super::world::World;
use crate::core::{Lsn, MemberId, Nanos, Plant, Term, planted};
use crate::events::{FenceOutcome, Fencing, GuardReport, PromotionOutcome};
use pgfo_replay::BootNanos;

impl World {
    // ---- guard ------------------------------------------------------------------------------

    pub(super) fn arm_guard(&mut self, id: MemberId, term: Term, until: BootNanos) {
        let now = self.now();
        let node = self.node_mut(id);
        let boot = node.boot(now);
        let reserve = node.settings.fence_reserve;
        let held = node.guard.arm(boot, reserve, term, until, node.log.incarnation);
        let armed = node.guard.armed();
        let run = node.guard.run;
        if let (true, Some((_, until))) = (held, armed) {
            let at = node.clock.instant(BootNanos(until.0.saturating_sub(reserve.0)));
            self.queue.at(at, Event::GuardDeadline(id, run, until));
        }
        let report = if held { GuardReport::Armed { term, until } } else { GuardReport::Refused { term } };
        self.for_daemon(id, Nanos(200_000), Happening::GuardReplied(report));
    }

    pub(super) fn guard_deadline(&mut self, id: MemberId, run: Run, until: BootNanos) {
        if planted(Plant::WritesWithoutLease) || planted(Plant::GuardForgets) {
            return;
        }
        let guard = &self.node(id).guard;
        if guard.run == run && matches!(guard.state, GuardState::Armed { until: u, .. } if u == until) {
            self.fence(id, true);
        }
    }

    /// L7: seal first, then kill, then scan.
    pub(super) fn fence(&mut self, id: MemberId, by_guard: bool) {
        let now = self.now();
        let was_writable = self.node(id).writes(now);
        let reserve_us = self.node(id).settings.fence_reserve.0 / 1_000;
        let kill = self.takes_us(id, 3_000, (reserve_us * 7 / 10).clamp(3_001, 350_000));
        self.fact(Fact::FenceBegan { member: id, by_guard, was_writable });
        self.tell(|_| format!("m{} FENCE by {}", id.0, if by_guard { "guard" } else { "daemon" }));
        let node = self.node_mut(id);
        let stubborn = node.stubborn_until;
        let open = node.guard.fencing;
        node.guard.begin_fence();
        let fence = (node.guard.run, node.guard.fences);
        let Some(p) = node.postgres.as_mut() else { return };
        p.signal = true;
        let lives = p.lives() || now < p.orphans_until;
        let took = if lives { kill } else { Nanos(3_000_000) };
        if lives {
            let pg_run = p.run;
            self.queue.after(kill, Event::PostgresKilled(id, pg_run));
        }
        if now < stubborn && (lives || open) {
            let outcome = FenceOutcome {
                sealed: true,
                nothing_left: false,
                killed: 1,
                took,
                trouble: Some("a process in uninterruptible sleep".to_owned()),
            };
            self.for_daemon(id, Nanos(took.0 + 1_000_000), Happening::FenceEnded(Box::new(outcome)));
            let done = stubborn.max(now.plus(took)).plus(FENCE_RETRY);
            self.queue.at(done, Event::FenceDone(id, fence, took));
        } else {
            self.queue.after(Nanos(took.0 + 2_000_000), Event::FenceDone(id, fence, took));
        }
    }

    pub(super) fn fence_done(&mut self, id: MemberId, fence: (Run, u64), took: Nanos) {
        let node = self.node_mut(id);
        if (node.guard.run, node.guard.fences) != fence {
            return;
        }
        node.guard.fencing = false;
        if let Some(p) = node.postgres.as_mut() {
            p.orphans_until = SimNanos(0);
        }
        self.for_daemon(id, Nanos(500_000), Happening::FenceEnded(Box::new(Self::fenced(1, took))));
    }

    // ---- processes --------------------------------------------------------------------------

    /// PostgreSQL's postmaster is gone; orphaned backends go with it, unless it was killed alone.
    pub(super) fn postgres_killed(&mut self, id: MemberId, run: Run) {
        let now = self.now();
        let fresh = self.fresh();
        let restart = self.scenario.postgres_restart_ms;
        let node = self.node_mut(id);
        let fencing = node.guard.fencing;
        let promoting = node.promoting.take();
        let Some(p) = node.postgres.as_mut().filter(|p| p.run == run) else { return };
        let was = p.lives();
        // L7: the seal is looked at again; a promotion may have taken it off meanwhile.
        p.signal |= fencing;
        p.process = Process::Down;
        p.run = fresh;
        p.receiver = None;
        p.orphans_until = SimNanos(0);
        p.frozen = Frozen::default();
        let stopped = p.stopped_until;
        if !was {
            return;
        }
        self.fact(Fact::WritabilityChanged);
        self.tell(|_| format!("m{} PostgreSQL gone", id.0));
        self.for_daemon(id, Nanos(200_000), Happening::PostmasterGone);
        if let Some((term, _)) = promoting {
            let outcome = Box::new(PromotionOutcome::Unknown { why: "the connection was lost".to_owned() });
            self.for_daemon(id, Nanos(10_000_000), Happening::PromotionEnded { term, outcome });
        }
        self.lose_streams(id);
        if let Some(ms) = restart {
            let at = now.plus(Nanos::from_millis(ms)).max(stopped);
            if !std::mem::replace(&mut self.node_mut(id).start_queued, true) {
                self.queue.at(at, Event::StartPostgres(id));
            }
        }
    }

    /// Those that stream from a member notice: at once, or by their time-out.
    pub(super) fn lose_streams(&mut self, source: MemberId) {
        let powered = self.node(source).powered;
        for id in self.scenario.ids() {
            let Some(r) = self.node(id).postgres.as_ref().and_then(|p| p.receiver) else { continue };
            if r.source == source {
                let soon = powered && self.network.both_ways(source, id);
                let after = if soon { Nanos(1_500_000) } else { RECEIVER_TIMEOUT };
                self.queue.after(after, Event::ReceiverLost(id, r.run));
            }
        }
    }

    /// L9: what `pgfo guard` decides before PostgreSQL starts. Who can't ask the daemon seals.
    pub(super) fn start_postgres(&mut self, id: MemberId) {
        let now = self.now();
        let run = self.fresh();
        let ready = self.takes_us(id, 200_000, 2_000_000);
        let node = self.node_mut(id);
        node.start_queued = false;
        let boot = node.boot(now);
        let reserve = node.settings.fence_reserve.0;
        let leased = node.guard.armed().is_some_and(|(_, until)| until.0.saturating_sub(reserve) > boot.0);
        let (marked, fencing, powered) = (node.guard.marked, node.guard.fencing, node.powered);
        let daemon = node.ledger().filter(|_| now >= node.daemon_frozen_until());
        let allowed = daemon.is_some_and(|l| {
            !marked && l.nobody_knows_a_primary()
                || leased && l.lease_stands()
                || l.pause_protects() && l.tenure.is_some()
        });
        let may = node.settings.fencing == Fencing::Off || allowed;
        let Some(p) = node.postgres.as_mut() else { return };
        if !powered || p.lives() {
            return;
        }
        if now < p.stopped_until || fencing || now < p.orphans_until {
            let at = p.stopped_until.max(p.orphans_until).max(now.plus(Nanos::from_millis(500)));
            node.start_queued = true;
            return self.queue.at(at, Event::StartPostgres(id));
        }
        if !p.signal && !may && !planted(Plant::StartsUnsealed) {
            p.signal = true;
        }
        p.process = Process::Starting;
        p.run = run;
        p.started = Postgres::start_micros(run);
        p.in_recovery = true;
        p.received = false;
        p.replayed = false;
        // A freeze that had not taken effect was of the processes before.
        p.freezes = false;
        let sealed = p.signal;
        self.queue.after(ready, Event::PostgresReady(id, run));
        self.tell(|_| format!("m{} PostgreSQL starts, sealed {sealed}", id.0));
        if let Some(daemon) = self.node(id).daemon_run() {
            self.queue.after(Nanos(1_000_000), Event::PostmasterSeen(id, daemon));
        }
    }

    pub(super) fn postgres_ready(&mut self, id: MemberId, run: Run) {
        // The end of a recovery writes a checkpoint, which a standby may go without.
        if !self.node(id).postgres.as_ref().is_some_and(|p| p.signal) && self.dies_of_full_disk(id, run) {
            return;
        }
        let replay = self.takes_us(id, 1_000, 3_000_000);
        let Some(p) = self.node_mut(id).postgres.as_mut().filter(|p| p.run == run) else { return };
        p.process = Process::Up;
        p.in_recovery = p.signal;
        if p.in_recovery {
            self.queue.after(replay, Event::PostgresReplayed(id, run));
            self.queue.after(Nanos(replay.0 + 20_000_000), Event::ReceiverStarts(id, run));
        } else {
            p.replayed = true;
            self.fact(Fact::WritabilityChanged);
        }
    }

    pub(super) fn postgres_promoted(&mut self, id: MemberId, run: Run) {
        if self.dies_of_full_disk(id, run) {
            return;
        }
        let node = &mut self.nodes[usize::from(id.0)];
        let promoting = node.promoting.take();
        let Some(p) = node.postgres.as_mut().filter(|p| p.run == run) else { return };
        if p.process != Process::Up || !p.in_recovery {
            return;
        }
        let (from, at) = (p.branch, p.lsn);
        p.branch = self.histories.fork(from, at);
        p.in_recovery = false;
        p.signal = false;
        p.receiver = None;
        p.held = false;
        p.upstream = None;
        let branch = p.branch;
        let timeline = self.histories.get(branch).timeline;
        self.promotions += 1;
        self.fact(Fact::Promoted { member: id, from, branch, at });
        self.fact(Fact::WritabilityChanged);
        self.tell(|_| format!("m{} PROMOTED to timeline {timeline} at {at}", id.0));
        if let Some((term, daemon)) = promoting {
            let system_id = super::postgres::SYSTEM;
            let outcome = Box::new(PromotionOutcome::Promoted { timeline, switched_at: at, system_id });
            let ended = Happening::PromotionEnded { term, outcome };
            self.queue.after(Nanos(4_000_000), Event::Daemon(id, daemon, ended));
        }
    }

    // ---- WAL --------------------------------------------------------------------------------

    pub(super) fn receiver_starts(&mut self, id: MemberId, run: Run) {
        let now = self.now();
        let stream = self.fresh();
        let Some(p) = &self.node(id).postgres else { return };
        let wants = p.run == run && p.process == Process::Up && p.in_recovery && !p.held;
        let Some(source) = p.upstream.filter(|s| wants && p.receiver.is_none() && *s != id) else { return };
        let there = self.node(source);
        let serves = now >= p.full_until
            && there.runs(now)
            && self.network.both_ways(id, source)
            && there.postgres.as_ref().is_some_and(|s| s.process == Process::Up && now >= s.frozen.until);
        let Some(s) = there.postgres.as_ref().filter(|_| serves && p.replayed) else {
            return self.queue.after(RECEIVER_RETRY, Event::ReceiverStarts(id, run));
        };
        let fit = self.histories.fit(p.branch, p.lsn, s.branch, s.lsn);
        let loops = fit == Fit::PastFork;
        let wrongly = fit == Fit::StreamsWrongly;
        if let Some(p) = self.node_mut(id).postgres.as_mut() {
            p.receiver = Some(Receiver { source, run: stream, loops, on_its_way: None });
            p.received = true;
            p.spoilt |= wrongly;
        }
        if wrongly {
            self.fact(Fact::Spoilt { member: id, source });
        }
        self.stream(id);
    }

    pub(super) fn receiver_lost(&mut self, id: MemberId, stream: Run) {
        let Some(p) = self.node_mut(id).postgres.as_mut() else { return };
        if p.receiver.is_some_and(|r| r.run == stream) {
            p.receiver = None;
            let run = p.run;
            self.for_daemon(id, Nanos(200_000), Happening::ReceiverEnded);
            self.queue.after(RECEIVER_RETRY, Event::ReceiverStarts(id, run));
        }
    }

    /// WAL that a standby lacks sets out, if none is on its way.
    fn stream(&mut self, id: MemberId) {
        let number = self.fresh();
        let Some(p) = &self.node(id).postgres else { return };
        let Some(r) = p.receiver.filter(|r| !r.loops && r.on_its_way.is_none()) else { return };
        let Some(s) = &self.node(r.source).postgres else { return };
        let there = (s.branch, s.lsn);
        if there == (p.branch, p.lsn) || (there.0 == p.branch && there.1 < p.lsn) {
            return;
        }
        let draw = self.draws.draw(Domain::Stream, &[u64::from(id.0), number]);
        let delay = Nanos(draw.between(200, 20_000) * 1_000);
        if let Some(r) = self.node_mut(id).postgres.as_mut().and_then(|p| p.receiver.as_mut()) {
            r.on_its_way = Some(there);
        }
        self.queue.after(delay, Event::WalArrives(id, r.run));
    }

    pub(super) fn wal_arrives(&mut self, id: MemberId, stream: Run) {
        let now = self.now();
        let Some(p) = &self.node(id).postgres else { return };
        let Some(r) = p.receiver.filter(|r| r.run == stream) else { return };
        if now < p.full_until {
            return self.receiver_lost(id, stream);
        }
        if now < p.lags_until || !self.network.both_ways(id, r.source) {
            let again = Nanos::from_millis(100);
            return self.queue.after(again, Event::WalArrives(id, stream));
        }
        if let Some(p) = self.node_mut(id).postgres.as_mut() {
            if let Some((branch, lsn)) = r.on_its_way {
                (p.branch, p.lsn) = (branch, lsn);
            }
            if let Some(r) = &mut p.receiver {
                r.on_its_way = None;
            }
        }
        self.stream(id);
        self.stream_from(id);
    }

    fn stream_from(&mut self, source: MemberId) {
        for id in self.scenario.ids() {
            let from = self.node(id).postgres.as_ref().and_then(|p| p.receiver).map(|r| r.source);
            if from == Some(source) {
                self.stream(id);
            }
        }
    }

    /// Clients write to every PostgreSQL that lets them.
    pub(super) fn write(&mut self) {
        let number = self.fresh();
        for id in self.scenario.ids() {
            if !self.node(id).writes(self.now()) {
                continue;
            }
            let run = self.node(id).postgres.as_ref().filter(|p| p.is_writable()).map(|p| p.run);
            if run.is_some_and(|run| self.dies_of_full_disk(id, run)) {
                continue;
            }
            let bytes = self.draws.draw(Domain::Write, &[u64::from(id.0), number]).between(64, 16_384);
            if let Some(p) = self.node_mut(id).postgres.as_mut() {
                p.lsn = Lsn(p.lsn.0 + bytes);
            }
            self.stream_from(id);
        }
        self.queue.after(Nanos::from_millis(self.scenario.write_every_ms), Event::Write);
    }
}
