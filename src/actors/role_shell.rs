//! The generic shell of a role: one guarded way in, and a restart that rebuilds from the log.
//!
//! actix's supervisor does not restart an actor that panicked, so a panic is caught here, the actor is
//! stopped, and `restarting` drops the half-mutated machine; the sequencer then has it rebuilt. The
//! shell holds no policy.

use crate::core::{RestartBudget, Role, States, guarded};
use crate::events::{Actor as ActorName, Deadline, Event, EventLog, Record, Settings};
use crate::keep::states_at;
use actix::prelude::*;
use pgfo_replay::{BootNanos, Seq, fold_batch};
use std::sync::Arc;

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
    budget: RestartBudget,
}

impl RoleShell {
    /// Starts a role in the state that was recovered, supervised.
    #[must_use]
    pub fn start(name: ActorName, settings: Settings, recovered: &States) -> Addr<Self> {
        let machine = recovered.role(name);
        Supervisor::start(move |_| Self { name, settings, machine, budget: RestartBudget::default() })
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

    fn fail(&mut self, at: BootNanos, why: &str) -> Answer {
        self.machine = None;
        let failed = self.budget.spend(self.name, at, why);
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
        let answer = match guarded(|| self.step(&record)) {
            Ok(Some(answer)) => answer,
            // Could not be rebuilt: it stays silent, which is safe, and the failure was recorded.
            Ok(None) => Answer::default(),
            Err(why) => {
                let answer = self.fail(record.boot, &why);
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
        let (machine, folded) = guarded(|| self.rebuild(message)).unwrap_or_else(Err)?;
        self.machine = Some(machine);
        Ok(folded)
    }
}

impl Handler<Ping> for RoleShell {
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Context<Self>) {}
}

#[cfg(feature = "fault-injection")]
use super::injected::panic_if_wished as inject_fault;

#[cfg(not(feature = "fault-injection"))]
const fn inject_fault(_: ActorName, _: &Record) {}
