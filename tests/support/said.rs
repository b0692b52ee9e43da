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
    /// These words in one line tell the reason.
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::PriorityZero => &["priority is 0"],
            Self::OtherSystem => &["belongs to another cluster"],
            Self::Manual => &["would have stood", "but mode is manual"],
            Self::TooFewHoldItDown => &["did not stand: only", "are needed"],
            Self::Fenced => &["is fenced, sealed and stopped"],
            // The guard says it: it fences before the daemon would, which then finds PostgreSQL gone.
            Self::LeaseExpired => &["the guard fences", "Deadline"],
            Self::PastTheFork => &["can't follow the primary"],
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
    reason.words().iter().all(|word| text.contains(word))
}
