//! Who is promoted, what becomes of promotions that go wrong, and of logs that are lost.

mod simulate_support;

use pgfo::cluster::{Fault, PromotionFault, Scenario, ScenarioMember};
use simulate_support::*;

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

#[test]
fn a_data_member_without_a_vote_may_be_promoted() {
    let silent = ScenarioMember { votes: false, ..data() };
    let fault = Fault::KillPostgres { member: A };
    play(&scenario(vec![data(), silent, witness(), witness()], vec![(20_000, fault)]), |o, w| {
        once_within(o, "PROMOTED", 20_000.0, 1_000.0);
        assert_eq!(writers(w), [B], "{}", tail(o));
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
}

// ---- what must not stand in the way for ever ------------------------------------------------

/// Somebody is promoted within `within_ms` of the loss of the primary, long before what stood in the way is mended.
fn elects_within(name: &str, from_ms: f64, within_ms: f64) {
    replay(name, |o| {
        let announced = when(o, "DECIDED PrimaryAnnounced");
        let in_time = |at: &f64| (from_ms..from_ms + within_ms).contains(at);
        assert!(announced.iter().any(in_time), "{announced:?}\n{}", tail(o));
    });
}

/// E5: the better placed member, which is yielded to, is heard by too few to be elected.
#[test]
fn nobody_yields_for_ever_to_one_that_cannot_win() {
    elects_within("144_yields_to_one_that_cannot_win", 15_000.0, 15_000.0);
    elects_within("145_yields_to_one_without_a_vote", 15_000.0, 15_000.0);
}

/// E1: answers that take longer than `testimony_timeout` are waited for in the end.
#[test]
fn a_long_round_trip_delays_a_failover_and_does_not_prevent_it() {
    elects_within("146_testimonies_come_late", 15_000.0, 15_000.0);
}

/// E7: what could not be streamed once may be streamed later.
#[test]
fn a_catch_up_that_failed_is_tried_again() {
    elects_within("147_a_catch_up_that_failed_once", 49_000.0, 60_000.0);
}
