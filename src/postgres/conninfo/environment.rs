//! The part of the process's environment that libpq reads. A snapshot, so that parsing is a function of its
//! arguments.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Environment variable and the connection parameter that it stands for.
const VARIABLES: [(&str, &str); 22] = [
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGPORT", "port"),
    ("PGDATABASE", "dbname"),
    ("PGUSER", "user"),
    ("PGPASSWORD", "password"),
    ("PGPASSFILE", "passfile"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGOPTIONS", "options"),
    ("PGAPPNAME", "application_name"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLKEY", "sslkey"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLCRL", "sslcrl"),
    ("PGSSLSNI", "sslsni"),
    ("PGREQUIREPEER", "requirepeer"),
    ("PGSERVICE", "service"),
    ("PGGSSENCMODE", "gssencmode"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGCLIENTENCODING", "client_encoding"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
];

/// The `PG*` variables, the operating system's user and the home directory.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    os_user: String,
    home: Option<PathBuf>,
}

impl Environment {
    /// Returns the environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let known = |key: &str| VARIABLES.iter().any(|(variable, _)| *variable == key);
        let (os_user, home) = passwd_entry();
        Self {
            variables: std::env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
                .filter(|(k, _)| known(k))
                .collect(),
            os_user,
            home: std::env::var_os("HOME").filter(|h| !h.is_empty()).map(PathBuf::from).or(home),
        }
    }

    /// Returns an environment of these variables alone.
    #[must_use]
    pub fn of(os_user: &str, home: Option<&Path>, variables: &[(&str, &str)]) -> Self {
        Self {
            variables: variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            os_user: os_user.to_owned(),
            home: home.map(Path::to_path_buf),
        }
    }

    pub(super) fn os_user(&self) -> &str {
        &self.os_user
    }

    pub(super) fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// Returns the connection parameters that the variables stand for; empty ones count as not given.
    pub(super) fn parameters(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        VARIABLES.iter().filter_map(|(variable, key)| {
            let value = self.variables.get(*variable).filter(|v| !v.is_empty())?;
            Some((*key, value.clone()))
        })
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names only: PGPASSWORD is among them.
        let names: Vec<_> = self.variables.keys().collect();
        f.debug_struct("Environment").field("variables", &names).field("os_user", &self.os_user).finish()
    }
}

/// Returns name and home directory of the effective user. libpq asks getpwuid(); a user from elsewhere than
/// `/etc/passwd` is known by `$USER`.
fn passwd_entry() -> (String, Option<PathBuf>) {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let entry = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    match entry.into_iter().find(|fields| fields.len() >= 6 && fields[2] == uid) {
        Some(fields) => (fields[0].to_owned(), Some(PathBuf::from(fields[5]))),
        None => (std::env::var("USER").unwrap_or_else(|_| "postgres".to_owned()), None),
    }
}
