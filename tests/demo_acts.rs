//! The demo's acts, played with a script in the daemon's place: what the demo measures and how it
//! judges must not depend on the daemon being right.

use pgfo::demo::acts::{ACTS, DemoOptions, run};
use std::path::PathBuf;

/// Takes over blindly: `node2` promotes its PostgreSQL as soon as `node1` refuses connections.
/// `replay` finds what `PGFO_FAKE_REPLAY` says.
const FAKE_PGFO: &str = r#"#!/bin/bash
psql=$(ls /usr/lib/postgresql/*/bin/psql 2>/dev/null | tail -n 1); psql=${psql:-psql}
config=$3
name=$(sed -n '/^\[node\]/,/^\[log\]/s/^name = "\(.*\)"/\1/p' "$config" 2>/dev/null)
members() { sed -n '/^\[\[member\]\]/,$p' "$config" | sed -n 's/^name = "\(.*\)"/\1/p; s/^conninfo = "\(.*\)"/ \1/p'; }
conninfo() { members | grep -A1 -x "$1" | sed -n 's/^ //p'; }
recovery() { "$psql" -XAtqc 'SELECT pg_is_in_recovery()' "$(conninfo "$1")" 2>/dev/null; }
case "$1" in
daemon)
  trap 'exit 0' TERM
  echo "{\"level\":\"INFO\",\"msg\":\"started\"}" >&2
  while sleep 0.1; do
    if [ "$name" = node2 ] && [ -z "$done" ] && [ "$(recovery node1)" = "" ]; then
      echo "{\"level\":\"INFO\",\"msg\":\"node1 is down, promoting\"}" >&2
      "$psql" -XAtqc 'SELECT pg_promote(false)' "$(conninfo node2)" >/dev/null && done=1
    fi
  done ;;
status)
  for member in node2 node1; do
    if [ "$(recovery $member)" = f ]; then
      echo "{\"members\":[],\"primary\":\"$member\",\"term\":${member#node}}"; exit 0
    fi
  done
  echo '{"members":[],"primary":null,"term":1}'; exit 2 ;;
replay) echo "story of $2"; exit "$(cat "$(dirname "$0")/replay-exit")" ;;
esac
"#;

struct Fake {
    dir: PathBuf,
}

impl Fake {
    fn new(replay_exit: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("pgfo-fake-acts-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let program = dir.join("pgfo");
        std::fs::write(&program, FAKE_PGFO).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::write(dir.join("replay-exit"), replay_exit).unwrap();
        Self { dir }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.dir).ok();
    }
}

#[test]
fn every_act_is_played_measured_and_judged() {
    let fake = Fake::new("0");
    let options = DemoOptions { pgfo: Some(fake.dir.join("pgfo")), ..DemoOptions::default() };
    let report = run(&options).unwrap();
    assert_eq!(report.acts.len(), ACTS.len());
    for act in &report.acts {
        assert_eq!(act.faults(), [""; 0], "{act:?}");
        assert_eq!(
            (act.failed.as_str(), act.promoted.as_deref(), act.term),
            ("node1", Some("node2"), Some(2))
        );
        assert!(act.outage_ms.unwrap() >= act.service_outage_ms.unwrap());
        assert!(act.acked >= 400 && act.logs.is_empty());
    }
    assert!(report.good);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["acts"][1]["fault"], "node_killed");

    // The same takeover with a log that does not replay is no success.
    std::fs::write(fake.dir.join("replay-exit"), "1").unwrap();
    let report = pgfo::demo::acts::run_acts(&DemoOptions { json: true, ..options }, &ACTS[3..]).unwrap();
    assert!(!report.good);
    assert_eq!(report.acts[0].faults().len(), 3);
}
