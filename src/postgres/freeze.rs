//! The freeze of the local standby (E2): the WAL receiver is gone and stays gone, and that is *observed*. It
//! must never report a position that could still grow by reception.

use super::answer::StartupWait;
use super::outcome::{Outcome, Stop};
use super::process;
use super::session::{LOOK_INTERVAL, Look, Session, alter_set, pause, since};
use crate::core::{Lsn, Nanos, Timeline};
use rustix::process::Signal;
use std::time::Duration;
use tokio::time::Instant;

/// How long the startup process gets to stop the receiver by itself, before it is terminated from here. With
/// replay paused it never does.
const RECEIVER_GRACE: Duration = Duration::from_millis(10);
/// The distance of two looks without a receiver, when the startup process proves nothing.
const LOOKS_APART: Duration = Duration::from_millis(100);
/// Retries of a frozen standby come this often: a promotion waits for the end of one.
pub(super) const RETRY_INTERVAL: &str = "100ms";

/// What proves that the receiver stays gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreezeProof {
    /// The startup process waits to retry, so it has no receiver, and reads the empty setting before it could start one.
    StartupWaits,
    /// Looks over 100 ms found no receiver: the startup process is busy, paused or not visible.
    TwoLooks,
}

/// A frozen standby.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// The end of what was received and flushed; empty or a segment's start where no receiver has run (E4).
    pub receive: Option<Lsn>,
    /// The end of what is replayed by now; it may go on up to what was received.
    pub replay: Option<Lsn>,
    /// The timeline of the last restart point.
    pub checkpoint_timeline: Timeline,
    /// The timeline of the minimum recovery end point.
    pub recovery_end_timeline: Option<Timeline>,
    /// The highest timeline that was seen here: of a receiver before it ended, or in the control file. A receiver may
    /// have switched before the control file tells (E3).
    pub timeline: Timeline,
    /// What the startup process waited for at the last look.
    pub startup_wait: StartupWait,
    /// What proves that it stays frozen.
    pub proof: FreezeProof,
    /// Whether the receiver had to be terminated.
    pub receiver_terminated: bool,
    /// From the call to the proof.
    pub took: Nanos,
}

impl Session {
    /// Stops the WAL receiver for good and observes it. Freezing twice is the same as once. Read the old settings
    /// first, with [`Session::read_upstream_settings`]: this overwrites what may be their only copy.
    pub async fn freeze(&mut self, deadline: Instant) -> Outcome<Frozen> {
        self.freeze_and_look(deadline).await.into()
    }

    async fn freeze_and_look(&mut self, deadline: Instant) -> Result<Frozen, Stop> {
        let started = Instant::now();
        self.open(deadline).await?;
        let before = self.look(deadline).await?;
        if !before.in_recovery {
            return Err(Stop::Failed("not in recovery: there is no WAL receiver to freeze".to_owned()));
        }
        let mut changes = Vec::new();
        if before.retry_interval != RETRY_INTERVAL {
            changes.push(alter_set("wal_retrieve_retry_interval", RETRY_INTERVAL));
        }
        if !before.restore_command.is_empty() {
            changes.push(alter_set("restore_command", ""));
        }
        if !before.primary_conninfo.is_empty() {
            changes.push(alter_set("primary_conninfo", ""));
        }
        self.alter(&changes, deadline).await?;
        let first = self.await_load(before.load_time, deadline).await?;
        // The postmaster signals this session before it signals the startup process. It handles one reload after
        // the other, so that when a second one is seen here, the startup process has had the first signal.
        self.alter(&[], deadline).await?;
        let look = self.await_load(first.load_time, deadline).await?;
        let received = before.seen_tli().max(first.seen_tli());
        self.await_no_receiver(look, received, started, deadline).await
    }

    /// Waits until this session has read the configuration again since `load_time`, and finds no upstream in it.
    async fn await_load(&mut self, load_time: i64, deadline: Instant) -> Result<Look, Stop> {
        loop {
            let look = self.look(deadline).await?;
            let untied = look.primary_conninfo.is_empty() && look.restore_command.is_empty();
            if untied && look.load_time != load_time {
                return Ok(look);
            }
            pause(deadline, LOOK_INTERVAL, "the empty primary_conninfo to take effect").await?;
        }
    }

    async fn await_no_receiver(
        &mut self,
        mut look: Look,
        received: Timeline,
        started: Instant,
        deadline: Instant,
    ) -> Result<Frozen, Stop> {
        let untied_at = Instant::now();
        let mut receiver_terminated = false;
        let mut timeline = received;
        let mut quiet_since: Option<Instant> = None;
        loop {
            if !look.in_recovery {
                return Err(Stop::Failed("recovery ended during the freeze".to_owned()));
            }
            timeline = timeline.max(look.seen_tli());
            let quiet = quiet_since.filter(|_| look.receiver_pid.is_none());
            let proof = match (look.receiver_pid, look.startup_wait) {
                (None, StartupWait::RetrieveRetryInterval) => Some(FreezeProof::StartupWaits),
                (None, _) => quiet.filter(|q| q.elapsed() >= LOOKS_APART).map(|_| FreezeProof::TwoLooks),
                (Some(_), _) => None,
            };
            if let Some(proof) = proof {
                return Ok(Frozen {
                    receive: look.receive,
                    replay: look.replay,
                    checkpoint_timeline: look.checkpoint_timeline,
                    recovery_end_timeline: look.recovery_end_timeline,
                    timeline,
                    startup_wait: look.startup_wait,
                    proof,
                    receiver_terminated,
                    took: since(started),
                });
            }
            quiet_since = look.receiver_pid.is_none().then(|| quiet.unwrap_or_else(Instant::now));
            if let Some(pid) = look.receiver_pid.filter(|_| untied_at.elapsed() >= RECEIVER_GRACE) {
                self.terminate_receiver(pid, deadline).await?;
                receiver_terminated = true;
            }
            pause(deadline, LOOK_INTERVAL, "the WAL receiver to stop").await?;
            look = self.look(deadline).await?;
        }
    }

    async fn terminate_receiver(&mut self, pid: i32, deadline: Instant) -> Result<(), Stop> {
        // PostgreSQL's own function takes backends only, and a receiver is none; but the server is ours, on this host.
        let signalled = process::signal_member(self.data_dir(), pid, Signal::TERM);
        if signalled.is_ok() {
            return Ok(());
        }
        self.row("SELECT pg_terminate_backend($1)", &[&pid], deadline).await.map(drop)
    }
}
