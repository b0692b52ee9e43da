//! The record: one event with its stamps, as it stands in a log.

use crate::stamp::{BootNanos, Seq, WallNanos};
use serde::{Deserialize, Serialize};

/// Whether a record was observed from outside or decided by a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RecordKind {
    /// A fact from outside; it starts a batch.
    Observation,
    /// A role's conclusion; it answers the record named by `cause`.
    Decision,
}

/// One event of a member's log, with its place in the order and its clocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record<E> {
    /// Place in the log's total order.
    pub seq: Seq,
    /// Boot-time clock when the observation of this batch was stamped; decisions carry the same.
    pub boot: BootNanos,
    /// Wall clock at the same moment.
    pub wall: WallNanos,
    /// Number of the actor that observed or decided (the vocabulary gives it a name).
    pub actor: u8,
    /// The record this one answers; `None` for an observation.
    pub cause: Option<Seq>,
    /// What happened.
    pub event: E,
}

impl<E> Record<E> {
    /// Returns whether this record is an observation or a decision.
    #[must_use]
    pub const fn kind(&self) -> RecordKind {
        if self.cause.is_some() { RecordKind::Decision } else { RecordKind::Observation }
    }
}
