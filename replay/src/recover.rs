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
        self.folded += fold_batch(self.machine, self.actor, &self.batch, &self.left_out);
        self.batch.clear();
    }
}

/// Folds one whole batch into a machine, except what it is recorded to have failed on, and what is
/// `left_out`; returns how many records were folded.
pub fn fold_batch<M>(machine: &mut M, actor: u8, batch: &[Record<M::Event>], left_out: &[Seq]) -> u64
where
    M: Machine + ?Sized,
    M::Event: Failures,
{
    let mut folded = 0;
    for record in batch {
        let failed = left_out.contains(&record.seq)
            || batch.iter().any(|r| r.cause == Some(record.seq) && r.event.failed_actor() == Some(actor));
        // A decision is a fact whoever failed on it: only its answer is missing.
        if !failed || record.cause.is_some() {
            machine.evolve(record);
            folded += 1;
        }
    }
    folded
}
