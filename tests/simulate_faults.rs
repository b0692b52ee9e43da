//! Hand-written scenarios of what breaks inside a member: roles that fail, reports that are lost, a PostgreSQL
//! that recovers from a crash or has no disk left, timers and configurations that differ.

mod simulate_support;

use pgfo::cluster::{FailingRole, Fault, Mark, PromotionFault, Rejection, Report, Scenario, Timings, run};
use pgfo::core::MemberId;
use simulate_support::*;

fn panics(member: MemberId, role: FailingRole, on: &str, times: u64) -> Fault {
    Fault::RolePanics { member, role, on: on.to_owned(), times, for_ms: 30_000 }
}

fn loses(member: MemberId, report: Report, times: u64) -> Fault {
    Fault::LoseReports { member, report, times, for_ms: 30_000 }
}

fn dead(at: u64) -> (u64, Fault) {
    (at, Fault::KillPostgres { member: A })
}

// ---- roles that fail ------------------------------------------------------------------------

#[test]
fn a_role_that_fails_in_an_election_is_rebuilt_and_one_primary_comes_of_it() {
    let failures = [
        (FailingRole::Voter, "VoteRequested"),
        (FailingRole::Promoter, "VoteRequested"),
        (FailingRole::Voter, "FreezeCompleted"),
        (FailingRole::Promoter, "FreezeCompleted"),
        (FailingRole::Promoter, "VoteGranted"),
        (FailingRole::Voter, "VoteGranted"),
        (FailingRole::Promoter, "ElectionWon"),
        (FailingRole::EscalationTracker, "VerdictChanged"),
        (FailingRole::Witness, "TestimonyRequested"),
    ];
    for (role, on) in failures {
        for members in [three(), with_witness()] {
            let everywhere = [A, B, C].into_iter().map(|member| (19_000, panics(member, role, on, 1)));
            let s = scenario(members, everywhere.chain([dead(20_000)]).collect());
            play(&s, |o, w| {
                some(o, "RoleFailed");
                never(o, "quarantined: true");
                assert_eq!(writers(w).len(), 1, "{role:?} on {on}\n{}", tail(o));
            });
        }
    }
}

#[test]
fn a_role_that_keeps_failing_is_quarantined_and_its_member_votes_no_more() {
    let sick = panics(B, FailingRole::Voter, "HeartbeatDue", 5);
    play(&scenario(three(), vec![(19_000, sick), dead(30_000)]), |o, w| {
        some(o, "m1 DECIDED RoleFailed");
        some(o, "quarantined: true");
        // The operator starts its daemon anew when everything is mended; until then it is silent.
        let voted = |ms: &f64| *ms > 30_000.0 && *ms < 90_000.0;
        assert!(!when(o, "m1 DECIDED VoteGranted").iter().any(voted), "{}", tail(o));
        once_within(o, "m2 PROMOTED", 30_000.0, 7_000.0);
        assert_eq!(writers(w), [C]);
        assert!(o.marks.has(Mark::RoleQuarantined) && o.marks.has(Mark::RoleRebuilt));
    });
}

#[test]
fn a_role_that_fails_on_the_start_of_its_process_ends_it() {
    let sick = panics(A, FailingRole::Promoter, "ProcessStarted", 1);
    let faults = vec![(19_000, sick), (20_000, Fault::KillDaemon { member: A, for_ms: 200 })];
    play(&scenario(three(), faults), |o, w| {
        some(o, "m0 can't rebuild a role: its process ends");
        never(o, "RoleFailed");
        never(o, "PROMOTED");
        assert_eq!(writers(w), [A]);
    });
}

#[test]
fn a_role_that_fails_on_everything_costs_the_primary_nothing_worse_than_its_seat() {
    for role in FailingRole::ALL {
        for times in [1, 2, 7] {
            play(&scenario(three(), vec![(20_000, panics(A, role, "", times))]), |o, w| {
                some(o, "m0 DECIDED RoleFailed");
                assert_eq!(writers(w).len(), 1, "{role:?} {times}\n{}", tail(o));
            });
        }
    }
}

#[test]
fn a_log_with_failures_of_roles_is_derived_again() {
    // Seeds that S11 looks at, with roles that part from each other for the rest of the log.
    let faults = vec![
        (18_000, panics(B, FailingRole::Promoter, "Heartbeat(", 2)),
        (18_000, panics(C, FailingRole::Voter, "LeaseGranted", 1)),
        dead(20_000),
        (30_000, Fault::KillDaemon { member: B, for_ms: 300 }),
    ];
    for seed in [0, 8, 16, 24] {
        let outcome = run(&Scenario { seed, ..scenario(three(), faults.clone()) });
        assert!(outcome.broken.is_none(), "seed {seed}: {:?}", outcome.broken);
        assert!(outcome.marks.has(Mark::RoleRebuilt));
    }
}

// ---- reports that are lost ------------------------------------------------------------------

#[test]
fn any_report_of_a_failover_may_be_lost_anywhere() {
    for report in Report::ALL {
        for member in [A, B, C] {
            let faults = vec![(19_900, loses(member, report, 1)), dead(20_000)];
            play(&scenario(three(), faults), |o, w| {
                assert_eq!(writers(w).len(), 1, "{report:?} of {member:?}\n{}", tail(o));
            });
        }
    }
}

#[test]
fn an_end_that_is_not_told_is_found_by_a_probe() {
    play(&scenario(three(), vec![(19_900, loses(A, Report::PostmasterGone, 1)), dead(20_000)]), |o, w| {
        some(o, "m0 is never told: PostmasterGone");
        once_within(o, "PROMOTED", 20_000.0, 7_000.0);
        assert_eq!(writers(w), [B]);
    });
}

#[test]
fn probes_of_its_own_that_are_lost_are_no_failover() {
    for member in [A, B] {
        play(&scenario(three(), vec![(20_000, loses(member, Report::Probe, 20))]), |o, w| {
            never(o, "PROMOTED");
            assert_eq!(writers(w), [A]);
        });
    }
}

// ---- PostgreSQL -----------------------------------------------------------------------------

#[test]
fn a_primary_that_recovers_from_a_crash_keeps_its_seat_or_loses_it_once() {
    play(&scenario(three(), vec![(20_000, Fault::BackendCrashes { member: A })]), |o, w| {
        some(o, "m0 PostgreSQL recovers from a crash");
        never(o, "m0 PostgreSQL gone");
        assert!(when(o, "PROMOTED").len() <= 1, "{}", tail(o));
        assert_eq!(writers(w).len(), 1);
    });
}

#[test]
fn a_standby_that_recovers_from_a_crash_streams_again() {
    play(&scenario(three(), vec![(20_000, Fault::BackendCrashes { member: B })]), |o, w| {
        some(o, "m1 PostgreSQL recovers from a crash");
        never(o, "PROMOTED");
        let streams = w.node(B).ledger().is_some_and(|l| l.answer().is_some_and(|a| a.streaming));
        assert!(streams, "{}", tail(o));
    });
}

#[test]
fn a_standby_that_recovers_from_a_crash_within_an_election_is_no_second_primary() {
    for after_ms in (0..1_200).step_by(60) {
        let crash = (20_000 + after_ms, Fault::BackendCrashes { member: B });
        play_seeds(&short(scenario(three(), vec![dead(20_000), crash])), 4, |o, w| {
            assert_eq!(writers(w).len(), 1, "{after_ms} ms after\n{}", tail(o));
        });
    }
}

#[test]
fn a_primary_without_disk_is_replaced() {
    let full = Fault::PostgresDiskFull { member: A, for_ms: 40_000 };
    play(&scenario(three(), vec![(20_000, full)]), |o, w| {
        some(o, "m0 PostgreSQL finds its disk full");
        once_within(o, "PROMOTED", 20_000.0, 2_000.0);
        assert_eq!(writers(w), [B]);
    });
}

#[test]
fn a_standby_without_disk_streams_again_when_there_is_room() {
    let full = Fault::PostgresDiskFull { member: B, for_ms: 20_000 };
    play(&scenario(three(), vec![(20_000, full)]), |o, w| {
        never(o, "PROMOTED");
        let streams = w.node(B).ledger().is_some_and(|l| l.answer().is_some_and(|a| a.streaming));
        assert!(streams, "{}", tail(o));
    });
}

#[test]
fn a_promotion_that_died_half_done_makes_no_primary_without_a_line_of_its_own() {
    let half = |member| {
        (19_000, Fault::Promotion { member, fault: PromotionFault::HalfDoneThenCrash, for_ms: 9_000 })
    };
    for restart_ms in [400, 3_000, 10_000] {
        let faults = vec![half(B), dead(20_000)];
        let s = Scenario { postgres_restart_ms: Some(restart_ms), ..scenario(three(), faults) };
        play(&s, |o, w| {
            some(o, "m1 half promoted");
            assert_eq!(writers(w).len(), 1, "{restart_ms}\n{}", tail(o));
        });
    }
}

#[test]
fn a_primary_that_turns_all_others_away_is_fenced_and_then_replaced() {
    for how in [Rejection::Refused, Rejection::Reset, Rejection::Unreachable] {
        let fault = Fault::Reject { member: A, how, for_ms: 20_000 };
        play(&scenario(three(), vec![(20_000, fault)]), |o, w| {
            // Whatever turns them away, it is no proof of death: the lease is waited out.
            once_within(o, "PROMOTED", 23_000.0, 4_000.0);
            assert!(when(o, "m0 FENCE")[0] < when(o, "PROMOTED")[0], "{}", tail(o));
            assert_eq!(writers(w), [B]);
        });
    }
}

// ---- the rest of the house ------------------------------------------------------------------

#[test]
fn coarse_timers_fence_in_time() {
    for member in [A, B] {
        let coarse = Fault::CoarseTimers { member, grain_ms: 400, for_ms: 50_000 };
        let cut = Fault::Split { one: vec![A], other: vec![B, C], for_ms: 20_000 };
        play(&scenario(three(), vec![(18_000, coarse), (25_000, cut)]), |o, w| {
            let (fence, promoted) = (when(o, "m0 FENCE"), when(o, "PROMOTED"));
            assert!(!promoted.is_empty() && fence[0] < promoted[0], "{}", tail(o));
            assert_eq!(writers(w).len(), 1);
        });
    }
}

#[test]
fn members_with_different_timings_still_elect_one() {
    let other = Timings {
        heartbeat_ms: 500,
        lease_ms: 3_000,
        escalation_attempts: 1,
        retry_ms: 500,
        ..Timings::default()
    };
    for member in [A, B, C] {
        let retime = Fault::Retime { member, timings: Box::new(other.clone()) };
        play(&scenario(three(), vec![(18_000, retime), dead(30_000)]), |o, w| {
            once_within(o, "PROMOTED", 30_000.0, 1_000.0);
            assert_eq!(writers(w).len(), 1);
        });
    }
}

#[test]
fn when_every_log_is_gone_nobody_becomes_primary_by_itself_beside_another() {
    let s = scenario(three(), vec![(20_000, Fault::PowerCutLogsLost { for_ms: 5_000 })]);
    play(&s, |_, w| assert!(writers(w).len() <= 1));
}

#[test]
fn files_of_before_are_read_as_ever() {
    let text = r#"{"faults": [{"at_ms": 1, "fault": "KillPrimary"},
        {"at_ms": 2, "fault": {"Promotion": {"member": 0, "fault": "DoneThenCrash", "for_ms": 3}}}]}"#;
    let scenario: Scenario = serde_json::from_str(text).unwrap();
    assert_eq!(scenario.faults.len(), 2);
    let more =
        r#"{"RolePanics": {"member": 1, "role": "Voter", "on": "VoteRequested", "times": 2, "for_ms": 9}}"#;
    let fault: Fault = serde_json::from_str(more).unwrap();
    assert_eq!(fault.kind(), "RolePanics");
    assert_eq!(serde_json::to_string(&fault).unwrap().replace(':', ": ").replace(',', ", "), more);
}
