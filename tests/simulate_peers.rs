//! Failures that defeat other tools, as hand-written scenarios on default settings: what must happen, what must
//! not, and how soon.
//!
//! Two have no exact counterpart. T4 (members marked inactive shrink the quorum): nothing here marks a member
//! inactive, so the nearest is members that are down when the partition comes. T12 (a "follow" that arrives one
//! election late): messages carry their term, so the nearest is a link that holds everything back over an election
//! and a release. An event script that sleeps (T15) runs in the hand that runs commands, apart from the roles; the
//! nearest here is a daemon's disk that is slow while others elect. T18 is about PgBouncer, which is not simulated.

mod simulate_support;

use pgfo::cluster::{Fault, PromotionFault, Scenario, ScenarioMember};
use pgfo::core::MemberId;
use simulate_support::*;

const D: MemberId = MemberId(3);

fn split(one: &[MemberId], other: &[MemberId], at: u64, for_ms: u64) -> (u64, Fault) {
    (at, Fault::Split { one: one.to_vec(), other: other.to_vec(), for_ms })
}

fn cut(from: &[MemberId], to: &[MemberId], at: u64, for_ms: u64) -> (u64, Fault) {
    (at, Fault::Cut { from: from.to_vec(), to: to.to_vec(), for_ms })
}

fn dark(member: MemberId, at: u64, for_ms: u64) -> (u64, Fault) {
    (at, Fault::KillHost { member, for_ms })
}

// ---- who sees it refuses --------------------------------------------------------------------

#[test]
fn t1_a_standby_that_lost_the_primary_is_not_promoted_while_the_witness_sees_both() {
    for (from, to) in [(A, B), (B, A)] {
        play(&scenario(with_witness(), vec![cut(&[from], &[to], 20_000, 40_000)]), |o, w| {
            never(o, "PROMOTED");
            never(o, "FENCE");
            assert_eq!(writers(w), [A]);
        });
    }
    play(&scenario(with_witness(), vec![split(&[A], &[B], 20_000, 40_000)]), |o, w| {
        never(o, "PROMOTED");
        never(o, "FENCE");
        some(o, "TooFewHoldItDown");
        assert_eq!(writers(w), [A]);
    });
}

#[test]
fn t2_two_members_without_a_witness_never_split() {
    let s = scenario(vec![data(), data()], vec![split(&[A], &[B], 20_000, 40_000)]);
    play(&Scenario { live: false, ..s }, |o, w| {
        never(o, "PROMOTED");
        never(o, "FENCE");
        assert_eq!(writers(w), [A], "{}", tail(o));
    });
}

#[test]
fn t3_half_of_four_is_no_quorum() {
    // The blocking set of four is two: the half with the primary keeps its lease.
    play(&scenario(vec![data(); 4], vec![split(&[A, B], &[C, D], 20_000, 40_000)]), |o, w| {
        never(o, "PROMOTED");
        never(o, "FENCE");
        assert_eq!(writers(w), [A]);
    });
}

#[test]
fn t4_members_that_are_down_still_count() {
    let faults = vec![dark(C, 15_000, 60_000), dark(D, 15_000, 60_000), split(&[A], &[B], 20_000, 40_000)];
    play(&Scenario { live: false, ..scenario(vec![data(); 4], faults) }, |o, w| {
        // Only two of four can hear each other before the dark ones are back, at 75 s.
        assert!(when(o, "PROMOTED").iter().all(|at| *at > 75_000.0), "{}", tail(o));
        // One of four registered voters is no blocking set either.
        let fenced = when(o, "m0 FENCE");
        assert!(fenced.first().is_some_and(|at| (20_000.0..25_500.0).contains(at)), "{}", tail(o));
        assert!(writers(w).len() <= 1);
    });
}

// ---- candidates that never act --------------------------------------------------------------

#[test]
fn t5_a_candidate_that_can_not_act_is_passed_over() {
    let manual = ScenarioMember { automatic: false, ..data() };
    let killed = (19_900, Fault::KillDaemon { member: B, for_ms: 60_000 });
    let cases = [
        scenario(vec![data(), manual, data()], vec![dark(A, 20_000, 60_000)]),
        scenario(vec![data(), data(), data(), witness(), witness()], vec![killed, dark(A, 20_000, 60_000)]),
    ];
    for s in cases {
        play(&s, |o, w| {
            once_within(o, "m2 PROMOTED", 20_000.0, 9_000.0);
            assert_eq!(writers(w), [C], "{}", tail(o));
        });
    }
}

#[test]
fn t6_members_that_notice_twenty_seconds_apart_still_elect() {
    let faults = vec![dark(A, 20_000, 60_000), (19_900, Fault::FreezeDaemon { member: C, for_ms: 20_000 })];
    let mut faults = faults;
    faults.sort_by_key(|f| f.0);
    play(&scenario(three(), faults), |o, w| {
        assert_eq!(when(o, "PROMOTED").len(), 1, "{}", tail(o));
        assert!(when(o, "PROMOTED")[0] <= 39_900.0 + 9_000.0, "{}", tail(o));
        assert_eq!(writers(w).len(), 1);
    });
}

// ---- primaries that hang --------------------------------------------------------------------

#[test]
fn t7_t8_a_primary_that_hangs_is_replaced_within_seconds() {
    // It accepts connections and answers nothing, with the host alive (SIGSTOP), and with its packets dropped.
    let hung = (20_000, Fault::FreezePostgres { member: A, for_ms: 60_000 });
    let dropped = split(&[A], &[B, C], 20_000, 60_000);
    let slow = (20_000, Fault::SlowPostgres { member: A, by_ms: 5_000, for_ms: 60_000 });
    for fault in [hung, dropped, slow] {
        play(&scenario(with_witness(), vec![fault.clone()]), |o, w| {
            once_within(o, "m1 PROMOTED", 20_000.0, 8_500.0);
            let fences = when(o, "m0 FENCE");
            assert!(fences.first().is_some_and(|at| *at < when(o, "PROMOTED")[0]), "{fault:?}\n{}", tail(o));
            assert_eq!(writers(w), [B]);
        });
    }
}

// ---- promotions that go wrong ---------------------------------------------------------------

#[test]
fn t9_a_promotion_that_fails_is_followed_by_another() {
    for fault in [
        PromotionFault::Failed,
        PromotionFault::UnknownNotDone,
        PromotionFault::UnknownDoneLater,
        PromotionFault::DoneThenCrash,
    ] {
        let faults =
            vec![(10_000, Fault::Promotion { member: B, fault, for_ms: 60_000 }), dark(A, 20_000, 60_000)];
        play(&scenario(three(), faults), |o, w| {
            assert_eq!(writers(w).len(), 1, "{fault:?}\n{}", tail(o));
            let by = when(o, "m2 PROMOTED").first().copied();
            assert!(by.is_some_and(|at| at < 45_000.0), "{fault:?} {by:?}\n{}", tail(o));
        });
    }
}

// ---- old primaries that return --------------------------------------------------------------

#[test]
fn t10_an_old_primary_that_boots_after_the_failover_never_writes() {
    play(&scenario(three(), vec![dark(A, 20_000, 15_000)]), |o, w| {
        once_within(o, "PROMOTED", 20_000.0, 6_500.0);
        some(o, "m0 PostgreSQL starts, sealed true");
        never(o, "m0 PostgreSQL starts, sealed false");
        assert_eq!(writers(w), [B]);
    });
}

#[test]
fn t11_an_old_primary_that_returns_between_vote_and_promotion_stays_down() {
    for back_after in [4_600, 4_800, 5_000, 5_200, 5_400] {
        let s = scenario(three(), vec![dark(A, 20_000, back_after)]);
        play(&Scenario { postgres_restart_ms: Some(100), ..s }, |o, w| {
            assert!(when(o, "PROMOTED").len() <= 1, "{}", tail(o));
            assert_eq!(writers(w).len(), 1, "{}", tail(o));
        });
    }
}

#[test]
fn t12_messages_of_one_election_that_arrive_in_the_next_bind_nobody() {
    let faults = vec![
        (19_500, Fault::Clog { from: vec![B], to: vec![C], for_ms: 25_000 }),
        (20_000, Fault::KillPostgres { member: A }),
        (35_000, Fault::KillPostgres { member: B }),
    ];
    play(&scenario(three(), faults), |o, w| {
        assert_eq!(writers(w).len(), 1, "{}", tail(o));
    });
}

// ---- positions ------------------------------------------------------------------------------

#[test]
fn t13_a_longer_but_older_history_is_never_promoted() {
    let lags = |m| (12_000, Fault::LagStandby { member: m, for_ms: 15_000 });
    let e = MemberId(4);
    let faults = vec![
        lags(C),
        lags(D),
        lags(e),
        dark(A, 20_500, 60_000),
        dark(B, 20_500, 7_000),
        dark(C, 33_000, 50_000),
    ];
    play(&scenario(vec![data(); 5], faults), |o, w| {
        never(o, "m1 PROMOTED");
        assert_eq!(when(o, "PROMOTED").len(), 2, "{}", tail(o));
        assert_eq!(writers(w).len(), 1);
    });
}

#[test]
fn t14_the_most_advanced_standby_is_promoted_though_it_restarted_a_second_before() {
    let faults = vec![
        (14_000, Fault::LagStandby { member: C, for_ms: 60_000 }),
        (19_000, Fault::StopPostgres { member: B, for_ms: 100 }),
        dark(A, 20_000, 60_000),
    ];
    let s = Scenario { postgres_restart_ms: Some(400), ..scenario(three(), faults) };
    play(&s, |o, w| {
        never(o, "m2 PROMOTED");
        once_within(o, "m1 PROMOTED", 20_000.0, 10_000.0);
        assert_eq!(writers(w), [B]);
    });
}

// ---- hands and clocks -----------------------------------------------------------------------

#[test]
fn t15_a_slow_disk_of_one_member_does_not_keep_the_others_from_electing() {
    let faults = vec![
        (19_000, Fault::SlowDisk { member: C, flush_ms: 30_000, for_ms: 60_000 }),
        dark(A, 20_000, 60_000),
    ];
    play(&scenario(vec![data(), data(), data(), witness(), witness()], faults), |o, w| {
        once_within(o, "m1 PROMOTED", 20_000.0, 9_000.0);
        assert_eq!(writers(w), [B]);
    });
}

#[test]
fn t16_a_wall_clock_set_by_an_hour_changes_nothing() {
    for by_s in [3_600, -3_600] {
        for member in [A, B, C] {
            play(&scenario(with_witness(), vec![(20_000, Fault::WallStep { member, by_s })]), |o, w| {
                never(o, "PROMOTED");
                never(o, "FENCE");
                never(o, "SuspicionRaised");
                assert_eq!(writers(w), [A]);
            });
        }
    }
}

#[test]
fn t17_upstream_and_primary_die_together() {
    let faults = vec![dark(A, 20_000, 60_000), dark(B, 20_000, 60_000)];
    let members = vec![data(), data(), data(), witness(), witness()];
    play(&scenario(members, faults), |o, w| {
        once_within(o, "m2 PROMOTED", 20_000.0, 8_000.0);
        assert_eq!(writers(w), [C]);
    });
}

// ---- operators ------------------------------------------------------------------------------

#[test]
fn a_standby_promoted_by_hand_during_an_election_does_not_stay_writable() {
    let by_hand = (22_000, Fault::ManualPromotion { member: B });
    let s = scenario(three(), vec![dark(A, 20_000, 60_000), by_hand]);
    play(&s, |o, w| {
        once_within(o, "m1 FENCE", 22_000.0, 2_000.0);
        assert_eq!(writers(w), [C], "{}", tail(o));
    });
}
