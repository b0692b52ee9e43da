//! The roles' pure machines. No clock, no randomness, no I/O, no async, no logging, no map with
//! random order, no float, no `unwrap`: time and randomness arrive as observations.

mod types;

pub use types::*;
