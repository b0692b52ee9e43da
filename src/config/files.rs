//! What the configuration names in the file system: looked at when the daemon starts, not on loading.
//!
//! It must never change a file. A look is a moment's truth only; who uses a file checks again.

use super::finding::{ConfigError, ConfigErrors, Finding, Warning};
use super::schema::Config;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The programs of PostgreSQL that the daemon runs.
const PROGRAMS: [&str; 4] = ["pg_ctl", "pg_controldata", "pg_rewind", "pg_basebackup"];

impl Config {
    /// Checks the files and directories that the configuration of `file` names.
    ///
    /// # Errors
    /// [`ConfigErrors`] when the daemon could not work with them.
    pub fn check_files(&self, file: &Path) -> Result<Vec<Warning>, ConfigErrors> {
        let mut look = Look { file: file.to_path_buf(), errors: Vec::new(), warnings: Vec::new() };
        look.tls(self);
        look.postgres(self);
        if look.errors.is_empty() { Ok(look.warnings) } else { Err(ConfigErrors(look.errors)) }
    }
}

struct Look {
    file: PathBuf,
    errors: Vec<ConfigError>,
    warnings: Vec<Warning>,
}

impl Look {
    fn finding(&self, key: &str, problem: String, remedy: &str) -> Finding {
        Finding { file: self.file.clone(), at: None, key: key.to_owned(), problem, remedy: remedy.to_owned() }
    }

    fn error(&mut self, key: &str, problem: String, remedy: &str) {
        let finding = self.finding(key, problem, remedy);
        self.errors.push(ConfigError(finding));
    }

    fn tls(&mut self, config: &Config) {
        let Some(tls) = &config.tls else { return };
        for (key, path) in [("tls.ca", &tls.ca), ("tls.certificate", &tls.certificate), ("tls.key", &tls.key)]
        {
            if let Err(error) = std::fs::File::open(path) {
                let remedy = "make it with `pgfo cert`, readable by the daemon's user";
                self.error(key, format!("{path:?} cannot be read: {error}"), remedy);
            }
        }
        if let Ok(metadata) = std::fs::metadata(&tls.key) {
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                let problem = format!("{:?} is open to others (mode {mode:04o})", tls.key);
                self.error(
                    "tls.key",
                    problem,
                    "chmod 0600 it, and make a new key if strangers could read it",
                );
            }
        }
    }

    fn postgres(&mut self, config: &Config) {
        let Some(postgres) = &config.postgres else { return };
        for program in PROGRAMS {
            let path = postgres.bin_directory.join(program);
            if !path.is_file() {
                let remedy =
                    "name the directory of PostgreSQL's programs, such as /usr/lib/postgresql/15/bin";
                self.error("postgres.bin_directory", format!("{path:?} is not there"), remedy);
            }
        }
        let data = match postgres.data_directory.canonicalize() {
            Ok(data) => data,
            Err(error) => {
                let problem = format!("{:?} cannot be opened: {error}", postgres.data_directory);
                let remedy = "clone this member, or correct the path";
                let finding = self.finding("postgres.data_directory", problem, remedy);
                self.warnings.push(Warning(finding));
                return;
            }
        };
        let directories =
            [("log.directory", &config.log.directory), ("node.run_directory", &config.node.run_directory)];
        for (key, directory) in directories {
            if resolved(directory).starts_with(&data) {
                let problem = format!("{directory:?} leads into the data directory {data:?}");
                self.error(key, problem, "choose a directory outside, such as one below /var/lib/pgfo");
            }
        }
    }
}

/// Resolves the symbolic links of the part of `path` that exists.
fn resolved(path: &Path) -> PathBuf {
    path.ancestors()
        .find_map(|ancestor| {
            let real = ancestor.canonicalize().ok()?;
            let rest = path.strip_prefix(ancestor).ok()?;
            Some(real.join(rest))
        })
        .unwrap_or_else(|| path.to_path_buf())
}
