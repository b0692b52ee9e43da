//! The three ends of an operation. It must never turn "could not see" into "did not happen".

use super::link::LinkError;

/// How an operation on PostgreSQL ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It happened, and was observed to.
    Done(T),
    /// It did not happen, or PostgreSQL refused it.
    Failed {
        /// What was refused, and by whom.
        why: String,
    },
    /// It may have happened, now or later: the deadline passed or the connection was lost.
    Unknown {
        /// What could not be observed.
        why: String,
    },
}

impl<T> Outcome<T> {
    /// Returns what was done, if it was.
    #[must_use]
    pub fn done(self) -> Option<T> {
        match self {
            Self::Done(value) => Some(value),
            Self::Failed { .. } | Self::Unknown { .. } => None,
        }
    }
}

/// The early end of an operation.
#[derive(Debug)]
pub(super) enum Stop {
    Failed(String),
    Unknown(String),
}

impl Stop {
    /// Nothing was sent yet, so nothing happened.
    pub(super) fn before_sending(error: &LinkError) -> Self {
        Self::Failed(format!("could not open a session: {error}"))
    }
}

impl<T> From<Result<T, Stop>> for Outcome<T> {
    fn from(result: Result<T, Stop>) -> Self {
        match result {
            Ok(value) => Self::Done(value),
            Err(Stop::Failed(why)) => Self::Failed { why },
            Err(Stop::Unknown(why)) => Self::Unknown { why },
        }
    }
}
