//! A simulated member: host, daemon, log, guard, PostgreSQL. It holds them; [`super::world`] moves them.

use super::fault::{CrashPoint, PromotionFault, Rejection, Report};
use super::frozen::Frozen;
use super::guard::Guard;
use super::poison::Poison;
use super::postgres::Postgres;
use super::queue::Run;
use super::team::Team;
use super::time::{HostClock, SimNanos};
use crate::core::{BootId, Effect, Incarnation, Ledger, MemberId, Nanos, RestartBudget, Term, Watch};
use crate::events::{Deadline, LogFound, ProcessIdentity, Record, Settings};
use pgfo_replay::{BootNanos, Seq, WallNanos};
use std::collections::VecDeque;

/// Effects of one record that wait for the disk, in order.
#[derive(Debug)]
pub struct Waiting {
    /// Performed once the log is flushed up to here.
    pub needs: Seq,
    /// The record.
    pub sent_by: Seq,
    /// What to do.
    pub effect: Effect,
}

/// One run of the daemon.
pub struct Daemon {
    /// Number of this run.
    pub run: Run,
    /// What it calls itself.
    pub process: ProcessIdentity,
    /// The roles.
    pub roles: Team,
    /// Effects that wait for the disk.
    pub waiting: VecDeque<Waiting>,
    /// How far the log must be flushed.
    pub wanted: Seq,
    /// Whether a flush is under way.
    pub flushing: bool,
    /// Deadlines that were handed to the clock, and not changed since.
    pub armed: Vec<(Deadline, BootNanos)>,
    /// The run of each peer that a connection stands to, in membership order.
    pub connected: Vec<Option<Run>>,
    /// Stopped (SIGSTOP) until then.
    pub frozen: Frozen,
    /// The instant before which it was frozen last: probes that span it are stalled (D4).
    pub thawed_at: SimNanos,
    /// Whose PostgreSQL it probes.
    pub watch: Watch,
    /// Whose PostgreSQL the WAL receiver was last told to stream from, in which run.
    pub sender_told: Option<(Run, MemberId)>,
    /// How often each role failed, in the order of delivery.
    pub budgets: [RestartBudget; 4],
}

/// The log of a member, as its disk holds it.
pub struct Log {
    /// All records, flushed or not.
    pub records: Vec<Record>,
    /// How many are flushed.
    pub flushed: usize,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// How the next process will find it.
    pub condition: LogFound,
    /// A flush takes this long until then.
    pub slow: (SimNanos, u64),
    /// Can't be written until then.
    pub full_until: SimNanos,
    /// What was folded of it already.
    pub folded: Option<Folded>,
}

/// A fold of the beginning of a log. Folding goes on from here: a log only grows or loses its end.
pub struct Folded {
    /// The state.
    pub roles: Team,
    /// How many records are in it.
    pub records: usize,
    /// The stamp of the last of them: a log that was lost and written anew has another one there.
    pub last: WallNanos,
}

impl Log {
    /// Returns the fold of the first `records` records, and keeps it to go on from.
    pub fn fold(&mut self, records: usize, settings: &Settings) -> Team {
        let fits = |f: &Folded| {
            f.records <= records && (f.records == 0 || self.records[f.records - 1].wall == f.last)
        };
        let (mut roles, from) = match self.folded.take().filter(fits) {
            Some(folded) => (folded.roles, folded.records),
            None => (Team::new(settings), 0),
        };
        roles.fold(&self.records[from..records]);
        let last = self.records[..records].last().map_or(WallNanos(0), |r| r.wall);
        self.folded = Some(Folded { roles: roles.clone(), records, last });
        roles
    }
}

/// A member.
pub struct Node {
    /// Its number.
    pub id: MemberId,
    /// What its configuration says.
    pub settings: Settings,
    /// Whether the host has power.
    pub powered: bool,
    /// The host stands still until then.
    pub frozen: Frozen,
    /// When it last went on.
    pub thawed_at: SimNanos,
    /// The host's clock.
    pub clock: HostClock,
    /// The host's boot.
    pub boot_id: BootId,
    /// The daemon's process.
    pub daemon: Option<Daemon>,
    /// Nobody starts the daemon before.
    pub daemon_down_until: SimNanos,
    /// The log.
    pub log: Log,
    /// The guard.
    pub guard: Guard,
    /// PostgreSQL; `None`: a witness.
    pub postgres: Option<Postgres>,
    /// How promotions go wrong, until when.
    pub promotion_fault: Option<(PromotionFault, SimNanos)>,
    /// Freezes can't be observed until then.
    pub freeze_unseen_until: SimNanos,
    /// Fences leave something behind until then.
    pub stubborn_until: SimNanos,
    /// A start of PostgreSQL is queued.
    pub start_queued: bool,
    /// A rebuild is queued.
    pub rebuild_queued: bool,
    /// The promotion whose outcome the daemon polls for.
    pub promoting: Option<(Term, Run)>,
    /// The deadlines of the daemon fire early and twice until then.
    pub stray_until: SimNanos,
    /// PostgreSQL takes this much longer to answer, until when.
    pub slow_answers: (Nanos, SimNanos),
    /// How far the wall clock is off, in nanoseconds.
    pub wall_off: i64,
    /// Where the daemon dies the next time it binds itself, until when.
    pub crash_at: Option<(CrashPoint, SimNanos)>,
    /// What roles fail on.
    pub poisons: Vec<Poison>,
    /// Which reports are lost, how many still, until when.
    pub losing: Vec<(Report, u64, SimNanos)>,
    /// How connections of others to its PostgreSQL are turned away, until when.
    pub rejects: Option<(Rejection, SimNanos)>,
    /// The daemon's timers fire at multiples of this, until when.
    pub grain: (Nanos, SimNanos),
}

impl Node {
    /// Returns the boot-time clock.
    #[must_use]
    pub fn boot(&self, now: SimNanos) -> BootNanos {
        self.clock.boot(now)
    }

    /// Returns whether the host runs at this instant.
    #[must_use]
    pub fn runs(&self, now: SimNanos) -> bool {
        self.powered && now >= self.frozen.until
    }

    /// Returns what the roles know, while the daemon runs.
    #[must_use]
    pub fn ledger(&self) -> Option<&Ledger> {
        Some(self.daemon.as_ref()?.roles.ledger())
    }

    /// Returns the number of the daemon's run.
    #[must_use]
    pub fn daemon_run(&self) -> Option<Run> {
        self.daemon.as_ref().map(|d| d.run)
    }

    /// Returns until when nothing of the daemon moves.
    #[must_use]
    pub fn daemon_frozen_until(&self) -> SimNanos {
        self.daemon.as_ref().map_or(SimNanos(0), |d| d.frozen.until).max(self.frozen.until)
    }

    /// Returns until when what comes for the daemon now is held back at first; if it runs: when it went on.
    #[must_use]
    pub fn daemon_holds_until(&self, now: SimNanos) -> SimNanos {
        match &self.daemon {
            Some(d) if now >= self.frozen.until => d.frozen.holds_until(now).max(self.frozen.until),
            _ => self.frozen.holds_until(now),
        }
    }

    /// Returns whether its PostgreSQL accepts writes at this instant.
    #[must_use]
    pub fn writes(&self, now: SimNanos) -> bool {
        self.runs(now)
            && self
                .postgres
                .as_ref()
                .is_some_and(|p| now >= p.frozen.until && (p.is_writable() || now < p.orphans_until))
    }
}
