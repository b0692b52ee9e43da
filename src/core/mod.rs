//! The roles' pure machines. No clock, no randomness, no I/O, no async, no logging, no map with
//! random order, no float, no `unwrap`: time and randomness arrive as observations.

mod effects;
mod escalation_tracker;
mod ledger;
mod planted;
mod promoter;
mod quorum;
mod roles;
mod shape;
mod states;
mod supervision;
mod types;
mod voter;
mod watch;
mod witness;

pub use effects::{Effect, Urgency, effects, urgency};
pub use escalation_tracker::EscalationTracker;
pub use ledger::{Freeze, Lease, Ledger, Local, Peer, Promise, Vote};
pub use pgfo_replay::{BootNanos, Nanos};
#[cfg(feature = "planted-bugs")]
pub use planted::Planting;
pub use planted::{PLANTS_BUILT_IN, Plant, planted};
pub use promoter::Promoter;
pub use quorum::{Quorum, kth_largest};
pub use roles::{CORE_REVISION, LedgerRole, Role, role, roles};
pub use shape::Shape;
pub(crate) use shape::request;
pub use states::States;
pub use supervision::{DEADLINE_AGAIN, Remedy, RestartBudget, guarded, remedy};
pub(crate) use supervision::{freeze_overdue, ordered_at, report_overdue};
pub use types::*;
pub use voter::Voter;
pub use watch::Watch;
pub use witness::Witness;
