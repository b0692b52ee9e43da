//! Start, stop and reload of the local PostgreSQL by commands: `pg_ctl`, or what the operator configured (such as
//! systemctl). It must never conclude from an exit code what PostgreSQL does: a probe tells that.

use super::command::{CommandReport, run_command};
use super::expand::{ExpandError, expand};
use std::path::Path;
use tokio::time::Instant;

/// How to stop a PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Sessions are ended, a shutdown checkpoint is written, standbys get everything.
    Fast,
    /// At once, with crash recovery at the next start.
    Immediate,
}

/// The command templates. `%b` is the directory of PostgreSQL's programs, `%d` the data directory, `%m` the stop
/// mode, `%t` the whole seconds until the deadline, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PgCtlCommands {
    /// Starts it and waits.
    pub start: String,
    /// Stops it and waits.
    pub stop: String,
    /// Has it read its configuration again.
    pub reload: String,
}

impl Default for PgCtlCommands {
    fn default() -> Self {
        Self {
            // Its first words need a place of their own: the pipe to this process does not outlive the command.
            start: "%b/pg_ctl start -D %d -w -t %t -s -l %d/pgfo-start.log".to_owned(),
            stop: "%b/pg_ctl stop -D %d -w -t %t -s -m %m".to_owned(),
            reload: "%b/pg_ctl reload -D %d -s".to_owned(),
        }
    }
}

/// Starts, stops and reloads one PostgreSQL.
#[derive(Clone, Debug)]
pub struct PgCtl {
    bin_dir: String,
    data_dir: String,
    commands: PgCtlCommands,
}

impl PgCtl {
    /// Returns the control of the PostgreSQL in `data_dir` by `commands`.
    ///
    /// # Errors
    /// When a template has an unknown placeholder.
    pub fn new(bin_dir: &Path, data_dir: &Path, commands: PgCtlCommands) -> Result<Self, ExpandError> {
        let (bin_dir, data_dir) = (bin_dir.display().to_string(), data_dir.display().to_string());
        let this = Self { bin_dir, data_dir, commands };
        for template in [&this.commands.start, &this.commands.stop, &this.commands.reload] {
            this.expand(template, StopMode::Fast, 1)?;
        }
        Ok(this)
    }

    /// Starts it.
    ///
    /// # Errors
    /// When a path holds a NUL byte.
    pub async fn start(&self, deadline: Instant) -> Result<CommandReport, ExpandError> {
        self.run(&self.commands.start, StopMode::Fast, deadline).await
    }

    /// Stops it.
    ///
    /// # Errors
    /// When a path holds a NUL byte.
    pub async fn stop(&self, mode: StopMode, deadline: Instant) -> Result<CommandReport, ExpandError> {
        self.run(&self.commands.stop, mode, deadline).await
    }

    /// Has it read its configuration again.
    ///
    /// # Errors
    /// When a path holds a NUL byte.
    pub async fn reload(&self, deadline: Instant) -> Result<CommandReport, ExpandError> {
        self.run(&self.commands.reload, StopMode::Fast, deadline).await
    }

    async fn run(
        &self,
        template: &str,
        mode: StopMode,
        deadline: Instant,
    ) -> Result<CommandReport, ExpandError> {
        let secs = deadline.saturating_duration_since(Instant::now()).as_secs().max(1);
        Ok(run_command(&self.expand(template, mode, secs)?, &[], deadline).await)
    }

    fn expand(&self, template: &str, mode: StopMode, secs: u64) -> Result<String, ExpandError> {
        let mode = match mode {
            StopMode::Fast => "fast",
            StopMode::Immediate => "immediate",
        };
        let secs = secs.to_string();
        expand(template, &[('b', &self.bin_dir), ('d', &self.data_dir), ('m', mode), ('t', &secs)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_checked_and_paths_quoted() {
        let ctl = PgCtl::new(Path::new("/b"), Path::new("/d d"), PgCtlCommands::default()).unwrap();
        let line = ctl.expand(&ctl.commands.stop, StopMode::Immediate, 7).unwrap();
        assert_eq!(line, "/b/pg_ctl stop -D '/d d' -w -t 7 -s -m immediate");
        let wrong = PgCtlCommands { reload: "systemctl reload %x".to_owned(), ..PgCtlCommands::default() };
        assert!(PgCtl::new(Path::new("/b"), Path::new("/d"), wrong).is_err());
    }
}
