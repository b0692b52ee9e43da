//! What a deterministic simulation is made of: true time and the clocks of hosts, a queue with a total
//! order, draws by key, the trace hash, shrinking. It knows nothing of what is simulated, and reads no
//! clock of its own.

mod draw;
mod queue;
mod shrink;
mod time;
mod trace;

pub use draw::{Draw, Draws, Keyed};
pub use queue::Queue;
pub use shrink::{Shrunk, shrink};
pub use time::{HostClock, SimNanos};
pub use trace::TraceHash;
