//! Kinds of faults that a part of the seeds has besides: from a seed to faults, by keys of its own. A seed that has
//! none of them runs as it would without this file, and so does every other fault of a seed that has some.

use super::draw::{Domain, Draw, Draws};
use super::fault::{FailingRole, Fault, PromotionFault, Rejection, Report, TimedFault};
use super::scenario::{ScenarioMember, Timings};
use crate::core::MemberId;

/// One seed in so many has some.
const ONE_SEED_IN: u64 = 5;
/// Sets the draws apart from those of all other faults.
const KEY: u64 = 0x0A11_F017;
/// Kinds to draw from.
const KINDS: u64 = 12;
/// What a role fails on: something of every election, of every lease, of every day; nothing: anything.
const POISONS: [&str; 16] = [
    "",
    "HeartbeatDue",
    "ProbeCompleted",
    "DeadlinePassed",
    "Heartbeat(",
    "LeaseGranted",
    "RenewalRequested",
    "PostmasterGone",
    "FreezeRequested",
    "FreezeCompleted",
    "VoteRequested",
    "VoteGranted",
    "ElectionWon",
    "PromotionCompleted",
    "PrimaryAnnounced",
    "FollowCompleted",
];

struct More {
    draws: Draws,
    asked: u64,
}

impl More {
    fn next(&mut self) -> Draw {
        self.asked += 1;
        self.draws.draw(Domain::Fault, &[self.asked])
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.next().below(from.len() as u64)).unwrap_or(0)]
    }

    /// Short, about a lease, or long.
    fn length_ms(&mut self) -> u64 {
        let (low, high) = self.pick(&[(50, 1_500), (1_500, 8_000), (8_000, 60_000)]);
        self.next().between(low, high)
    }
}

/// Returns what a seed has besides, not sorted.
pub(super) fn more_faults(
    seed: u64,
    members: &[ScenarioMember],
    heartbeat_ms: u64,
    (quiet_ms, for_ms): (u64, u64),
) -> Vec<TimedFault> {
    let mut m = More { draws: Draws::new(seed ^ KEY), asked: 0 };
    if m.next().below(ONE_SEED_IN) != 0 {
        return Vec::new();
    }
    let kinds: Vec<u64> = (0..m.next().between(1, 4)).map(|_| m.next().below(KINDS)).collect();
    let count = m.next().between(1, 1 + for_ms / 12_000);
    let mut faults = Vec::new();
    for n in 1..=count {
        // A fault that is left out changes no other.
        m.asked = n * 1_000;
        let at_ms = quiet_ms + m.next().below(for_ms);
        let kind = m.pick(&kinds);
        one(&mut m, kind, members, heartbeat_ms, at_ms, &mut faults);
    }
    faults
}

fn one(
    m: &mut More,
    kind: u64,
    members: &[ScenarioMember],
    heartbeat_ms: u64,
    at_ms: u64,
    faults: &mut Vec<TimedFault>,
) {
    let all: Vec<MemberId> = (0..members.len()).filter_map(|i| u8::try_from(i).ok()).map(MemberId).collect();
    let data: Vec<MemberId> = all.iter().copied().filter(|id| !members[usize::from(id.0)].witness).collect();
    let (member, with_postgres) = (m.pick(&all), m.pick(&data));
    let for_ms = m.length_ms();
    let fault = match kind {
        // Twice as likely as others: what any role may fail on is much.
        0 | 1 => {
            // Once, or so often that it is quarantined.
            let times = m.pick(&[1, 1, 2, 3, 8]);
            let (role, on) = (m.pick(&FailingRole::ALL), m.pick(&POISONS).to_owned());
            Fault::RolePanics { member, role, on, times, for_ms: for_ms.max(10_000) }
        }
        2 => {
            let times = m.pick(&[1, 1, 1, 3, 30]);
            let report = m.pick(&Report::ALL);
            Fault::LoseReports { member: with_postgres, report, times, for_ms: for_ms.max(10_000) }
        }
        3 => Fault::BackendCrashes { member: with_postgres },
        4 => Fault::PostgresDiskFull { member: with_postgres, for_ms },
        5 => {
            let fault = PromotionFault::HalfDoneThenCrash;
            Fault::Promotion { member: with_postgres, fault, for_ms: for_ms.max(20_000) }
        }
        6 => {
            let how = m.pick(&[Rejection::Refused, Rejection::Reset, Rejection::Unreachable]);
            Fault::Reject { member: with_postgres, how, for_ms }
        }
        7 => Fault::CoarseTimers { member, grain_ms: m.next().between(10, 500), for_ms },
        8 => Fault::Retime { member, timings: Box::new(timings(m, heartbeat_ms)) },
        9 => Fault::SlowMember { member, by_ms: m.next().between(50, 3_000), for_ms },
        10 if m.next().happens(200) => Fault::PowerCutLogsLost { for_ms },
        10 => return,
        // The primary dies, and whoever takes over dies within the same failover, or soon after it.
        _ => {
            let again_ms = m.pick(&[300, 600, 2_000, 8_000]) + m.next().below(400);
            faults.push(TimedFault { at_ms, fault: Fault::KillPrimary });
            faults.push(TimedFault { at_ms: at_ms + again_ms, fault: Fault::KillPrimary });
            return;
        }
    };
    faults.push(TimedFault { at_ms, fault });
}

/// Another configuration than the others have. Heartbeats are as often, or twice as often.
fn timings(m: &mut More, heartbeat_ms: u64) -> Timings {
    let heartbeat_ms = m.pick(&[heartbeat_ms, heartbeat_ms, (heartbeat_ms / 2).max(500)]);
    Timings {
        heartbeat_ms,
        escalation_attempts: m.pick(&[1, 3, 5]),
        escalation_ms: m.pick(&[100, 300, 500]),
        rank_delay_ms: m.pick(&[100, 200, 400]),
        retry_ms: m.pick(&[500, 1_000, 3_000]),
        freeze_ms: m.pick(&[1_000, 2_000, 3_000]),
        lease_ms: (heartbeat_ms * m.next().between(4, 8)).max(3_000),
        reserve_ms: m.pick(&[300, 500, 800]),
        promote_ms: m.pick(&[5_000, 20_000, 60_000]),
        follow_ms: m.pick(&[5_000, 20_000, 60_000]),
        ..Timings::default()
    }
}
