//! What can go wrong with a guard, on either side of its socket.

use super::frame::FrameError;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A guard could not be started or asked.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// Another guard holds the data directory or the run directory.
    #[error("another guard already serves {path}; ask it, or stand it down and end it first")]
    AlreadyServed {
        /// The directory that is held.
        path: PathBuf,
    },
    /// Neither root nor the owner of the data directory: its processes could not be seen.
    #[error(
        "the guard must run as the owner of {data_dir} or as root: it could not see PostgreSQL otherwise"
    )]
    NotOwner {
        /// The data directory.
        data_dir: PathBuf,
    },
    /// A system call failed.
    #[error("cannot {what}: {source}")]
    System {
        /// What was to be done, with the place.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// No answer within the deadline: the request may have been taken, or not.
    #[error("the guard has not answered within {within:?}: whether it took the request is unknown")]
    Unknown {
        /// The deadline given.
        within: Duration,
    },
    /// The connection ended: a request on its way may have been taken, or not.
    #[error("the connection to the guard has ended: {why}")]
    Disconnected {
        /// How.
        why: String,
    },
    /// Too many requests wait for an answer.
    #[error("{waiting} requests wait for the guard already")]
    Busy {
        /// How many.
        waiting: usize,
    },
    /// The request cannot be written within the bound.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The guard process said why it does not serve, or ended without a word.
    #[error("the guard process did not start: {why}")]
    NotStarted {
        /// Its words.
        why: String,
    },
}

impl GuardError {
    /// Returns a function that wraps an I/O error with what was to be done.
    pub(super) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }
}
