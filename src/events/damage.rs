//! Owns the words for what is wrong with a log, each with the first record number affected.

use super::chain::Hash;
use pgfo_replay::Seq;
use thiserror::Error;

/// The log can't be trusted from record `seq` on; everything before it was verified.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("damaged from record {seq} on: {what}")]
pub struct Damage {
    /// The first record affected.
    pub seq: Seq,
    /// What was found.
    pub what: DamageKind,
}

/// What is wrong with a record, or with the log behind it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DamageKind {
    /// The record's bytes do not match its hash.
    #[error("the record does not match its hash; it was altered")]
    Altered,
    /// Another record stands in this one's place.
    #[error("record {found} stands in its place; records were moved or removed")]
    OutOfPlace {
        /// The record found.
        found: Seq,
    },
    /// Records are missing before the next one there is.
    #[error("missing; the next record there is has number {until}")]
    Missing {
        /// The next record there is.
        until: Seq,
    },
    /// The record can't be split from the bytes around it, or decoded.
    #[error("not decodable: {0}")]
    Undecodable(String),
    /// A stored batch or packed block is not what it should be.
    #[error("its block is damaged: {0}")]
    Block(String),
    /// The store itself can't be opened or read.
    #[error(
        "the store can't be read: {0}; take another copy of it, the files in incidents/ beside it, or the other members' logs"
    )]
    Store(String),
    /// The header that tells where the chain begins is damaged.
    #[error("the log's header is damaged: {0}")]
    Header(String),
    /// The log begins behind its first record, and the state to begin with is damaged or missing.
    #[error("the checkpoint that the log begins with is damaged: {0}")]
    Checkpoint(String),
    /// The head says that more records were flushed than there are.
    #[error("missing, as all behind it: the head says that {head} was flushed; the tail is lost")]
    TailLost {
        /// The last record that was flushed.
        head: Seq,
    },
    /// The head names another record of this number: this log has another past than the one flushed.
    #[error("hash {found}, but the head says that {flushed} was flushed; the log was replaced")]
    HeadMismatch {
        /// The record's hash in the log.
        found: Hash,
        /// The hash that the head holds.
        flushed: Hash,
    },
    /// The head belongs to another log.
    #[error("the head beside it belongs to another log")]
    HeadForeign,
    /// There is no usable head, so a lost tail can't be told from an end.
    #[error("the head is missing or damaged, so nothing proves that the log ends here")]
    HeadMissing,
    /// An exported file ends without its trailer.
    #[error("missing: the exported file ends here without its trailer; it was cut")]
    Cut,
    /// An exported file's trailer disagrees with its records.
    #[error("the exported file's trailer does not match its records")]
    Trailer,
}
