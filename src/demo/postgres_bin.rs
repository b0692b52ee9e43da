//! Finds PostgreSQL's programs. Must never pick a directory in which one of them is missing.

use super::error::{DemoError, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The programs a cluster needs; `pg_config` may name a directory that has the client's only.
const NEEDED: [&str; 4] = ["initdb", "postgres", "pg_ctl", "pg_basebackup"];

/// The directory that holds PostgreSQL's programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresBin(PathBuf);

impl PostgresBin {
    /// Finds the programs: in `asked` if given, else in `$PGFO_POSTGRES_BIN`, where `pg_config`
    /// says, in the newest of `/usr/lib/postgresql/*/bin`, or where `$PATH` leads.
    ///
    /// # Errors
    /// When no directory has them all; the error lists where it looked.
    pub fn find(asked: Option<&Path>) -> Result<Self> {
        let asked = asked.map(Path::to_path_buf);
        let asked = asked.or_else(|| std::env::var_os("PGFO_POSTGRES_BIN").map(PathBuf::from));
        let candidates = match asked {
            Some(dir) => vec![dir],
            None => candidates(),
        };
        match candidates.iter().find(|dir| NEEDED.iter().all(|name| dir.join(name).is_file())) {
            Some(dir) => Ok(Self(dir.clone())),
            None => {
                let looked_in: Vec<String> = candidates.iter().map(|d| d.display().to_string()).collect();
                let looked_in = if looked_in.is_empty() { "PATH".to_owned() } else { looked_in.join(", ") };
                Err(DemoError::PostgresMissing { looked_in })
            }
        }
    }

    /// Returns the directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0
    }

    /// Returns the path of one program.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

fn candidates() -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output()
        && output.status.success()
    {
        found.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    let mut packaged: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    packaged.sort();
    found.extend(packaged.into_iter().rev().map(|(_, dir)| dir));
    let path = std::env::var_os("PATH").unwrap_or_default();
    for dir in std::env::split_paths(&path) {
        // A link on the PATH leads to the directory that has the other programs, too.
        if let Ok(real) = dir.join("initdb").canonicalize()
            && let Some(real_dir) = real.parent()
        {
            found.push(real_dir.to_path_buf());
        }
    }
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_the_programs_is_refused_with_the_remedy() {
        let error = PostgresBin::find(Some(Path::new("/nonexistent/bin"))).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/bin"), "{error}");
        assert!(error.contains("--postgres-bin"), "{error}");
    }
}
