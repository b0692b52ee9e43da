//! Which scenarios can be rehearsed: what could not be played, would not end or would show nothing is refused at its
//! place, and nothing that the swarm draws or that is kept is.

mod simulate_support;

use pgfo::cluster::{Fault, Scenario, ScenarioMember, TimedFault, Timings, swarm, swarm_lasting};
use pgfo::core::MemberId;
use pgfo::events::Fencing;
use simulate_support::*;

fn with(fault: Fault) -> Scenario {
    Scenario { faults: vec![TimedFault { at_ms: 15_000, fault }], ..Scenario::default() }
}

fn timed(change: impl FnOnce(&mut Timings)) -> Scenario {
    let mut s = Scenario::default();
    change(&mut s.timings);
    s
}

/// The one error of a scenario names this place, and says this.
#[track_caller]
fn refused(scenario: &Scenario, place: &str, says: &str) {
    let found = scenario.check().unwrap_err();
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found.iter().map(|f| f.place.as_str()).collect::<Vec<_>>(), [place], "{lines:?}");
    assert!(found[0].problem.contains(says), "{}", lines[0]);
    assert!(!found[0].remedy.is_empty());
}

#[track_caller]
fn doubted(scenario: &Scenario, place: &str, says: &str) {
    let found = scenario.check().unwrap();
    assert_eq!(found.iter().map(|f| f.place.as_str()).collect::<Vec<_>>(), [place], "{found:?}");
    assert!(found[0].problem.contains(says), "{}", found[0]);
}

#[test]
fn a_member_that_is_not_there_is_named_by_its_place() {
    let none = MemberId(9);
    refused(
        &with(Fault::KillPostgres { member: none }),
        "faults[0].fault.KillPostgres.member",
        "no member 9",
    );
    let clog = Fault::Clog { from: vec![none], to: vec![A], for_ms: 10 };
    refused(&with(clog), "faults[0].fault.Clog.from[0]", "no member 9");
    let split = Fault::Split { one: vec![A], other: vec![B, none], for_ms: 10 };
    refused(&with(split), "faults[0].fault.Split.other[1]", "no member 9");
    let flap = Fault::Flap { one: A, other: none, every_ms: 10, for_ms: 10 };
    refused(&with(flap), "faults[0].fault.Flap.other", "no member 9");
    refused(&with(Fault::Adopt { at: none, member: A }), "faults[0].fault.Adopt.at", "no member 9");
    refused(&Scenario { primary: MemberId(7), ..Scenario::default() }, "primary", "no member 7");
    let nobody = Scenario { members: vec![], ..Scenario::default() }.check().unwrap_err();
    assert!(nobody.iter().any(|f| f.place == "members"), "{nobody:?}");
}

#[test]
fn what_would_not_end_is_refused() {
    refused(&timed(|t| t.heartbeat_ms = 0), "timings.heartbeat_ms", "0 is not possible");
    refused(&Scenario { write_every_ms: 0, ..Scenario::default() }, "write_every_ms", "0 is not possible");
    let for_ever = Scenario { end_at_ms: 100_000_000_000_000_000, ..Scenario::default() };
    refused(&for_ever, "end_at_ms", "is not possible");
    let crowd = Scenario { members: vec![ScenarioMember::default(); 1_500], ..Scenario::default() };
    refused(&crowd, "members", "1500 members are more than 250");
    let busy = Scenario { end_at_ms: 86_400_000, ..timed(|t| t.heartbeat_ms = 1) };
    refused(&busy, "end_at_ms", "heartbeats");
    for ms in [u64::MAX, 0] {
        let s = Scenario { rebuild_ms: Some(ms), ..Scenario::default() };
        refused(&s, "rebuild_ms", "is not possible");
        let kill = Fault::FreezeHost { member: A, for_ms: ms };
        refused(&with(kill), "faults[0].fault.FreezeHost.for_ms", "is not possible");
    }
}

#[test]
fn what_would_show_nothing_is_refused() {
    let at = |at_ms, heal_at_ms| Scenario {
        faults: vec![TimedFault { at_ms, fault: Fault::KillPrimary }],
        heal_at_ms,
        ..Scenario::default()
    };
    let after = at(60_000, 30_000).check().unwrap_err();
    assert_eq!(after[0].place, "faults[0].at_ms");
    refused(&at(40_000, 30_000), "heal_at_ms", "no fault begins before");
    refused(&at(20_000, 90_000), "heal_at_ms", "after the end");
    refused(&Scenario { heal_at_ms: 1, end_at_ms: 1, ..Scenario::default() }, "end_at_ms", "ends after 1 ms");
    let witnesses = Scenario { members: vec![witness(); 3], ..Scenario::default() }.check().unwrap_err();
    assert!(witnesses.iter().any(|f| f.problem.contains("nothing to promote")), "{witnesses:?}");
    let led_by_a_witness = Scenario { members: with_witness(), primary: C, ..Scenario::default() };
    refused(&led_by_a_witness, "primary", "member 2 is a witness");
    refused(&timed(|t| t.reserve_ms = 60_000), "timings.reserve_ms", "not below half of lease.duration");
    refused(&timed(|t| t.escalation_attempts = 0), "timings.escalation_attempts", "0 is not possible");
    let of_a_witness = Scenario { members: with_witness(), ..with(Fault::KillPostgres { member: C }) };
    refused(&of_a_witness, "faults[0].fault.KillPostgres.member", "no PostgreSQL");
    let all_or_none = Fault::Loss { permille: 2_000, for_ms: 10 };
    refused(&with(all_or_none), "faults[0].fault.Loss.permille", "2000 is not possible");
    refused(&Scenario { fencing: Fencing::Off, ..Scenario::default() }, "fencing", "not promised");
    let own = vec![data(), ScenarioMember { lease_ms: Some(600), ..data() }, data()];
    refused(&Scenario { members: own, ..Scenario::default() }, "members[1].lease_ms", "not below half");
    let timings = Box::new(Timings { freeze_ms: 0, ..Timings::default() });
    let retime = Fault::Retime { member: A, timings };
    refused(&with(retime), "faults[0].fault.Retime.timings.freeze_ms", "0 is not possible");
}

#[test]
fn what_is_doubtful_is_told_and_played() {
    assert_eq!(Scenario::default().check(), Ok(vec![]));
    let mut late = with(Fault::KillPrimary);
    late.faults.push(TimedFault { at_ms: 40_000, fault: Fault::KillPrimary });
    doubted(&late, "faults[1].at_ms", "never begins");
    doubted(&timed(|t| t.lease_ms = 2_000), "timings.lease_ms", "it would fence a healthy primary");
    let alone = Fault::Cut { from: vec![A], to: vec![A], for_ms: 10 };
    doubted(&with(alone), "faults[0].fault.Cut", "no two members");
    doubted(&Scenario { members: vec![data(); 2], ..Scenario::default() }, "live", "three or more voters");
    let guardless = Scenario { fencing: Fencing::Daemon, ..with(Fault::KillGuard { member: A }) };
    doubted(&guardless, "faults[0].fault.KillGuard", "the only guard");
}

#[test]
fn whatever_is_drawn_or_kept_can_be_rehearsed() {
    for seed in 0..20_000 {
        let scenario = if seed % 4 == 0 { swarm_lasting(seed, 600_000) } else { swarm(seed) };
        let found = scenario.check();
        assert!(found.is_ok(), "seed {seed}: {found:?}");
    }
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios");
    let mut kept = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let scenario: Scenario = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let found = scenario.check();
        assert!(found.is_ok(), "{}: {found:?}", path.display());
        kept += 1;
    }
    assert!(kept >= 48, "{kept}");
}
