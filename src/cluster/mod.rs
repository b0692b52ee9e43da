//! A simulated cluster: PostgreSQL, disk, network, clocks, clients, faults, invariants. The members run
//! the same roles as in production, stepped by the same loop; nothing here decides about failover.

mod daemon;
mod disturbances;
mod draw;
mod engine_room;
mod fact;
mod fault;
mod faults;
mod guard;
mod hands;
mod hands_time;
pub mod invariants;
mod marks;
pub mod model;
mod network;
mod node;
mod parcels;
mod poison;
mod postgres;
mod postgres_breaks;
mod profile;
mod queue;
mod role;
mod run;
mod scenario;
mod shrink;
mod swarm;
mod swarm_more;
mod team;
mod time;
mod trial;
mod world;

pub use fact::Fact;
pub use fault::{CrashPoint, FailingRole, Fault, PromotionFault, Rejection, Report, TimedFault};
pub use marks::{Mark, Marks};
pub use node::Node;
pub use profile::Profile;
pub use role::{SimRole, sim_roles};
pub use run::{Broken, Outcome, Runner, run, run_with_story};
pub use scenario::{Scenario, ScenarioMember, Timings};
pub use shrink::{shrink, shrink_while};
pub use swarm::{swarm, swarm_lasting};
pub use time::SimNanos;
pub use trial::{Trial, trial};
pub use world::World;
