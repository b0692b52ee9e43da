//! Simulated time, and the hosts' clocks: the engine's own.

pub(super) use pgfo_replay::simulation::HostClock;
pub use pgfo_replay::simulation::SimNanos;
