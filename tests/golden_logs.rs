//! A log that was recorded once replays for ever: every format that a daemon ever wrote stays readable, and
//! the decisions in it are derived again.

use pgfo::cli::replay::{AuditOptions, Verdict, audit_reader};
use pgfo::events::{Event, LogReader};
use std::path::Path;

/// Recorded by daemons on a real PostgreSQL: a postmaster was killed, another member was promoted.
const LOGS: [&str; 3] = ["format_1_node1.log", "format_1_node2.log", "format_1_node3.log"];

#[test]
fn every_recorded_format_replays() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/logs");
    for name in LOGS {
        let reader = LogReader::<Event>::open(dir.join(name)).unwrap();
        let audit = audit_reader(reader, AuditOptions { all: false, story: true, receipts: false });
        let verdict = audit.verdict();
        // A later core may decide otherwise, and says so by its revision; it must still read every record.
        let fine = matches!(verdict, Verdict::Identical | Verdict::DivergedFromOtherRevision);
        assert!(fine, "{name}: {}", verdict.word());
    }
}
