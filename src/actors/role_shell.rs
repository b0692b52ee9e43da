//! The generic shell of a role: one guarded way in, and a restart that rebuilds from the log.
//!
//! actix's supervisor does not restart an actor that panicked, so a panic is caught here, the actor is
//! stopped, and `restarting` drops the half-mutated machine; the sequencer then has it rebuilt. The
//! shell holds no policy.

use crate::core::{Role, States};
use crate::events::{Actor as ActorName, Deadline, Decision, Event, EventLog, Record, Settings};
use crate::keep::states_at;
use actix::prelude::*;
use pgfo_replay::{BootNanos, Seq, fold_batch};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// More restarts than this within [`RESTART_WINDOW_NANOS`], and the role is quarantined: it would only
/// fail again, and a member that votes every other time is worse than one that does not.
const RESTARTS_MAX: usize = 3;
/// The window of the restart budget.
const RESTART_WINDOW_NANOS: u64 = 60_000_000_000;
/// A panic's words are cut here: they go into a record.
const WHY_CHARS_MAX: usize = 200;

/// Deliver one record to the role.
#[derive(Message)]
#[rtype(result = "Answer")]
pub struct Deliver(pub Arc<Record>);

/// The role's answer to one record.
#[derive(Debug, Default)]
pub struct Answer {
    /// What it decided, or that it failed.
    pub decisions: Vec<Event>,
    /// What it waits for now.
    pub deadlines: Vec<(Deadline, BootNanos)>,
    /// Whether it failed and must be rebuilt before the next record.
    pub failed: bool,
}

/// Rebuild the role from the log and the records of the batch that is under way.
#[derive(Message)]
#[rtype(result = "Result<u64, String>")]
pub struct Rebuild {
    /// The log; everything appended must be readable.
    pub log: Arc<EventLog<Event>>,
    /// The batch under way, up to the record last delivered.
    pub batch: Vec<Record>,
    /// The records of that batch that the role failed on.
    pub failed: Vec<Seq>,
}

/// Are you there?
#[derive(Message)]
#[rtype(result = "()")]
pub struct Ping;

/// A role as an actor.
pub struct RoleShell {
    name: ActorName,
    settings: Settings,
    machine: Option<Box<Role>>,
    failures: Vec<BootNanos>,
}

impl RoleShell {
    /// Starts a role in the state that was recovered, supervised.
    #[must_use]
    pub fn start(name: ActorName, settings: Settings, recovered: &States) -> Addr<Self> {
        let machine = recovered.role(name);
        Supervisor::start(move |_| Self { name, settings, machine, failures: Vec::new() })
    }

    fn step(&mut self, record: &Record) -> Option<Answer> {
        let machine = self.machine.as_mut()?;
        inject_fault(self.name, record);
        let mut answer = Answer::default();
        machine.evolve(record);
        machine.decide(record, &mut answer.decisions);
        machine.deadlines(&mut answer.deadlines);
        Some(answer)
    }

    fn fail(&mut self, at: BootNanos, why: String) -> Answer {
        self.machine = None;
        self.failures.retain(|f| at.nanos_since(*f) < RESTART_WINDOW_NANOS);
        self.failures.push(at);
        let quarantined = self.failures.len() > RESTARTS_MAX;
        let why: String = why.chars().take(WHY_CHARS_MAX).collect();
        let failed = Decision::RoleFailed { role: self.name.number(), why, quarantined };
        Answer { decisions: vec![Event::Decided(failed)], deadlines: Vec::new(), failed: true }
    }

    fn rebuild(&self, message: Rebuild) -> Result<(Box<Role>, u64), String> {
        let before = Seq(message.batch.first().map_or(u64::MAX, |r| r.seq.0) - 1);
        let recovered = states_at(&message.log, &self.settings, before).map_err(|why| why.to_string())?;
        let mut machine = recovered.states.role(self.name).ok_or("not a role")?;
        let number = self.name.number();
        let folded = fold_batch(machine.as_mut(), number, &message.batch, &message.failed);
        Ok((machine, recovered.folded + folded))
    }
}

impl Actor for RoleShell {
    type Context = Context<Self>;
}

impl Supervised for RoleShell {
    fn restarting(&mut self, _: &mut Context<Self>) {
        // Never repaired, always rebuilt: the sequencer asks for it.
        self.machine = None;
    }
}

impl Handler<Deliver> for RoleShell {
    type Result = MessageResult<Deliver>;

    fn handle(&mut self, Deliver(record): Deliver, ctx: &mut Context<Self>) -> Self::Result {
        let answer = match catch_unwind(AssertUnwindSafe(|| self.step(&record))) {
            Ok(Some(answer)) => answer,
            // Could not be rebuilt: it stays silent, which is safe, and the failure was recorded.
            Ok(None) => Answer::default(),
            Err(panic) => {
                let answer = self.fail(record.boot, words_of(panic.as_ref()));
                ctx.stop();
                answer
            }
        };
        MessageResult(answer)
    }
}

impl Handler<Rebuild> for RoleShell {
    type Result = Result<u64, String>;

    fn handle(&mut self, message: Rebuild, _: &mut Context<Self>) -> Self::Result {
        let rebuilt = catch_unwind(AssertUnwindSafe(|| self.rebuild(message)));
        let (machine, folded) = rebuilt.unwrap_or_else(|panic| Err(words_of(panic.as_ref())))?;
        self.machine = Some(machine);
        Ok(folded)
    }
}

impl Handler<Ping> for RoleShell {
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Context<Self>) {}
}

/// Returns what a panic said.
fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

#[cfg(feature = "fault-injection")]
use super::injected::panic_if_wished as inject_fault;

#[cfg(not(feature = "fault-injection"))]
const fn inject_fault(_: ActorName, _: &Record) {}
