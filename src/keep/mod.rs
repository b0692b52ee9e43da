//! What is kept of a log beyond its records, and how long: checkpoints, incidents, retention.
//!
//! Owns the state that a checkpoint holds, recovery from it, the watch for incidents, their files, and
//! the thread that does all this beside the daemon's loop. It decides nothing about failover, and must
//! never change what a fold of the whole log would recover.

mod cut;
mod incident;
mod keeper;
mod recover;
mod retention;
mod state;
mod watcher;

pub use cut::{CutError, Span, cut, windows, windows_before_damage};
pub use incident::{INCIDENTS_DIR, IncidentFile, IncidentName, bound, list, write};
pub use keeper::{Keeper, KeeperConfig};
pub use recover::{Recovered, Unrecoverable, fold_all, open_log, recover, states_at};
pub use retention::{IncidentLimits, Limits, RetainError, STORE_SHARE, cut_point, retain};
pub use state::{LAYOUT, Place, open_state, seal_state};
pub use watcher::{IncidentWatcher, Outcome, Window};
