//! The passwords for one connection string, as they were read last. It must never make a broken file on this host a word
//! about the PostgreSQL that was to be asked (D2).

use super::conninfo::{ConnInfo, ConnInfoError, Host};
use std::sync::{Arc, Mutex, PoisonError};

/// Remembers what the password file said; copies share it.
#[derive(Clone)]
pub(super) struct Passwords(Arc<Mutex<Read>>);

struct Read {
    /// By host; `None` where the file, or its absence, says that there is none.
    known: Vec<(Host, Option<String>)>,
    trouble: Option<String>,
}

impl Passwords {
    /// Reads those of all hosts.
    ///
    /// # Errors
    /// When the password file is there, but can't be used.
    pub(super) fn read(conninfo: &ConnInfo) -> Result<Self, ConnInfoError> {
        let read = |host: &Host| Ok((host.clone(), conninfo.password_for(host)?));
        let known = conninfo.hosts().iter().map(read).collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Mutex::new(Read { known, trouble: None }))))
    }

    /// Returns the password for `host`: what the file says now, else what it said when it could be read last.
    pub(super) fn for_host(&self, conninfo: &ConnInfo, host: &Host) -> Option<String> {
        let now = conninfo.password_for(host);
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        read.trouble = now.as_ref().err().map(ToString::to_string);
        let known = read.known.iter_mut().find(|(of, _)| of == host).map(|(_, password)| password)?;
        if let Ok(password) = now {
            *known = password;
        }
        known.clone()
    }

    /// Returns why the file could not be read when it was wanted last.
    pub(super) fn trouble(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).trouble.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::ProbeOutcome;
    use super::super::conninfo::Environment;
    use super::super::link::Connector;
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::time::Duration;
    use tokio::time::Instant;

    fn write(path: &Path, password: &str, mode: u32) {
        std::fs::write(path, format!("*:*:*:*:{password}\n")).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_broken_password_file_takes_no_password_away() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".pgpass");
        let env = Environment::of("u", Some(home.path()), &[]);
        let info = ConnInfo::parse("host=h1", &env).unwrap();
        write(&file, "first", 0o644);
        assert!(Passwords::read(&info).is_err(), "at a start somebody is there to mend it");
        write(&file, "first", 0o600);
        let passwords = Passwords::read(&info).unwrap();
        let get = || passwords.for_host(&info, &info.hosts()[0]);
        write(&file, "second", 0o644);
        assert_eq!(get().as_deref(), Some("first"));
        assert!(passwords.trouble().unwrap().contains("chmod 0600"));
        write(&file, "second", 0o600);
        assert_eq!(get().as_deref(), Some("second"));
        assert_eq!(passwords.trouble(), None);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(get(), None, "no file is an answer, too");
    }

    /// D2: nobody listens there, and a file on this host does not make it a sign of life.
    #[tokio::test]
    async fn a_broken_password_file_is_no_sign_of_life() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".pgpass");
        write(&file, "first", 0o600);
        let env = Environment::of("u", Some(home.path()), &[]);
        let info = ConnInfo::parse("host=127.0.0.1 port=1", &env).unwrap();
        let connector = Connector::new(info).unwrap();
        write(&file, "first", 0o666);
        let error = connector.open(None, Instant::now() + Duration::from_secs(10)).await.unwrap_err();
        assert_eq!(error.outcome, ProbeOutcome::Refused, "{error}");
        assert!(connector.password_trouble().is_some());
    }
}
