//! The HeartbeatProber: probes the local PostgreSQL and the primary's with every heartbeat, and makes
//! heart massages over fresh connections. It has no opinion about what it sees.

use super::complaint::Complaint;
use super::receiver::ReceiverWatch;
use super::role_shell::Ping;
use super::sequencer::Observer;
use crate::core::{MemberId, Nanos, Watch};
use crate::events::{Announcement, Answer, Observation, ProbeFailure, ProbeKind, ProbeReport, SignOfLife};
use crate::postgres::{self, Connector, Probe, ProbeOutcome, Prober, ReceiverStatus};
use actix::prelude::*;
use slog::{Logger, o};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Massages that may be under way at once; the configuration allows fewer attempts.
const MASSAGES_MAX: usize = 64;

/// How each member's PostgreSQL is reached, and how patiently.
#[derive(Clone)]
pub struct ProbeTargets {
    /// This member.
    pub me: MemberId,
    /// Connectors by member; the local one for this member.
    pub connectors: BTreeMap<MemberId, Connector>,
    /// Between two heartbeats.
    pub interval: Duration,
    /// Deadline of one heartbeat.
    pub timeout: Duration,
    /// Deadline of one massage.
    pub massage_timeout: Duration,
    /// Age at which the kept connection is renewed.
    pub renew_after: Duration,
}

/// A heart massage is wanted.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Massage {
    /// Whose PostgreSQL.
    pub target: MemberId,
    /// Number, from 1.
    pub attempt: u8,
}

/// This winner was announced: the newest is the primary to probe from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct WatchPrimary(pub Announcement);

/// New timing, from a reload.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Retime(pub ProbeTargets);

/// A heartbeat is due: probe.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Beat;

#[derive(Message)]
#[rtype(result = "()")]
struct Distrust(MemberId);

/// Whom the local WAL receiver streams from, in which run of its postmaster, and its process number.
type Sender = (i64, i32, Option<MemberId>);

/// Heartbeats that this host could not make, in a row, that are left out: more would hide a dead primary behind an
/// observer that is short of descriptors (D4).
const NOT_ASKED_MAX: u32 = 3;
/// What counts then.
const NOT_ASKED: ProbeReport = ProbeReport::Failed(ProbeFailure::Other);

struct Target {
    prober: Arc<Mutex<Prober>>,
    /// A probe over a fresh connection failed: what a kept one says is not believed.
    distrusted: bool,
    /// How often in a row this host could not ask.
    not_asked: Rc<Cell<u32>>,
}

/// The actor.
pub struct HeartbeatProber {
    targets: ProbeTargets,
    observer: Observer,
    watch: Watch,
    kept: BTreeMap<MemberId, Target>,
    massages: usize,
    due: Instant,
    /// What was told last.
    sender_told: Rc<Cell<Option<Sender>>>,
    /// None where there is no local PostgreSQL.
    receivers: Option<Rc<ReceiverWatch>>,
    logger: Logger,
    /// Why a member could not be asked.
    complaints: BTreeMap<MemberId, Rc<Complaint>>,
}

impl HeartbeatProber {
    /// Starts the prober, which hands each WAL receiver that it finds to `receivers`.
    #[must_use]
    pub fn start(
        targets: ProbeTargets,
        winner: Option<Announcement>,
        observer: Observer,
        receivers: Option<Rc<ReceiverWatch>>,
        logger: Logger,
    ) -> Addr<Self> {
        Supervisor::start(move |_| Self {
            targets,
            observer,
            watch: Watch::new(winner),
            kept: BTreeMap::new(),
            massages: 0,
            due: Instant::now(),
            sender_told: Rc::default(),
            receivers,
            logger,
            complaints: BTreeMap::new(),
        })
    }

    /// Whose PostgreSQL the local WAL receiver is connected to, if there is one; told once for each change, and for each
    /// receiver: what one that ended streamed says nothing of the next.
    fn sender_of(targets: &ProbeTargets, outcome: &ProbeOutcome) -> Option<Sender> {
        let ProbeOutcome::Answered(answer) = outcome else { return None };
        let receiver = answer.receiver.as_ref()?;
        let (host, port) = (receiver.sender_host.as_deref()?, receiver.sender_port?);
        let mut members = targets.connectors.iter();
        let found = members.find(|(m, c)| **m != targets.me && c.conninfo().has_server(host, port));
        Some((answer.postmaster_start.0, receiver.pid, found.map(|(member, _)| *member)))
    }

    fn complaint(&mut self, target: MemberId) -> Rc<Complaint> {
        let new = || Rc::new(Complaint::new(self.logger.new(o!("member" => target.0))));
        self.complaints.entry(target).or_insert_with(new).clone()
    }

    fn heartbeat(&mut self, target: MemberId, stalled: Nanos, ctx: &mut Context<Self>) {
        let Some(connector) = self.targets.connectors.get(&target).cloned() else { return };
        let renew_after = self.targets.renew_after;
        let asked = connector.clone();
        let kept = self.kept.entry(target).or_insert_with(|| Target {
            prober: Arc::new(Mutex::new(Prober::new(connector, renew_after))),
            distrusted: false,
            not_asked: Rc::default(),
        });
        let not_asked = kept.not_asked.clone();
        let fresh = kept.distrusted;
        let prober = kept.prober.clone();
        let deadline = Instant::now() + self.targets.timeout;
        let observer = self.observer.clone();
        let complaint = self.complaint(target);
        let me = ctx.address();
        let own = target == self.targets.me;
        let local = own.then(|| (self.targets.clone(), self.sender_told.clone()));
        let receivers = self.receivers.clone().filter(|_| own);
        // One outstanding probe a target: while one is under way, this heartbeat is left out.
        let Ok(mut prober) = prober.try_lock_owned() else { return };
        actix::spawn(async move {
            let probe = prober.probe(fresh, deadline).await;
            let report = reported(&probe, &asked, &complaint);
            not_asked.set(if report.is_some() { 0 } else { not_asked.get().saturating_add(1) });
            if not_asked.get() > 0 && not_asked.get() <= NOT_ASKED_MAX {
                return;
            }
            let report = report.unwrap_or(NOT_ASKED);
            if matches!(report, ProbeReport::Failed(_)) {
                prober.disconnect();
                // Lost when the prober is gone, and with it the trust.
                let _ = me.try_send(Distrust(target));
            }
            drop(prober);
            if let Some((targets, told)) = local
                && let Some(sender @ (.., from)) = Self::sender_of(&targets, &probe.outcome)
                && told.replace(Some(sender)) != Some(sender)
            {
                observer.tell(Observation::ReceiverSeen { from }).await;
            }
            let took = probe.latency;
            let kind = ProbeKind::Heartbeat;
            observer.tell(Observation::ProbeCompleted { target, kind, report, took, stalled }).await;
            // Its end is told after what this probe saw of it.
            if let (Some(receivers), Some(pid)) = (receivers, receiver_of(&probe.outcome)) {
                receivers.found(pid);
            }
        });
    }
}

impl Actor for HeartbeatProber {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // A member that missed many failovers learns of all their winners at once.
        ctx.set_mailbox_capacity(256);
        self.due = Instant::now();
    }
}

impl Supervised for HeartbeatProber {}

impl Handler<Beat> for HeartbeatProber {
    type Result = ();

    fn handle(&mut self, _: Beat, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let late = now.saturating_duration_since(self.due);
        // D4: a prober that ran late by a whole interval says so.
        let stalled = if late >= self.targets.interval { late } else { Duration::ZERO };
        let stalled = Nanos(u64::try_from(stalled.as_nanos()).unwrap_or(u64::MAX));
        let me = self.targets.me;
        self.heartbeat(me, stalled, ctx);
        if let Some(primary) = self.watch.primary().filter(|p| *p != me) {
            self.heartbeat(primary, stalled, ctx);
        }
        self.due = now + self.targets.interval;
    }
}

impl Handler<Massage> for HeartbeatProber {
    type Result = ();

    fn handle(&mut self, Massage { target, attempt }: Massage, ctx: &mut Context<Self>) {
        let Some(connector) = self.targets.connectors.get(&target).cloned() else { return };
        if self.massages >= MASSAGES_MAX {
            return;
        }
        self.massages += 1;
        let deadline = Instant::now() + self.targets.massage_timeout;
        let observer = self.observer.clone();
        let complaint = self.complaint(target);
        let me = ctx.address();
        let begun = Instant::now();
        let probing = async move {
            let asked = connector.clone();
            let mut prober = Prober::new(connector, Duration::MAX);
            let probe = prober.probe(true, deadline).await;
            let said = reported(&probe, &asked, &complaint);
            let report = said.unwrap_or(NOT_ASKED);
            let failed = matches!(report, ProbeReport::Failed(_));
            if failed {
                let _ = me.try_send(Distrust(target));
            }
            let late = Instant::now().saturating_duration_since(deadline + Duration::from_millis(500));
            let took = Nanos(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
            let stalled = match said {
                Some(_) => Nanos(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX)),
                // It is made again, as often as D4 allows.
                None => took.max(Nanos(1)),
            };
            let kind = ProbeKind::Massage(attempt);
            observer.tell(Observation::ProbeCompleted { target, kind, report, took, stalled }).await;
        };
        ctx.spawn(probing.into_actor(self).map(|(), this, _| this.massages -= 1));
    }
}

impl Handler<Distrust> for HeartbeatProber {
    type Result = ();

    fn handle(&mut self, Distrust(target): Distrust, _: &mut Context<Self>) {
        if let Some(kept) = self.kept.get_mut(&target) {
            kept.distrusted = true;
            if let Ok(mut prober) = kept.prober.try_lock() {
                prober.disconnect();
                // The next one is fresh by itself, and what it says is believed.
                kept.distrusted = false;
            }
        }
    }
}

impl Handler<WatchPrimary> for HeartbeatProber {
    type Result = ();

    fn handle(&mut self, WatchPrimary(winner): WatchPrimary, _: &mut Context<Self>) {
        if !self.watch.turn_to(winner) {
            return;
        }
        let primary = winner.primary;
        let me = self.targets.me;
        self.kept.retain(|member, _| *member == me || *member == primary);
    }
}

impl Handler<Retime> for HeartbeatProber {
    type Result = ();

    fn handle(&mut self, Retime(targets): Retime, _: &mut Context<Self>) {
        self.targets = targets;
        self.kept.clear();
    }
}

impl Handler<Ping> for HeartbeatProber {
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Context<Self>) {}
}

/// Returns the process number of the WAL receiver that a probe saw.
fn receiver_of(outcome: &ProbeOutcome) -> Option<i32> {
    match outcome {
        ProbeOutcome::Answered(answer) => answer.receiver.as_ref().map(|r| r.pid),
        _ => None,
    }
}

/// Returns what a probe is reported as. One that could not be made is no report at all: it would count against the other
/// (D4). That, and a password file that can't be read any more, is said to people.
fn reported(probe: &Probe, asked: &Connector, complaint: &Complaint) -> Option<ProbeReport> {
    let report = report_of(&probe.outcome);
    match (&report, asked.password_trouble()) {
        (None, _) => {
            complaint
                .say("a member's PostgreSQL can't be asked", &probe.detail.as_deref().unwrap_or_default());
        }
        (_, Some(why)) => complaint.say("the last password that was read is used", &why),
        _ => complaint.clear(),
    }
    report
}

/// Turns what the PostgreSQL module saw into the vocabulary of events; `None` if it could not look, which says nothing of
/// the other (D4).
pub(crate) fn report_of(outcome: &ProbeOutcome) -> Option<ProbeReport> {
    Some(match outcome {
        ProbeOutcome::NotAsked => return None,
        ProbeOutcome::Answered(answer) => ProbeReport::Answered(answer_of(answer)),
        ProbeOutcome::Refused => ProbeReport::Failed(ProbeFailure::Refused),
        ProbeOutcome::Reset | ProbeOutcome::Closed => ProbeReport::Failed(ProbeFailure::Reset),
        ProbeOutcome::TimedOut { .. } => ProbeReport::Failed(ProbeFailure::TimedOut),
        ProbeOutcome::Unreachable => ProbeReport::Failed(ProbeFailure::Unreachable),
        ProbeOutcome::TooManyClients => ProbeReport::Alive(SignOfLife::TooManyClients),
        ProbeOutcome::AuthenticationFailed => ProbeReport::Alive(SignOfLife::AuthenticationFailed),
        ProbeOutcome::StartingUp => ProbeReport::Alive(SignOfLife::StartingUp),
        ProbeOutcome::ShuttingDown => ProbeReport::Alive(SignOfLife::ShuttingDown),
        ProbeOutcome::TlsFailed => ProbeReport::Alive(SignOfLife::TlsFailed),
        ProbeOutcome::OtherServerError(state) => ProbeReport::Alive(SignOfLife::ServerError(state.0)),
    })
}

fn answer_of(a: &postgres::Answer) -> Answer {
    Answer {
        system_id: a.system_id,
        in_recovery: a.in_recovery,
        timeline: a.timeline,
        received: if a.in_recovery { a.receive_lsn } else { a.write_lsn },
        replayed: a.replay_lsn,
        streaming: a.receiver.as_ref().is_some_and(|r| r.status == ReceiverStatus::Streaming),
        receiver: a.receiver.is_some(),
        waits_for_wal: a.startup_wait.has_replayed_local_wal(),
        postmaster_started: a.postmaster_start.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// D4: a report of a failure would be evidence against the other.
    #[test]
    fn a_probe_that_could_not_be_made_is_no_report() {
        assert_eq!(report_of(&ProbeOutcome::NotAsked), None);
        let refused = report_of(&ProbeOutcome::Refused);
        assert_eq!(refused, Some(ProbeReport::Failed(ProbeFailure::Refused)));
    }
}
