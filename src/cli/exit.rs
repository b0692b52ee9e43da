//! Exit codes of every subcommand: what a script may rely on.
//!
//! A code never changes its meaning; new ones are added at free numbers.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; healthy; identical.
    Ok = 0,
    /// Done, and what was looked at is not well: the cluster is degraded, a replay diverged, an invariant
    /// was violated.
    Degraded = 1,
    /// The command line or the configuration is wrong; starting again will not help.
    Usage = 2,
    /// The evidence cannot be read, from a named record on.
    Unreadable = 3,
    /// A replay diverged, but the log was recorded by another core revision.
    OtherRevision = 4,
    /// Refused by a rule, which is named; nothing was changed.
    Refused = 5,
    /// The operation ran into its deadline: it may have happened or not. Look before trying again.
    Unknown = 6,
    /// The daemon, a peer or PostgreSQL did not answer; nothing was changed.
    Unreachable = 7,
    /// An assertion failed, a role was lost, or what a daemon or guard needs was not there, such as its port. Starting
    /// again is right.
    Internal = 70,
    /// Ended by a second signal, without waiting for an orderly end.
    Forced = 130,
}

impl Exit {
    /// All codes, in ascending order.
    pub const ALL: [Self; 10] = [
        Self::Ok,
        Self::Degraded,
        Self::Usage,
        Self::Unreadable,
        Self::OtherRevision,
        Self::Refused,
        Self::Unknown,
        Self::Unreachable,
        Self::Internal,
        Self::Forced,
    ];

    /// Returns the number that the process ends with.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_a_promise() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 70, 130]);
    }

    #[test]
    fn wrong_usage_is_what_clap_says() {
        let error = clap::Command::new("pgfo").try_get_matches_from(["pgfo", "--no-such"]).unwrap_err();
        assert_eq!(error.exit_code(), i32::from(Exit::Usage.code()));
    }
}
