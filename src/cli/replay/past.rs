//! Owns which logs may be read together: those of one cluster, of one PostgreSQL, and of each member one
//! log of a time. Others would make one story out of two.

use super::senders::{Senders, Sent};
use super::{Audit, Log};
use std::path::PathBuf;

/// Why several logs make no timeline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mixed {
    /// They are of clusters of different names.
    #[error("{} is of cluster {one}, {} of cluster {other}; name one cluster's logs together", one_path.display(), other_path.display())]
    OtherCluster {
        /// The first log.
        one_path: PathBuf,
        /// Its cluster.
        one: String,
        /// The one that does not fit.
        other_path: PathBuf,
        /// Its cluster.
        other: String,
    },
    /// Their clusters share a name, but not a PostgreSQL.
    #[error(
        "{} is of a cluster whose PostgreSQL has the system identifier {one}, {} of one with {other}: two clusters of \
         one name, or of different times; name the logs of one of them together",
        one_path.display(),
        other_path.display()
    )]
    OtherSystem {
        /// The first log.
        one_path: PathBuf,
        /// Its system identifier.
        one: u64,
        /// The one that does not fit.
        other_path: PathBuf,
        /// Its system identifier.
        other: u64,
    },
    /// One talked to other processes of the others than those whose logs are at hand.
    #[error(
        "{} is of another past than the others: all {messages} messages that it received came from processes that the \
         others' logs do not tell of; name the logs of one past together",
        path.display()
    )]
    OtherPast {
        /// The log.
        path: PathBuf,
        /// How many messages.
        messages: u64,
    },
    /// Two are of one member and of the same time.
    #[error(
        "{} and {} are both the log of {member}, and hold records of the same time; name only one of them",
        one_path.display(),
        other_path.display()
    )]
    Twice {
        /// The first log.
        one_path: PathBuf,
        /// The other.
        other_path: PathBuf,
        /// Whose they are.
        member: String,
    },
}

/// Says which of these logs do not belong together.
///
/// # Errors
/// The first pair that does not.
pub(crate) fn same_past(logs: &[&Log]) -> Result<(), Mixed> {
    for (at, other) in logs.iter().enumerate() {
        for one in &logs[..at] {
            differ(one, other)?;
        }
    }
    let audits: Vec<&Audit> = logs.iter().map(|log| &log.audit).collect();
    let senders = Senders::of(&audits);
    for (at, log) in logs.iter().enumerate() {
        let (mut known, mut strangers) = (0_u64, 0_u64);
        for receipt in &log.audit.receipts {
            match senders.find(at, receipt) {
                Sent::Here(_) | Sent::Lost(_) => known += 1,
                Sent::Stranger(_) => strangers += 1,
                Sent::Away => {}
            }
        }
        if known == 0 && strangers > 0 {
            return Err(Mixed::OtherPast { path: log.path.clone(), messages: strangers });
        }
    }
    Ok(())
}

fn differ(one: &Log, other: &Log) -> Result<(), Mixed> {
    let (one_path, other_path) = (one.path.clone(), other.path.clone());
    let (a, b) = (&one.audit, &other.audit);
    if let (Some(one), Some(other)) = (a.cluster(), b.cluster())
        && one != other
    {
        let (one, other) = (one.to_owned(), other.to_owned());
        return Err(Mixed::OtherCluster { one_path, one, other_path, other });
    }
    let is_common = a.system_ids.iter().any(|id| b.system_ids.contains(id));
    if let (Some(one), Some(other), false) = (a.system_ids.last(), b.system_ids.last(), is_common) {
        return Err(Mixed::OtherSystem { one_path, one: one.0, other_path, other: other.0 });
    }
    let (Some(member), Some((a_first, _)), Some((a_last, _))) = (a.member(), a.first, a.last) else {
        return Ok(());
    };
    let (Some((b_first, _)), Some((b_last, _))) = (b.first, b.last) else { return Ok(()) };
    // A log that was begun anew, and the one before it, may well be read together.
    let is_same_log = a.incarnations.iter().any(|i| b.incarnations.contains(i));
    if b.member() == Some(member) && is_same_log && a_first <= b_last && b_first <= a_last {
        return Err(Mixed::Twice { one_path, other_path, member: member.to_owned() });
    }
    Ok(())
}

/// Brings logs into one order, whatever order they were named in.
pub(crate) fn in_order(logs: &mut [Log]) {
    logs.sort_by(|a, b| key(a).cmp(&key(b)));
}

/// What logs are ordered by: members by name, and one member's logs in order of their records.
pub(crate) fn key(log: &Log) -> (Option<&str>, Option<u64>, &PathBuf) {
    (log.audit.member(), log.audit.first.map(|(first, _)| first.0), &log.path)
}
