//! The closed vocabularies of the configuration: keys whose value is one of a few words.

use super::finding::{Fault, quote};
use super::reader::closest;

/// A value that is written as one of a few words.
pub(super) trait Word: Copy + Sized + PartialEq + 'static {
    /// The words and what they mean, in the order in which a message names them.
    const WORDS: &'static [(&'static str, Self)];

    /// Returns a fault for a word that is known, but not available.
    fn unavailable(_word: &str) -> Option<Fault> {
        None
    }
}

/// Returns the word of a value.
pub(super) fn word_of<W: Word>(value: W) -> &'static str {
    W::WORDS.iter().find(|(_, meaning)| *meaning == value).map_or("", |(word, _)| word)
}

/// Reads a word.
pub(super) fn parse_word<W: Word>(text: &str) -> Result<W, Fault> {
    if let Some((_, meaning)) = W::WORDS.iter().find(|(word, _)| *word == text) {
        return Ok(*meaning);
    }
    if let Some(fault) = W::unavailable(text) {
        return Err(fault);
    }
    let words: Vec<&str> = W::WORDS.iter().map(|(word, _)| *word).collect();
    let all = words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
    let remedy = match closest(text, words) {
        Some(word) => format!("did you mean {word:?}? Possible: {all}"),
        None => format!("write one of {all}"),
    };
    Err(Fault::new(format!("{} is not possible here", quote(text)), remedy))
}

/// Whether this member stands by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailoverMode {
    /// It stands as soon as the rules allow.
    Automatic,
    /// It votes and follows, but stands only when an operator says so.
    Manual,
}

impl Word for FailoverMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("automatic", Self::Automatic), ("manual", Self::Manual)];
}

/// Who stops PostgreSQL when the lease runs out (L6, L10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FencingMode {
    /// A separate process, which fences whatever the daemon does.
    Guard,
    /// The daemon itself: a dead daemon leaves PostgreSQL unguarded.
    Daemon,
    /// Nobody: neither lease nor seal; two primaries are possible.
    Off,
}

impl Word for FencingMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("guard", Self::Guard), ("daemon", Self::Daemon), ("off", Self::Off)];
}

/// What an acknowledged commit means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicationMode {
    /// It is on the primary; a failover may lose the last of them, and says at most how many bytes.
    Asynchronous,
}

impl Word for ReplicationMode {
    const WORDS: &'static [(&'static str, Self)] = &[("asynchronous", Self::Asynchronous)];

    fn unavailable(word: &str) -> Option<Fault> {
        (word == "quorum").then(|| {
            Fault::new(
                "quorum commit is not available in this version",
                "write \"asynchronous\", and mind that a failover may lose the last commits",
            )
        })
    }
}

/// The least severe text log line written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Something failed and needs a person.
    Error,
    /// Something is doubtful.
    Warning,
    /// What a person wants to read the day after.
    Info,
    /// What a developer wants to read.
    Debug,
}

impl Word for LogLevel {
    const WORDS: &'static [(&'static str, Self)] =
        &[("error", Self::Error), ("warning", Self::Warning), ("info", Self::Info), ("debug", Self::Debug)];
}

/// How text log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Terminal,
    /// One JSON object a line.
    Json,
}

impl Word for LogFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("terminal", Self::Terminal), ("json", Self::Json)];
}

/// What a member is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberRole {
    /// PostgreSQL and daemon.
    Data,
    /// Daemon only; it votes, and can never be promoted.
    Witness,
}

impl Word for MemberRole {
    const WORDS: &'static [(&'static str, Self)] = &[("data", Self::Data), ("witness", Self::Witness)];
}
