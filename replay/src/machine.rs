//! The machine: a state that evolves by events and decides on them. It performs nothing.

use crate::record::Record;
use crate::stamp::BootNanos;

/// A deterministic machine fed by records in order.
///
/// `evolve` folds a record into the state; `decide` answers it, from the state and the record alone.
/// They are apart on purpose: recovery folds `evolve` only, an audit runs `decide` again.
pub trait Machine {
    /// What records hold.
    type Event;
    /// The finite set of deadlines this machine may wait for.
    type Deadline;

    /// Folds one record into the state. Its meaning for old events never changes.
    fn evolve(&mut self, record: &Record<Self::Event>);

    /// Appends the decisions on a record that was just folded. Must not depend on anything else.
    fn decide(&self, record: &Record<Self::Event>, decisions: &mut Vec<Self::Event>);

    /// Appends every deadline this machine waits for now, with its instant. One that fires early,
    /// late or twice is a no-op.
    fn deadlines(&self, deadlines: &mut Vec<(Self::Deadline, BootNanos)>);
}
