//! What can go wrong while a throw-away cluster is made or watched. Every text names the place and
//! what to do about it.

use std::path::{Path, PathBuf};

/// The result of everything in this module.
pub type Result<T, E = DemoError> = std::result::Result<T, E>;

/// A throw-away cluster could not be made, driven or observed.
#[derive(thiserror::Error)]
pub enum DemoError {
    /// No directory with all of PostgreSQL's programs was found.
    #[error(
        "PostgreSQL's programs were not found (looked in {looked_in}); install the server package \
         (Debian: apt-get install postgresql) or name the directory with --postgres-bin"
    )]
    PostgresMissing {
        /// The directories that were tried, for people.
        looked_in: String,
    },
    /// The operating system refused something.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// The verb, as in "create".
        doing: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The user to run PostgreSQL as does not exist.
    #[error(
        "there is no user {user:?} to run PostgreSQL as, and PostgreSQL refuses to run as root; create it or run as an ordinary user"
    )]
    NoSuchUser {
        /// The name that was looked up.
        user: String,
    },
    /// The temporary directory's path leaves no room for a Unix socket's.
    #[error("the path {} is {bytes} bytes long, too long for the sockets below it (at most {bytes_max}); set TMPDIR to a shorter one", path.display())]
    PathTooLong {
        /// The sandbox' root.
        path: PathBuf,
        /// Its length in bytes.
        bytes: usize,
        /// The longest that leaves room.
        bytes_max: usize,
    },
    /// Every block of ports is taken.
    #[error("no free block of {ports} loopback ports between {from} and {to}; stop other clusters first")]
    NoPorts {
        /// How many are needed together.
        ports: u16,
        /// The first port looked at.
        from: u16,
        /// The last one.
        to: u16,
    },
    /// A program ended with a failure.
    #[error("{program} failed ({status}): {output}")]
    Program {
        /// The program's name.
        program: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// The end of what it wrote.
        output: String,
    },
    /// PostgreSQL refused a statement or a connection.
    #[error("{node}: {doing}: {message}")]
    Postgres {
        /// The node's name or address.
        node: String,
        /// What was being done.
        doing: &'static str,
        /// PostgreSQL's text, without secrets.
        message: String,
        /// PostgreSQL's five-letter code, if it answered at all.
        code: Option<String>,
    },
    /// No answer in time: the outcome is unknown, not negative.
    #[error("{node}: {doing}: no answer within {within_ms} ms, outcome unknown")]
    Unknown {
        /// The node's name or address.
        node: String,
        /// What was being done.
        doing: &'static str,
        /// The deadline in milliseconds.
        within_ms: u128,
    },
    /// Something awaited did not happen.
    #[error("waited {within_ms} ms in vain for {what}; last seen: {last_seen}\n{evidence}")]
    TimedOut {
        /// What was awaited.
        what: String,
        /// How long, in milliseconds.
        within_ms: u128,
        /// The last observation.
        last_seen: String,
        /// The ends of the nodes' logs.
        evidence: String,
    },
    /// The cluster is not in the state that the request needs.
    #[error("{0}")]
    State(String),
}

/// As its display: in a test that unwraps it, the logs it quotes stay readable.
impl std::fmt::Debug for DemoError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl DemoError {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { doing, path, source }
    }
}
