//! What a thing that happens does to the daemons and to the world around them.

use super::actions::Action;
use super::judge::{LOST, RESTARTED};
use super::state::{State, Task};
use super::steps::ClusterModel;
use crate::core::{BootId, CORE_REVISION, Effect, Incarnation, MemberId};
use crate::events::{
    GuardReport, LogFound, Message, Observation, ProbeFailure, ProbeKind, ProbeReport, ProcessIdentity,
    ProcessStart,
};
use pgfo_replay::Seq;
use std::sync::Arc;

impl ClusterModel {
    pub(super) fn act(&self, s: &mut State, action: &Action) {
        match action {
            Action::Arrives(e) => self.arrive(s, e),
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
                    let limited = self.bounds.beats > 0;
                    s.hosts[usize::from(id.0)].beats = if limited { (now, already + 1) } else { (0, 0) };
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
                for by in self.bounds.there().filter(|b| b != id) {
                    self.answer(s, *id, by);
                }
            }
            Action::LosesSight(id) => self.lose_sight(s, *id),
            Action::AllLoseSight => {
                s.spent.outages += 1;
                for id in self.bounds.there().filter(|id| super::Bounds::within(self.bounds.blind, *id)) {
                    self.lose_sight(s, id);
                }
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

    fn lose_sight(&self, s: &mut State, id: MemberId) {
        let target = s.hosts[usize::from(id.0)].mind.ledger().primary().unwrap_or(MemberId(0));
        let report = ProbeReport::Failed(ProbeFailure::TimedOut);
        self.observe(s, id, &Self::probe(target, ProbeKind::Heartbeat, report));
    }

    pub(super) fn receive(&self, s: &mut State, to: MemberId, from: MemberId, message: Message) {
        self.observe(s, to, &Observation::MessageReceived { from, sent_by: Seq(0), message });
    }

    pub(super) fn peek(
        &self,
        s: &State,
        id: MemberId,
        observation: &Observation,
    ) -> Arc<super::mind::Thought> {
        self.thinker.think(&s.hosts[usize::from(id.0)].mind, self.boot(s, id), observation)
    }

    /// E1: a testimony binds nobody, so question and answer are one action.
    pub(super) fn answer(&self, s: &mut State, id: MemberId, by: MemberId) {
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

    // ---- PostgreSQL, hosts, time ------------------------------------------------------------

    pub(super) fn go_down(s: &mut State, id: MemberId, seal: bool) {
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
            self.pass(LOST);
        }
        if s.ghosts.votes.iter().any(|v| v.voter == id) {
            self.pass(RESTARTED);
        }
        let host = &mut s.hosts[usize::from(id.0)];
        if lost.is_some() {
            host.mind = self.blank(id);
            host.logs += 1;
            s.ghosts.forgot |= bit;
        }
        let host = &mut s.hosts[usize::from(id.0)];
        host.runs += 1;
        host.tasks.clear();
        host.asking = None;
        host.beats = (0, 0);
        if host_too {
            host.guard.restart(host.runs);
        }
        let start = self.start_of(s, id, host_too, lost);
        self.observe(s, id, &start);
        if s.ghosts.forgot & bit == 0 {
            s.judge_memory(id);
        }
        let host = &s.hosts[usize::from(id.0)];
        let (armed, fenced) = (host.guard.armed(), host.guard.fenced());
        if let Some(p) = host.postgres {
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
        // A log that was lost is heard of by those that hear it, in their own time.
        if self.bounds.prompt && s.hosts[usize::from(id.0)].runs > 1 {
            for from in self.bounds.there().filter(|f| *f != id) {
                self.act(s, &Action::Hears(id, from));
            }
        }
    }

    /// What a process says of itself when it starts, `runs` being its number.
    pub(super) fn start_of(
        &self,
        s: &State,
        id: MemberId,
        host_too: bool,
        lost: Option<LogFound>,
    ) -> Observation {
        let host = &s.hosts[usize::from(id.0)];
        let number = u64::from(id.0 + 1) * 1_000;
        let old_boot = host.mind.ledger().process.boot_id.0;
        let boot = if host_too || old_boot == 0 { u128::from(number + host.runs) } else { old_boot };
        let process = ProcessIdentity {
            incarnation: Incarnation(number + host.logs),
            boot_id: BootId(boot),
            nonce: number + host.runs,
        };
        Observation::ProcessStarted(Box::new(ProcessStart {
            version: String::new(),
            core_revision: CORE_REVISION,
            settings: self.settings(id).clone(),
            configuration_digest: String::new(),
            process,
            log: lost.unwrap_or(LogFound::Intact),
        }))
    }

    /// L6: the guard fences at its deadline, whatever the daemon does.
    pub(super) fn pass_time(&self, s: &mut State) {
        let Some(next) = self.next_moment(s) else { return };
        s.now = next;
        s.spent.ticks += 1;
        s.touched = true;
        for host in &mut s.hosts {
            host.ahead = 0;
        }
        for id in self.bounds.ids() {
            let boot = s.hosts[usize::from(id.0)].boot(s.now);
            let guard = &mut s.hosts[usize::from(id.0)].guard;
            if guard.armed().is_some_and(|(_, until)| until <= boot) {
                guard.begin_fence();
                guard.fencing = false;
                Self::go_down(s, id, true);
            }
        }
    }
}
