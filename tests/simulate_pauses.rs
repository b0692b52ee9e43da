//! A pause lasts as long as its reason; a stalled disk costs no lease; who missed winners watches the newest.

mod simulate_support;

use pgfo::cluster::{Fault, Scenario, TimedFault};
use pgfo::core::MemberId;
use simulate_support::*;

fn five() -> Vec<pgfo::cluster::ScenarioMember> {
    vec![data(); 5]
}

/// M3, L6: it could not keep the pause over its own end, and would be fenced when it is back.
#[test]
fn a_primary_on_a_stalled_disk_stays_when_told_to_stop() {
    let faults = vec![
        (10_000, Fault::DiskFull { member: A, for_ms: 2_000 }),
        (10_500, Fault::StopDaemon { member: A, for_ms: 6_000 }),
    ];
    play(&scenario(three(), faults), |o, _| {
        some(o, "m0 DECIDED StopRefused");
        never(o, "FenceOrdered");
        never(o, "m1 DECIDED PauseAgreed");
    });
}

/// M3: the others agreed, the primary did not, and goes on: nothing may be left of that when its host dies.
#[test]
fn a_pause_that_its_primary_refused_bars_no_failover() {
    let faults = vec![
        (9_000, Fault::Cut { from: vec![MemberId(3), MemberId(4)], to: vec![A], for_ms: 7_000 }),
        (10_000, Fault::StopDaemon { member: A, for_ms: 1_000 }),
        (10_050, Fault::DiskFull { member: A, for_ms: 5_000 }),
        (40_000, Fault::KillHost { member: A, for_ms: 60_000 }),
    ];
    play(&Scenario { heal_at_ms: 110_000, ..scenario(five(), faults) }, |o, _| {
        let promoted = when(o, "DECIDED PrimaryAnnounced");
        assert!(promoted.iter().any(|at| (40_000.0..60_000.0).contains(at)), "{promoted:?}\n{}", tail(o));
    });
}

/// M3: a pause that protects is asked for again, not replaced by one that nobody has agreed to yet.
#[test]
fn who_is_stopped_again_within_its_pause_stays_protected() {
    let faults = vec![
        (20_000, Fault::StopDaemon { member: A, for_ms: 30_000 }),
        (40_000, Fault::Split { one: vec![A], other: vec![B, C], for_ms: 30_000 }),
        (55_000, Fault::StopDaemon { member: A, for_ms: 5_000 }),
    ];
    play(&scenario(three(), faults), |o, _| {
        never(o, "FenceOrdered");
        never(o, "FENCE");
    });
}

/// L6: back within its pause and cut off, it must not hand the guard the rest of a lease that no grant of its own
/// extends.
#[test]
fn a_stop_that_is_refused_within_a_pause_arms_no_guard() {
    let faults = vec![
        (20_000, Fault::StopDaemon { member: A, for_ms: 2_000 }),
        (21_000, Fault::Split { one: vec![A], other: vec![B, C], for_ms: 60_000 }),
        (22_200, Fault::DiskFull { member: A, for_ms: 2_000 }),
        (22_500, Fault::StopDaemon { member: A, for_ms: 5_000 }),
    ];
    play(&scenario(three(), faults), |o, _| {
        some(o, "m0 DECIDED StopRefused");
        never(o, "FENCE");
    });
}

/// M3: its end is kept, and told to who missed it, also by a member that was not paused itself.
#[test]
fn who_was_not_paused_tells_the_end_of_a_pause() {
    let cut = |from: MemberId, to: MemberId| Fault::Cut { from: vec![from], to: vec![to], for_ms: 100_000 };
    let faults = vec![
        (19_900, cut(C, A)),
        (19_900, Fault::DiskFull { member: B, for_ms: 2_000 }),
        (20_000, Fault::StopDaemon { member: A, for_ms: 1_000 }),
        (21_500, cut(A, C)),
        (24_500, Fault::KillHost { member: A, for_ms: 60_000 }),
    ];
    play(&scenario(three(), faults), |o, _| {
        let promoted = when(o, "DECIDED PrimaryAnnounced");
        assert!(promoted.iter().any(|at| (24_500.0..45_000.0).contains(at)), "{promoted:?}\n{}", tail(o));
    });
}

/// M2: renewals would bear a number that nobody else is told before the disk goes on.
#[test]
fn no_log_is_registered_on_a_stalled_disk() {
    for stalls_at in [10_500, 11_000, 11_500, 12_000] {
        let faults = vec![
            (6_000, Fault::LoseLog { member: MemberId(4) }),
            (stalls_at, Fault::DiskFull { member: A, for_ms: 8_000 }),
        ];
        play(&scenario(five(), faults), |o, _| never(o, "FenceOrdered"));
    }
}

/// D1: the history comes after the newest winner; the primary that is probed is the newest. All three that are
/// left have to hold the last one down.
#[test]
fn who_was_away_for_two_failovers_notices_the_third() {
    let mut s = away_for_two_failovers();
    s.faults.push(TimedFault { at_ms: 100_000, fault: Fault::KillHost { member: A, for_ms: 90_000 } });
    play(&s, |o, _| {
        let adopted: Vec<_> =
            o.story.iter().filter(|l| l.contains("m3 DECIDED AnnouncementAdopted")).collect();
        let last = adopted.last().expect("it was told");
        assert!(
            adopted.len() >= 2 && last.contains("primary: MemberId(2)"),
            "the older one last: {adopted:#?}"
        );
        let promoted = when(o, "m2 DECIDED PrimaryAnnounced");
        assert!(promoted.iter().any(|at| (100_000.0..120_000.0).contains(at)), "{promoted:?}\n{}", tail(o));
    });
}

/// M3: PostgreSQL is dead and stays so, and the report of its fence was lost: the pause protects nothing, and must not outlast
/// the time that a report may take.
#[test]
fn a_fence_within_a_pause_that_was_not_heard_is_made_again() {
    play(&kept("133_fence_unheard_within_a_pause"), |o, _| {
        let promoted = when(o, "DECIDED PrimaryAnnounced");
        assert!(promoted.iter().any(|at| (35_000.0..150_000.0).contains(at)), "{promoted:?}\n{}", tail(o));
    });
}

/// M3: a pause is for the time without a daemon; one that is back stops a PostgreSQL that hangs, as without a pause.
#[test]
fn a_paused_primary_that_hangs_is_replaced_once_its_daemon_is_back() {
    play(&kept("132_paused_primary_is_back_and_hangs"), |o, _| {
        let promoted = when(o, "DECIDED PrimaryAnnounced");
        assert!(promoted.iter().any(|at| (50_000.0..90_000.0).contains(at)), "{promoted:?}\n{}", tail(o));
    });
}

/// M3: whose log is lost knows of no tenure any more, and still has to say that nothing is left of it.
#[test]
fn a_pause_ends_whose_primary_forgot_it() {
    for name in ["135_paused_log_lost_and_dead", "136_paused_log_lost_and_hung"] {
        play(&kept(name), |o, _| {
            let promoted = when(o, "DECIDED PrimaryAnnounced");
            assert!(
                promoted.iter().any(|at| (30_000.0..120_000.0).contains(at)),
                "{promoted:?}\n{}",
                tail(o)
            );
        });
    }
}

/// M3: a PostgreSQL that answers as a standby does not hang; it can follow whom the others elect.
#[test]
fn a_standby_that_answers_is_not_stopped_within_a_forgotten_pause() {
    replay("140_paused_log_lost_and_a_standby", |o| {
        some(o, "m1 DECIDED PrimaryAnnounced");
        never(o, "HungAndQuorumAgrees");
    });
}

/// M3: the end of an older pause must not end the newer one that its primary counts on.
#[test]
fn an_older_pause_that_comes_late_is_not_agreed_to() {
    replay("142_an_older_pause_comes_late", |o| {
        some(o, "m2 DECIDED PauseAgreed");
        never(o, "DECIDED ElectionWon { term: Term(2)");
    });
}
