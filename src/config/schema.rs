//! The resolved configuration: every key with its meaning, its unit and its default.
//!
//! Plain data. It must never be changed after loading; a reload makes another one.

use super::command_line::CommandLine;
use super::conninfo::Conninfo;
use super::membership::Membership;
use super::units::ByteCount;
use super::words::{FailoverMode, FencingMode, LogFormat, LogLevel, ReplicationMode};
use crate::core::Nanos;
use std::path::PathBuf;

/// The whole configuration of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[cluster]`: what all members have in common.
    pub cluster: Cluster,
    /// `[node]`: this member.
    pub node: Node,
    /// `[log]`: the event log and the text log.
    pub log: Log,
    /// `[postgres]`: the PostgreSQL beside this daemon; `None` on a witness.
    pub postgres: Option<Postgres>,
    /// `[failover]`: what happens when the primary is down, and what this member may become.
    pub failover: Failover,
    /// `[heartbeat]`: the regular probes of the primary and of the peers.
    pub heartbeat: Heartbeat,
    /// `[escalation]`: the extra probes after a heartbeat failed.
    pub escalation: Escalation,
    /// `[election]`: the pace of an election.
    pub election: Election,
    /// `[lease]`: the right to accept writes.
    pub lease: Lease,
    /// `[fencing]`: who stops PostgreSQL when the lease runs out.
    pub fencing: Fencing,
    /// `[replication]`: what an acknowledged commit means.
    pub replication: Replication,
    /// `[tls]`: the identity among peers; `None` only when all members are on loopback.
    pub tls: Option<Tls>,
    /// `[[member]]`: all members, sorted by name, and which of them this one is.
    pub membership: Membership,
}

/// `[cluster]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// `name`: the cluster's name; required. The handshake compares it.
    pub name: String,
}

/// `[node]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `name`: the name of the `[[member]]` that this host is; required.
    pub name: String,
    /// `run_directory`: control and guard sockets; default `/run/pgfo/<cluster.name>`.
    pub run_directory: PathBuf,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `directory`: `events.db` lives below; default `/var/lib/pgfo/<cluster.name>`. Never inside the
    /// data directory, which a rewind or a base backup overwrites.
    pub directory: PathBuf,
    /// `level`: the least severe text log line written; default `info`.
    pub level: LogLevel,
    /// `format`: lines for people or JSON lines; default `terminal`.
    pub format: LogFormat,
    /// `age_max`: older records are removed, behind a checkpoint; default 30 days, at least
    /// [`LOG_AGE_MIN`].
    pub age_max: Nanos,
    /// `size_max`: the oldest records are removed to keep `events.db` below this: the records' own bytes
    /// below a quarter of it, the rest is the store's; default 1 GB, at least [`LOG_SIZE_MIN`].
    pub size_max: ByteCount,
    /// `incidents_max`: files of incidents, which are kept whatever their age; default 100.
    pub incidents_max: u32,
    /// `incidents_size_max`: size of all of them together, the newest stays; default 256 MB.
    pub incidents_size_max: ByteCount,
}

/// `[postgres]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postgres {
    /// `conninfo`: how the daemon reaches the PostgreSQL beside it; required.
    pub conninfo: Conninfo,
    /// `data_directory`: required.
    pub data_directory: PathBuf,
    /// `bin_directory`: where `pg_ctl`, `pg_rewind`, `pg_basebackup` are; required.
    pub bin_directory: PathBuf,
    /// `start_command`: starts PostgreSQL; default: `pg_ctl start`.
    pub start_command: Option<CommandLine>,
    /// `stop_command`: stops it cleanly; default: `pg_ctl stop -m fast`.
    pub stop_command: Option<CommandLine>,
    /// `reload_command`: makes it read its settings again; default: `pg_reload_conf()`.
    pub reload_command: Option<CommandLine>,
}

/// `[failover]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failover {
    /// `mode`: `automatic`, or `manual` (this member never stands by itself); default `automatic`.
    pub mode: FailoverMode,
    /// `priority`: breaks ties between equally placed standbys, the higher wins; 0 = never promote;
    /// default 100, at most [`PRIORITY_MAX`].
    pub priority: u32,
    /// `lag_max`: a standby further behind the last heard primary position is not electable;
    /// default: no limit.
    pub lag_max: Option<ByteCount>,
    /// `promote_command`: instead of `pg_promote`; default: none.
    pub promote_command: Option<CommandLine>,
    /// `follow_command`: instead of pointing `primary_conninfo` at the winner; default: none.
    pub follow_command: Option<CommandLine>,
    /// `validation_command`: asked before this member stands, a failure vetoes; default: none.
    pub validation_command: Option<CommandLine>,
    /// `promote_timeout`: after this, the outcome of a promotion (command included) is unknown;
    /// default 60 s.
    pub promote_timeout: Nanos,
    /// `follow_timeout`: the same for following; default 60 s.
    pub follow_timeout: Nanos,
    /// `validation_timeout`: after this the validation counts as a veto; default 60 s.
    pub validation_timeout: Nanos,
}

/// `[heartbeat]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// `interval`: between two probes, and between two lease requests; default 1 s.
    pub interval: Nanos,
    /// `timeout`: deadline of one probe, all its steps together; default 1 s.
    pub timeout: Nanos,
    /// `reconnect_interval`: the probe's persistent connection is renewed this often, because a frozen
    /// postmaster still serves old sessions (D1); default 10 s.
    pub reconnect_interval: Nanos,
}

/// `[escalation]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// `attempts`: heart massages before the primary is called unreachable; default 3, at most
    /// [`ATTEMPTS_MAX`].
    pub attempts: u32,
    /// `interval`: between the starts of two attempts; default 300 ms.
    pub interval: Nanos,
    /// `timeout`: deadline of one attempt, which opens a fresh connection; default 1 s.
    pub timeout: Nanos,
    /// `sign_of_life_max`: how long "too many clients", "starting up" and the like count as life when
    /// the daemon beside that PostgreSQL does not vouch for it (D2); default 60 s.
    pub sign_of_life_max: Nanos,
}

impl Escalation {
    /// Returns the longest time from the first attempt's start to the last one's deadline.
    #[must_use]
    pub const fn total(&self) -> Nanos {
        let gaps = self.attempts.saturating_sub(1) as u64;
        Nanos(self.interval.0.saturating_mul(gaps).saturating_add(self.timeout.0))
    }
}

/// `[election]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Election {
    /// `testimony_timeout`: how long a pre-vote waits for the voters' testimonies (E1); default 150 ms.
    pub testimony_timeout: Nanos,
    /// `rank_delay`: the candidate of rank n waits n times this (E5); default 200 ms.
    pub rank_delay: Nanos,
    /// `retry_interval`: the least time between two candidacies of one member; default 1 s.
    pub retry_interval: Nanos,
    /// `freeze_timeout`: how long to wait for the WAL receiver to be seen gone (E2); default 2 s.
    pub freeze_timeout: Nanos,
}

/// `[lease]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// `duration`: what the primary asks of the voters; it counts 98 % of it (L1); default 5 s.
    pub duration: Nanos,
}

impl Lease {
    /// Returns what the holder counts on: 98 % of the duration, for clocks that run apart (L1).
    #[must_use]
    pub const fn counted(&self) -> Nanos {
        Nanos(self.duration.0 / 100 * 98)
    }
}

/// `[fencing]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fencing {
    /// `mode`: who fences; default `guard`.
    pub mode: FencingMode,
    /// `reserve`: the end of the lease that is kept for the fence itself (L7); default 500 ms.
    pub reserve: Nanos,
}

/// `[replication]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replication {
    /// `mode`: default `asynchronous`.
    pub mode: ReplicationMode,
}

/// `[tls]`: PEM files; all three are required where the section is present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// `ca`: the cluster's own certificate authority.
    pub ca: PathBuf,
    /// `certificate`: names this member.
    pub certificate: PathBuf,
    /// `key`: the certificate's private key, readable by the daemon's user only.
    pub key: PathBuf,
}

/// The shortest `log.age_max`: what surrounds an incident is cut out of the log long before.
pub const LOG_AGE_MIN: Nanos = Nanos(3600 * 1_000_000_000);

/// The smallest `log.size_max`: below it the store's own overhead leaves no room for records.
pub const LOG_SIZE_MIN: ByteCount = ByteCount(64 << 20);

/// The highest number of incidents' files: a directory is read whole.
pub const INCIDENTS_MAX: u32 = 100_000;

/// The highest priority: far more ranks than there can be members.
pub const PRIORITY_MAX: u32 = 1_000_000;

/// The most heart massages: beyond it a slip of the pen is likelier than a wish.
pub const ATTEMPTS_MAX: u32 = 100;
