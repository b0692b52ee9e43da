//! PostgreSQL seen and handled from outside: conninfo, probe, control, processes. It decides nothing:
//! it reports what it observed, and an outcome it could not observe is *unknown*, never "failed".

mod answer;
mod command;
mod conninfo;
mod death_watch;
mod expand;
mod follow;
mod freeze;
mod link;
mod outcome;
mod passwords;
mod pg_ctl;
mod probe;
mod process;
mod promote;
mod session;
mod settings;
mod sql;
mod sweep;
mod tls;

pub use answer::{
    Answer, PostmasterStart, ProbeOutcome, ReceiverStatus, SqlState, StartupWait, Step, WalReceiver,
};
pub use command::{CommandEnd, CommandReport, OUTPUT_TAIL_BYTES, run_command};
pub use conninfo::{ConnInfo, ConnInfoError, Environment, Host, SslMode};
pub use death_watch::{DeathWatch, Receiver};
pub use expand::{ExpandError, expand, shell_quote};
pub use follow::{DivergenceHint, FollowTarget, Followed};
pub use freeze::{FreezeProof, Frozen};
pub use link::{Connector, Link, LinkError};
pub use outcome::Outcome;
pub use pg_ctl::{PgCtl, PgCtlCommands, StopMode};
pub use probe::{Probe, Prober};
pub use process::{LiveProcess, Postmaster, PostmasterError, ProcessState, ScanError, postmaster_pid, scan};
pub use promote::{Promoted, Promotion};
pub use session::Session;
pub use settings::{Setting, UpstreamSettings};
pub use sweep::{EMPTY_SCANS_MIN, Sweep, confirm_gone, sweep};
