//! pgfo: automatic failover for PostgreSQL streaming replication, with a log that proves why.
//!
//! Arrows run one way: `bin → cli → actors → core → events`, with `pgfo-replay` at the ground.
#![warn(missing_docs)]

pub mod actors;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod control;
pub mod core;
pub mod demo;
pub mod events;
pub mod guard;
pub mod keep;
pub mod os;
pub mod peer;
pub mod postgres;
