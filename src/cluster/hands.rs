//! The hands of a simulated member: heartbeats, probes, messages, and what the daemon asks of its
//! PostgreSQL. They decide nothing.

use super::draw::Domain;
use super::fact::{Fact, vote_of};
use super::fault::{PromotionFault, Rejection};
use super::parcels::Parcel;
use super::poison::coarse;
use super::postgres::Process;
use super::queue::{Event, Happening};
use super::time::SimNanos;
use super::world::World;
use crate::core::{DEADLINE_AGAIN, Lsn, MemberId, Nanos, Term};
use crate::events::{
    Actor, Event as LogEvent, FenceOutcome, FollowOutcome, FreezeOutcome, Message, Observation, ProbeFailure,
    ProbeKind, ProbeReport, PromotionOutcome,
};
use pgfo_replay::Seq;

/// A message that meets a cut is sent again this often: TCP does so, until the connection is given up.
const TRIES_MAX: u8 = 20;
/// Time between two of them.
const TRY_AGAIN: Nanos = Nanos::from_millis(200);
/// Time between two looks at whether following has worked.
const POLL: Nanos = Nanos::from_millis(100);
/// How long catching up may take.
const CATCH_UP_MAX: Nanos = Nanos::from_millis(10_000);
/// How long a WAL receiver may say "streaming" without getting on until it is called diverged.
const LOOPS_MAX: Nanos = Nanos::from_millis(1_000);

impl World {
    /// Something happens at a running daemon.
    pub(super) fn happen(&mut self, id: MemberId, happening: Happening) {
        let hand = Actor::PostgresOperator;
        match happening {
            Happening::Heartbeat => self.heartbeat(id),
            Happening::Deadline(deadline, at) => {
                let armed =
                    |w: &Self| w.node(id).daemon.as_ref().is_some_and(|d| d.armed.contains(&(deadline, at)));
                if armed(self) {
                    self.observe(id, Actor::Clock, Observation::DeadlinePassed(deadline));
                    if armed(self) {
                        self.for_daemon(id, DEADLINE_AGAIN, Happening::Deadline(deadline, at));
                    }
                }
            }
            Happening::StrayDeadline(deadline) => {
                self.observe(id, Actor::Clock, Observation::DeadlinePassed(deadline));
            }
            Happening::ProbeArrives { target, kind, started, number } => {
                self.probe_arrives(id, target, kind, started, number);
            }
            Happening::ProbeEnds { target, kind, started, report } => {
                self.probe_ends(id, target, kind, started, report);
            }
            Happening::Delivery { from, message, tries } => self.deliver(id, from, message, tries),
            Happening::Flushed { upto } => self.flushed(id, upto),
            Happening::Connected { peer, peer_run } => self.connected(id, peer, peer_run),
            Happening::Disconnected { peer, refused } => self.disconnected(id, peer, refused),
            Happening::GuardReplied(report) => self.observe(id, hand, Observation::GuardReported(report)),
            Happening::FenceEnded(outcome) => self.observe(id, hand, Observation::FenceCompleted(*outcome)),
            Happening::FreezeEnded { term, outcome } => self.freeze_ended(id, term, outcome.map(|o| *o)),
            Happening::PromotionEnded { term, outcome } => {
                let outcome = *outcome;
                self.observe(id, hand, Observation::PromotionCompleted { term, outcome, commands: vec![] });
            }
            Happening::FollowPoll { term, primary, started } => self.follow_poll(id, term, primary, started),
            Happening::FollowEnded { term, outcome } => {
                let outcome = *outcome;
                if matches!(outcome, FollowOutcome::Diverged { .. }) {
                    self.plan_rebuild(id);
                }
                self.observe(id, hand, Observation::FollowCompleted { term, outcome, commands: vec![] });
            }
            Happening::CatchUpPoll { term, from, until, started } => {
                self.catch_up_poll(id, term, from, until, started);
            }
            Happening::PostmasterGone => {
                let sealed = self.node(id).postgres.as_ref().is_some_and(|p| p.signal);
                self.observe(id, hand, Observation::PostmasterGone { sealed });
            }
            Happening::ReceiverEnded => self.observe(id, hand, Observation::ReceiverEnded),
            Happening::Observed(actor, observation) => self.observe(id, actor, *observation),
            Happening::DaemonStops => {
                self.crash_daemon(id);
                // Whoever asked starts it again, also when it took longer to stop than he had thought.
                let soon = self.now().plus(Nanos::from_millis(2_000));
                self.queue.at(soon.max(self.node(id).daemon_down_until), Event::StartDaemon(id));
            }
        }
    }

    fn heartbeat(&mut self, id: MemberId) {
        let flushed = Seq(self.node(id).log.flushed as u64);
        let due = LogEvent::Observed(Observation::HeartbeatDue { flushed });
        self.observe_event(id, Actor::Clock, due);
        let node = self.node(id);
        let primary = node.daemon.as_ref().and_then(|d| d.watch.primary());
        let has_postgres = node.postgres.is_some();
        if has_postgres {
            self.probe(id, id, ProbeKind::Heartbeat);
        }
        if let Some(primary) = primary.filter(|p| *p != id) {
            self.probe(id, primary, ProbeKind::Heartbeat);
        }
        let open: Vec<MemberId> = match self.node(id).daemon.as_ref() {
            Some(d) => {
                self.scenario.ids().filter(|p| *p != id && d.connected[usize::from(p.0)].is_none()).collect()
            }
            None => return,
        };
        for peer in open {
            self.connect(id, peer);
        }
        let every = self.node(id).settings.heartbeat_interval;
        let now = self.now();
        let due = coarse(self.node(id).grain, now, now.plus(every));
        self.for_daemon(id, due.since(now), Happening::Heartbeat);
    }

    // ---- probes -----------------------------------------------------------------------------

    pub(super) fn probe(&mut self, id: MemberId, target: MemberId, kind: ProbeKind) {
        let started = self.now();
        let number = self.network.number(id, target);
        let latency = if id == target {
            Nanos(self.draws.draw(Domain::Probe, &[u64::from(id.0), number]).between(300, 2_000) * 1_000)
        } else {
            self.network.latency(started, id, target, number)
        };
        self.for_daemon(id, latency, Happening::ProbeArrives { target, kind, started, number });
    }

    fn probe_arrives(
        &mut self,
        id: MemberId,
        target: MemberId,
        kind: ProbeKind,
        started: SimNanos,
        number: u64,
    ) {
        let now = self.now();
        let there = self.node(target);
        let reached = there.runs(now) && self.network.reaches(id, target) && self.network.reaches(target, id);
        let rejected = there.rejects.filter(|(_, until)| id != target && now < *until);
        let found = match &there.postgres {
            Some(_) if reached && rejected.is_some() => rejected.map(|(how, _)| turned_away(how)),
            Some(p) if reached => p.probed(now, &self.histories),
            _ => None,
        };
        let deadline = started.plus(Nanos::from_millis(self.scenario.timings.probe_ms));
        let timed_out = ProbeReport::Failed(ProbeFailure::TimedOut);
        let back = if id == target { Nanos(1_000) } else { self.network.latency(now, target, id, number) };
        let slow = if now < there.slow_answers.1 { there.slow_answers.0 } else { Nanos(0) };
        let back = Nanos(back.0 + slow.0);
        let (at, report) = match found {
            Some(report) if now.plus(back) < deadline => (now.plus(back), report),
            _ => (deadline, timed_out),
        };
        if let Some(run) = self.node(id).daemon_run() {
            let report = self.reports.put(report);
            let ends = Happening::ProbeEnds { target, kind, started, report };
            self.queue.at(at, Event::Daemon(id, run, ends));
        }
    }

    fn probe_ends(
        &mut self,
        id: MemberId,
        target: MemberId,
        kind: ProbeKind,
        started: SimNanos,
        report: Parcel,
    ) {
        let now = self.now();
        let report = self.reports.take(report);
        let node = self.node(id);
        let thawed = node.daemon.as_ref().map_or(node.thawed_at, |d| d.thawed_at.max(node.thawed_at));
        // D4: a prober that stood still while its probe was out says so.
        let stalled = if thawed > started { now.since(started) } else { Nanos(0) };
        let took = now.since(started);
        if target == id && matches!(report, ProbeReport::Answered(a) if a.receiver) {
            self.tell_sender(id);
        }
        let observed = Observation::ProbeCompleted { target, kind, report, took, stalled };
        self.observe_event(id, Actor::HeartbeatProber, LogEvent::Observed(observed));
    }

    /// The prober tells whom the WAL receiver streams from, when that changes (`pg_stat_wal_receiver`).
    fn tell_sender(&mut self, id: MemberId) {
        let node = self.node_mut(id);
        let sender = node.postgres.as_ref().and_then(|p| p.receiver.map(|r| (p.run, r.source)));
        let (Some(daemon), Some((run, source))) = (node.daemon.as_mut(), sender) else { return };
        if daemon.sender_told.replace((run, source)) != Some((run, source)) {
            self.observe(id, Actor::HeartbeatProber, Observation::ReceiverSeen { from: Some(source) });
        }
    }

    // ---- messages ---------------------------------------------------------------------------

    /// A message leaves; it is taken out of where it is.
    pub(super) fn send(&mut self, id: MemberId, to: MemberId, sent_by: Seq, message: &mut Message) {
        let run = self.node(id).daemon.as_ref().and_then(|d| d.connected[usize::from(to.0)]);
        let judged = vote_of(message).is_some()
            || matches!(message, Message::LeaseGranted(_) | Message::RenewalRequested(_));
        if self.told && judged {
            self.fact(Fact::Sent { from: id, to, message: message.clone() });
        }
        let Some(run) = run else { return };
        let now = self.now();
        let number = self.network.number(id, to);
        let copies = self.network.copies(&self.draws, now, id, to, number);
        for copy in 0..u64::from(copies) {
            let last = copy + 1 == u64::from(copies);
            let latency = self.network.latency(now, id, to, number + copy * 1_000_000_007);
            let message =
                if last { std::mem::replace(message, Message::HistoryRequested) } else { message.clone() };
            let received = Observation::MessageReceived { from: id, sent_by, message };
            let message = self.messages.put(LogEvent::Observed(received));
            let delivery = Happening::Delivery { from: id, message, tries: 0 };
            self.queue.after(latency, Event::Daemon(to, run, delivery));
        }
    }

    fn deliver(&mut self, id: MemberId, from: MemberId, message: Parcel, tries: u8) {
        let open = self.node(id).daemon.as_ref().is_some_and(|d| d.connected[usize::from(from.0)].is_some());
        if !self.network.reaches(from, id) || !open {
            if tries < TRIES_MAX {
                let again = Happening::Delivery { from, message, tries: tries + 1 };
                self.for_daemon(id, if open { TRY_AGAIN } else { Nanos(1_000_000) }, again);
            } else {
                drop(self.messages.take(message));
            }
            return;
        }
        let received = self.messages.take(message);
        self.observe_event(id, Actor::PeerLink, received);
    }

    // ---- freezing, promoting, following -----------------------------------------------------

    pub(super) fn freeze(&mut self, id: MemberId, term: Term) {
        let now = self.now();
        let unseen_until = self.node(id).freeze_unseen_until;
        let Some(p) = self.node_mut(id).postgres.as_mut() else { return };
        // Only a running PostgreSQL can be told; one that starts later starts its receiver as it was set up.
        let told = p.process == Process::Up && now >= p.frozen.until;
        // With replay paused, the receiver streams on for a while after the order.
        p.freezes = told && now < unseen_until && p.receiver.is_some();
        p.held |= told && !p.freezes;
        let had = told && !p.freezes && p.receiver.take().is_some();
        let run = p.run;
        if p.freezes {
            self.queue.at(unseen_until, Event::FreezeBites(id, run));
        }
        let Some(p) = self.node_mut(id).postgres.as_mut() else { return };
        let conninfo = p.upstream.map_or(String::new(), |u| format!("host=node{}", u.0 + 1));
        if had {
            self.for_daemon(id, Nanos(1_000_000), Happening::ReceiverEnded);
        }
        let recorded = Observation::UpstreamRecorded { primary_conninfo: conninfo };
        self.observe(id, Actor::PostgresOperator, recorded);
        let takes = self.takes_us(id, 5_000, 60_000);
        self.for_daemon(id, takes, Happening::FreezeEnded { term, outcome: None });
    }

    fn freeze_ended(&mut self, id: MemberId, term: Term, outcome: Option<FreezeOutcome>) {
        let now = self.now();
        let node = self.node(id);
        let Some(p) = &node.postgres else { return };
        let unseen = |why: &str| FreezeOutcome::NotObserved { why: why.to_owned() };
        let late = Nanos(node.settings.freeze_timeout.0.saturating_sub(100_000_000));
        let looked = match p.process {
            _ if outcome.is_some() => outcome.clone(),
            _ if now < node.freeze_unseen_until || now < p.frozen.until => None,
            Process::Down => Some(FreezeOutcome::NothingRuns),
            Process::Starting => None,
            Process::Up if !p.in_recovery || p.receiver.is_some() || !p.held => None,
            Process::Up => Some(FreezeOutcome::FrozenAt {
                lsn: p.answer(&self.histories).lsn(),
                received: p.received,
                settled: p.received || p.replayed,
                system_id: super::postgres::SYSTEM,
                timeline: self.histories.get(p.branch).timeline,
            }),
        };
        match looked {
            Some(outcome) => {
                let observed = Observation::FreezeCompleted { term, outcome };
                self.observe(id, Actor::PostgresOperator, observed);
            }
            None => {
                let outcome = Some(Box::new(unseen("no observation in time")));
                self.for_daemon(id, late, Happening::FreezeEnded { term, outcome });
            }
        }
    }

    pub(super) fn promote(&mut self, id: MemberId, term: Term, named: Option<i64>) {
        let now = self.now();
        self.fact(Fact::PromotionSent { member: id, term });
        let takes = self.takes_us(id, 20_000, 250_000);
        let later = self.takes_us(id, 500_000, 4_000_000);
        let histories = self.histories.clone();
        let node = self.node_mut(id);
        let fault = node.promotion_fault.filter(|(_, until)| now < *until).map(|(f, _)| f);
        let run = node.daemon_run().unwrap_or_default();
        let Some(p) = node.postgres.as_mut() else { return };
        let failed = |why: &str| PromotionOutcome::Failed { why: why.to_owned() };
        let unknown = || PromotionOutcome::Unknown { why: "no answer in time".to_owned() };
        let ended = |outcome| Happening::PromotionEnded { term, outcome: Box::new(outcome) };
        let promoted = Event::PostgresPromoted(id, p.run);
        if let Some(asked) = named.filter(|asked| p.lives() && *asked != p.started) {
            let outcome = PromotionOutcome::Refused { asked, found: p.started };
            return self.for_daemon(id, takes, ended(outcome));
        }
        match fault {
            Some(PromotionFault::Vetoed) => {
                let outcome = PromotionOutcome::Vetoed { why: "validation said no".to_owned() };
                return self.for_daemon(id, takes, ended(outcome));
            }
            Some(PromotionFault::Failed) => return self.for_daemon(id, takes, ended(failed("it said no"))),
            Some(PromotionFault::UnknownNotDone) => return self.for_daemon(id, later, ended(unknown())),
            Some(PromotionFault::UnknownDoneLater) => {
                self.queue.after(Nanos(later.0 + takes.0), promoted);
                return self.for_daemon(id, takes, ended(unknown()));
            }
            Some(PromotionFault::ReportLost) => return self.queue.after(takes, promoted),
            Some(PromotionFault::DoneThenCrash) => {
                let dies = Event::PostgresKilled(id, p.run);
                self.queue.after(takes, promoted);
                return self.queue.after(Nanos(takes.0 + 1_000_000), dies);
            }
            Some(PromotionFault::HalfDoneThenCrash) => {
                let dies = Event::PostgresHalfPromoted(id, p.run);
                node.promoting = Some((term, run));
                return self.queue.after(takes, dies);
            }
            None => {}
        }
        if p.process != Process::Up {
            return self.for_daemon(id, takes, ended(failed("it does not run")));
        }
        if !p.in_recovery {
            let branch = histories.get(p.branch);
            let switched_at = branch.parent.map_or(p.lsn, |(_, at)| at);
            let outcome = PromotionOutcome::Promoted {
                timeline: branch.timeline,
                switched_at,
                system_id: super::postgres::SYSTEM,
            };
            return self.for_daemon(id, takes, ended(outcome));
        }
        node.promoting = Some((term, run));
        self.queue.after(takes, promoted);
    }

    pub(super) fn follow(&mut self, id: MemberId, term: Term, primary: MemberId) {
        self.point_at(id, primary);
        let started = self.now();
        self.for_daemon(id, POLL, Happening::FollowPoll { term, primary, started });
    }

    fn point_at(&mut self, id: MemberId, source: MemberId) {
        let Some(p) = self.node_mut(id).postgres.as_mut() else { return };
        p.held = false;
        p.freezes = false;
        p.upstream = Some(source);
        p.receiver = None;
        let run = p.run;
        self.queue.after(Nanos(5_000_000), Event::ReceiverStarts(id, run));
    }

    fn follow_poll(&mut self, id: MemberId, term: Term, primary: MemberId, started: SimNanos) {
        let elapsed = self.now().since(started);
        let limit = self.node(id).settings.follow_timeout;
        let Some(p) = &self.node(id).postgres else { return };
        let source = self.node(primary).postgres.as_ref();
        let outcome = match (p.receiver, p.process) {
            _ if p.upstream != Some(primary) || p.held => return,
            (_, Process::Down) => Some(FollowOutcome::Failed { why: "it does not run".to_owned() }),
            (Some(r), _) if r.source == primary && r.loops && elapsed > LOOPS_MAX => {
                Some(FollowOutcome::Diverged { why: "streaming, but replay stands still".to_owned() })
            }
            (Some(r), _) if r.source == primary && !r.loops => {
                source.filter(|s| s.branch == p.branch).map(|s| FollowOutcome::Streaming {
                    timeline: self.histories.get(s.branch).timeline,
                    lsn: Some(p.lsn),
                })
            }
            _ => None,
        };
        match outcome {
            Some(outcome) => {
                let outcome = Box::new(outcome);
                self.for_daemon(id, Nanos(1_000), Happening::FollowEnded { term, outcome });
            }
            None if elapsed > limit => {
                let outcome = Box::new(FollowOutcome::Failed { why: "not streaming in time".to_owned() });
                self.for_daemon(id, Nanos(1_000), Happening::FollowEnded { term, outcome });
            }
            None => self.for_daemon(id, POLL, Happening::FollowPoll { term, primary, started }),
        }
    }

    pub(super) fn catch_up(&mut self, id: MemberId, term: Term, from: MemberId, until: Lsn) {
        self.point_at(id, from);
        let started = self.now();
        self.for_daemon(id, POLL, Happening::CatchUpPoll { term, from, until, started });
    }

    fn catch_up_poll(&mut self, id: MemberId, term: Term, from: MemberId, until: Lsn, started: SimNanos) {
        let late = self.now().since(started) > CATCH_UP_MAX;
        let timeline = |w: &Self, b| w.histories.get(b).timeline;
        let Some(p) = &self.node(id).postgres else { return };
        if p.upstream != Some(from) || p.held {
            return;
        }
        let outcome = if p.lsn >= until {
            FollowOutcome::Streaming { timeline: timeline(self, p.branch), lsn: Some(p.lsn) }
        } else if late || !p.lives() {
            FollowOutcome::Failed { why: "not caught up in time".to_owned() }
        } else {
            let again = Happening::CatchUpPoll { term, from, until, started };
            return self.for_daemon(id, POLL, again);
        };
        if let Some(p) = self.node_mut(id).postgres.as_mut() {
            p.held = true;
            p.receiver = None;
        }
        let observed = Observation::CatchUpCompleted { term, outcome };
        self.observe(id, Actor::PostgresOperator, observed);
    }

    /// What a complete fence says.
    pub(super) fn fenced(killed: u32, took: Nanos) -> FenceOutcome {
        FenceOutcome { sealed: true, nothing_left: true, killed, took, trouble: None }
    }
}

/// What a probe finds that is turned away on its way.
const fn turned_away(how: Rejection) -> ProbeReport {
    ProbeReport::Failed(match how {
        Rejection::Refused => ProbeFailure::Refused,
        Rejection::Reset => ProbeFailure::Reset,
        Rejection::Unreachable => ProbeFailure::Unreachable,
    })
}
