//! Hand-written failures on default settings: what must happen, and how soon.

mod simulate_support;

use pgfo::cluster::{Fault, Scenario};
use simulate_support::*;

// ---- adoption -------------------------------------------------------------------------------

#[test]
fn a_streaming_cluster_is_adopted_by_itself_within_seconds() {
    for members in [three(), with_witness(), vec![data(), data()], vec![data(); 5]] {
        let s = Scenario { end_at_ms: 60_000, heal_at_ms: 30_000, ..scenario(members, vec![]) };
        play(&s, |o, w| {
            once_within(o, "DECIDED PrimaryAnnounced", 0.0, 6_000.0);
            never(o, "FENCE");
            never(o, "SuspicionRaised");
            assert_eq!(writers(w), [A]);
        });
    }
}

// ---- the primary dies -----------------------------------------------------------------------

#[test]
fn a_dead_postmaster_is_replaced_well_within_a_second() {
    for members in [three(), with_witness(), vec![data(); 5]] {
        let s = scenario(members, vec![(20_000, Fault::KillPostgres { member: A })]);
        play(&s, |o, w| {
            once_within(o, "PROMOTED", 20_000.0, 800.0);
            once_within(o, "m0 DECIDED LeaseReleased", 20_000.0, 500.0);
            assert_eq!(writers(w), [B]);
        });
    }
}

#[test]
fn an_old_primary_with_nothing_past_the_fork_comes_back_sealed_and_follows() {
    let s = scenario(three(), vec![(20_000, Fault::KillPostgres { member: A })]);
    play(&Scenario { write_every_ms: 3_600_000, ..s }, |o, w| {
        some(o, "m0 PostgreSQL starts, sealed true");
        some(o, "m0 DECIDED FollowOrdered");
        assert_eq!(writers(w), [B]);
        let streams = |m| w.node(m).ledger().is_some_and(|l| l.answer().is_some_and(|a| a.streaming));
        assert!(streams(A), "{}", tail(o));
    });
}

#[test]
fn an_old_primary_with_wal_past_the_fork_is_refused() {
    let lag = |member| (19_000, Fault::LagStandby { member, for_ms: 10_000 });
    let faults = vec![lag(B), lag(C), (20_500, Fault::KillPostgres { member: A })];
    play(&scenario(three(), faults), |o, w| {
        some(o, "m0 PostgreSQL starts, sealed true");
        some(o, "m0 DECIDED FollowRefused");
        never(o, "m0 DECIDED FollowOrdered");
        assert_eq!(writers(w).len(), 1);
    });
}

#[test]
fn with_two_voters_a_dead_postmaster_is_replaced_too() {
    let s = scenario(vec![data(), data()], vec![(20_000, Fault::KillPostgres { member: A })]);
    play(&s, |o, w| {
        once_within(o, "PROMOTED", 20_000.0, 800.0);
        assert_eq!(writers(w), [B]);
    });
}

#[test]
fn a_dead_host_is_replaced_within_the_lease_and_a_second() {
    for members in [three(), with_witness(), vec![data(); 5]] {
        let fault = Fault::KillHost { member: A, for_ms: 30_000 };
        play(&scenario(members, vec![(20_000, fault)]), |o, w| {
            once_within(o, "PROMOTED", 20_000.0, 6_500.0);
            assert_eq!(writers(w), [B]);
        });
    }
}

#[test]
fn two_voters_never_replace_a_dead_host_and_say_so() {
    let fault = Fault::KillHost { member: A, for_ms: 60_000 };
    let s = Scenario { live: false, ..scenario(vec![data(), data()], vec![(20_000, fault)]) };
    let s = Scenario { end_at_ms: 80_000, ..s };
    play(&s, |o, _| {
        never(o, "PROMOTED");
        some(o, "TooFewHoldItDown");
    });
}

#[test]
fn a_second_failover_follows_the_first() {
    let faults =
        vec![(20_000, Fault::KillPostgres { member: A }), (45_000, Fault::KillPostgres { member: B })];
    play(&scenario(three(), faults), |o, w| {
        assert_eq!(when(o, "PROMOTED").len(), 2, "{}", tail(o));
        assert_eq!(writers(w).len(), 1);
    });
}

#[test]
fn promoted_twice_in_a_row_while_the_first_is_still_down() {
    let faults = vec![
        (20_000, Fault::StopPostgres { member: A, for_ms: 40_000 }),
        (22_000, Fault::KillPostgres { member: B }),
    ];
    play(&scenario(three(), faults), |o, w| {
        assert_eq!(when(o, "PROMOTED").len(), 2, "{}", tail(o));
        assert_eq!(writers(w), [C]);
    });
}

// ---- others die -----------------------------------------------------------------------------

#[test]
fn a_dying_witness_or_standby_changes_nothing() {
    for (members, who) in [(with_witness(), C), (with_witness(), B), (three(), C), (vec![data(), data()], B)]
    {
        let fault = Fault::KillHost { member: who, for_ms: 40_000 };
        play(&scenario(members, vec![(20_000, fault)]), |o, w| {
            never(o, "PROMOTED");
            never(o, "m0 FENCE");
            never(o, "LeaseExpired");
            assert_eq!(writers(w), [A]);
        });
    }
}

// ---- partitions -----------------------------------------------------------------------------

#[test]
fn a_primary_cut_off_is_fenced_before_another_is_promoted() {
    for members in [three(), with_witness()] {
        let fault = Fault::Split { one: vec![A], other: vec![B, C], for_ms: 30_000 };
        play(&scenario(members, vec![(20_000, fault)]), |o, w| {
            once_within(o, "PROMOTED", 20_000.0, 7_000.0);
            let fence = when(o, "m0 FENCE");
            assert!(!fence.is_empty() && fence[0] < when(o, "PROMOTED")[0], "{}", tail(o));
            assert_eq!(writers(w), [B]);
        });
    }
}

#[test]
fn a_cut_between_the_data_members_alone_is_no_failover() {
    let fault = Fault::Split { one: vec![A], other: vec![B], for_ms: 30_000 };
    play(&scenario(with_witness(), vec![(20_000, fault)]), |o, w| {
        never(o, "PROMOTED");
        never(o, "m0 FENCE");
        some(o, "TooFewHoldItDown");
        assert_eq!(writers(w), [A]);
    });
}

#[test]
fn one_way_cuts_never_make_two_primaries() {
    for (from, to) in [(vec![A], vec![B, C]), (vec![B, C], vec![A]), (vec![A], vec![B]), (vec![B], vec![A])] {
        let fault = Fault::Cut { from, to, for_ms: 30_000 };
        play(&scenario(with_witness(), vec![(20_000, fault)]), |o, w| {
            assert!(when(o, "PROMOTED").len() <= 1, "{}", tail(o));
            assert_eq!(writers(w).len(), 1);
        });
    }
}

// ---- the daemon -----------------------------------------------------------------------------

#[test]
fn a_daemon_that_returns_within_its_lease_stops_nothing() {
    for member in [A, B, C] {
        for at in [20_000, 20_250, 20_500, 20_750] {
            let fault = Fault::KillDaemon { member, for_ms: 1_500 };
            play(&scenario(with_witness(), vec![(at, fault)]), |o, w| {
                never(o, "FENCE");
                never(o, "PROMOTED");
                assert_eq!(writers(w), [A]);
            });
        }
    }
}

#[test]
fn an_orderly_stop_of_the_primarys_daemon_stops_nothing() {
    let fault = Fault::StopDaemon { member: A, for_ms: 25_000 };
    play(&scenario(with_witness(), vec![(20_000, fault)]), |o, w| {
        some(o, "m0 DECIDED PauseConfirmed");
        some(o, "m0 DECIDED PauseEnded");
        some(o, "m1 DECIDED PauseEnded");
        never(o, "FENCE");
        never(o, "PROMOTED");
        assert_eq!(writers(w), [A]);
    });
}

/// The primary's daemon is away in order, its guard has stood down, and then PostgreSQL is gone: who is left of it
/// is seen by nobody.
fn gone_within_a_pause(asked: Fault) -> Scenario {
    let faults = vec![
        (20_000, Fault::StopDaemon { member: A, for_ms: 60_000 }),
        (30_000, Fault::StopPostgres { member: A, for_ms: 70_000 }),
        (40_000, asked),
    ];
    scenario(three(), faults)
}

#[test]
fn within_a_pause_the_operators_word_alone_makes_nobody_the_primary() {
    for at in [B, C] {
        play(&gone_within_a_pause(Fault::Adopt { at, member: B }), |o, w| {
            some(o, "m1 DECIDED AdoptionRefused { why: Paused }");
            // The daemon beside it is back, and says that nothing is left.
            assert!(when(o, "PROMOTED").iter().all(|ms| *ms > 80_000.0), "{}", tail(o));
            assert_eq!(writers(w).len(), 1);
        });
    }
}

#[test]
fn within_a_pause_the_operator_who_vouches_that_nothing_is_left_is_believed() {
    for at in [B, C] {
        play(&gone_within_a_pause(Fault::AdoptVouched { at, member: B }), |o, w| {
            once_within(o, "PROMOTED", 40_000.0, 1_000.0);
            assert!(w.node(C).ledger().is_some_and(|l| l.paused.is_none()), "{}", tail(o));
            assert_eq!(writers(w), [B]);
        });
    }
}

#[test]
fn a_failover_still_works_after_a_pause() {
    let faults = vec![
        (20_000, Fault::StopDaemon { member: A, for_ms: 10_000 }),
        (50_000, Fault::KillPostgres { member: A }),
    ];
    play(&scenario(with_witness(), faults), |o, w| {
        once_within(o, "PROMOTED", 50_000.0, 1_000.0);
        assert_eq!(writers(w), [B]);
    });
}

#[test]
fn any_daemon_restarted_at_any_step_of_a_failover_promotes_exactly_once() {
    for member in [A, B, C] {
        for step in 0..24 {
            let restart = Fault::KillDaemon { member, for_ms: 200 };
            let faults = vec![(20_000, Fault::KillPostgres { member: A }), (20_000 + step * 12, restart)];
            play_seeds(&short(scenario(three(), faults)), 2, |o, w| {
                let promoted = when(o, "PROMOTED").len();
                assert_eq!(promoted, 1, "member {member:?} step {step}\n{}", tail(o));
                assert_eq!(writers(w).len(), 1);
            });
        }
    }
}
