//! Simulated time, and the hosts' clocks: the engine's own.

pub use pgfo_replay::simulation::{HostClock, SimNanos};
