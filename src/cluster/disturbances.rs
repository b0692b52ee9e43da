//! Faults that change how something behaves for a while: clocks, links, answers, the point at which a daemon
//! dies. Nothing here is drawn: faults are data.

use super::fact::Fact;
use super::fault::{CrashPoint, Fault};
use super::faults::RESTART;
use super::node::Node;
use super::poison::Poison;
use super::postgres::{Postgres, Process};
use super::queue::{Event, Happening, Run};
use super::time::SimNanos;
use super::world::World;
use crate::core::{MemberId, Nanos};
use crate::events::{Deadline, LogFound, Observation};

impl World {
    pub(super) fn begin_disturbance(&mut self, i: usize, at_ms: u64, fault: Fault) {
        let until = self.scenario.fault_end(at_ms, fault.length_ms());
        match fault {
            Fault::Reload { member, lease_ms } => {
                let node = self.node_mut(member);
                node.settings.lease_duration = Nanos::from_millis(lease_ms);
                let settings = Box::new(node.settings.clone());
                let changed = Observation::SettingsChanged { settings, configuration_digest: String::new() };
                self.told(member, changed);
            }
            Fault::StrayDeadlines { member, .. } => self.node_mut(member).stray_until = until,
            Fault::Clog { from, to, .. } => {
                for a in &from {
                    for b in to.iter().filter(|b| *b != a) {
                        self.network.clog(*a, *b, until);
                    }
                }
            }
            Fault::Flap { one, other, every_ms, .. } => {
                self.cut(&[one], &[other], true);
                self.cut(&[other], &[one], true);
                self.queue.after(Nanos::from_millis(every_ms.max(1)), Event::FaultEnds(i));
            }
            Fault::SlowPostgres { member, by_ms, .. } => {
                self.node_mut(member).slow_answers = (Nanos::from_millis(by_ms), until);
            }
            Fault::RefuseLogins { member, .. } => {
                if let Some(p) = self.node_mut(member).postgres.as_mut() {
                    p.locked_until = until;
                }
            }
            Fault::WallStep { member, by_s } => {
                self.node_mut(member).wall_off += by_s.saturating_mul(1_000_000_000);
            }
            Fault::ReceiverDies { member } => {
                let stream = self.node(member).postgres.as_ref().and_then(|p| p.receiver).map(|r| r.run);
                if let Some(stream) = stream {
                    self.receiver_lost(member, stream);
                }
            }
            Fault::CrashAt { member, point, .. } => self.node_mut(member).crash_at = Some((point, until)),
            Fault::LogRefuses { member } => {
                self.crash_daemon(member);
                self.lose_log(member);
                let (path, why) = ("events.db.aside".to_owned(), "it can't be opened".to_owned());
                self.node_mut(member).log.condition = LogFound::PutAside { path, why };
                self.daemon_returns(member, self.now().plus(RESTART));
            }
            Fault::KillPrimary => {
                let leads = |n: &&Node| n.postgres.as_ref().is_some_and(Postgres::is_writable);
                if let Some(member) = self.nodes.iter().find(leads).map(|n| n.id) {
                    self.kill_postgres(member);
                }
            }
            Fault::ManualPromotion { member } => {
                let run =
                    self.node(member).postgres.as_ref().filter(|p| p.process == Process::Up).map(|p| p.run);
                if let Some(run) = run {
                    self.queue.at(self.now(), Event::PostgresPromoted(member, run));
                }
            }
            Fault::RolePanics { member, role, on, times, .. } => {
                let poison = Poison { role: role.actor(), on, left: times, until };
                self.node_mut(member).poisons.push(poison);
            }
            Fault::LoseReports { member, report, times, .. } => {
                self.node_mut(member).losing.push((report, times, until));
            }
            Fault::BackendCrashes { member } => self.backend_crashes(member),
            Fault::PostgresDiskFull { member, .. } => self.postgres_disk_full(member, until),
            Fault::Reject { member, how, .. } => self.node_mut(member).rejects = Some((how, until)),
            Fault::CoarseTimers { member, grain_ms, .. } => {
                self.node_mut(member).grain = (Nanos::from_millis(grain_ms), until);
            }
            Fault::Retime { member, timings } => {
                self.crash_daemon(member);
                self.node_mut(member).settings = self.scenario.settings_with(member, &timings);
                self.daemon_returns(member, self.now().plus(RESTART));
            }
            Fault::PowerCutLogsLost { .. } => {
                for id in self.scenario.ids() {
                    self.kill_host(id, until);
                    self.lose_log(id);
                }
                self.every_log_lost = true;
                self.fact(Fact::EveryLogLost);
            }
            _ => {}
        }
    }

    /// A flapping link changes over, until its end finds it mended. It undoes its own cut only: another fault
    /// may hold the same link cut meanwhile.
    pub(super) fn flap(&mut self, i: usize, one: MemberId, other: MemberId, every_ms: u64) {
        let Some(timed) = self.scenario.faults.get(i) else { return };
        let began = SimNanos::from_millis(timed.at_ms);
        let over = self.now() >= self.scenario.fault_end(timed.at_ms, timed.fault.length_ms());
        let changes = self.now().since(began).0 / Nanos::from_millis(every_ms.max(1)).0;
        let was_cut = changes % 2 == 1;
        if over && !was_cut {
            return;
        }
        self.cut(&[one], &[other], !was_cut);
        self.cut(&[other], &[one], !was_cut);
        if !over {
            self.queue.after(Nanos::from_millis(every_ms.max(1)), Event::FaultEnds(i));
        }
    }

    /// Deadlines are events from outside: they may come early, and twice.
    pub(super) fn stray_deadline(&mut self, id: MemberId, deadline: Deadline, at: SimNanos) {
        let early = Nanos(at.since(self.now()).0 / 2);
        self.for_daemon(id, early, Happening::StrayDeadline(deadline));
        let again = Nanos(at.since(self.now()).0 + 1_000_000);
        self.for_daemon(id, again, Happening::StrayDeadline(deadline));
    }

    /// The daemon dies here, if a fault says so; returns whether it did.
    pub(super) fn dies_at(&mut self, id: MemberId, here: CrashPoint) -> bool {
        let now = self.now();
        let due = |n: &Node| n.crash_at.is_some_and(|(point, until)| point == here && now < until);
        if !due(self.node(id)) {
            return false;
        }
        self.node_mut(id).crash_at = None;
        self.tell(|_| format!("-- m{} dies: {here:?}", id.0));
        self.crash_daemon(id);
        self.daemon_returns(id, now.plus(RESTART));
        true
    }

    /// The WAL receiver is gone at last; until now it streamed on.
    pub(super) fn freeze_bites(&mut self, id: MemberId, run: Run) {
        let Some(p) = self.node_mut(id).postgres.as_mut().filter(|p| p.run == run && p.freezes) else {
            return;
        };
        p.freezes = false;
        p.held = true;
        if p.receiver.take().is_some() {
            self.for_daemon(id, Nanos(1_000_000), Happening::ReceiverEnded);
        }
    }
}
