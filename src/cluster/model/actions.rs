//! What may happen in a state.

use super::bounds::{Bounds, MOMENT};
use super::state::{Envelope, Host, State, Task};
use super::steps::ClusterModel;
use crate::core::{MemberId, Term};
use crate::events::Deadline;
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
    /// The probes of all that may lose sight of the primary fail.
    AllLoseSight,
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
        let spent = &s.spent;
        out.extend(s.network.iter().cloned().map(Action::Arrives));
        for id in b.there() {
            let host = &s.hosts[usize::from(id.0)];
            self.of_daemon(s, id, host, out);
            self.of_postgres(s, id, host, out);
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
        if spent.outages < b.outages {
            out.push(Action::AllLoseSight);
        }
        if spent.ticks < b.ticks && self.next_moment(s).is_some() {
            out.push(Action::TimePasses);
        }
    }

    fn of_daemon(&self, s: &State, id: MemberId, host: &Host, out: &mut Vec<Action>) {
        let b = &self.bounds;
        let l = host.mind.ledger();
        let soon = host.boot(s.now).0 + MOMENT / 2;
        let due = host.mind.deadlines.iter().filter(|d| d.1.0 < soon);
        out.extend(due.map(|d| Action::Deadline(id, d.0)));
        let may =
            Bounds::within(b.beating, id) && (b.beats == 0 || host.beats.0 < s.now || host.beats.1 < b.beats);
        if may && (!b.prompt || self.beat_matters(id, host)) {
            out.push(Action::Beats(id));
        }
        for from in b.there().filter(|f| *f != id) {
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
        let target = l.primary().unwrap_or(MemberId(0));
        let blind = Bounds::within(b.blind, id) && b.outages == 0;
        if blind && target != id && !l.verdict.is_down() {
            out.push(Action::LosesSight(id));
        }
        let there = s.hosts[usize::from(target.0)].postgres;
        if b.sight && target != id && there.is_some_and(|p| p.writes()) {
            out.push(Action::Sees(id));
        }
    }

    /// A heartbeat does more than say that one is there: it renews a lease, opens a pre-vote, or learns that
    /// the log was flushed, which matters for renewals only.
    fn beat_matters(&self, id: MemberId, host: &Host) -> bool {
        let l = host.mind.ledger();
        let idle = host.mind.promoter().is_some_and(crate::core::Promoter::is_idle);
        let may_stand = Bounds::within(self.bounds.candidates, id) && idle && l.verdict.is_down();
        let unflushed = self.bounds.ticks > 0 && l.unflushed() != (false, false, false);
        l.tenure.is_some() || may_stand || unflushed
    }

    fn of_postgres(&self, s: &State, id: MemberId, host: &Host, out: &mut Vec<Action>) {
        let (b, spent) = (&self.bounds, &s.spent);
        for task in &host.tasks {
            out.push(Action::Does(id, *task));
            if let (Task::Promote(term, _), true) = (task, spent.promotion_faults < b.promotion_faults) {
                let all = [Mishap::DoneButUnknown, Mishap::NotDoneButUnknown, Mishap::DoneUntold];
                out.extend(all.map(|m| Action::Fails(id, *term, m)));
            }
        }
        let Some(p) = host.postgres else { return };
        // One that would see what it saw last time need not look again.
        if host.mind.ledger().local.answer != p.up.then(|| p.answer(&s.lines)) {
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
}
