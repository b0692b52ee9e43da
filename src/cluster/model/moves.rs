//! What may happen in a state, and what it does to the world around the daemons.

use super::bounds::{Bounds, MOMENT};
use super::state::{Envelope, Line, State, Task};
use super::steps::ClusterModel;
use crate::core::{BootId, CORE_REVISION, Effect, Incarnation, Lsn, MemberId, Nanos, Term, Timeline};
use crate::events::{
    Deadline, FenceOutcome, FollowOutcome, FreezeOutcome, GuardReport, LogFound, Message, Observation,
    ProbeFailure, ProbeKind, ProbeReport, ProcessIdentity, ProcessStart, PromotionOutcome,
};
use pgfo_replay::Seq;
use std::sync::Arc;

/// How a promotion goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// It happens; its outcome is told as unknown.
    DoneButUnknown,
    /// It does not happen; its outcome is told as unknown.
    NotDoneButUnknown,
    /// It happens, and nothing is told.
    DoneUntold,
}

/// Something that may happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A message arrives.
    Arrives(Arc<Envelope>),
    /// A deadline fires.
    Deadline(MemberId, Deadline),
    /// A member's heartbeat is due.
    Beats(MemberId),
    /// A member hears another's current heartbeat.
    Hears(MemberId, MemberId),
    /// A member's pre-vote is answered by another.
    IsAnswered(MemberId, MemberId),
    /// A member's pre-vote is answered by all others.
    IsAnsweredByAll(MemberId),
    /// A member's probes of the primary fail, massages too.
    LosesSight(MemberId),
    /// A member's probe of the primary is answered.
    Sees(MemberId),
    /// A daemon looks at its own PostgreSQL.
    LooksAtOwn(MemberId),
    /// A hand does what it was told.
    Does(MemberId, Task),
    /// A promotion goes wrong.
    Fails(MemberId, Term, Mishap),
    /// A standby receives all that its upstream has.
    Streams(MemberId),
    /// The primary writes.
    Writes(MemberId),
    /// The primary's postmaster dies.
    PostmasterDies(MemberId),
    /// A PostgreSQL that went down is started, as the guard allows.
    PostgresStarts(MemberId),
    /// A daemon dies and comes back, with all of its log or with what it had flushed, on its host's old
    /// boot or a new one.
    Crashes {
        /// Who.
        member: MemberId,
        /// Whether nothing is lost though it was not flushed.
        keeps_all: bool,
        /// Whether the host goes down with it.
        host: bool,
    },
    /// A daemon dies and comes back with a new log; the loss is noticed.
    LosesLog(MemberId),
    /// Time passes.
    TimePasses,
}

impl ClusterModel {
    /// Appends what may happen in a state.
    pub fn actions(&self, s: &State, out: &mut Vec<Action>) {
        if s.ghosts.broken.is_some() {
            return;
        }
        let b = &self.bounds;
        let (spent, primary) = (&s.spent, MemberId(0));
        out.extend(s.network.iter().cloned().map(Action::Arrives));
        for (id, host) in b.ids().zip(&s.hosts) {
            let boot = self.boot(s, id);
            let l = host.mind.ledger();
            out.extend(
                host.mind
                    .deadlines
                    .iter()
                    .filter(|d| d.1.0 < boot.0 + MOMENT / 2)
                    .map(|d| Action::Deadline(id, d.0)),
            );
            if Bounds::within(b.beating, id) && (host.beats.0 < s.now || host.beats.1 < b.beats) {
                out.push(Action::Beats(id));
            }
            for from in b.ids().filter(|f| *f != id) {
                if b.gossip || !l.heard_from(from) {
                    out.push(Action::Hears(id, from));
                }
                if host.asking.is_some() && !b.answers_at_once {
                    out.push(Action::IsAnswered(id, from));
                }
            }
            if host.asking.is_some() && b.answers_at_once {
                out.push(Action::IsAnsweredByAll(id));
            }
            let target = l.primary().unwrap_or(primary);
            if Bounds::within(b.blind, id) && target != id && !l.verdict.is_down() {
                out.push(Action::LosesSight(id));
            }
            let there = s.hosts[usize::from(target.0)].postgres;
            if b.sight && target != id && there.is_some_and(|p| p.writes()) {
                out.push(Action::Sees(id));
            }
            for task in &host.tasks {
                out.push(Action::Does(id, *task));
                if let (Task::Promote(term), true) = (task, spent.promotion_faults < b.promotion_faults) {
                    let all = [Mishap::DoneButUnknown, Mishap::NotDoneButUnknown, Mishap::DoneUntold];
                    out.extend(all.map(|m| Action::Fails(id, *term, m)));
                }
            }
            if let Some(p) = host.postgres {
                // One that would see what it saw last time need not look again.
                if l.local.answer != p.up.then(|| p.answer(&s.lines)) {
                    out.push(Action::LooksAtOwn(id));
                }
                if p.receiver.is_some() {
                    out.push(Action::Streams(id));
                }
                if p.writes() && spent.writes < b.writes {
                    out.push(Action::Writes(id));
                }
                if p.writes() && spent.deaths < b.deaths {
                    out.push(Action::PostmasterDies(id));
                }
                if !p.up && spent.starts < b.starts {
                    out.push(Action::PostgresStarts(id));
                }
            }
            if Bounds::within(b.mortal, id) {
                if spent.crashes < b.crashes {
                    for host_too in [false, true].into_iter().filter(|h| b.hosts || !h) {
                        out.push(Action::Crashes { member: id, keeps_all: true, host: host_too });
                        if host.durable.is_some() {
                            out.push(Action::Crashes { member: id, keeps_all: false, host: host_too });
                        }
                    }
                }
                if spent.log_losses < b.log_losses {
                    out.push(Action::LosesLog(id));
                }
            }
        }
        if spent.ticks < b.ticks {
            out.push(Action::TimePasses);
        }
    }

    pub(super) fn act(&self, s: &mut State, action: &Action) {
        match action {
            Action::Arrives(e) => self.receive(s, e.to, e.from, e.message.clone()),
            Action::Deadline(id, d) => {
                let boot = self.boot(s, *id);
                let host = &mut s.hosts[usize::from(id.0)];
                let due = host.mind.deadlines.iter().find(|e| e.0 == *d).map_or(boot, |e| e.1);
                host.ahead += due.nanos_since(boot);
                self.observe(s, *id, &Observation::DeadlinePassed(*d));
            }
            Action::Beats(id) => {
                let now = s.now;
                let host = &mut s.hosts[usize::from(id.0)];
                let already = if host.beats.0 == now { host.beats.1 } else { 0 };
                self.observe(s, *id, &Observation::HeartbeatDue { flushed: Seq(0) });
                if s.touched {
                    s.hosts[usize::from(id.0)].beats = (now, already + 1);
                }
            }
            Action::Hears(id, from) => {
                let beat = self.peek(s, *from, &Observation::HeartbeatDue { flushed: Seq(0) });
                for effect in &beat.effects {
                    if let Effect::Send { to, message: Message::Heartbeat(h) } = effect
                        && to == id
                    {
                        let mut h = (**h).clone();
                        // M1's marks need numbers of the log, which a state does not hold.
                        h.heard_flushed.clear();
                        h.flushed.seq = Seq(0);
                        self.receive(s, *id, *from, Message::Heartbeat(h.into()));
                        break;
                    }
                }
            }
            Action::IsAnswered(id, by) => self.answer(s, *id, *by),
            Action::IsAnsweredByAll(id) => {
                for by in self.bounds.ids().filter(|b| b != id) {
                    self.answer(s, *id, by);
                }
            }
            Action::LosesSight(id) => {
                let target = s.hosts[usize::from(id.0)].mind.ledger().primary().unwrap_or(MemberId(0));
                let report = ProbeReport::Failed(ProbeFailure::TimedOut);
                self.observe(s, *id, &Self::probe(target, ProbeKind::Heartbeat, report));
            }
            Action::Sees(id) => {
                let target = s.hosts[usize::from(id.0)].mind.ledger().primary().unwrap_or(MemberId(0));
                if let Some(p) = s.hosts[usize::from(target.0)].postgres {
                    let report = ProbeReport::Answered(p.answer(&s.lines));
                    self.observe(s, *id, &Self::probe(target, ProbeKind::Heartbeat, report));
                }
            }
            Action::LooksAtOwn(id) => self.look_at_own(s, *id),
            Action::Does(id, task) => self.work(s, *id, *task),
            Action::Fails(id, term, mishap) => self.promote(s, *id, *term, Some(*mishap)),
            Action::Streams(id) => Self::stream(s, *id),
            Action::Writes(id) => {
                s.spent.writes += 1;
                s.touched = true;
                if let Some(p) = &mut s.hosts[usize::from(id.0)].postgres {
                    p.lsn += 1;
                }
            }
            Action::PostmasterDies(id) => {
                s.spent.deaths += 1;
                Self::go_down(s, *id, false);
            }
            Action::PostgresStarts(id) => self.start(s, *id),
            Action::Crashes { member, keeps_all, host } => {
                s.spent.crashes += 1;
                self.restart(s, *member, *keeps_all, *host, None);
            }
            Action::LosesLog(id) => {
                s.spent.log_losses += 1;
                let lost = LogFound::PutAside { path: String::new(), why: "it could not be read".to_owned() };
                self.restart(s, *id, true, false, Some(lost));
            }
            Action::TimePasses => self.pass_time(s),
        }
    }

    pub(super) fn receive(&self, s: &mut State, to: MemberId, from: MemberId, message: Message) {
        self.observe(s, to, &Observation::MessageReceived { from, sent_by: Seq(0), message });
    }

    fn peek(&self, s: &State, id: MemberId, observation: &Observation) -> Arc<super::mind::Thought> {
        self.thinker.think(&s.hosts[usize::from(id.0)].mind, self.boot(s, id), observation)
    }

    /// E1: a testimony binds nobody, so question and answer are one action.
    fn answer(&self, s: &mut State, id: MemberId, by: MemberId) {
        let host = &s.hosts[usize::from(id.0)];
        let Some((number, about)) = host.asking else { return };
        let nonce = host.mind.ledger().process.nonce;
        let message = Message::TestimonyRequested { nonce, number, about };
        let asked = Observation::MessageReceived { from: id, sent_by: Seq(0), message };
        let thought = self.peek(s, by, &asked);
        let said = thought.effects.iter().find_map(|e| match e {
            Effect::Send { to, message: m @ Message::Testified(_) } if *to == id => Some(m.clone()),
            _ => None,
        });
        if let Some(message) = said {
            self.receive(s, id, by, message);
        }
    }

    pub(super) fn look_at_own(&self, s: &mut State, id: MemberId) {
        let Some(p) = s.hosts[usize::from(id.0)].postgres else { return };
        let report = if p.up {
            ProbeReport::Answered(p.answer(&s.lines))
        } else {
            ProbeReport::Failed(ProbeFailure::Refused)
        };
        self.observe(s, id, &Self::probe(id, ProbeKind::Heartbeat, report));
    }

    // ---- hands ------------------------------------------------------------------------------

    pub(super) fn work(&self, s: &mut State, id: MemberId, task: Task) {
        let host = &mut s.hosts[usize::from(id.0)];
        host.tasks.remove(&task);
        s.touched = true;
        match task {
            Task::TellItIsGone => {
                let sealed = host.postgres.is_some_and(|p| p.sealed);
                self.observe(s, id, &Observation::PostmasterGone { sealed });
            }
            Task::Fence => {
                host.guard.begin_fence();
                host.guard.fencing = false;
                Self::go_down(s, id, true);
                s.hosts[usize::from(id.0)].tasks.remove(&Task::TellItIsGone);
                let outcome = FenceOutcome {
                    sealed: true,
                    nothing_left: true,
                    killed: 0,
                    took: Nanos(0),
                    trouble: None,
                };
                self.observe(s, id, &Observation::FenceCompleted(outcome));
            }
            Task::Freeze(term) => {
                let Some(p) = &mut host.postgres else { return };
                let outcome = if !p.up {
                    FreezeOutcome::NothingRuns
                } else if p.in_recovery {
                    p.receiver = None;
                    let answer = p.answer(&s.lines);
                    let (lsn, system_id) = (answer.lsn(), answer.system_id);
                    FreezeOutcome::Frozen { lsn, settled: true, system_id }
                } else {
                    FreezeOutcome::NotObserved { why: "it is no standby".to_owned() }
                };
                self.observe(s, id, &Observation::FreezeCompleted { term, outcome });
            }
            Task::Promote(term) => self.promote(s, id, term, None),
            Task::Follow(term, primary) => self.follow(s, id, term, primary),
            Task::CatchUp(term, from) => self.catch_up(s, id, term, from),
        }
    }

    fn promote(&self, s: &mut State, id: MemberId, term: Term, mishap: Option<Mishap>) {
        let host = &mut s.hosts[usize::from(id.0)];
        host.tasks.remove(&Task::Promote(term));
        s.touched = true;
        s.spent.promotion_faults += u8::from(mishap.is_some());
        let Some(p) = &mut host.postgres else { return };
        let happens = p.up && p.in_recovery && mishap != Some(Mishap::NotDoneButUnknown);
        if happens {
            let parent = Some((p.line, p.lsn));
            let timeline = s.lines[usize::from(p.line)].timeline + 1;
            p.line = u8::try_from(s.lines.len()).unwrap_or(u8::MAX);
            p.in_recovery = false;
            p.sealed = false;
            p.receiver = None;
            s.lines.push(Line { parent, timeline });
        }
        let line = s.lines[usize::from(p.line)];
        let outcome = match mishap {
            Some(Mishap::DoneUntold) => return,
            Some(_) => PromotionOutcome::Unknown { why: "no answer in time".to_owned() },
            None if p.writes() => PromotionOutcome::Promoted {
                timeline: Timeline(line.timeline),
                switched_at: Lsn(line.parent.map_or(p.lsn, |(_, at)| at)),
                system_id: p.answer(&s.lines).system_id,
            },
            None => PromotionOutcome::Failed { why: "it does not run".to_owned() },
        };
        self.observe(s, id, &Observation::PromotionCompleted { term, outcome, commands: vec![] });
    }

    fn follow(&self, s: &mut State, id: MemberId, term: Term, primary: MemberId) {
        let source = s.hosts[usize::from(primary.0)].postgres;
        let lines = &s.lines;
        let Some(p) = &mut s.hosts[usize::from(id.0)].postgres else { return };
        let outcome = match source.filter(|q| q.writes() && p.up && p.in_recovery) {
            None => FollowOutcome::Failed { why: "nobody is there".to_owned() },
            Some(q) => {
                let fork = lines[usize::from(q.line)].parent.filter(|(line, _)| *line == p.line);
                if q.line == p.line || fork.is_some_and(|(_, at)| p.lsn <= at) {
                    p.line = q.line;
                    p.receiver = Some(primary);
                    let timeline = Timeline(lines[usize::from(q.line)].timeline);
                    FollowOutcome::Streaming { timeline, lsn: Some(Lsn(p.lsn)) }
                } else {
                    FollowOutcome::Diverged { why: "it is past the fork".to_owned() }
                }
            }
        };
        self.observe(s, id, &Observation::FollowCompleted { term, outcome, commands: vec![] });
    }

    fn catch_up(&self, s: &mut State, id: MemberId, term: Term, from: MemberId) {
        let source = s.hosts[usize::from(from.0)].postgres;
        let timeline = |line: u8| Timeline(s.lines[usize::from(line)].timeline);
        let Some(p) = s.hosts[usize::from(id.0)].postgres else { return };
        let outcome = match source.filter(|q| q.up && q.line == p.line && p.up) {
            Some(q) => FollowOutcome::Streaming { timeline: timeline(q.line), lsn: Some(Lsn(q.lsn)) },
            None => FollowOutcome::Failed { why: "it has another history".to_owned() },
        };
        if let (FollowOutcome::Streaming { lsn: Some(lsn), .. }, Some(p)) =
            (&outcome, &mut s.hosts[usize::from(id.0)].postgres)
        {
            p.lsn = p.lsn.max(lsn.0);
        }
        self.observe(s, id, &Observation::CatchUpCompleted { term, outcome });
    }

    fn stream(s: &mut State, id: MemberId) {
        let at = usize::from(id.0);
        let Some(p) = s.hosts[at].postgres else { return };
        let source = p.receiver.and_then(|r| s.hosts[usize::from(r.0)].postgres);
        if let Some(q) = source.filter(|q| q.up && q.line == p.line && q.lsn > p.lsn && p.up)
            && let Some(p) = &mut s.hosts[at].postgres
        {
            p.lsn = q.lsn;
            s.touched = true;
        }
    }

    // ---- PostgreSQL, hosts, time ------------------------------------------------------------

    fn go_down(s: &mut State, id: MemberId, seal: bool) {
        s.touched = true;
        let host = &mut s.hosts[usize::from(id.0)];
        let Some(p) = &mut host.postgres else { return };
        p.sealed |= seal;
        p.receiver = None;
        if std::mem::replace(&mut p.up, false) {
            host.tasks.insert(Task::TellItIsGone);
        }
    }

    /// L9: unsealed only with a standing lease of this boot.
    fn start(&self, s: &mut State, id: MemberId) {
        s.spent.starts += 1;
        s.touched = true;
        let boot = self.boot(s, id);
        let host = &mut s.hosts[usize::from(id.0)];
        let l = host.mind.ledger();
        let stands = l.tenure.zip(l.lease).is_some_and(|(t, lease)| lease.term == t && boot < lease.until);
        let armed = host.guard.armed().is_some();
        let Some(p) = &mut host.postgres else { return };
        p.up = true;
        p.started += 1;
        p.sealed |= !(p.in_recovery || stands && armed);
        p.in_recovery |= p.sealed;
        let sealed = p.sealed;
        host.tasks.remove(&Task::TellItIsGone);
        self.observe(s, id, &Observation::PostmasterSeen { pid: 1, sealed });
        self.look_at_own(s, id);
    }

    /// The time it is away is the time in which nothing happens to it.
    pub(super) fn restart(
        &self,
        s: &mut State,
        id: MemberId,
        keeps_all: bool,
        host_too: bool,
        lost: Option<LogFound>,
    ) {
        let bit = 1_u8 << id.0;
        if host_too {
            Self::go_down(s, id, false);
        }
        let host = &mut s.hosts[usize::from(id.0)];
        s.touched = true;
        let left = host.durable.take().filter(|_| !keeps_all);
        if let Some(left) = left {
            host.mind = left;
        }
        if lost.is_some() {
            host.mind = self.blank(id);
            host.logs += 1;
            s.ghosts.forgot |= bit;
        } else if s.ghosts.forgot & bit == 0 {
            s.judge_memory(id);
        }
        let host = &mut s.hosts[usize::from(id.0)];
        host.runs += 1;
        host.tasks.clear();
        host.asking = None;
        host.beats = (0, 0);
        if host_too {
            host.guard.restart(host.runs);
        }
        let number = u64::from(id.0 + 1) * 1_000;
        let old_boot = host.mind.ledger().process.boot_id.0;
        let boot = if host_too || old_boot == 0 { u128::from(number + host.runs) } else { old_boot };
        let process = ProcessIdentity {
            incarnation: Incarnation(number + host.logs),
            boot_id: BootId(boot),
            nonce: number + host.runs,
        };
        let start = ProcessStart {
            version: String::new(),
            core_revision: CORE_REVISION,
            settings: self.settings(id).clone(),
            configuration_digest: String::new(),
            process,
            log: lost.unwrap_or(LogFound::Intact),
        };
        self.observe(s, id, &Observation::ProcessStarted(Box::new(start)));
        let host = &s.hosts[usize::from(id.0)];
        let (armed, fenced) = (host.guard.armed(), host.guard.fenced());
        let Some(p) = host.postgres else { return };
        self.observe(s, id, &Observation::GuardReported(GuardReport::Present { armed }));
        if let Some(term) = fenced {
            self.observe(s, id, &Observation::GuardReported(GuardReport::Fenced { term }));
        }
        if p.up {
            self.observe(s, id, &Observation::PostmasterSeen { pid: 1, sealed: p.sealed });
            self.look_at_own(s, id);
        } else {
            self.observe(s, id, &Observation::PostmasterGone { sealed: p.sealed });
        }
    }

    /// L6: the guard fences at its deadline, whatever the daemon does.
    pub(super) fn pass_time(&self, s: &mut State) {
        s.now = self.next_moment(s);
        s.spent.ticks += 1;
        s.touched = true;
        for id in self.bounds.ids() {
            s.hosts[usize::from(id.0)].ahead = 0;
            let boot = self.boot(s, id);
            let guard = &mut s.hosts[usize::from(id.0)].guard;
            if guard.armed().is_some_and(|(_, until)| until <= boot) {
                guard.begin_fence();
                guard.fencing = false;
                Self::go_down(s, id, true);
            }
        }
    }
}
