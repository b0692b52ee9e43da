//! The user that PostgreSQL and the daemons run as: oneself, or another one when root. Must never
//! run PostgreSQL as root, which refuses.

use super::error::{DemoError, Result};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whom the cluster's processes run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunAs {
    other: Option<Other>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Other {
    name: String,
    uid: u32,
    gid: u32,
    home: PathBuf,
}

impl RunAs {
    /// Returns oneself, or, for root, `name` (`postgres` if not given).
    ///
    /// # Errors
    /// When root names a user that does not exist.
    pub fn resolve(name: Option<&str>) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { other: None });
        }
        let name = name.unwrap_or("postgres");
        let passwd = Path::new("/etc/passwd");
        let text = std::fs::read_to_string(passwd).map_err(DemoError::io("read", passwd))?;
        match text.lines().find_map(|line| parse_passwd(line, name)) {
            Some(other) if other.uid != 0 => Ok(Self { other: Some(other) }),
            _ => Err(DemoError::NoSuchUser { user: name.to_owned() }),
        }
    }

    /// Makes `command` run as this user. Supplementary groups are dropped with root's rights: the
    /// standard library does so whenever root sets a user.
    pub fn apply<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Some(other) = &self.other {
            command.uid(other.uid).gid(other.gid);
            command.env("HOME", &other.home).env("USER", &other.name).env("LOGNAME", &other.name);
        }
        command
    }

    /// Makes a command that runs `program` as this user in the network namespace at `namespace`,
    /// which takes root.
    #[must_use]
    pub fn command_in(&self, namespace: &Path, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", namespace.display()));
        if let Some(other) = &self.other {
            // Supplementary groups are dropped with the group.
            command.args([format!("--setgid={}", other.gid), format!("--setuid={}", other.uid)]);
            command.env("HOME", &other.home).env("USER", &other.name).env("LOGNAME", &other.name);
        }
        command.arg("--").arg(program);
        command
    }

    /// Gives `path` to this user.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn own(&self, path: &Path) -> Result<()> {
        match &self.other {
            Some(other) => std::os::unix::fs::chown(path, Some(other.uid), Some(other.gid))
                .map_err(DemoError::io("change the owner of", path)),
            None => Ok(()),
        }
    }

    /// Returns true if the processes run as somebody else than oneself.
    #[must_use]
    pub fn is_other(&self) -> bool {
        self.other.is_some()
    }
}

fn parse_passwd(line: &str, name: &str) -> Option<Other> {
    let fields: Vec<&str> = line.split(':').collect();
    if fields.len() < 6 || fields[0] != name {
        return None;
    }
    let (uid, gid) = (fields[2].parse().ok()?, fields[3].parse().ok()?);
    Some(Other { name: name.to_owned(), uid, gid, home: PathBuf::from(fields[5]) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_user_of_passwd() {
        let other = parse_passwd("postgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash", "postgres").unwrap();
        assert_eq!((other.uid, other.gid, other.home), (101, 104, PathBuf::from("/var/lib/postgresql")));
        assert_eq!(parse_passwd("postgresql:x:1:1::/:/bin/sh", "postgres"), None);
    }
}
