//! The Clock: tells when a heartbeat is due and when a deadline of a role passed. It fires each
//! (deadline, instant) pair once, never early; what that means is the roles' business.

use super::prober::{Beat, HeartbeatProber};
use super::sequencer::Observer;
use crate::core::Nanos;
use crate::events::{Deadline, Event, EventLog, Observation};
use crate::os;
use actix::Addr;
use pgfo_replay::BootNanos;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The most that one sleep lasts: the boot-time clock goes on while the host sleeps, tokio's does not.
/// After a host's sleep a deadline is noticed so late at most; the guard's own timer is not late.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// Where the sequencer leaves what the roles wait for.
#[derive(Clone)]
pub struct ClockHandle {
    waits: watch::Sender<Vec<(Deadline, BootNanos)>>,
}

impl ClockHandle {
    /// Replaces what is waited for.
    pub fn wait_for(&self, deadlines: Vec<(Deadline, BootNanos)>) {
        self.waits.send_if_modified(|now| {
            let changed = *now != deadlines;
            *now = deadlines;
            changed
        });
    }
}

/// The hand.
pub struct Clock {
    waits: watch::Receiver<Vec<(Deadline, BootNanos)>>,
}

impl Clock {
    /// Makes a clock and the handle to it.
    #[must_use]
    pub fn new() -> (ClockHandle, Self) {
        let (sender, waits) = watch::channel(Vec::new());
        (ClockHandle { waits: sender }, Self { waits })
    }

    /// Fires deadlines for as long as the sequencer lives.
    pub async fn run(mut self, observer: Observer) {
        let mut fired: BTreeMap<Deadline, BootNanos> = BTreeMap::new();
        loop {
            let waits = self.waits.borrow_and_update().clone();
            fired.retain(|deadline, at| waits.contains(&(*deadline, *at)));
            let pending =
                waits.iter().filter(|(d, at)| fired.get(d) != Some(at)).min_by_key(|(_, at)| *at).copied();
            let Some((deadline, at)) = pending else {
                if self.waits.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let left = Duration::from_nanos(at.nanos_since(os::boot_now()));
            if left.is_zero() {
                fired.insert(deadline, at);
                observer.tell(Observation::DeadlinePassed(deadline)).await;
                continue;
            }
            tokio::select! {
                changed = self.waits.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(left.min(SLEEP_MAX)) => {}
            }
        }
    }
}

/// Tells every heartbeat, re-armed by hand so that a stall is followed by one tick, not by a burst. The prober
/// probes at the same instants: an idle member is woken once for both.
pub async fn beat(
    interval: watch::Receiver<Nanos>,
    log: Arc<EventLog<Event>>,
    observer: Observer,
    prober: Addr<HeartbeatProber>,
) {
    loop {
        let begun = tokio::time::Instant::now();
        // A full mailbox is a prober that is behind: it says so itself (D4).
        let _ = prober.try_send(Beat);
        observer.tell(Observation::HeartbeatDue { flushed: log.stats().flushed }).await;
        let period = Duration::from_nanos(interval.borrow().0);
        tokio::time::sleep_until(begun + period).await;
    }
}
