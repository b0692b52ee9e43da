//! The cluster as a transition system, to be explored in every order: states, what may happen in each, and
//! what comes of it. The members run the same roles as in production, stepped by the same loop. It searches
//! nothing itself, and it judges by the names of DESIGN's invariants.
//!
//! The network is a set of messages that nothing leaves: so each may be lost, repeated, reordered and
//! delayed without bound. Every length of time is nothing beside the lease, so any deadline but those
//! of leases may fire at any moment; leases run by a shared clock that moves in steps.

mod actions;
mod bounds;
mod hands;
mod judge;
mod mind;
mod moves;
mod prelude;
mod reduce;
mod state;
mod steps;

pub use actions::{Action, Mishap};
pub use bounds::{Bounds, Start};
pub use judge::{INVARIANTS, LOST, Marks, PASSING, REFUSED, RESTARTED, UNREGISTERED};
pub use state::{Envelope, Ghosts, Host, State};
pub use steps::ClusterModel;
