//! libpq connection strings as pgfo understands them: parsed, completed from the environment, checked,
//! displayed without secrets. It opens no connection and must never print a password.

mod environment;
mod keyword;
mod passfile;
mod syntax;

pub use environment::Environment;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where PostgreSQL's sockets are looked for when no host is given, in this order.
const SOCKET_DIRS: [&str; 2] = ["/var/run/postgresql", "/tmp"];
/// PostgreSQL's port where none is given.
const DEFAULT_PORT: u16 = 5432;
/// More hosts than any cluster has members; bounds a connection attempt.
const HOSTS_MAX: usize = 32;

/// Why a connection string was refused. No variant carries a value that could be secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnInfoError {
    /// The text is not a connection string.
    #[error("connection string: {what} at byte {at}")]
    Syntax {
        /// What is wrong.
        what: &'static str,
        /// Where, in bytes.
        at: usize,
    },
    /// libpq does not know this parameter either.
    #[error("connection parameter \"{key}\" is unknown")]
    UnknownKey {
        /// The parameter.
        key: String,
    },
    /// libpq knows this parameter, pgfo does not support it.
    #[error("connection parameter \"{key}\" is not supported: {remedy}")]
    Unsupported {
        /// The parameter.
        key: String,
        /// What to do instead.
        remedy: &'static str,
    },
    /// The value is not one that this parameter takes.
    #[error("connection parameter \"{key}\": {expected} expected")]
    Value {
        /// The parameter.
        key: String,
        /// What it takes.
        expected: &'static str,
    },
    /// A file that the connection needs can't be used.
    #[error("connection parameter \"{key}\": file {path}: {what}")]
    File {
        /// The parameter that names it.
        key: &'static str,
        /// The file.
        path: String,
        /// What is wrong, and the remedy.
        what: String,
    },
}

/// `sslmode` with libpq's meanings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// Without TLS first, with TLS if the server wants it.
    Allow,
    /// TLS if the server has it.
    Prefer,
    /// TLS or nothing; the server is verified only if a root certificate is there.
    Require,
    /// TLS, and the certificate comes from a known authority.
    VerifyCa,
    /// TLS, a known authority, and the right host name.
    VerifyFull,
}

/// One server to try: a socket directory or a host name, and an address if it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// A host name or address, or a socket directory (starts with `/`, or `@` for the abstract namespace).
    pub name: String,
    /// The address, if it needs no resolving.
    pub address: Option<std::net::IpAddr>,
    /// The port.
    pub port: u16,
}

impl Host {
    /// Returns whether this is a Unix socket.
    #[must_use]
    pub fn is_socket(&self) -> bool {
        self.address.is_none() && (self.name.starts_with('/') || self.name.starts_with('@'))
    }
}

/// A complete connection string. `Debug` and `Display` hide the password.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnInfo {
    /// Every parameter but the password; `dbname`, `user` and `sslmode` are always there.
    parameters: BTreeMap<String, String>,
    password: Option<String>,
    /// Whether the connection string itself held the password, and not the environment.
    password_inline: bool,
    hosts: Vec<Host>,
    sslmode: SslMode,
    home: Option<PathBuf>,
}

impl ConnInfo {
    /// Parses `text` (`key=value …` or `postgresql://…`), and completes it from `environment` and libpq's
    /// defaults. The default database is `postgres`.
    ///
    /// # Errors
    /// When the syntax is wrong, or a parameter is unknown, not supported, or has an impossible value.
    pub fn parse(text: &str, environment: &Environment) -> Result<Self, ConnInfoError> {
        let given = syntax::parse(text)?;
        for (key, value) in &given {
            keyword::check(key, value)?;
        }
        let password_inline = given.get("password").is_some_and(|p| !p.is_empty());
        // libpq takes an empty value for "not given".
        let mut parameters: BTreeMap<_, _> = given.into_iter().filter(|(_, v)| !v.is_empty()).collect();
        for (key, value) in environment.parameters() {
            keyword::check(key, &value)?;
            parameters.entry(key.to_owned()).or_insert(value);
        }
        parameters.entry("user".to_owned()).or_insert_with(|| environment.os_user().to_owned());
        parameters.entry("dbname".to_owned()).or_insert_with(|| "postgres".to_owned());
        let sslmode = keyword::sslmode(parameters.get("sslmode").map_or("prefer", String::as_str))?;
        let hosts = hosts(&parameters)?;
        let password = parameters.remove("password");
        let home = environment.home().map(Path::to_path_buf);
        Ok(Self { parameters, password, password_inline, hosts, sslmode, home })
    }

    /// Returns a parameter other than the password.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.parameters.get(key).map(String::as_str)
    }

    /// Returns the servers to try, in this order.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Returns whether one of the servers to try has this name or address, and this port, as PostgreSQL displays
    /// the sender of a WAL receiver.
    #[must_use]
    pub fn has_server(&self, host: &str, port: u16) -> bool {
        let address: Option<std::net::IpAddr> = host.parse().ok();
        let named = |h: &Host| h.name == host || address.is_some() && h.address == address;
        self.hosts.iter().any(|h| h.port == port && named(h))
    }

    /// Returns the role to log in as.
    #[must_use]
    pub fn user(&self) -> &str {
        self.get("user").unwrap_or_default()
    }

    /// Returns the database.
    #[must_use]
    pub fn dbname(&self) -> &str {
        self.get("dbname").unwrap_or_default()
    }

    /// Returns the TLS mode.
    #[must_use]
    pub const fn sslmode(&self) -> SslMode {
        self.sslmode
    }

    /// Returns the longest time for one connection attempt; `None` is no limit but the caller's.
    #[must_use]
    pub fn connect_timeout(&self) -> Option<Duration> {
        let secs = self.get("connect_timeout")?.parse::<u64>().ok()?;
        // libpq: zero waits for ever, and one second means two.
        (secs > 0).then(|| Duration::from_secs(secs.max(2)))
    }

    /// Returns the password for `host`: the one given, else the first matching line of the password file.
    pub(super) fn password_for(&self, host: &Host) -> Result<Option<String>, ConnInfoError> {
        if self.password.is_some() {
            return Ok(self.password.clone());
        }
        let Some(path) = self.passfile() else { return Ok(None) };
        passfile::lookup(&path, host, self.dbname(), self.user())
    }

    /// Returns a file below libpq's directory `~/.postgresql`, if it is there.
    pub(super) fn default_file(&self, name: &str) -> Option<PathBuf> {
        let path = self.home.as_ref()?.join(".postgresql").join(name);
        path.is_file().then_some(path)
    }

    fn passfile(&self) -> Option<PathBuf> {
        match self.get("passfile") {
            Some(path) => Some(PathBuf::from(path)),
            None => Some(self.home.as_ref()?.join(".pgpass")),
        }
    }

    /// Returns the connection string for people: the password is `********`.
    #[must_use]
    pub fn redacted(&self) -> String {
        let mut out = self.render(|_| true, None);
        if self.password.is_some() {
            out.push_str(" password=********");
        }
        out
    }

    /// Returns the string for `primary_conninfo`, under `application_name`. A password that the connection
    /// string itself held goes in; one from the environment or a password file never does, but an explicit
    /// `passfile` is named.
    #[must_use]
    pub fn to_libpq_string(&self, application_name: &str) -> String {
        // A standby's WAL receiver sets these itself.
        let skip = ["application_name", "fallback_application_name", "dbname", "options"];
        let mut out = self.render(|key| !skip.contains(&key), Some(application_name));
        if let Some(password) = self.password.as_ref().filter(|_| self.password_inline) {
            out.push_str(" password=");
            out.push_str(&syntax::quote(password));
        }
        out
    }

    fn render(&self, keep: impl Fn(&str) -> bool, application_name: Option<&str>) -> String {
        let kept = self.parameters.iter().filter(|(key, _)| keep(key));
        let mut pairs: Vec<_> = kept.map(|(k, v)| format!("{k}={}", syntax::quote(v))).collect();
        if !self.parameters.contains_key("host") && !self.parameters.contains_key("hostaddr") {
            pairs.extend(self.hosts.iter().map(|h| format!("host={}", syntax::quote(&h.name))));
        }
        pairs.extend(application_name.map(|name| format!("application_name={}", syntax::quote(name))));
        pairs.join(" ")
    }
}

impl fmt::Debug for ConnInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnInfo({})", self.redacted())
    }
}

impl fmt::Display for ConnInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

fn hosts(parameters: &BTreeMap<String, String>) -> Result<Vec<Host>, ConnInfoError> {
    let list = |key: &str| parameters.get(key).map(|v| v.split(',').map(str::trim).collect::<Vec<_>>());
    let wrong = |key: &str, expected| ConnInfoError::Value { key: key.to_owned(), expected };
    let (names, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    let count = addresses.as_ref().or(names.as_ref()).map_or(1, Vec::len);
    if count > HOSTS_MAX {
        return Err(wrong("host", "at most 32 hosts"));
    }
    if names.as_ref().is_some_and(|n| n.len() != count) {
        return Err(wrong("hostaddr", "as many addresses as hosts"));
    }
    if ports.as_ref().is_some_and(|p| p.len() != 1 && p.len() != count) {
        return Err(wrong("port", "one port, or as many as hosts"));
    }
    let mut hosts = Vec::with_capacity(count);
    for i in 0..count {
        let address = match addresses.as_ref().map(|a| a[i]).filter(|a| !a.is_empty()) {
            Some(text) => Some(text.parse().map_err(|_| wrong("hostaddr", "an IP address"))?),
            None => None,
        };
        let name = match names.as_ref().map(|n| n[i]).filter(|n| !n.is_empty()) {
            Some(name) => name.to_owned(),
            None => address.map_or_else(default_host, |a: std::net::IpAddr| a.to_string()),
        };
        let port = match ports.as_ref().map(|p| if p.len() == 1 { p[0] } else { p[i] }) {
            Some(text) if !text.is_empty() => {
                let port = text.parse::<u16>().ok().filter(|p| *p > 0);
                port.ok_or_else(|| wrong("port", "a number from 1 to 65535"))?
            }
            _ => DEFAULT_PORT,
        };
        hosts.push(Host { name, address, port });
    }
    Ok(hosts)
}

fn default_host() -> String {
    let found = SOCKET_DIRS.iter().find(|dir| Path::new(dir).is_dir());
    found.map_or_else(|| "localhost".to_owned(), |dir| (*dir).to_owned())
}

#[cfg(test)]
mod tests;
