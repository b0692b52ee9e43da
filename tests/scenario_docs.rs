//! `docs/scenarios.md` against the code: every key with its default, every kind of fault with an example that is one.

use pgfo::cluster::{Fault, Scenario, ScenarioMember, TimedFault, Timings};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;

const DOCS: &str = include_str!("../docs/scenarios.md");

/// The rows of the table whose first column has this header: the first two cells, their backticks left out.
fn rows(header: &str) -> Vec<(String, String, String)> {
    let start = DOCS.find(&format!("| {header} |")).unwrap();
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()
    };
    let rows = DOCS[start..].lines().skip(2).take_while(|line| line.starts_with('|')).map(cells);
    let bare = |text: &str| text.trim_matches('`').to_owned();
    rows.map(|row| (bare(&row[0]), bare(&row[1]), row[2].clone())).collect()
}

/// The names that serde knows, as it lists them when it meets another.
fn known<T: DeserializeOwned>(wrong: &str) -> Vec<String> {
    let why = serde_json::from_str::<T>(wrong).err().unwrap().to_string();
    assert!(why.starts_with("unknown"), "{why}");
    why.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

/// Every key of `T` is in the table, in this order or another, with its default.
fn keys_are_told<T: Default + Serialize + DeserializeOwned>(header: &str, left_out: &[(&str, &str)]) {
    let told: BTreeMap<String, String> = rows(header).into_iter().map(|(k, d, _)| (k, d)).collect();
    let mut keys = known::<T>("{\"?\": 0}");
    keys.sort();
    assert_eq!(told.keys().cloned().collect::<Vec<_>>(), keys);
    let defaults = serde_json::to_value(T::default()).unwrap();
    for (key, told) in &told {
        if let Some((_, words)) = left_out.iter().find(|(k, _)| k == key) {
            assert_eq!(told, words, "{key}");
            continue;
        }
        let given: T = serde_json::from_str(&format!("{{\"{key}\": {told}}}")).unwrap();
        assert_eq!(serde_json::to_value(given).unwrap(), defaults, "{key}: {told}");
    }
}

#[test]
fn every_key_is_told_with_its_default() {
    keys_are_told::<Scenario>("key", &[("planted", "none")]);
    keys_are_told::<ScenarioMember>("key of a member", &[("lease_ms", "that of `timings")]);
    keys_are_told::<Timings>("key of `timings`", &[]);
}

#[test]
fn every_kind_of_fault_has_an_example_that_is_one() {
    let rows = rows("kind");
    let told: Vec<&str> = rows.iter().map(|(kind, ..)| kind.as_str()).collect();
    assert_eq!(told, known::<Fault>("{\"?\": 0}"), "in the order of the code");
    for (kind, example, _) in &rows {
        let fault: Fault = serde_json::from_str(example).unwrap_or_else(|e| panic!("{kind}: {e}: {example}"));
        assert_eq!(&fault.kind(), kind);
        // It shows every field, and can be rehearsed.
        let whole = serde_json::to_value(&fault).unwrap();
        let shown: Value = serde_json::from_str(example).unwrap();
        let fields = |value: &Value| -> Vec<String> {
            let body = value.get(kind).and_then(Value::as_object);
            body.map(|body| body.keys().cloned().collect()).unwrap_or_default()
        };
        assert_eq!(fields(&whole), fields(&shown));
        let faults = vec![TimedFault { at_ms: 15_000, fault }];
        assert_eq!(Scenario { faults, ..Scenario::default() }.check(), Ok(vec![]), "{kind}");
    }
}

#[test]
fn every_word_of_a_fault_is_told() {
    // A field of a few words: another word is refused with all of them.
    for (kind, example, says) in rows("kind") {
        let mut value: Value = serde_json::from_str(&example).unwrap();
        let Some(fields) = value.get_mut(&kind).and_then(Value::as_object_mut) else { continue };
        let words: Vec<String> =
            fields.iter().filter(|(_, v)| v.is_string()).map(|(k, _)| k.clone()).collect();
        for field in words.iter().filter(|field| *field != "on") {
            let before = fields.insert(field.clone(), "?".into()).unwrap();
            let wrong = serde_json::json!({ kind.as_str(): fields.clone() }).to_string();
            for word in known::<Fault>(&wrong) {
                assert!(says.contains(&format!("`{word}`")), "{kind}: {field} may be {word}");
            }
            fields.insert(field.clone(), before);
        }
    }
}

#[test]
fn what_it_says_of_a_whole_scenario_is_one() {
    let blocks: Vec<&str> = DOCS.split("```json\n").skip(1).map(|b| b.split("```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 1);
    for block in blocks {
        let scenario: Scenario = serde_json::from_str(block).unwrap();
        assert_eq!(scenario.check(), Ok(vec![]), "{block}");
    }
}
