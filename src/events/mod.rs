//! The vocabulary of events, and the log that keeps them.

mod decision;
mod facts;
mod message;
mod observation;
mod settings;

pub use decision::{Decision, NoElection, Placement};
pub use facts::*;
pub use message::{CandidacyKind, Heartbeat, Message, PostgresState, Testimony, VoteAsk};
pub use observation::{Deadline, GuardReport, LogFound, Observation, OperatorRequest, ProcessStart};
pub use settings::{Fencing, MemberSettings, Settings};

use serde::{Deserialize, Serialize};

/// What a record holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Event {
    /// A fact from outside.
    Observed(Observation),
    /// A role's conclusion.
    Decided(Decision),
}

/// A record of a member's log.
pub type Record = pgfo_replay::Record<Event>;

/// Who observed or decided, as records carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Actor {
    /// The daemon itself: start, operator, log.
    Daemon = 0,
    /// Hand: probes.
    HeartbeatProber = 1,
    /// Hand: peers.
    PeerLink = 2,
    /// Hand: the local PostgreSQL and its guard.
    PostgresOperator = 3,
    /// Hand: commands.
    HookRunner = 4,
    /// Hand: deadlines.
    Clock = 5,
    /// Role: the verdict about the primary.
    EscalationTracker = 16,
    /// Role: votes, grants, promises.
    Voter = 17,
    /// Role: lease holder, candidate, follower.
    Promoter = 18,
    /// Role: what this member tells others that binds nothing.
    Witness = 19,
}

impl Actor {
    /// The roles, in the order of delivery.
    pub const ROLES: [Self; 4] = [Self::EscalationTracker, Self::Voter, Self::Promoter, Self::Witness];

    /// Returns the number in records.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Returns the actor with that number in records.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Daemon,
            1 => Self::HeartbeatProber,
            2 => Self::PeerLink,
            3 => Self::PostgresOperator,
            4 => Self::HookRunner,
            5 => Self::Clock,
            16 => Self::EscalationTracker,
            17 => Self::Voter,
            18 => Self::Promoter,
            19 => Self::Witness,
            _ => return None,
        })
    }

    /// Returns the name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Daemon => "daemon",
            Self::HeartbeatProber => "heartbeat prober",
            Self::PeerLink => "peer link",
            Self::PostgresOperator => "postgres operator",
            Self::HookRunner => "hook runner",
            Self::Clock => "clock",
            Self::EscalationTracker => "escalation tracker",
            Self::Voter => "voter",
            Self::Promoter => "promoter",
            Self::Witness => "witness",
        }
    }
}

impl pgfo_replay::Failures for Event {
    fn failed_actor(&self) -> Option<u8> {
        match self {
            Self::Decided(Decision::RoleFailed { role, .. }) => Some(*role),
            _ => None,
        }
    }
}
mod backlog;
mod chain;
mod checkpoint;
mod codec;
mod columns;
mod damage;
mod entry;
mod evidence;
mod flat;
mod guarded;
mod head;
mod log;
mod notices;
mod open;
mod packer;
mod reader;
mod shared;
mod source;
mod store;
pub mod story;
mod upkeep;
mod verify;
mod walk;
mod writer;

pub use backlog::{AppendError, BACKLOG_BYTES_MAX};
pub use chain::Hash;
pub use checkpoint::{CHECKPOINT_BYTES_MAX, Checkpoint, STATE_BYTES_MAX};
pub use codec::{CodecError, FORMAT_VERSION, RECORD_BYTES_MAX, decode_bounded, encode_bounded};
pub use damage::{Damage, DamageKind};
pub use entry::BATCH_BYTES_MAX;
pub(crate) use flat::FLAT_MAGIC;
pub use flat::{ExportError, Exported};
pub use log::{AppendRefused, Block, CloseError, Durability, EventLog, Opened, Receipt, Records};
pub use notices::LogCondition;
pub use open::{Condition, HEAD_NAME, LogOptions, OpenError, STORE_NAME, put_aside};
pub use packer::PackOptions;
pub use reader::{LogReader, ReadError};
pub use shared::LogStats;
pub use upkeep::UpkeepError;
pub use writer::QUEUE_BATCHES_MAX;
