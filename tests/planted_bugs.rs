//! The checks can fail: each planted bug leaves out one rule, and a scenario made for that rule breaks a named
//! invariant within the seeds that are tried. The same seeds hold without the bug.
//!
//! `pgfo simulate --plant all` does the same on the swarm's seeds.

mod simulate_support;

use pgfo::cluster::{CrashPoint, Fault, PromotionFault, Scenario, ScenarioMember, Timings, run};
use pgfo::core::{MemberId, Plant};
use pgfo::events::Fencing;
use simulate_support::*;

/// A bug must be caught within so many seeds of its scenario.
const SEEDS: u64 = 1_000;

const D: MemberId = MemberId(3);
const E: MemberId = MemberId(4);

/// How a bug is caught.
struct Case {
    plant: Plant,
    /// The first seed of `scenario` that catches it.
    seed: u64,
    /// The invariants that may say so.
    by: &'static [&'static str],
    scenario: Scenario,
}

fn split(at: u64, for_ms: u64) -> (u64, Fault) {
    (at, Fault::Split { one: vec![A], other: vec![B, C], for_ms })
}

fn lag(member: MemberId, at: u64, for_ms: u64) -> (u64, Fault) {
    (at, Fault::LagStandby { member, for_ms })
}

fn five() -> Vec<ScenarioMember> {
    vec![data(); 5]
}

fn leased(lease_ms: u64) -> ScenarioMember {
    ScenarioMember { lease_ms: Some(lease_ms), ..data() }
}

fn kill(at: u64) -> (u64, Fault) {
    (at, Fault::KillPostgres { member: A })
}

fn dark(at: u64) -> (u64, Fault) {
    (at, Fault::KillHost { member: A, for_ms: 40_000 })
}

/// systemd starts a PostgreSQL that died at once.
fn quick(s: Scenario) -> Scenario {
    Scenario { postgres_restart_ms: Some(400), ..s }
}

/// Whose flushes take so long that a count of votes lasts for a second.
fn slow(member: MemberId, flush_ms: u64) -> (u64, Fault) {
    (15_000, Fault::SlowDisk { member, flush_ms, for_ms: 30_000 })
}

/// A standby that restarts just before the election, and is ahead of the other.
fn restarted_standby() -> Scenario {
    let stop = (18_000, Fault::StopPostgres { member: B, for_ms: 100 });
    quick(scenario(three(), vec![lag(C, 12_000, 60_000), stop, dark(18_050)]))
}

/// Member B's WAL arrives between its vote and the end of the count.
fn late_wal(more: Vec<(u64, Fault)>) -> Scenario {
    let lags = |m| lag(m, 18_400, 60_000);
    let mut faults =
        vec![lag(B, 17_000, 7_900), lags(C), lags(D), lags(E), slow(D, 700), slow(E, 700), dark(20_000)];
    faults.extend(more);
    faults.sort_by_key(|f| f.0);
    let members = vec![data(), priority(50), priority(150), priority(60), priority(60)];
    scenario(members, faults)
}

/// An older history with more bytes, and a newer one with fewer.
fn longer_but_older() -> Scenario {
    let lags = |m| lag(m, 12_000, 15_000);
    let off = |m, at, for_ms| (at, Fault::KillHost { member: m, for_ms });
    let faults = vec![
        lags(C),
        lags(D),
        lags(E),
        off(A, 20_500, 60_000),
        off(B, 20_500, 7_000),
        off(C, 33_000, 50_000),
    ];
    scenario(five(), faults)
}

fn clog(from: Vec<MemberId>, to: Vec<MemberId>, at: u64, for_ms: u64) -> (u64, Fault) {
    (at, Fault::Clog { from, to, for_ms })
}

fn rebuilt(s: Scenario) -> Scenario {
    Scenario { rebuild_ms: Some(15_000), ..s }
}

/// Somebody stands above a primary that is well, in vain: its messages are held up, and the first disk is slow.
fn stood_in_vain() -> Scenario {
    let slow = (20_700, Fault::SlowDisk { member: B, flush_ms: 500, for_ms: 26_000 });
    let held_up = clog(vec![B], vec![A, C, D, E], 21_250, 5_400);
    let restarts = (21_400, Fault::KillDaemon { member: A, for_ms: 1_300 });
    let mut members = five();
    members[usize::from(E.0)].votes = false;
    rebuilt(Scenario { primary: B, ..scenario(members, vec![slow, held_up, restarts]) })
}

/// After a power cut two groups that do not hear each other elect in the same term; what was held up arrives while
/// the later candidacy still counts.
fn two_of_one_term() -> Scenario {
    let cut = (20_000, Fault::PowerCut { for_ms: 1_400 });
    let apart = clog(vec![A, D, E], vec![B, C], 36_800, 5_400);
    let timings = Timings {
        heartbeat_ms: 2_000,
        escalation_attempts: 4,
        lease_ms: 16_000,
        probe_ms: 300,
        ..Timings::default()
    };
    let members = [149, 122, 120, 61, 72].map(priority).to_vec();
    rebuilt(Scenario { primary: D, timings, ..scenario(members, vec![cut, apart]) })
}

/// What the old primary asked of the witness arrives long after another has won, of whom the witness knows by
/// hearsay only.
fn asked_long_ago() -> Scenario {
    let members = vec![data(), data(), data(), data(), witness()];
    let apart = (20_000, Fault::Split { one: vec![A], other: vec![B, C, D], for_ms: 30_000 });
    rebuilt(scenario(members, vec![clog(vec![A, B], vec![E], 19_000, 10_000), apart]))
}

/// The winner of term 2 was not heard of by the one that still heard the primary, whose host then dies.
fn promised_to_the_dead() -> Scenario {
    let apart = (20_000, Fault::Split { one: vec![A], other: vec![B, C, D], for_ms: 30_000 });
    scenario(five(), vec![apart, (22_300, Fault::KillHost { member: A, for_ms: 40_000 })])
}

/// A winner whose promotion is never told of, while it holds the promises of its voters.
fn won_and_silent() -> Scenario {
    let silent =
        |member| (21_800, Fault::Promotion { member, fault: PromotionFault::ReportLost, for_ms: 32_000 });
    let cut = (20_000, Fault::PowerCut { for_ms: 1_200 });
    rebuilt(scenario(three(), vec![cut, silent(A), silent(B)]))
}

/// A vote request that arrives twice, the second time after its candidate's process has died and another has won,
/// without the vote of the one that gets it: its disk was full.
fn asked_twice() -> Scenario {
    let faults = vec![
        kill(20_000),
        (20_060, Fault::Delay { up_to_ms: 30_000, for_ms: 200 }),
        (20_060, Fault::Duplicate { permille: 1_000, for_ms: 200 }),
        (21_000, Fault::KillDaemon { member: B, for_ms: 300 }),
        (21_000, Fault::DiskFull { member: E, for_ms: 7_000 }),
    ];
    scenario(five(), faults)
}

/// A release that arrives once more, after its holder has won a later term; then that one dies, and a member without
/// a vote stands.
fn released_long_ago() -> Scenario {
    let silent = ScenarioMember { votes: false, ..data() };
    let faults = vec![
        (15_000, Fault::KillHost { member: B, for_ms: 15_000 }),
        (20_000, Fault::Delay { up_to_ms: 30_000, for_ms: 200 }),
        (20_000, Fault::Duplicate { permille: 1_000, for_ms: 200 }),
        kill(20_000),
        dark(45_000),
    ];
    let s = scenario(vec![data(), silent, witness(), witness()], faults);
    rebuilt(Scenario { postgres_restart_ms: Some(1_000), ..s })
}

/// An adopted primary whose daemon dies when its victory is on the disk, before the guard hears of it, and is back
/// when the lease is over, before it has looked at its PostgreSQL.
fn adopted_and_dead() -> Scenario {
    let faults = vec![
        (100, Fault::SlowDisk { member: A, flush_ms: 300, for_ms: 9_900 }),
        // Nobody is adopted before all are heard (E10).
        (200, Fault::Split { one: vec![A, B], other: vec![C], for_ms: 4_600 }),
        (5_400, Fault::CrashAt { member: A, point: CrashPoint::Flushed, for_ms: 1_000 }),
        (5_650, Fault::StopDaemon { member: A, for_ms: 10_000 }),
    ];
    Scenario { live: false, ..scenario(three(), faults) }
}

/// A primary that is cut off asks for a pause, gets nobody's consent but its own, and its daemon dies. What guards it
/// has died with it, so that its next daemon has to fence.
fn paused_by_itself() -> Scenario {
    let faults = vec![
        split(20_000, 30_000),
        (20_100, Fault::StopDaemon { member: A, for_ms: 700 }),
        (20_300, Fault::KillDaemon { member: A, for_ms: 500 }),
    ];
    Scenario { fencing: Fencing::Daemon, ..scenario(three(), faults) }
}

#[allow(clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<Case> {
    let case = |plant, seed, by, scenario: Scenario| Case { plant, seed, by, scenario };
    let daemon = |member, at, for_ms| (at, Fault::KillDaemon { member, for_ms });
    let promotion = |fault| (10_000, Fault::Promotion { member: B, fault, for_ms: 60_000 });
    let pause = (20_000, Fault::StopDaemon { member: A, for_ms: 40_000 });
    vec![
        case(
            Plant::RecoveryIsUp,
            0,
            &["V1"],
            scenario(with_witness(), vec![daemon(B, 19_000, 20_000), kill(20_000)]),
        ),
        case(Plant::ConfirmedWithoutScan, 2, &["L8", "S2"], scenario(three(), vec![kill(20_000)])),
        case(Plant::WritesWithoutLease, 0, &["S2"], scenario(three(), vec![split(20_000, 20_000)])),
        case(Plant::LeaseFromReceipt, 6, &["S2", "L1"], {
            let cut = (20_150, Fault::Cut { from: vec![A], to: vec![B, C], for_ms: 30_000 });
            let clog = (19_100, Fault::Clog { from: vec![B, C], to: vec![A], for_ms: 3_900 });
            scenario(three(), vec![clog, cut])
        }),
        case(Plant::PromiseShortened, 0, &["L1", "S2"], {
            let reload = (20_000, Fault::Reload { member: A, lease_ms: 3_000 });
            scenario(vec![leased(12_000), data(), data()], vec![reload, split(22_200, 30_000)])
        }),
        case(Plant::GrantsAfterVote, 0, &["L3"], stood_in_vain()),
        case(Plant::GrantsAgainstWinner, 0, &["L3"], asked_long_ago()),
        case(Plant::GrantsAgainstPromise, 0, &["L1"], promised_to_the_dead()),
        case(Plant::RepeatedVoteTakesPromise, 135, &["L1"], asked_twice()),
        case(Plant::ReleaseClearsAny, 14, &["L1"], released_long_ago()),
        case(Plant::ReleasedThoughWritable, 0, &["L8"], adopted_and_dead()),
        case(Plant::ThawsForOldPrimary, 0, &["E2"], stood_in_vain()),
        case(Plant::VotesTwice, 41, &["S4"], two_of_one_term()),
        case(Plant::VotesInOldTerm, 41, &["S3", "S4"], two_of_one_term()),
        case(Plant::VotesAgainstPromise, 0, &["L1", "S2"], won_and_silent()),
        case(Plant::NoIncumbent, 0, &["V3"], stood_in_vain()),
        case(Plant::PauseUnconfirmed, 0, &["S2"], paused_by_itself()),
        case(Plant::OwnDurationPromised, 0, &["L1", "S2"], {
            let members = vec![leased(12_000), leased(3_000), leased(3_000)];
            scenario(members, vec![split(20_000, 30_000)])
        }),
        case(Plant::VotesAfterRestart, 3, &["L1", "S2"], {
            let restarts = vec![split(20_000, 30_000), daemon(B, 21_000, 100), daemon(C, 21_100, 100)];
            scenario(three(), restarts)
        }),
        case(Plant::FirstGrantUnflushed, 15, &["S5"], scenario(three(), vec![kill(20_000)])),
        case(Plant::RenewalOvertakesFirst, 0, &["S5"], {
            let slow = (100, Fault::SlowDisk { member: C, flush_ms: 3_500, for_ms: 20_000 });
            scenario(three(), vec![slow])
        }),
        case(Plant::GuardForgets, 0, &["S2"], {
            let frozen = (19_900, Fault::FreezeDaemon { member: A, for_ms: 30_000 });
            scenario(three(), vec![frozen, split(20_000, 30_000)])
        }),
        case(Plant::StartsUnsealed, 4, &["S2"], {
            let off = (20_000, Fault::KillHost { member: A, for_ms: 9_000 });
            scenario(three(), vec![off])
        }),
        case(Plant::TenureOutlivesRelease, 0, &["L8"], scenario(three(), vec![kill(20_000)])),
        case(Plant::VotesWhileSeeing, 0, &["E1"], {
            let cut = (15_000, Fault::Split { one: vec![A], other: vec![B], for_ms: 40_000 });
            let timings = Timings { escalation_ms: 3_000, ..Timings::default() };
            Scenario { timings, ..scenario(with_witness(), vec![cut, daemon(A, 20_000, 20_000)]) }
        }),
        case(Plant::PreVotePositionCounts, 13, &["S6"], {
            let s = scenario(
                vec![data(), priority(50), priority(150)],
                vec![lag(C, 20_300, 60_000), kill(21_000)],
            );
            Scenario { write_every_ms: 40, ..s }
        }),
        case(Plant::FreezeLeftOut, 0, &["S6"], late_wal(vec![])),
        case(Plant::FreezeNotObserved, 0, &["S6"], {
            late_wal(vec![(15_000, Fault::FreezeUnobserved { member: B, for_ms: 9_950 })])
        }),
        case(Plant::TimelineIgnored, 1, &["S6"], longer_but_older()),
        case(Plant::TimelineNumberTrusted, 130, &["E3"], kept("138_two_promotions_of_one_number")),
        case(Plant::DivergedFollows, 0, &["E3"], {
            let timings = Timings { promote_ms: 5_000, ..Timings::default() };
            let s = scenario(three(), vec![promotion(PromotionFault::ReportLost), dark(20_000)]);
            Scenario { timings, write_every_ms: 3_600_000, ..s }
        }),
        case(Plant::UnsettledCounts, 1, &["S6"], {
            let stop = (19_000, Fault::StopPostgres { member: B, for_ms: 100 });
            quick(scenario(three(), vec![lag(C, 14_000, 60_000), stop, kill(20_500)]))
        }),
        case(Plant::ReceiveAlone, 0, &["S6"], restarted_standby()),
        case(Plant::PositionNotCompared, 0, &["S6"], {
            let members = vec![data(), priority(0), priority(150)];
            scenario(members, vec![slow(B, 2_500), lag(C, 17_000, 60_000), dark(20_000)])
        }),
        case(Plant::VoteUnflushed, 0, &["S5"], scenario(three(), vec![kill(20_000)])),
        case(Plant::RepeatedVoteForgetsLoss, 0, &["S6"], kept("081_repeated_vote_without_its_loss")),
        case(
            Plant::VoteForgotten,
            0,
            &["S3"],
            scenario(five(), vec![slow(D, 700), slow(E, 700), dark(20_000), daemon(C, 24_900, 100)]),
        ),
        case(Plant::CandidacyOutlivesProcess, 0, &["E11", "S4"], {
            scenario(five(), vec![slow(D, 700), slow(E, 700), dark(20_000), daemon(B, 24_950, 100)])
        }),
        case(Plant::QuorumOfVisible, 0, &["S7", "S2"], {
            let apart = (20_000, Fault::Split { one: vec![B], other: vec![C], for_ms: 30_000 });
            scenario(three(), vec![split(20_000, 30_000), apart])
        }),
        case(Plant::SeatLeftOut, 0, &["S7", "S2"], {
            Scenario { live: false, ..scenario(vec![data(), data()], vec![dark(20_000)]) }
        }),
        case(Plant::UnknownIsFailure, 1, &["S2", "E3", "L8"], {
            scenario(three(), vec![promotion(PromotionFault::UnknownDoneLater), dark(20_000)])
        }),
        case(Plant::PromotesWhoeverRuns, 0, &["S2"], kept("071_promoted_in_the_place_of_the_one_before")),
        case(Plant::UnseenIsGone, 0, &["S2"], kept("072_named_before_anybody_looked")),
        case(Plant::SupersededUntold, 12, &["L1"], kept("126_candidacy_closed_above_an_older_vote")),
        case(Plant::PromotesFromLog, 0, &["E11"], {
            let slow = (15_000, Fault::SlowDisk { member: B, flush_ms: 300, for_ms: 5_720 });
            let s = scenario(three(), vec![slow, kill(20_000), daemon(B, 20_720, 100)]);
            Scenario { delay_us_max: 40_000, ..s }
        }),
        case(
            Plant::ForgetfulVotes,
            0,
            &["S8"],
            scenario(three(), vec![(20_000, Fault::LoseLog { member: B })]),
        ),
        case(Plant::OlderPauseAgreed, 6, &["S9"], kept("142_an_older_pause_comes_late")),
        case(Plant::VotesWhilePaused, 0, &["S9"], {
            scenario(
                with_witness(),
                vec![pause.clone(), (27_000, Fault::KillHost { member: A, for_ms: 20_000 })],
            )
        }),
        case(Plant::PauseEndsBySilence, 0, &["S9", "S2"], {
            scenario(with_witness(), vec![pause, split(27_000, 30_000)])
        }),
        case(Plant::NamedWhilePaused, 227, &["S2"], kept("017_named_while_a_backend_lingers")),
        case(Plant::WatchesAsTold, 1, &["V2"], away_for_two_failovers()),
        case(Plant::DeadlineActsEarly, 0, &["H1"], {
            scenario(three(), vec![(20_000, Fault::StrayDeadlines { member: A, for_ms: 40_000 })])
        }),
    ]
}

/// The first seed on which a bug is caught by a named invariant, and what caught it.
fn first(case: &Case, seeds: std::ops::Range<u64>) -> Option<(u64, &'static str)> {
    seeds.into_iter().find_map(|seed| {
        let s = Scenario { seed, planted: Some(case.plant), ..case.scenario.clone() };
        run(&s).broken.filter(|b| case.by.contains(&b.id)).map(|b| (seed, b.id))
    })
}

#[test]
fn each_planted_bug_is_caught_by_the_invariant_of_its_rule() {
    let mut missed = Vec::new();
    for case in cases() {
        assert!(case.seed < SEEDS);
        if first(&case, case.seed..case.seed + 1).is_none() {
            let s = Scenario { seed: case.seed, planted: Some(case.plant), ..case.scenario.clone() };
            let instead = run(&s).broken.map(|b| format!("{}: {}", b.id, b.how));
            let later = first(&case, 0..60);
            missed.push(format!(
                "{} at seed {}: {instead:?}; first caught {later:?}",
                case.plant.name(),
                case.seed
            ));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn without_the_bug_the_same_seeds_hold() {
    for case in cases() {
        let broken = run(&Scenario { seed: case.seed, ..case.scenario }).broken;
        assert!(broken.is_none(), "{}: {broken:?}", case.plant.name());
    }
}

#[test]
fn every_bug_that_can_be_planted_has_a_case() {
    let cases = cases();
    let plants: std::collections::BTreeSet<Plant> = cases.iter().map(|c| c.plant).collect();
    assert_eq!(plants, Plant::ALL.iter().copied().collect());
    assert_eq!(plants.len(), cases.len());
    assert!(cases.iter().all(|c| !c.by.is_empty()));
}
