//! What the draws of a simulated cluster are for.

pub(super) use pgfo_replay::simulation::{Draw, Draws, Keyed};

/// What a draw is for; part of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Domain {
    /// Delay of a message: (from, to, number).
    Delay = 1,
    /// Whether a message is lost, repeated or late: (from, to, number).
    Fate = 2,
    /// Time of a flush: (member, sequence number).
    Flush = 3,
    /// What a crash leaves of the unflushed log: (member, crash number).
    Crash = 4,
    /// Times of PostgreSQL: (member, number).
    Postgres = 5,
    /// Network of a probe: (member, number).
    Probe = 6,
    /// Clock of a host.
    Clock = 7,
    /// Identities: (member, number).
    Identity = 8,
    /// WAL written by clients: (member, number).
    Write = 9,
    /// WAL streaming: (standby, number).
    Stream = 10,
    /// The swarm's configuration.
    Swarm = 11,
    /// The swarm's faults: (number, what).
    Fault = 12,
    /// Processes starting: (member, number).
    Start = 13,
    /// Peer connections: (member, peer, number).
    Connect = 14,
    /// What a process that goes on takes up first: (member, instant, source).
    Thaw = 15,
}

impl From<Domain> for u64 {
    fn from(domain: Domain) -> Self {
        domain as Self
    }
}
