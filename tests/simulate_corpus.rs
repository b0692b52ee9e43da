//! Scenarios that once broke an invariant, kept for ever; each file's name tells what it showed.

use pgfo::cluster::{Scenario, run};

#[test]
fn what_was_mended_stays_mended() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios");
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no scenarios in {directory}");
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let scenario: Scenario = serde_json::from_str(&text).unwrap();
        let broken = run(&scenario).broken;
        assert!(broken.is_none(), "{}: {broken:?}", path.display());
    }
}
