//! A deterministic engine for event-sourced machines.
//!
//! Owns the lock-step loop, the record and its stamps, recovery, audit, and what a simulation is made of.
//! It must never know what the machines decide about: no PostgreSQL, no network, no clock, no randomness,
//! no I/O.
#![warn(missing_docs)]

mod audit;
mod lockstep;
mod machine;
mod record;
mod recover;
pub mod simulation;
mod stamp;
mod what_if;

pub use audit::{Auditor, Divergence, Failures};
pub use lockstep::{Answers, Batch, Crew, DECISIONS_MAX, Ensemble, Seat, step};
pub use machine::Machine;
pub use record::{Record, RecordKind};
pub use recover::{Recovery, fold_batch};
pub use stamp::{BootNanos, Nanos, Seq, WallNanos};
pub use what_if::{Difference, Instead, Terms, Told, WhatIf};
