//! Why the daemon did what it did, in its own words. The only place that knows how its log is
//! phrased, so that a test need not.

use super::within;
use pgfo::demo::{Cluster, LogMark, Node};
use serde_json::Value;

/// A reason that a person at night must find in the log.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reason {
    /// It may never be promoted.
    PriorityZero,
    /// Its PostgreSQL is another cluster's.
    OtherSystem,
    /// The operator decides; otherwise it would have stood.
    Manual,
    /// Too few voters hold the primary down.
    TooFewHoldItDown,
    /// Its PostgreSQL ran without a lease, or died, and was stopped and sealed.
    Fenced,
    /// A PostgreSQL that others do not hear from, and whose lease ran out.
    LeaseExpired,
    /// Its data went past the place where the new primary left.
    PastTheFork,
}

impl Reason {
    /// Any of these words in one line tells the reason.
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::PriorityZero => &["PriorityZero", "priority is 0", "priority 0"],
            Self::OtherSystem => &["OtherSystem", "system identifier", "another cluster"],
            Self::Manual => &["CandidacyWithheld { why: Manual", "manual"],
            Self::TooFewHoldItDown => &["TooFewHoldItDown", "too few hold", "hold it down"],
            Self::Fenced => &["FenceOrdered", "fenc"],
            Self::LeaseExpired => &["LeaseExpired", "lease"],
            Self::PastTheFork => &["FollowRefused", "past the fork"],
        }
    }
}

/// Waits until the daemon of `node` gives `reason` in its log after `mark`; returns the line.
pub(crate) fn wait_said(
    cluster: &Cluster,
    node: &Node,
    mark: LogMark,
    reason: Reason,
    seconds: u64,
) -> Value {
    let what = format!("the reason {reason:?}");
    cluster.wait_log(node, mark, &what, within(seconds), |line| says(line, reason)).unwrap()
}

/// Returns true if the daemon of `node` ever gave `reason` in its log.
pub(crate) fn has_said(node: &Node, reason: Reason) -> bool {
    let log = std::fs::read_to_string(node.daemon_log()).unwrap_or_default();
    log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).any(|line| says(&line, reason))
}

/// Returns true if a line of the log gives `reason`.
fn says(line: &Value, reason: Reason) -> bool {
    let text = line.to_string();
    reason.words().iter().any(|word| text.contains(word))
}
