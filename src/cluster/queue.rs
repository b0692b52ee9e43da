//! What happens in a simulated cluster, as the one queue holds it. It performs nothing.

use super::parcels::Parcel;
use super::time::SimNanos;
use crate::core::{BootNanos, Lsn, MemberId, Nanos, Term};
use crate::events::{
    Deadline, FenceOutcome, FollowOutcome, FreezeOutcome, GuardReport, ProbeKind, PromotionOutcome,
};
use pgfo_replay::Seq;

/// One run of a daemon, of a PostgreSQL or of a connection: what was meant for an earlier run is void.
pub(super) type Run = u64;

/// Something that happens at one member. What is large and rare is boxed: every event is moved several times.
#[derive(Debug)]
#[allow(missing_docs, reason = "a field is named after what it is")]
pub enum Happening {
    /// The daemon's next heartbeat is due.
    Heartbeat,
    /// A deadline of the roles passes.
    Deadline(Deadline, BootNanos),
    /// A deadline fires that nobody waits for any more, or not yet.
    StrayDeadline(Deadline),
    /// A probe reaches its target.
    ProbeArrives { target: MemberId, kind: ProbeKind, started: SimNanos, number: u64 },
    /// A probe ends.
    ProbeEnds { target: MemberId, kind: ProbeKind, started: SimNanos, report: Parcel },
    /// A message arrives.
    Delivery { from: MemberId, message: Parcel, tries: u8 },
    /// The log is flushed up to here.
    Flushed { upto: Seq },
    /// A connection to a peer stands.
    Connected { peer: MemberId, peer_run: Run },
    /// A connection to a peer is found gone.
    Disconnected { peer: MemberId, refused: bool },
    /// The guard answers the daemon.
    GuardReplied(GuardReport),
    /// A fence that the daemon asked for ended.
    FenceEnded(Box<FenceOutcome>),
    /// A freeze is looked at.
    FreezeEnded { term: Term, outcome: Option<Box<FreezeOutcome>> },
    /// A promotion's outcome is told.
    PromotionEnded { term: Term, outcome: Box<PromotionOutcome> },
    /// Following is looked at.
    FollowPoll { term: Term, primary: MemberId, started: SimNanos },
    /// Following ended.
    FollowEnded { term: Term, outcome: Box<FollowOutcome> },
    /// Catching up is looked at (E7).
    CatchUpPoll { term: Term, from: MemberId, until: Lsn, started: SimNanos },
    /// The kernel tells of the postmaster's end.
    PostmasterGone,
    /// The WAL receiver's process ended.
    ReceiverEnded,
    /// Something else is observed.
    Observed(crate::events::Actor, Box<crate::events::Observation>),
    /// The daemon goes away in order.
    DaemonStops,
}

/// Where the postmaster's start and end come from, as [`Happening::source`] numbers it.
pub(super) const SOURCE_POSTMASTER: u64 = 5;

impl Happening {
    /// Returns the number of the source it comes from: what one source tells stays in order.
    #[must_use]
    pub fn source(&self) -> u64 {
        match self {
            Self::Heartbeat | Self::Deadline(..) | Self::StrayDeadline(_) => 0,
            Self::ProbeArrives { .. } | Self::ProbeEnds { .. } | Self::ReceiverEnded => 1,
            Self::Flushed { .. } => 2,
            Self::GuardReplied(_) => 3,
            Self::FenceEnded(_)
            | Self::FreezeEnded { .. }
            | Self::PromotionEnded { .. }
            | Self::FollowPoll { .. }
            | Self::FollowEnded { .. }
            | Self::CatchUpPoll { .. } => 4,
            Self::PostmasterGone => SOURCE_POSTMASTER,
            Self::DaemonStops => 6,
            Self::Observed(actor, _) => 16 + u64::from(actor.number()),
            Self::Delivery { from: peer, .. }
            | Self::Connected { peer, .. }
            | Self::Disconnected { peer, .. } => 256 + u64::from(peer.0),
        }
    }
}

/// Whose run an event is bound to.
#[derive(Debug)]
pub enum Event {
    /// Of a daemon's run.
    Daemon(MemberId, Run, Happening),
    /// The guard's deadline.
    GuardDeadline(MemberId, Run, BootNanos),
    /// A fence has left nothing behind.
    FenceDone(MemberId, (Run, u64), Nanos),
    /// The daemon learns of a postmaster.
    PostmasterSeen(MemberId, Run),
    /// A link that is cut is given up.
    LinkIdle(MemberId, MemberId),
    /// PostgreSQL's processes are gone.
    PostgresKilled(MemberId, Run),
    /// PostgreSQL is up.
    PostgresReady(MemberId, Run),
    /// A standby has replayed its local WAL.
    PostgresReplayed(MemberId, Run),
    /// A promotion takes effect.
    PostgresPromoted(MemberId, Run),
    /// A promotion has taken the seal off, and PostgreSQL dies.
    PostgresHalfPromoted(MemberId, Run),
    /// A WAL receiver tries to connect.
    ReceiverStarts(MemberId, Run),
    /// A WAL receiver notices that its source is gone.
    ReceiverLost(MemberId, Run),
    /// A freeze that was ordered takes effect at last.
    FreezeBites(MemberId, Run),
    /// WAL arrives at a standby.
    WalArrives(MemberId, Run),
    /// systemd starts PostgreSQL.
    StartPostgres(MemberId),
    /// The daemon's process is started.
    StartDaemon(MemberId),
    /// The host boots.
    BootHost(MemberId),
    /// The operator rebuilds a standby from the primary, with a new log.
    Rebuild(MemberId),
    /// Clients write.
    Write,
    /// A fault begins.
    FaultBegins(usize),
    /// A fault ends.
    FaultEnds(usize),
    /// Everything is mended.
    Heal,
    /// A frozen member goes on; queued so that what waited is done in order.
    Thaw(MemberId),
}

/// The one queue of what is to happen.
pub(super) type Queue = pgfo_replay::simulation::Queue<Event>;
