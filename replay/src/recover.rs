//! Recovery: folds a recorded log into one machine with `evolve` only, so that an upgrade can never
//! change what was decided. It leaves out what the machine is recorded to have failed on.

use crate::audit::Failures;
use crate::machine::Machine;
use crate::record::Record;
use crate::stamp::Seq;

/// Folds a log, record by record, into one machine.
pub struct Recovery<'m, M: Machine + ?Sized> {
    machine: &'m mut M,
    actor: u8,
    batch: Vec<Record<M::Event>>,
    left_out: Vec<Seq>,
    folded: u64,
}

impl<'m, M> Recovery<'m, M>
where
    M: Machine + ?Sized,
    M::Event: Failures,
{
    /// Begins to fold into `machine`, whose decisions carry `actor`.
    pub fn new(machine: &'m mut M, actor: u8) -> Self {
        Self { machine, actor, batch: Vec::new(), left_out: Vec::new(), folded: 0 }
    }

    /// Leaves out records that the machine failed on, though the log does not say so yet.
    pub fn leave_out(&mut self, records: Vec<Seq>) {
        self.left_out = records;
    }

    /// Takes the next record of the log.
    pub fn push(&mut self, record: Record<M::Event>) {
        if record.cause.is_none() {
            self.fold();
        }
        self.batch.push(record);
    }

    /// Folds what is left and returns how many records were folded.
    pub fn finish(mut self) -> u64 {
        self.fold();
        self.folded
    }

    fn fold(&mut self) {
        for at in 0..self.batch.len() {
            let record = &self.batch[at];
            let failed = self.left_out.contains(&record.seq)
                || self
                    .batch
                    .iter()
                    .any(|r| r.cause == Some(record.seq) && r.event.failed_actor() == Some(self.actor));
            // A decision is a fact whoever failed on it: only its answer is missing.
            if !failed || record.cause.is_some() {
                self.machine.evolve(record);
                self.folded += 1;
            }
        }
        self.batch.clear();
    }
}
