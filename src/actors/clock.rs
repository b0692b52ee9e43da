//! The Clock: tells when a heartbeat is due and when a deadline of a role passed. It fires each
//! (deadline, instant) pair once, never early, and again only while a role still waits for it, because it failed on it;
//! what that means is the roles' business.

use super::prober::{Beat, HeartbeatProber};
use super::sequencer::Observer;
use crate::core::{DEADLINE_AGAIN, Nanos};
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

/// What was fired and is waited for all the same: at which instant it passed, and when it is fired again.
#[derive(Default)]
struct Fired(BTreeMap<Deadline, (BootNanos, BootNanos)>);

impl Fired {
    /// Returns what is to be fired next, and when.
    fn next(&mut self, waits: &[(Deadline, BootNanos)]) -> Option<((Deadline, BootNanos), BootNanos)> {
        self.0.retain(|deadline, (at, _)| waits.contains(&(*deadline, *at)));
        let again = |(deadline, at): &(Deadline, BootNanos)| {
            self.0.get(deadline).filter(|(passed, _)| passed == at).map(|(_, again)| *again)
        };
        waits.iter().map(|wait| (*wait, again(wait).unwrap_or(wait.1))).min_by_key(|(_, due)| *due)
    }

    fn insert(&mut self, (deadline, at): (Deadline, BootNanos), now: BootNanos) {
        self.0.insert(deadline, (at, now.plus_nanos(DEADLINE_AGAIN.0)));
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
        let mut fired = Fired::default();
        loop {
            let waits = self.waits.borrow_and_update().clone();
            let Some(((deadline, at), due)) = fired.next(&waits) else {
                if self.waits.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let now = os::boot_now();
            let left = Duration::from_nanos(due.nanos_since(now));
            if left.is_zero() {
                fired.insert((deadline, at), now);
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

#[cfg(test)]
mod tests {
    use super::*;

    const STAND: (Deadline, BootNanos) = (Deadline::StandDue, BootNanos(5));

    #[test]
    fn what_a_role_failed_on_is_fired_again_a_while_later() {
        let mut fired = Fired::default();
        assert_eq!(fired.next(&[STAND]), Some((STAND, BootNanos(5))));
        fired.insert(STAND, BootNanos(7));
        // Whatever else is waited for comes first.
        let lease = (Deadline::LeaseEnds, BootNanos(900));
        assert_eq!(fired.next(&[STAND, lease]), Some((lease, BootNanos(900))));
        assert_eq!(fired.next(&[STAND]), Some((STAND, BootNanos(7 + DEADLINE_AGAIN.0))));
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_fired_once() {
        let mut fired = Fired::default();
        fired.insert(STAND, BootNanos(7));
        assert_eq!(fired.next(&[]), None);
        let later = (STAND.0, BootNanos(8));
        assert_eq!(fired.next(&[later]), Some((later, BootNanos(8))), "another instant is another deadline");
    }
}
