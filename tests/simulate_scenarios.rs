//! Hand-written failures on default settings: what must happen, and how soon.

use pgfo::cluster::{Fault, Outcome, PromotionFault, Scenario, ScenarioMember, SimNanos, World};
use pgfo::cluster::{TimedFault, run_with_story};
use pgfo::core::MemberId;

const A: MemberId = MemberId(0);
const B: MemberId = MemberId(1);
const C: MemberId = MemberId(2);

fn data() -> ScenarioMember {
    ScenarioMember::default()
}

fn witness() -> ScenarioMember {
    ScenarioMember { witness: true, ..data() }
}

fn priority(priority: u32) -> ScenarioMember {
    ScenarioMember { priority, ..data() }
}

fn scenario(members: Vec<ScenarioMember>, faults: Vec<(u64, Fault)>) -> Scenario {
    Scenario {
        name: "hand-written".to_owned(),
        members,
        faults: faults.into_iter().map(|(at_ms, fault)| TimedFault { at_ms, fault }).collect(),
        heal_at_ms: 90_000,
        end_at_ms: 180_000,
        rebuild_ms: None,
        ..Scenario::default()
    }
}

/// Nothing more happens after the failover.
fn short(scenario: Scenario) -> Scenario {
    Scenario { heal_at_ms: 40_000, end_at_ms: 60_000, ..scenario }
}

fn three() -> Vec<ScenarioMember> {
    vec![data(), data(), data()]
}

fn with_witness() -> Vec<ScenarioMember> {
    vec![data(), data(), witness()]
}

/// Plays a scenario on several seeds; every invariant must hold, and `expect` too.
fn play(scenario: &Scenario, expect: impl Fn(&Outcome, &World)) {
    play_seeds(scenario, 8, expect);
}

fn play_seeds(scenario: &Scenario, seeds: u64, expect: impl Fn(&Outcome, &World)) {
    for seed in 0..seeds {
        let scenario = Scenario { seed, ..scenario.clone() };
        let (outcome, world) = run_with_story(&scenario);
        if let Some(b) = &outcome.broken {
            panic!("seed {seed}: {} broke at {:?}: {}\n{}", b.id, b.at, b.how, tail(&outcome));
        }
        expect(&outcome, &world);
    }
}

fn tail(outcome: &Outcome) -> String {
    let from = outcome.story.len().saturating_sub(60);
    outcome.story[from..].join("\n")
}

/// The instants at which lines with this text were told, in milliseconds.
fn when(outcome: &Outcome, text: &str) -> Vec<f64> {
    let at = |line: &String| line.trim().split_whitespace().next().and_then(|t| t.parse::<f64>().ok());
    outcome.story.iter().filter(|l| l.contains(text)).filter_map(at).map(|s| s * 1e3).collect()
}

#[track_caller]
fn once_within(outcome: &Outcome, text: &str, from_ms: f64, within_ms: f64) {
    let all = when(outcome, text);
    let fits = all.len() == 1 && all[0] >= from_ms && all[0] <= from_ms + within_ms;
    assert!(fits, "{text:?} at {all:?}, wanted once within {within_ms} ms from {from_ms}\n{}", tail(outcome));
}

#[track_caller]
fn never(outcome: &Outcome, text: &str) {
    let all = when(outcome, text);
    assert!(all.is_empty(), "{text:?} at {all:?}\n{}", tail(outcome));
}

#[track_caller]
fn some(outcome: &Outcome, text: &str) {
    assert!(!when(outcome, text).is_empty(), "no {text:?}\n{}", tail(outcome));
}

fn writers(world: &World) -> Vec<MemberId> {
    world.writers()
}

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

// ---- who is promoted ------------------------------------------------------------------------

#[test]
fn equal_positions_and_the_higher_priority_wins() {
    let fault = Fault::KillPostgres { member: A };
    let s = scenario(vec![data(), priority(50), priority(150)], vec![(20_000, fault)]);
    play(&Scenario { write_every_ms: 3_600_000, ..s }, |o, w| {
        assert_eq!(writers(w), [C], "{}", tail(o));
    });
}

#[test]
fn the_most_advanced_wins_over_a_higher_priority() {
    let faults = vec![
        (19_000, Fault::LagStandby { member: C, for_ms: 60_000 }),
        (25_000, Fault::KillPostgres { member: A }),
    ];
    play(&scenario(vec![data(), priority(50), priority(150)], faults), |o, w| {
        assert_eq!(writers(w), [B], "{}", tail(o));
    });
}

#[test]
fn a_member_of_priority_zero_never_stands_and_gives_its_wal() {
    let faults = vec![
        (19_000, Fault::LagStandby { member: C, for_ms: 7_000 }),
        (25_000, Fault::KillPostgres { member: A }),
    ];
    let s = scenario(vec![data(), priority(0), data()], faults);
    play(&s, |o, w| {
        assert_eq!(writers(w), [C], "{}", tail(o));
        some(o, "m1 DECIDED CandidacyWithheld");
        some(o, "m2 DECIDED CatchUpOrdered");
        never(o, "m1 DECIDED CandidacyOpened");
    });
}

#[test]
fn a_manual_member_never_stands_and_says_so() {
    let manual = ScenarioMember { automatic: false, ..data() };
    let s = scenario(
        vec![data(), manual, witness()],
        vec![(20_000, Fault::KillHost { member: A, for_ms: 60_000 })],
    );
    play(&Scenario { live: false, ..s }, |o, _| {
        never(o, "m1 DECIDED CandidacyOpened");
        some(o, "m1 DECIDED CandidacyWithheld { why: Manual");
    });
}

#[test]
fn after_a_promotion_that_failed_the_next_is_promoted() {
    for fault in [
        PromotionFault::Vetoed,
        PromotionFault::Failed,
        PromotionFault::UnknownNotDone,
        PromotionFault::UnknownDoneLater,
    ] {
        let faults = vec![
            (10_000, Fault::Promotion { member: B, fault, for_ms: 60_000 }),
            (20_000, Fault::KillHost { member: A, for_ms: 60_000 }),
        ];
        play(&scenario(three(), faults), |o, w| {
            assert_eq!(writers(w), [C], "{fault:?}\n{}", tail(o));
        });
    }
}

#[test]
fn a_promotion_whose_report_is_lost_ends_with_one_primary() {
    let faults = vec![
        (10_000, Fault::Promotion { member: B, fault: PromotionFault::ReportLost, for_ms: 20_000 }),
        (20_000, Fault::KillHost { member: A, for_ms: 60_000 }),
    ];
    let s = scenario(three(), faults);
    play(&Scenario { end_at_ms: 240_000, ..s }, |o, w| {
        assert_eq!(writers(w).len(), 1, "{}", tail(o));
    });
}

#[test]
fn an_incumbent_stands_above_a_failed_candidacy() {
    // B believes the primary gone, opens a term and freezes itself; A, which lives, stands above it.
    let faults = vec![(20_000, Fault::FreezePostgres { member: A, for_ms: 2_600 })];
    play(&scenario(three(), faults), |o, w| {
        assert_eq!(writers(w).len(), 1, "{}", tail(o));
    });
}

// ---- logs -----------------------------------------------------------------------------------

#[test]
fn a_lost_log_is_registered_anew_by_the_lease_holder() {
    for (member, fault) in [
        (B, Fault::LoseLog { member: B }),
        (C, Fault::LoseLog { member: C }),
        (B, Fault::RollBackLog { member: B, records: 200, noticed: true }),
        (C, Fault::RollBackLog { member: C, records: 200, noticed: false }),
    ] {
        play(&scenario(three(), vec![(20_000, fault.clone())]).unnoticed(&fault), |o, w| {
            some(o, "m0 DECIDED RosterCommitted");
            never(o, "PROMOTED");
            let registered = w.node(member).ledger().is_some_and(|l| l.registered() && l.ability().is_ok());
            assert!(registered, "{}", tail(o));
            assert_eq!(writers(w), [A]);
        });
    }
}

trait Unnoticed {
    fn unnoticed(self, fault: &Fault) -> Self;
}

impl Unnoticed for Scenario {
    /// The end is far enough away for two restarts.
    fn unnoticed(self, _: &Fault) -> Self {
        Self { end_at_ms: 200_000, ..self }
    }
}

#[test]
fn a_slow_first_grant_is_not_overtaken_by_its_renewal() {
    // The flush of C's first grant takes longer than a renewal's period; then its host dies.
    let faults = vec![
        (100, Fault::SlowDisk { member: C, flush_ms: 3_500, for_ms: 20_000 }),
        (4_500, Fault::KillHost { member: C, for_ms: 100 }),
        (5_000, Fault::Split { one: vec![A], other: vec![B, C], for_ms: 20_000 }),
    ];
    play(&scenario(three(), faults), |o, w| {
        assert_eq!(writers(w).len(), 1, "{}", tail(o));
    });
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        let s = pgfo::cluster::swarm(seed);
        assert_eq!(pgfo::cluster::run(&s).trace, pgfo::cluster::run(&s).trace, "seed {seed}");
    }
    let _ = SimNanos(0);
}
