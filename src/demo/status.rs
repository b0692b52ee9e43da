//! What `pgfo status --json` says, as far as the harness needs it.

use super::error::{DemoError, Result};
use super::sandbox::tail;
use crate::core::Term;
use serde_json::Value;
use std::process::Output;

/// One member, as a daemon sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// The member's name.
    pub name: String,
    /// `primary`, `standby`, `witness`, `unknown` or another word of the daemon's.
    pub role: String,
}

/// One daemon's view of the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The exit code: 0 healthy, 1 degraded, 2 no primary.
    pub exit_code: i32,
    /// The primary's name, if it knows one.
    pub primary: Option<String>,
    /// The term; 0 is no history.
    pub term: Term,
    /// Every member.
    pub members: Vec<MemberStatus>,
    /// The whole answer.
    pub raw: Value,
}

impl Status {
    /// Reads the output of `pgfo status --json`.
    pub(crate) fn parse(node: &str, output: &Output) -> Result<Self> {
        let text = String::from_utf8_lossy(&output.stdout);
        let Ok(raw) = serde_json::from_str::<Value>(text.trim()) else {
            let all = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
            return Err(DemoError::Program {
                program: format!("pgfo status of {node}"),
                status: output.status,
                output: tail(&all).to_owned(),
            });
        };
        let word = |value: &Value| value.as_str().map(str::to_owned);
        let members = raw.get("members").and_then(Value::as_array).into_iter().flatten();
        let members = members.filter_map(|member| {
            let role = member.get("role").and_then(word).unwrap_or_else(|| "unknown".to_owned());
            Some(MemberStatus { name: member.get("name").and_then(word)?, role })
        });
        Ok(Self {
            exit_code: output.status.code().unwrap_or(-1),
            primary: raw.get("primary").and_then(|p| word(p).or_else(|| p.get("name").and_then(word))),
            term: Term(raw.get("term").and_then(Value::as_u64).unwrap_or(0)),
            members: members.collect(),
            raw,
        })
    }

    /// Says in a few words what this status holds, for an error.
    #[must_use]
    pub fn summary(&self) -> String {
        let primary = self.primary.as_deref().unwrap_or("none");
        format!("exit {}, primary {primary}, term {}", self.exit_code, self.term)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    fn output(code: i32, text: &str) -> Output {
        Output { status: ExitStatus::from_raw(code << 8), stdout: text.into(), stderr: b"broken".to_vec() }
    }

    #[test]
    fn reads_primary_term_and_roles() {
        let text =
            r#"{"members":[{"name":"node1","role":"standby"},{"name":"node2"}],"primary":"node2","term":4}"#;
        let status = Status::parse("node1", &output(1, text)).unwrap();
        assert_eq!(status.summary(), "exit 1, primary node2, term 4");
        assert_eq!(status.members[1].role, "unknown");
        let none = Status::parse("node1", &output(2, r#"{"primary":null}"#)).unwrap();
        assert_eq!((none.primary, none.term), (None, Term(0)));
    }

    #[test]
    fn what_is_no_status_is_quoted() {
        assert!(Status::parse("node1", &output(2, "oops")).unwrap_err().to_string().contains("oopsbroken"));
    }
}
