//! The vocabulary between the guard's loop and its machine: what arrived, and what is to be done. Holds
//! no policy.

use super::protocol::{FenceOutcome, FenceReason, Notice, Postmaster, Reply, Request, RequestNumber};
use crate::core::{Nanos, Term};
use pgfo_replay::BootNanos;

/// One connection, as long as the guard lives; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// Who waits for a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The connection.
    pub client: ClientId,
    /// Its number for the request.
    pub number: RequestNumber,
}

/// What arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time passed.
    Instant,
    /// A client asked.
    Asked(Asker, Request),
    /// A client's connection ended. No deadline depends on it.
    ClientGone(ClientId),
    /// A look at the data directory: the seal (none: could not look), and the postmaster, if any.
    Looked {
        /// Whether the seal is there.
        sealed: Option<bool>,
        /// The postmaster found, verified and watched.
        postmaster: Option<Postmaster>,
    },
    /// The watched postmaster ended.
    PostmasterEnded(Postmaster),
    /// A pass of the fence ended.
    FenceEnded(FenceOutcome),
    /// A seal without a fence was tried.
    SealTried(Asker, Result<(), String>),
    /// What a release depends on was looked up: the seal, and the processes left.
    ReleaseChecked {
        /// Who asked for the release.
        asker: Asker,
        /// The term to release.
        term: Term,
        /// Whether the seal is known to be there.
        sealed: bool,
        /// Processes left; `u32::MAX` if they could not be counted.
        left: u32,
    },
    /// The clocks disagree about how much time passed: the host stood still for this long.
    HostStalled(Nanos),
    /// SIGTERM arrived.
    TerminationAsked,
}

/// What the loop is to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Fence now; `by`: when the lease ends, which bounds the grace given to PostgreSQL.
    Fence {
        /// Why, for the log.
        why: FenceReason,
        /// The end of the lease; none: no grace at all.
        by: Option<BootNanos>,
    },
    /// Answer a request.
    Reply(Asker, Reply),
    /// Tell the subscribed clients.
    Notify(Notice),
    /// Subscribe a client to notices.
    Subscribe(ClientId),
    /// Tell one client only.
    NotifyOne(ClientId, Notice),
    /// Seal, without a fence, and report.
    Seal(Asker),
    /// Look up what a release depends on, and report.
    CheckRelease(Asker, Term),
    /// Look at the data directory soon.
    Look,
    /// Leave the mark that this data was guarded (L9), as soon as the disk takes it.
    Mark,
    /// A line for people.
    Log(String),
    /// End the process.
    Exit,
}
