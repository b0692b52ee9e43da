//! The local standby follows another primary. "Streaming" alone is no success: a standby ahead of the fork says
//! so for ever. It must never judge what to do about a divergence, only tell its signs.

use super::freeze::RETRY_INTERVAL;
use super::outcome::{Outcome, Stop};
use super::session::{Look, Session, alter_set, pause, since};
use super::settings::{UpstreamSettings, restoring};
use crate::core::{Lsn, Nanos, Timeline};
use std::time::Duration;
use tokio::time::Instant;

/// So many receivers that streamed, one after the other, without a byte replayed: it does not get on.
const RECEIVERS_MAX: u32 = 5;

/// How often to look: a follower that has far to go is watched for long.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Whom to follow.
#[derive(Clone, PartialEq, Eq)]
pub struct FollowTarget {
    /// The value for `primary_conninfo`, from [`super::ConnInfo::to_libpq_string`]; can hold a password.
    pub primary_conninfo: String,
    /// The timeline that the new primary writes, if it is known.
    pub timeline: Option<Timeline>,
}

impl std::fmt::Debug for FollowTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FollowTarget").field("timeline", &self.timeline).finish_non_exhaustive()
    }
}

/// Signs of a standby that is ahead of the fork, or of another lineage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DivergenceHint {
    /// It goes on streaming on this older timeline.
    OldTimeline(Timeline),
    /// Receivers come and go, and nothing is replayed.
    ReceiverFlaps,
}

/// Where a follow ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// The receiver streams on the expected timeline, and replay moved or has caught up.
    Streaming {
        /// The timeline that is received.
        timeline: Timeline,
        /// The end of what was received.
        receive: Option<Lsn>,
        /// The end of what was replayed.
        replay: Option<Lsn>,
        /// From the call to the observation.
        took: Nanos,
    },
    /// It does not get on, and these are the signs: it probably needs a rewind.
    Diverged(DivergenceHint),
}

impl Session {
    /// Points the standby at `target`, puts the settings that a freeze changed back to `old`, and watches until it
    /// follows. Following twice is the same as once. Without `old`, `restore_command` and
    /// `wal_retrieve_retry_interval` go back to the configuration file's values.
    pub async fn follow(
        &mut self,
        target: &FollowTarget,
        old: Option<&UpstreamSettings>,
        deadline: Instant,
    ) -> Outcome<Followed> {
        self.follow_and_look(target, old, deadline).await.into()
    }

    async fn follow_and_look(
        &mut self,
        target: &FollowTarget,
        old: Option<&UpstreamSettings>,
        deadline: Instant,
    ) -> Result<Followed, Stop> {
        let started = Instant::now();
        self.open(deadline).await?;
        let before = self.look(deadline).await?;
        if !before.in_recovery {
            return Err(Stop::Failed("not in recovery: a primary follows nobody".to_owned()));
        }
        let default = UpstreamSettings::default();
        let [restore_command, retry_interval] = restoring(old.unwrap_or(&default));
        // Until it follows, retries come as fast as in a freeze: the new primary may not be ready yet.
        let fast_retries = alter_set("wal_retrieve_retry_interval", RETRY_INTERVAL);
        let primary_conninfo = alter_set("primary_conninfo", &target.primary_conninfo);
        self.alter(&[fast_retries, restore_command, primary_conninfo], deadline).await?;
        let followed = self.watch(target, &before, started, deadline).await?;
        if matches!(followed, Followed::Streaming { .. }) {
            self.alter(&[retry_interval], deadline).await?;
        }
        Ok(followed)
    }

    async fn watch(
        &mut self,
        target: &FollowTarget,
        before: &Look,
        started: Instant,
        deadline: Instant,
    ) -> Result<Followed, Stop> {
        let (mut receivers, mut last_pid, mut old_timeline, mut moved) =
            (0, before.receiver_pid, None, false);
        loop {
            let look = async {
                pause(deadline, LOOK_INTERVAL, "the WAL receiver to stream on the new timeline").await?;
                self.look(deadline).await
            };
            let look = match look.await {
                Ok(look) => look,
                Err(stop) => {
                    // An old timeline is normal for a standby that has to catch up first; one that stands still is not.
                    let hint = old_timeline.filter(|_| !moved).map(DivergenceHint::OldTimeline);
                    return hint.map(Followed::Diverged).ok_or(stop);
                }
            };
            moved |= look.replay > before.replay;
            let in_effect = look.primary_conninfo == target.primary_conninfo;
            // The receiver that served the old upstream proves nothing, unless the target is that very upstream.
            let new_receiver = look.receiver_pid != before.receiver_pid
                || before.primary_conninfo == target.primary_conninfo;
            // A receiver that never streams says only that the upstream is not ready.
            let Some(timeline) = look.streaming_tli().filter(|_| in_effect && new_receiver) else { continue };
            if target.timeline.is_some_and(|expected| expected != timeline) {
                old_timeline = Some(timeline);
            } else if moved || caught_up(&look) {
                let (receive, replay) = (look.receive, look.replay);
                return Ok(Followed::Streaming { timeline, receive, replay, took: since(started) });
            }
            if look.receiver_pid != last_pid {
                last_pid = look.receiver_pid;
                receivers += 1;
            }
            if receivers >= RECEIVERS_MAX && !moved {
                return Ok(Followed::Diverged(DivergenceHint::ReceiverFlaps));
            }
        }
    }
}

/// Returns whether all is replayed that was received, and all received that the sender has told of.
fn caught_up(look: &Look) -> bool {
    let sent = look.receiver.as_ref().and_then(|r| r.sender_lsn);
    look.replay.is_some() && look.replay >= look.receive && look.replay >= sent
}
