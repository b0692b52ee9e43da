//! `pgfo simulate` as a user runs it: its logs are real ones, a run repeats itself in another process, and
//! what breaks is named, reproduced by its last line, and shrunk.

use pgfo::cluster::{Fault, Scenario, TimedFault, run, swarm};
use pgfo::core::MemberId;
use pgfo::events::{Event, LogReader, Observation};
use std::path::Path;
use std::process::{Command, Output};

fn pgfo(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pgfo")).args(args).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The logs below a directory, one a member.
fn logs(dir: &Path) -> Vec<String> {
    let mut logs: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path().display().to_string()).collect();
    logs.sort();
    logs
}

#[track_caller]
fn audited_as_identical(simulate: &[&str], dir: &Path) -> usize {
    let simulated = pgfo(&[simulate, &["--out", dir.to_str().unwrap()]].concat());
    assert!(simulated.status.success(), "{}{simulated:?}", out(&simulated));
    let logs = logs(dir);
    let mut args = vec!["replay", "--quiet"];
    args.extend(logs.iter().map(String::as_str));
    let replayed = pgfo(&args);
    assert_eq!(replayed.status.code(), Some(0), "{}", out(&replayed));
    assert_eq!(out(&replayed).matches("identical").count(), logs.len(), "{}", out(&replayed));
    let is_start =
        |r: &pgfo::events::Record| matches!(r.event, Event::Observed(Observation::ProcessStarted(_)));
    let starts =
        |log: &String| LogReader::<Event>::open(log).unwrap().map(Result::unwrap).filter(is_start).count();
    logs.iter().map(starts).sum()
}

#[test]
fn logs_of_a_simulation_are_audited_as_identical() {
    let kinds: [fn(&Fault) -> bool; 4] = [
        |f| matches!(f, Fault::LoseLog { .. }),
        |f| matches!(f, Fault::RollBackLog { .. }),
        |f| matches!(f, Fault::KillDaemon { .. }),
        |f| matches!(f, Fault::PowerCut { .. }),
    ];
    for kind in kinds {
        // The shortest of some that have it.
        let has =
            |s: &Scenario| s.faults.iter().filter(|f| kind(&f.fault)).count() > 1 && s.heal_at_ms < 150_000;
        let scenario = (0..).map(swarm).find(has).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let starts = audited_as_identical(&["simulate", "--seed", &scenario.seed.to_string()], dir.path());
        // A log that was lost begins anew, so it need not tell of the start before.
        let lost = scenario.faults.iter().any(|f| matches!(f.fault, Fault::LoseLog { .. }));
        let least = scenario.members.len() + usize::from(!lost);
        assert!(starts >= least, "{}: {starts} starts, wanted {least}", scenario.name);
    }
}

#[test]
fn a_log_that_is_there_is_not_written_into() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let short = dir.path().join("short.json");
    let scenario = Scenario { heal_at_ms: 5_000, end_at_ms: 9_000, live: false, ..Scenario::default() };
    std::fs::write(&short, serde_json::to_string(&scenario).unwrap()).unwrap();
    let logs = format!("{path}/logs");
    let args = ["simulate", "--scenario", short.to_str().unwrap(), "--out", &logs];
    assert_eq!(pgfo(&args).status.code(), Some(0));
    let again = pgfo(&args);
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("holds a log already"), "{again:?}");
}

/// Each run's line, without what differs from time to time.
fn runs(output: &Output) -> Vec<String> {
    out(output).lines().filter(|l| !l.contains("\"summary\"")).map(str::to_owned).collect()
}

#[test]
fn another_process_repeats_the_runs_in_the_order_of_the_seeds() {
    let args = ["simulate", "--seeds", "0..6", "--threads", "4", "--json"];
    let one = pgfo(&args);
    let other = pgfo(&["simulate", "--seeds", "0..6", "--threads", "1", "--json", "--twice"]);
    assert!(one.status.success() && other.status.success(), "{}{}", out(&one), out(&other));
    let seeds: Vec<u64> = runs(&one)
        .iter()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["seed"].as_u64().unwrap())
        .collect();
    assert_eq!(seeds, [0, 1, 2, 3, 4, 5]);
    assert_eq!(runs(&one), runs(&other));
}

/// It ends while nobody can have taken over yet: V1 does not hold. Most of its faults have no part in it.
fn broken_at_its_end() -> Scenario {
    let harmless = (0..40).map(|i| (10_000 + 500 * i, Fault::Duplicate { permille: 100, for_ms: 400 }));
    let kill = (44_900, Fault::StopPostgres { member: MemberId(0), for_ms: 100 });
    Scenario {
        name: "ends too early".to_owned(),
        faults: harmless.chain([kill]).map(|(at_ms, fault)| TimedFault { at_ms, fault }).collect(),
        heal_at_ms: 45_000,
        end_at_ms: 45_005,
        ..Scenario::default()
    }
}

#[test]
fn what_breaks_is_named_and_its_last_line_reproduces_it() {
    let scenario = broken_at_its_end();
    let id = run(&scenario).broken.unwrap().id;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("scenario.json");
    std::fs::write(&file, serde_json::to_string(&scenario).unwrap()).unwrap();
    let first = pgfo(&["simulate", "--scenario", file.to_str().unwrap()]);
    assert_eq!(first.status.code(), Some(1));
    assert!(out(&first).contains(&format!("{id} broke at")), "{}", out(&first));
    let text = out(&first);
    assert!(text.contains("members: 0 is node1, the primary; 1 is node2"), "who is who: {text}");
    assert!(
        text.contains("everything is mended") && text.contains("node2 won term 2"),
        "the last events: {text}"
    );
    assert!(!text.contains("DECIDED") && !text.contains("MemberId("), "{text}");
    let last: Vec<&str> = text.lines().last().unwrap().split(' ').collect();
    assert_eq!(last[0], "pgfo");
    assert_eq!(out(&pgfo(&last[1..])), text);
}

#[test]
fn what_breaks_is_shrunk_to_the_faults_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("scenario.json");
    std::fs::write(&file, serde_json::to_string(&broken_at_its_end()).unwrap()).unwrap();
    let small = dir.path().join("small");
    let shrunk = pgfo(&[
        "simulate",
        "--scenario",
        file.to_str().unwrap(),
        "--shrink",
        "--out",
        small.to_str().unwrap(),
    ]);
    assert_eq!(shrunk.status.code(), Some(1), "{}", out(&shrunk));
    let text = std::fs::read_to_string(small.join("ends_too_early.json")).unwrap();
    let left: Scenario = serde_json::from_str(&text).unwrap();
    assert_eq!(left.faults.len(), 1, "{:?}", left.faults);
    let text = out(&shrunk);
    let last: Vec<&str> = text.lines().last().unwrap().split(' ').collect();
    assert_eq!(pgfo(&last[1..]).status.code(), Some(1));
}

#[test]
fn a_campaign_says_what_it_covered() {
    let made = pgfo(&["simulate", "--seeds", "20..24", "--minutes", "5", "--twice"]);
    let text = out(&made);
    assert!(made.status.success(), "{text}");
    for said in ["clusters by size", "faults: ", "4 of 4 seeds held, each run twice", "failovers a second"] {
        assert!(text.contains(said), "no {said:?} in {text}");
    }
    assert!(text.contains("1200 simulated s"), "five minutes each: {text}");
}

/// Runs a scenario file of this text.
fn rehearse(text: &str, more: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("scenario.json");
    std::fs::write(&file, text).unwrap();
    pgfo(&[&["simulate", "--scenario", file.to_str().unwrap()], more].concat())
}

#[test]
fn a_scenario_that_can_not_be_rehearsed_is_wrong_usage_told_by_place() {
    let cases = [
        (r#"{"primary": 7}"#, "primary: there is no member 7; members count from 0: write 0 to 2"),
        (r#"{"members": []}"#, "members: no members"),
        (
            r#"{"faults": [{"at_ms": 15000, "fault": {"Clog": {"from": [9], "to": [0], "for_ms": 5}}}]}"#,
            "faults[0].fault.Clog.from[0]: there is no member 9",
        ),
        (r#"{"timings": {"heartbeat_ms": 0}}"#, "timings.heartbeat_ms: 0 is not possible here"),
        (r#"{"end_at_ms": 1}"#, "end_at_ms: it ends after 1 ms"),
        (r#"{"fencing": "Off"}"#, "fencing: without a fence there is neither lease nor seal"),
        (
            r#"{"faults": [{"at_ms": 15000, "fault": {"KilPostgres": {"member": 0}}}]}"#,
            "faults[0].fault: unknown word `KilPostgres`; did you mean `KillPostgres`?",
        ),
    ];
    for (text, says) in cases {
        let made = rehearse(text, &[]);
        let error = String::from_utf8_lossy(&made.stderr).into_owned();
        assert_eq!(made.status.code(), Some(2), "{text}: {error}");
        assert!(error.contains(says), "{text}: {error}");
    }
    let doubtful =
        rehearse(r#"{"members": [{}, {}], "faults": [{"at_ms": 15000, "fault": "KillPrimary"}]}"#, &[]);
    assert_eq!(doubtful.status.code(), Some(0), "{doubtful:?}");
    assert!(String::from_utf8_lossy(&doubtful.stderr).contains("live: liveness is promised with three"));
}

#[test]
fn a_story_is_told_in_words_and_as_records_to_machines() {
    let text = r#"{"faults": [{"at_ms": 15000, "fault": {"KillPostgres": {"member": 0}}}]}"#;
    let told = out(&rehearse(text, &["--story"]));
    for says in
        ["fault: KillPostgres { member: node1 }", "node2 won term 2", "node2 is promoted now", "all held"]
    {
        assert!(told.contains(says), "no {says:?}: {told}");
    }
    assert!(!told.contains("DECIDED"), "{told}");
    let json: serde_json::Value =
        serde_json::from_str(&out(&rehearse(text, &["--story", "--json"]))).unwrap();
    let records = json["story"].as_array().unwrap();
    assert!(records.iter().any(|l| l.as_str().unwrap().contains("m1 DECIDED ElectionWon")), "{records:?}");
}

/// What reads the output may stop at any line.
#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    for args in [
        &["--seed", "2", "--story"][..],
        &["--seed", "2", "--print-scenario"],
        &["--seeds", "0..40", "--json"],
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pgfo"))
            .arg("simulate")
            .args(args)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&ended.stderr));
        assert!(ended.stderr.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&ended.stderr));
    }
}

#[cfg(feature = "planted-bugs")]
#[test]
fn one_scenario_is_rehearsed_with_a_planted_bug() {
    let seed = ["simulate", "--plant", "WritesWithoutLease", "--seed", "0"];
    let printed = out(&pgfo(&[&seed[..], &["--print-scenario"]].concat()));
    let scenario: Scenario = serde_json::from_str(&printed).unwrap();
    assert_eq!(scenario.planted.map(pgfo::core::Plant::name), Some("WritesWithoutLease"));
    let whole = pgfo(&[&seed[..], &["--story"]].concat());
    let again = run(&scenario);
    assert_eq!(whole.status.code(), Some(i32::from(again.broken.is_some())));
    let all = pgfo(&["simulate", "--plant", "all", "--seed", "0", "--story"]);
    assert_eq!(all.status.code(), Some(2), "{all:?}");
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    for args in [
        &["--seeds", "0..2", "--story"][..],
        &["--seeds", "0..2", "--print-scenario"],
        &["--for", "1s", "--story"],
        &["--seed", "1", "--require-marks"],
        &["--seed", "1", "--shrink", "--story"],
        &["--seed", "1", "--print-scenario", "--out", "logs"],
        &["--seed", "1", "--shrink", "--twice"],
        &["--plant", "VotesTwice", "--require-marks"],
        &["--plant", "VotesTwice", "--story"],
        &["--plant", "VotesTwice", "--seeds", "0..2", "--shrink"],
    ] {
        let made = pgfo(&[&["simulate"], args].concat());
        assert_eq!(made.status.code(), Some(2), "{args:?}: {made:?}");
    }
}

#[test]
fn what_is_no_seed_is_told_with_the_remedy() {
    let said = |args: &[&str]| {
        let made = pgfo(&[&["simulate"], args].concat());
        assert_eq!(made.status.code(), Some(2), "{args:?}");
        String::from_utf8_lossy(&made.stderr).into_owned()
    };
    assert!(said(&["--seeds", "1000.."]).contains("write 1000..2000, or say for how long: --for 1h"));
    assert!(said(&["--seed", "-1"]).contains("a seed is a whole number from 0"));
    assert!(said(&["--seeds", "-5..3"]).contains("\"-5\" in --seeds is no number"));
    let help = out(&pgfo(&["simulate", "--help"]));
    assert!(help.contains("Exit codes:") && help.contains("docs/scenarios.md"), "{help}");
}

#[test]
fn wrong_usage_is_told_apart() {
    for args in
        [["--seeds", "5..5"], ["--seeds", "a..b"], ["--minutes", "1"], ["--scenario", "/nowhere.json"]]
    {
        let made = pgfo(&["simulate", args[0], args[1]]);
        assert_eq!(made.status.code(), Some(2), "{args:?}: {made:?}");
        assert!(!made.stderr.is_empty());
    }
}
