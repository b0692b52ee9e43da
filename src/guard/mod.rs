//! The guard process: owns the deadline and the fence (L6, L7). Must never depend on log, lock or disk latency.
//!
//! `state` decides, `run` performs, `fence` fences; the rest is plumbing. One thread runs the loop; a
//! second one makes the calls that a hung disk could hold.

pub mod client;
mod clients;
mod clocks;
mod disk;
mod error;
pub mod facts;
pub mod fence;
pub mod frame;
pub mod inline;
mod inotify;
pub mod log;
pub mod procs;
pub mod protocol;
mod run;
pub mod seal;
mod serve;
mod spawn;
pub mod state;

pub use client::{GuardClient, GuardEvent, GuardEvents};
pub use error::GuardError;
pub use serve::{LOCK_FILE, SOCKET_FILE, ServeOptions, serve};
pub use spawn::spawn;
