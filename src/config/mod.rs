//! Configuration: one TOML file, parsed, validated, resolved. Unknown keys are errors with a suggestion.
//!
//! Owns the file's form and its defaults. It must never start anything, nor show a password. Errors name
//! file, line, column, key and remedy, and as many as possible are reported together.

mod command_line;
mod conninfo;
mod diff;
mod effective;
mod files;
mod finding;
mod membership;
mod reader;
mod resolve;
mod schema;
mod units;
mod validate;
mod validate_times;
mod values;
mod words;

pub use command_line::CommandLine;
pub use conninfo::{Conninfo, ConninfoError, MASK};
pub use diff::{Change, ReloadRefused, diff, reload_changes};
pub use effective::{Applies, Effective};
pub(crate) use finding::Fault as Trouble;
pub use finding::{ConfigError, ConfigErrors, ERRORS_SHOWN_MAX, Finding, LineColumn, Warning};
pub use membership::{MEMBERS_MAX, Member, Membership, PeerAddress};
pub use reader::closest;
pub use schema::{
    ATTEMPTS_MAX, Cluster, Config, Election, Escalation, Failover, Fencing, Heartbeat, INCIDENTS_MAX,
    LOG_AGE_MIN, LOG_SIZE_MIN, Lease, Log, Node, PRIORITY_MAX, Postgres, Replication, Tls,
};
pub use units::{ByteCount, DURATION_MAX};
pub(crate) use validate_times::LeaseTimes;
pub use words::{FailoverMode, FencingMode, LogFormat, LogLevel, MemberRole, ReplicationMode};

use crate::core::MemberId;
use finding::{Fault, Findings};
use std::io::Read as _;
use std::path::Path;
use toml::de::DeTable;

/// The largest file read: a hundred times what 250 members need, and small enough to hold in memory.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

impl Config {
    /// Loads, validates and resolves the file at `path`. Certificates and directories need not exist:
    /// see [`Config::check_files`].
    ///
    /// # Errors
    /// [`ConfigErrors`]: all that is wrong, in the order of the file.
    pub fn load(path: &Path) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        let mut bytes = Vec::new();
        let read =
            std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
        if let Err(error) = read {
            let remedy = "name a readable configuration file with --config";
            return Err(about_file(path, Fault::new(format!("cannot be read: {error}"), remedy)));
        }
        if bytes.len() as u64 > FILE_BYTES_MAX {
            let problem = format!("is larger than {}", ByteCount(FILE_BYTES_MAX));
            return Err(about_file(path, Fault::new(problem, "name the configuration file with --config")));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Self::parse(path, &text),
            Err(error) => {
                let valid = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
                let end = valid.len();
                let mut findings = Findings::new(path, &valid);
                findings.error_at(
                    &(end..end),
                    "",
                    Fault::new("is not UTF-8 from here on", "save the file as UTF-8"),
                );
                Err(findings.into_errors())
            }
        }
    }

    /// Validates and resolves `text` as if it stood in the file `path`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(path: &Path, text: &str) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        let mut findings = Findings::new(path, text);
        let (table, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            return resolve::resolve(table.get_ref(), findings);
        }
        // What a broken file says is not known: no further checks.
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let problem = format!("not TOML: {}", error.message());
            findings.error_at(
                &span,
                "",
                Fault::new(problem, "correct the line; the form is key = value, texts in quotes"),
            );
        }
        Err(findings.into_errors())
    }

    /// Returns this member's number.
    #[must_use]
    pub const fn me(&self) -> MemberId {
        self.membership.me()
    }

    /// Returns this member.
    #[must_use]
    pub fn this_member(&self) -> &Member {
        self.membership.this_member()
    }

    /// Returns the digest of the membership, which the handshake compares.
    #[must_use]
    pub fn membership_digest(&self) -> [u8; 32] {
        self.membership.digest()
    }
}

/// Reads a duration such as `300ms`, as the configuration file spells it.
///
/// # Errors
/// What is wrong, and the remedy.
pub fn read_duration(text: &str) -> Result<crate::core::Nanos, String> {
    units::parse_duration(text).map_err(|fault| format!("{}: {}", fault.problem, fault.remedy))
}

/// Reads a size such as `16MB`, as the configuration file spells it.
///
/// # Errors
/// What is wrong, and the remedy.
pub fn read_size(text: &str) -> Result<ByteCount, String> {
    units::parse_size(text).map_err(|fault| format!("{}: {}", fault.problem, fault.remedy))
}

fn about_file(path: &Path, fault: Fault) -> ConfigErrors {
    ConfigErrors(vec![ConfigError(Finding {
        file: path.to_path_buf(),
        at: None,
        key: String::new(),
        problem: fault.problem,
        remedy: fault.remedy,
    })])
}
