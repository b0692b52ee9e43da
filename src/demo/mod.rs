//! Throw-away clusters on real PostgreSQL, for the demo, the benchmark and the tests.
//!
//! Blocking code with threads: a [`Sandbox`] owns directories, ports and processes, a [`Cluster`]
//! lives in it, a [`Client`] writes to it while faults are injected. It judges the daemon from
//! outside only, and must never reach into the daemon's own code.

pub mod acts;
mod builder;
mod client;
mod cluster;
mod daemon;
mod error;
mod faults;
pub mod floor;
mod interrupt;
mod ledger;
mod locks;
mod narrator;
mod networks;
mod node;
mod postgres_bin;
mod prober;
mod processes;
pub mod report;
mod sandbox;
mod session;
mod status;
pub mod takeover;
mod template;
mod user;
mod wait;

pub use builder::{Auth, Builder};
pub use client::{Client, ClientOptions};
pub use cluster::{Cluster, ReplayOutcome};
pub use daemon::LogMark;
pub use error::{DemoError, Result};
pub use interrupt::clean_up_on_interrupt;
pub use ledger::{Ack, AckKey, Ledger, Outage};
pub use node::{Node, StopMode};
pub use postgres_bin::PostgresBin;
pub use processes::Signal;
pub use sandbox::{Sandbox, SandboxOptions};
pub use session::{Rows, Session};
pub use status::{MemberStatus, Status};
pub use user::RunAs;
pub use wait::Deadline;
