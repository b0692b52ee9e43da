//! Shells: the sequencer, the roles as supervised actors, the hands. No failover policy here: an `if`
//! about who is promoted belongs into `crate::core`.

mod appender;
mod clock;
mod complaint;
mod guardian;
mod hands;
#[cfg(feature = "fault-injection")]
mod injected;
mod operations;
mod operator;
mod peers;
mod postmaster;
mod prober;
mod receiver;
mod role_shell;
mod saved_upstream;
mod sequencer;

pub use clock::{Clock, ClockHandle, beat};
pub use guardian::Guardian;
pub use hands::{DaemonOrder, Hands};
pub use operator::{GuardReached, OperatorConfig, Perform, PostgresOperator, Reconfigure, Shared};
pub use peers::{Envelope, listen_to_peers};
pub use postmaster::{Held, watch_postmaster};
pub use prober::{HeartbeatProber, Massage, ProbeTargets, Retime, WatchPrimary};
pub use receiver::ReceiverWatch;
pub use role_shell::{Answer, Deliver, Ping, Rebuild, RoleShell};
pub use sequencer::{GetLedger, GetLog, Observe, Observer, Sequencer, SequencerConfig, Teller};
