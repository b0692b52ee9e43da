//! What is said over the control socket. Requests and the kinds of reply lines grow; what is there
//! keeps its name, so that an old command line can talk to a new daemon.
//!
//! A request is one line of JSON, `{"request":"status"}`. The reply is a sequence of lines:
//! `{"item":…}`, one of several results; `{"chunk":n}`, after which `n` raw bytes follow; and at
//! the end either `{"done":…}` or `{"error":{"code":…,"message":…,"remedy":…}}`.

use pgfo_replay::Seq;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Longest request line, in bytes; requests carry a name or two numbers.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// Longest reply line, in bytes: the status of the largest cluster fits many times. What is larger
/// goes in several lines or as chunks.
pub(crate) const REPLY_LINE_BYTES_MAX: usize = 1024 * 1024;

/// Largest chunk of raw bytes; both sides hold one at a time.
pub(crate) const CHUNK_BYTES_MAX: usize = 64 * 1024;

/// What can be asked of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// What this member knows of itself and of the cluster.
    Status,
    /// Makes the named member the primary of the first, or next, term (E10).
    Adopt {
        /// The member.
        name: String,
        /// The operator has made sure that nothing is left of the paused primary (M3).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        vouched: bool,
    },
    /// May the local PostgreSQL start unsealed (L9)? Asked by `pgfo guard`.
    MayStart,
    /// A consistent copy of the event log, as chunks.
    Export {
        /// First record.
        from: Seq,
        /// Last record; `None`: up to the last one now.
        to: Option<Seq>,
    },
    /// Version of the daemon's software.
    Version,
}

/// A request was not fulfilled. The code is stable, for machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}; {remedy}")]
pub struct ControlError {
    /// Stable word, such as `bad-request`.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl ControlError {
    /// Returns an error of these three parts.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), remedy: remedy.into() }
    }
}

/// One line of a reply.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ReplyLine {
    Item(Value),
    Chunk(usize),
    Done(Value),
    Error(ControlError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_keep_their_form() {
        let forms = [
            (Request::Status, r#"{"request":"status"}"#),
            (Request::Adopt { name: "a".to_owned(), vouched: false }, r#"{"request":"adopt","name":"a"}"#),
            (
                Request::Adopt { name: "a".to_owned(), vouched: true },
                r#"{"request":"adopt","name":"a","vouched":true}"#,
            ),
            (Request::MayStart, r#"{"request":"may-start"}"#),
            (Request::Export { from: Seq(1), to: None }, r#"{"request":"export","from":1,"to":null}"#),
            (Request::Version, r#"{"request":"version"}"#),
        ];
        for (request, form) in forms {
            assert_eq!(serde_json::to_string(&request).unwrap(), form);
            assert_eq!(serde_json::from_str::<Request>(form).unwrap(), request);
        }
        assert!(serde_json::from_str::<Request>(r#"{"request":"adopt","name":"a","x":1}"#).is_err());
        assert!(serde_json::from_str::<Request>(r#"{"request":"shutdown"}"#).is_err());
    }
}
