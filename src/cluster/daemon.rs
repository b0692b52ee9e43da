//! The daemon of a simulated member: steps the roles, keeps the log, flushes, performs what is durable,
//! crashes and recovers. The order of append, flush and effect is DESIGN section 2's.

use super::draw::Domain;
use super::fact::{Fact, is_of_interest};
use super::fault::CrashPoint;
use super::frozen::Frozen;
use super::marks::is_usual;
use super::node::{Daemon, Waiting};
use super::poison::coarse;
use super::queue::{Event, Happening, Run};
use super::team::Team;
use super::time::SimNanos;
use super::world::World;
use crate::core::{
    BootNanos, CORE_REVISION, Effect, Incarnation, MemberId, Nanos, Urgency, Watch, effects, urgency,
};
use crate::events::{
    Actor, Decision, Event as LogEvent, Fencing, GuardReport, LogFound, Message, Observation,
    ProcessIdentity, ProcessStart, Record,
};
use pgfo_replay::{Batch, Seq, WallNanos, step};
use std::collections::VecDeque;
use std::hash::Hasher;

/// Wall clock at the beginning: nobody decides by it.
const WALL_ORIGIN: i64 = 1_700_000_000_000_000_000;

/// What the trace takes in of every record.
fn trace_word(now: SimNanos, id: MemberId) -> u64 {
    now.0 ^ u64::from(id.0)
}

/// Whether a deed binds this member, so that its record must be on the disk before (S5). Told by what is
/// done, not by what the decision is said to need.
fn binds(effect: &Effect) -> bool {
    match effect {
        Effect::Send { message, .. } => matches!(
            message,
            Message::VoteGranted(_)
                | Message::PauseAgreed(_)
                | Message::RosterAccepted { .. }
                | Message::RosterAgreed { .. }
                | Message::ConfirmedDown { .. }
                | Message::LeaseReleased { .. }
        ),
        Effect::Freeze { .. }
        | Effect::Promote { .. }
        | Effect::Follow { .. }
        | Effect::CatchUp { .. }
        | Effect::StandDownGuard => true,
        _ => false,
    }
}

impl World {
    /// A member observes something.
    pub(super) fn observe(&mut self, id: MemberId, actor: Actor, observation: Observation) {
        self.observe_event(id, actor, LogEvent::Observed(observation));
    }

    /// As [`Self::observe`], for what comes often: it is put where it is stepped at once. Whatever is moved twice within
    /// a few nanoseconds, at another alignment, waits until the first move has reached the cache.
    #[inline(always)]
    pub(super) fn observe_event(&mut self, id: MemberId, actor: Actor, event: LogEvent) {
        let (seq, boot, wall) = (Seq(0), BootNanos(0), WallNanos(0));
        self.scratch.batch.push(Record { seq, boot, wall, actor: actor.number(), cause: None, event });
        self.take_in(id);
    }

    /// Steps a member's roles with the one observation that was put down, appends the batch, and does what may be done.
    fn take_in(&mut self, id: MemberId) {
        let now = self.now();
        // The batch is read again and again while it is stepped: it is made in memory that is at hand, and
        // moved behind the log, which is not, once it is whole.
        let mut batch = std::mem::take(&mut self.scratch.batch);
        let node = &mut self.nodes[usize::from(id.0)];
        let lost = !node.losing.is_empty() && batch.iter().any(|record| self.loses(id, record));
        let node = &mut self.nodes[usize::from(id.0)];
        if lost || node.daemon.is_none() {
            batch.clear();
            self.scratch.batch = batch;
            return;
        }
        let seq = Seq(node.log.records.len() as u64 + 1);
        if let Some(record) = batch.first_mut() {
            record.seq = seq;
            record.boot = node.clock.boot(now);
            record.wall = WallNanos(WALL_ORIGIN + i64::try_from(now.0).unwrap_or(0) + node.wall_off);
        }
        let batch = Batch::begun(batch);
        let poisoned = !node.poisons.is_empty() && node.is_poisoned(now);
        let Some(daemon) = node.daemon.as_mut() else { return };
        let mut batch = if poisoned {
            match self.step_poisoned(id, batch) {
                Some(batch) => batch,
                None => return,
            }
        } else {
            step(&mut daemon.roles, &mut self.scratch.answers, batch)
        };
        let node = &mut self.nodes[usize::from(id.0)];
        let Some(daemon) = node.daemon.as_mut() else { return };
        let last = Seq(seq.0 + batch.len() as u64 - 1);
        self.batches += 1;
        if self.story.is_none() && matches!(&batch[..], [only] if is_usual(only)) {
            // Nobody decided anything, and nothing of it is remarkable: it is only kept.
            self.trace.write_u64(trace_word(now, id));
            node.log.records.append(&mut batch);
            self.scratch.batch = batch;
            self.flush(id);
            return self.arm_deadlines(id);
        }

        let mut at_once = std::mem::take(&mut self.scratch.at_once);
        let mut out = std::mem::take(&mut self.scratch.effects);
        for record in &batch {
            let urgency = urgency(&record.event);
            if urgency == Urgency::Durable {
                daemon.wanted = last;
            }
            let before = out.len();
            effects(record, &node.settings, daemon.process.nonce, &mut out);
            let (sent_by, added) = (record.seq, out.len() - before);
            if added == 0 {
                continue;
            }
            match urgency {
                Urgency::Overtakes => at_once.push((sent_by, added)),
                Urgency::InOrder if daemon.waiting.is_empty() => at_once.push((sent_by, added)),
                Urgency::InOrder | Urgency::Durable => {
                    let needs = if urgency == Urgency::Durable { last } else { Seq(0) };
                    let waiting = out.drain(before..).map(|effect| Waiting { needs, sent_by, effect });
                    daemon.waiting.extend(waiting);
                }
            }
        }
        for record in &batch {
            self.note(id, record);
        }
        if self.told {
            self.noted.look(&self.nodes[usize::from(id.0)], &batch);
        }
        self.node_mut(id).log.records.append(&mut batch);
        self.scratch.batch = batch;
        self.flush(id);
        let binds = self.node(id).daemon.as_ref().is_some_and(|d| d.wanted == last);
        if binds && self.dies_at(id, CrashPoint::Appended) {
            return;
        }
        let mut rest = &mut out[..];
        for (sent_by, added) in at_once.drain(..) {
            let (now, later) = std::mem::take(&mut rest).split_at_mut(added);
            now.iter_mut().for_each(|effect| self.perform(id, sent_by, effect));
            rest = later;
        }
        out.clear();
        self.scratch.at_once = at_once;
        self.scratch.effects = out;
        self.arm_deadlines(id);
    }

    fn note(&mut self, id: MemberId, record: &Record) {
        self.trace.write_u64(trace_word(self.queue.now(), id));
        if let Some(telling) = &mut self.telling {
            telling.record(self.queue.now(), id, record, &self.nodes[usize::from(id.0)].settings);
        }
        let LogEvent::Decided(decision) = &record.event else {
            if let (true, LogEvent::Observed(o)) = (self.story.is_some(), &record.event)
                && !matches!(
                    o,
                    Observation::HeartbeatDue { .. }
                        | Observation::MessageReceived {
                            message: crate::events::Message::Heartbeat(_)
                                | crate::events::Message::LeaseRequested(_)
                                | crate::events::Message::RenewalRequested(_)
                                | crate::events::Message::LeaseGranted(_),
                            ..
                        }
                        | Observation::ProbeCompleted { report: crate::events::ProbeReport::Answered(_), .. }
                        | Observation::GuardReported(GuardReport::Armed { .. })
                )
            {
                let mut text = format!("{o:?}");
                text.truncate(300);
                self.tell_machines(&format!("m{} saw {text}", id.0));
            }
            return;
        };
        if matches!(
            decision,
            Decision::HeartbeatSent(_)
                | Decision::LeaseRequested(_)
                | Decision::RenewalRequested(_)
                | Decision::LeaseGranted { first: false, .. }
                | Decision::LeaseExtended { .. }
        ) {
            return;
        }
        self.hash_into_trace(decision);
        if self.story.is_some() {
            let mut text = format!("{decision:?}");
            text.truncate(600);
            self.tell_machines(&format!("m{} DECIDED {text}", id.0));
        }
        if self.told && is_of_interest(decision) {
            self.fact(Fact::Decided { member: id, decision: Box::new(decision.clone()) });
        }
        match decision {
            Decision::RollbackDetected { remembered, .. } => {
                // The hand that guards the log starts the daemon anew, with a new incarnation (M1).
                let head = *remembered;
                let fresh = Incarnation(self.identity(id));
                let node = self.node_mut(id);
                node.log.condition = LogFound::TailLost { head };
                node.log.incarnation = fresh;
                self.for_daemon(id, Nanos::from_millis(5), Happening::DaemonStops);
                self.queue.after(Nanos::from_millis(500), Event::StartDaemon(id));
            }
            Decision::FollowRefused { .. } => self.plan_rebuild(id),
            _ => {}
        }
    }

    /// Begins a flush, if one is wanted and none is under way.
    #[inline]
    pub(super) fn flush(&mut self, id: MemberId) {
        let node = self.node(id);
        let wanted = |d: &Daemon| !d.flushing && d.wanted.0 > node.log.flushed as u64;
        if node.daemon.as_ref().is_some_and(wanted) {
            self.begin_flush(id);
        }
    }

    #[inline(never)]
    fn begin_flush(&mut self, id: MemberId) {
        let now = self.now();
        let draws = self.draws;
        let node = self.node_mut(id);
        let total = Seq(node.log.records.len() as u64);
        let Some(daemon) = node.daemon.as_mut() else { return };
        daemon.flushing = true;
        let run = daemon.run;
        let draw = draws.draw(Domain::Flush, &[u64::from(id.0), total.0]);
        let mut takes = Nanos(draw.between(200, 3_000) * 1_000);
        if now < node.log.slow.0 {
            takes = Nanos::from_millis(node.log.slow.1);
        }
        let done = now.plus(takes).max(node.log.full_until);
        self.queue.at(done, Event::Daemon(id, run, Happening::Flushed { upto: total }));
    }

    /// A flush ended: what waited for it is done, in order.
    pub(super) fn flushed(&mut self, id: MemberId, upto: Seq) {
        let mut ready = std::mem::take(&mut self.scratch.flushed);
        let node = self.node_mut(id);
        node.log.flushed = node.log.flushed.max(usize::try_from(upto.0).unwrap_or(usize::MAX));
        let flushed = node.log.flushed as u64;
        let Some(daemon) = node.daemon.as_mut() else { return };
        daemon.flushing = false;
        while daemon.waiting.front().is_some_and(|w| w.needs.0 <= flushed) {
            ready.extend(daemon.waiting.pop_front());
        }
        let any = !ready.is_empty();
        let mut died = any && self.dies_at(id, CrashPoint::Flushed);
        for mut waiting in ready.drain(..) {
            if died {
                break;
            }
            self.perform(id, waiting.sent_by, &mut waiting.effect);
            died = self.dies_at(id, CrashPoint::BetweenDeeds);
        }
        self.scratch.flushed = ready;
        if died {
            return;
        }
        if any && self.dies_at(id, CrashPoint::Done) {
            return;
        }
        self.flush(id);
    }

    /// Hands the clock every deadline it does not know yet; each pair once.
    pub(super) fn arm_deadlines(&mut self, id: MemberId) {
        let node = &mut self.nodes[usize::from(id.0)];
        let Some(daemon) = node.daemon.as_mut() else { return };
        let mut strays = Vec::new();
        let stray = self.queue.now() < node.stray_until;
        let wanted = &mut self.scratch.deadlines;
        wanted.clear();
        daemon.roles.deadlines_into(wanted);
        if *wanted == daemon.armed {
            return;
        }
        daemon.armed.retain(|pair| wanted.contains(pair));
        for pair in wanted.drain(..) {
            if !daemon.armed.contains(&pair) {
                daemon.armed.push(pair);
                let at = coarse(node.grain, self.queue.now(), node.clock.instant(pair.1));
                self.queue.at(at, Event::Daemon(id, daemon.run, Happening::Deadline(pair.0, pair.1)));
                if stray {
                    strays.push((pair.0, at));
                }
            }
        }
        for (deadline, at) in strays {
            self.stray_deadline(id, deadline, at);
        }
    }

    // ---- crash and recovery -----------------------------------------------------------------

    /// The daemon's process ends at once; whatever it had not flushed may be lost.
    pub(super) fn crash_daemon(&mut self, id: MemberId) {
        let number = self.fresh();
        let draw = self.draws.draw(Domain::Crash, &[u64::from(id.0), number]);
        let powered = self.node(id).powered;
        let judged = self.told;
        let node = self.node_mut(id);
        let Some(daemon) = node.daemon.take() else { return };
        let batches: Vec<usize> = (node.log.flushed..node.log.records.len())
            .filter(|i| node.log.records[*i].cause.is_none())
            .collect();
        let kept = usize::try_from(draw.below(batches.len() as u64 + 1)).unwrap_or(0);
        let end = batches.get(kept).copied().unwrap_or(node.log.records.len());
        let run = daemon.run;
        // What is kept is folded first, and what is lost on top of a copy: S10 is about all of it. A run that is
        // only repeated was judged when it was first made.
        let differs = judged.then(|| {
            let mut folded = node.log.fold(end, &node.settings);
            folded.fold(&node.log.records[end..]);
            Team::difference(folded, daemon.roles)
        });
        node.log.records.truncate(end);
        node.log.flushed = node.log.records.len();
        node.promoting = None;
        if node.settings.fencing == Fencing::Daemon {
            // L10: what guards it ends with the daemon.
            node.guard.restart(daemon.run);
        }
        self.fact(Fact::DaemonEnded { member: id, differs: differs.flatten() });
        self.tell(|_| format!("m{} daemon ended", id.0));
        for peer in self.scenario.ids().filter(|p| *p != id) {
            let known = self.node(peer).daemon.as_ref().and_then(|d| d.connected[usize::from(id.0)]);
            if known == Some(run) && powered && self.network.both_ways(id, peer) {
                let gone = Happening::Disconnected { peer: id, refused: true };
                self.for_daemon(peer, Nanos::from_millis(1), gone);
            } else if known == Some(run) {
                let gone = Happening::Disconnected { peer: id, refused: false };
                self.for_daemon(peer, Nanos::from_millis(3_000), gone);
            }
        }
    }

    /// systemd starts the daemon; it folds its log.
    pub(super) fn start_daemon(&mut self, id: MemberId) {
        let now = self.now();
        let node = self.node(id);
        if !node.powered || node.daemon.is_some() || now < node.daemon_down_until {
            return;
        }
        let run = self.fresh();
        let nonce = self.identity(id);
        let node = self.node_mut(id);
        let roles = node.log.fold(node.log.records.len(), &node.settings);
        let term_seen = roles.ledger().term_seen();
        let watch = Watch::new(roles.ledger().announced().copied());
        let process = ProcessIdentity { incarnation: node.log.incarnation, boot_id: node.boot_id, nonce };
        let condition = std::mem::replace(&mut node.log.condition, LogFound::Intact);
        node.daemon = Some(Daemon {
            run,
            process,
            roles,
            waiting: VecDeque::new(),
            wanted: Seq(0),
            flushing: false,
            armed: Vec::new(),
            connected: vec![None; node.settings.members.len()],
            frozen: Frozen::default(),
            thawed_at: SimNanos(0),
            watch,
            sender_told: None,
            budgets: Default::default(),
        });
        let start = ProcessStart {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            core_revision: CORE_REVISION,
            settings: node.settings.clone(),
            configuration_digest: String::new(),
            process,
            log: condition,
        };
        self.observe(id, Actor::Daemon, Observation::ProcessStarted(Box::new(start)));
        // What it knows once it has started, not what its log would have it know.
        let term_seen = self.node(id).ledger().map_or(term_seen, crate::core::Ledger::term_seen);
        self.fact(Fact::DaemonStarted { member: id, term_seen });
        let node = self.node(id);
        let armed = node.guard.armed();
        if let Some((lives, sealed)) = node.postgres.as_ref().map(|p| (p.lives(), p.signal)) {
            let present = Observation::GuardReported(GuardReport::Present { armed });
            self.observe(id, Actor::PostgresOperator, present);
            if let Some(term) = self.node(id).guard.fenced() {
                let fenced = Observation::GuardReported(GuardReport::Fenced { term });
                self.observe(id, Actor::PostgresOperator, fenced);
            }
            let seen = if lives {
                Observation::PostmasterSeen { pid: 1, sealed }
            } else {
                Observation::PostmasterGone { sealed }
            };
            self.observe(id, Actor::PostgresOperator, seen);
        }
        if now < self.node(id).log.full_until {
            let why = "no space left on device".to_owned();
            self.observe(id, Actor::Daemon, Observation::LogStalled { why });
        }
        let late = self.draws.draw(Domain::Start, &[u64::from(id.0), run]).below(50_000_000);
        self.for_daemon(id, Nanos(late), Happening::Heartbeat);
        for peer in self.scenario.ids().filter(|p| *p != id) {
            self.connect(id, peer);
        }
    }

    /// The connection to a peer is made, if both can.
    pub(super) fn connect(&mut self, id: MemberId, peer: MemberId) {
        let (Some(mine), Some(theirs)) = (self.node(id).daemon_run(), self.node(peer).daemon_run()) else {
            return;
        };
        if !self.network.both_ways(id, peer) {
            return;
        }
        let number = self.network.number(id, peer);
        let there = self.network.latency(self.now(), id, peer, number);
        let back = self.network.latency(self.now(), peer, id, number);
        let both = Nanos(2 * (there.0 + back.0));
        let to_me = Happening::Connected { peer, peer_run: theirs };
        let to_it = Happening::Connected { peer: id, peer_run: mine };
        self.queue.after(both, Event::Daemon(id, mine, to_me));
        self.queue.after(Nanos(both.0 + there.0 / 2), Event::Daemon(peer, theirs, to_it));
    }

    pub(super) fn connected(&mut self, id: MemberId, peer: MemberId, peer_run: Run) {
        let process = match self.node(peer).daemon.as_ref() {
            Some(d) if d.run == peer_run && self.network.both_ways(id, peer) => d.process,
            _ => return,
        };
        let known = self.node(id).daemon.as_ref().and_then(|d| d.connected[usize::from(peer.0)]);
        if known == Some(peer_run) {
            return;
        }
        if known.is_some() {
            self.disconnected(id, peer, false);
        }
        if let Some(d) = self.node_mut(id).daemon.as_mut() {
            d.connected[usize::from(peer.0)] = Some(peer_run);
        }
        self.observe(id, Actor::PeerLink, Observation::PeerConnected { member: peer, process });
    }

    pub(super) fn disconnected(&mut self, id: MemberId, peer: MemberId, refused: bool) {
        let Some(daemon) = self.node_mut(id).daemon.as_mut() else { return };
        if daemon.connected[usize::from(peer.0)].take().is_some() {
            self.observe(id, Actor::PeerLink, Observation::PeerDisconnected { member: peer, refused });
        }
    }

    /// Performs an effect of a member; a message is taken out of it.
    pub(super) fn perform(&mut self, id: MemberId, sent_by: Seq, effect: &mut Effect) {
        if binds(effect) && sent_by.0 > self.node(id).log.flushed as u64 {
            self.fact(Fact::EffectTooEarly { member: id, what: format!("{effect:?}") });
        }
        match *effect {
            Effect::Send { to, ref mut message } => self.send(id, to, sent_by, message),
            Effect::Massage { target, attempt } => {
                self.probe(id, target, crate::events::ProbeKind::Massage(attempt));
            }
            Effect::WatchPrimary(winner) => {
                if let Some(daemon) = self.node_mut(id).daemon.as_mut() {
                    daemon.watch.turn_to(winner);
                }
            }
            // A start anew is arranged where its decision is seen.
            Effect::StayRunning | Effect::StartAnew => {}
            Effect::Freeze { term } => self.freeze(id, term),
            Effect::Fence { .. } => self.fence(id, false),
            Effect::ArmGuard { term, until } => self.arm_guard(id, term, until),
            Effect::ReleaseGuard { term } => {
                let node = self.node_mut(id);
                if let Some(p) = &node.postgres {
                    node.guard.release(term, p.signal, p.lives());
                }
            }
            Effect::StandDownGuard => {
                if self.node_mut(id).guard.stand_down() {
                    let told = Happening::GuardReplied(GuardReport::StoodDown);
                    self.for_daemon(id, Nanos(200_000), told);
                }
            }
            Effect::Promote { term, postmaster_started } => {
                self.promote(id, term, postmaster_started);
            }
            Effect::Follow { term, primary } => self.follow(id, term, primary),
            Effect::CatchUp { term, from, until } => self.catch_up(id, term, from, until),
            Effect::Stop => self.for_daemon(id, Nanos(1_000_000), Happening::DaemonStops),
        }
    }
}
