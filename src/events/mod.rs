//! The vocabulary of events, and the log that keeps them.

mod backlog;
mod chain;
mod codec;
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
mod verify;
mod walk;
mod writer;

pub use backlog::{AppendError, BACKLOG_BYTES_MAX};
pub use chain::Hash;
pub use codec::{CodecError, FORMAT_VERSION, RECORD_BYTES_MAX, decode_bounded, encode_bounded};
pub use damage::{Damage, DamageKind};
pub use entry::BATCH_BYTES_MAX;
pub use flat::{ExportError, Exported};
pub use log::{AppendRefused, CloseError, Durability, EventLog, Opened, Receipt, Records};
pub use notices::LogCondition;
pub use open::{Condition, HEAD_NAME, LogOptions, OpenError, STORE_NAME};
pub use packer::PackOptions;
pub use reader::{LogReader, ReadError};
pub use shared::LogStats;
pub use writer::QUEUE_BATCHES_MAX;
