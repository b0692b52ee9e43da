//! What clients were told: every acknowledged commit, with when and by whom, and what follows from
//! it. Pure; it never asks a database.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// One row that was written: the writer's number (0 is the main client, above are the probers) and
/// its growing id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AckKey {
    /// Who wrote it.
    pub writer: u8,
    /// Its id, never written twice.
    pub id: u64,
}

/// One acknowledged commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// What was written.
    pub key: AckKey,
    /// The port of the PostgreSQL that acknowledged it.
    pub port: u16,
    /// When the statement was sent.
    pub sent: Instant,
    /// When the answer was here.
    pub acked: Instant,
}

/// The longest time without an acknowledged commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// As the main client saw it, its dialling included.
    pub client: Duration,
    /// As the service was: over the main client and the probers, which hold a connection a node.
    pub service: Duration,
    /// True if commits were acknowledged again, to the client as to the probers.
    pub ended: bool,
}

/// All acknowledged commits of one run.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    acks: Vec<Ack>,
}

impl Ledger {
    pub(crate) fn push(&mut self, ack: Ack) {
        assert!(ack.sent <= ack.acked, "an answer before its question");
        self.acks.push(ack);
    }

    /// Returns the acknowledged commits, in no particular order.
    #[must_use]
    pub fn acks(&self) -> &[Ack] {
        &self.acks
    }

    /// Returns how many commits were acknowledged to the main client.
    #[must_use]
    pub fn acked(&self) -> usize {
        self.acks.iter().filter(|ack| ack.key.writer == 0).count()
    }

    /// Returns the longest gap between two acknowledged commits, from the last one before `fault`
    /// until `now`.
    #[must_use]
    pub fn outage(&self, fault: Instant, now: Instant) -> Outage {
        let (client, client_ended) = longest_gap(self.times(|ack| ack.key.writer == 0), fault, now);
        let (service, service_ended) = longest_gap(self.times(|_| true), fault, now);
        Outage { client, service, ended: client_ended && service_ended }
    }

    /// Returns the time from `since` to the first commit that the PostgreSQL on `port` acknowledged
    /// after it, `None` if there was none.
    #[must_use]
    pub fn first_ack_by(&self, port: u16, since: Instant) -> Option<Duration> {
        let times = self.times(|ack| ack.port == port && ack.acked >= since);
        times.first().map(|first| first.duration_since(since))
    }

    /// Returns the acknowledged commits that are not in `present`, which was read after them.
    #[must_use]
    pub fn lost(&self, present: &BTreeSet<AckKey>) -> Vec<AckKey> {
        let mut lost: Vec<AckKey> =
            self.acks.iter().map(|ack| ack.key).filter(|key| !present.contains(key)).collect();
        lost.sort_unstable();
        lost
    }

    /// Returns the commits that another PostgreSQL acknowledged although they were sent after the
    /// one on `new_primary_port` had first acknowledged one: a split brain without doubt.
    #[must_use]
    pub fn split_brain(&self, new_primary_port: u16) -> Vec<Ack> {
        let firsts = self.times(|ack| ack.port == new_primary_port);
        let Some(first) = firsts.first() else { return Vec::new() };
        let of_others = self.acks.iter().filter(|ack| ack.port != new_primary_port);
        of_others.filter(|ack| ack.sent > *first).copied().collect()
    }

    fn times(&self, of: impl Fn(&Ack) -> bool) -> Vec<Instant> {
        let mut times: Vec<Instant> = self.acks.iter().filter(|ack| of(ack)).map(|ack| ack.acked).collect();
        times.sort_unstable();
        times
    }
}

/// Returns the longest gap and whether commits came after the fault.
fn longest_gap(times: Vec<Instant>, fault: Instant, now: Instant) -> (Duration, bool) {
    let after = times.partition_point(|time| *time <= fault);
    let mut previous = if after == 0 { fault } else { times[after - 1] };
    let mut longest = Duration::ZERO;
    for time in times[after..].iter().filter(|time| **time <= now) {
        longest = longest.max(time.duration_since(previous));
        previous = *time;
    }
    let open = now.saturating_duration_since(previous);
    (longest.max(open), times.len() > after && open <= longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(start: Instant, acks: &[(u8, u64, u16, u64)]) -> Ledger {
        let mut ledger = Ledger::default();
        for (writer, id, port, at_ms) in acks {
            let acked = start + Duration::from_millis(*at_ms);
            let sent = acked - Duration::from_millis(1);
            ledger.push(Ack { key: AckKey { writer: *writer, id: *id }, port: *port, sent, acked });
        }
        ledger
    }

    #[test]
    fn the_prober_shortens_the_outage_of_the_service_alone() {
        let start = Instant::now();
        let ms = |n| start + Duration::from_millis(n);
        let ledger =
            ledger(start, &[(0, 1, 1, 10), (0, 2, 1, 100), (1, 1, 2, 400), (0, 3, 2, 900), (0, 4, 2, 905)]);
        let outage = ledger.outage(ms(110), ms(910));
        assert_eq!(outage.client, Duration::from_millis(800));
        assert_eq!(outage.service, Duration::from_millis(500));
        assert!(outage.ended);
        assert_eq!(ledger.first_ack_by(2, ms(110)), Some(Duration::from_millis(290)));
        assert_eq!(ledger.acked(), 4);
    }

    #[test]
    fn an_outage_that_goes_on_is_said_to() {
        let start = Instant::now();
        let ledger = ledger(start, &[(0, 1, 1, 10)]);
        let at = |n| start + Duration::from_millis(n);
        let outage = ledger.outage(at(20), at(1_010));
        assert_eq!((outage.client, outage.ended), (Duration::from_secs(1), false));
    }

    #[test]
    fn what_the_old_primary_acknowledged_late_is_a_split_brain() {
        let start = Instant::now();
        let ledger = ledger(start, &[(0, 1, 1, 10), (1, 1, 2, 50), (2, 1, 1, 51), (2, 2, 1, 80)]);
        let late: Vec<u64> = ledger.split_brain(2).iter().map(|ack| ack.key.id).collect();
        assert_eq!(late, [2], "one in flight at that moment proves nothing");
        assert!(ledger.split_brain(3).is_empty());
    }

    #[test]
    fn lost_is_what_was_acknowledged_and_is_not_there() {
        let ledger = ledger(Instant::now(), &[(0, 1, 1, 10), (0, 2, 1, 20)]);
        let present = BTreeSet::from([AckKey { writer: 0, id: 1 }, AckKey { writer: 0, id: 99 }]);
        assert_eq!(ledger.lost(&present), [AckKey { writer: 0, id: 2 }]);
    }
}
