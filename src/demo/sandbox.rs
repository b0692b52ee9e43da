//! A sandbox: a temporary directory, a block of ports, and every process below that directory. When
//! it is dropped, or its process ends in whatever way, the processes are killed and the directory
//! removed. It knows nothing of PostgreSQL's roles.

use super::error::{DemoError, Result};
use super::locks::PortBlock;
use super::postgres_bin::PostgresBin;
use super::processes;
use super::user::RunAs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// A Unix socket's path has at most 107 bytes; `/<node>/run/.s.PGSQL.<port>.lock` needs its share.
const ROOT_BYTES_MAX: usize = 60;
/// How much of a failed program's output an error quotes.
const OUTPUT_BYTES_MAX: usize = 2_000;

/// What removes everything when this process is gone without having done so: it reads from a pipe
/// that only this process holds. The root comes by the environment, so that its own command line
/// does not name it.
const JANITOR: &str = r#"
read -r _ignored
{
  find /proc/[0-9]*/cwd -maxdepth 0 -lname "$PGFO_SANDBOX/*"
  grep -lsaF "$PGFO_SANDBOX/" /proc/[0-9]*/cmdline
  grep -lsaF "PGFO_DEMO_NODE=$PGFO_SANDBOX/" /proc/[0-9]*/environ
} 2>/dev/null | cut -d/ -f3 | sort -u | while read -r p; do kill -9 "$p" 2>/dev/null; done
ip netns list 2>/dev/null | cut -d' ' -f1 | grep "^${PGFO_SANDBOX##*/}-" | while read -r n; do ip netns del "$n"; done
[ -n "$PGFO_SANDBOX_KEEP" ] || rm -rf "$PGFO_SANDBOX"
"#;

/// How a sandbox is made.
#[derive(Clone, Debug, Default)]
pub struct SandboxOptions {
    /// Keep the directory afterwards. The processes are killed all the same.
    pub keep: bool,
    /// The directory of PostgreSQL's programs; found if not given.
    pub postgres_bin: Option<PathBuf>,
    /// The user to run as when root; `postgres` if not given.
    pub user: Option<String>,
}

/// A temporary directory with the ports and processes that belong to it.
#[derive(Debug)]
pub struct Sandbox {
    root: PathBuf,
    keep: bool,
    postgres: PostgresBin,
    user: RunAs,
    ports: Mutex<PortBlock>,
    janitor: Option<Child>,
}

/// The roots of all sandboxes of this process, and whether they are kept, for an interrupt.
static ROOTS: Mutex<Vec<(PathBuf, bool)>> = Mutex::new(Vec::new());

impl Sandbox {
    /// Makes an empty sandbox in the temporary directory.
    ///
    /// # Errors
    /// When PostgreSQL, a free block of ports or the user to run as is missing, or the temporary
    /// directory's path is too long for a socket.
    pub fn new(options: &SandboxOptions) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let postgres = PostgresBin::find(options.postgres_bin.as_deref())?;
        let user = RunAs::resolve(options.user.as_deref())?;
        processes::adopt_orphans()?;
        let ports = Mutex::new(PortBlock::take()?);
        let temp = std::env::temp_dir();
        let temp = temp.canonicalize().map_err(DemoError::io("resolve", &temp))?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let root = temp.join(format!("pgfo-{}-{number}", std::process::id()));
        let bytes = root.as_os_str().len();
        if bytes > ROOT_BYTES_MAX {
            return Err(DemoError::PathTooLong { path: root, bytes, bytes_max: ROOT_BYTES_MAX });
        }
        std::fs::create_dir(&root).map_err(DemoError::io("create", &root))?;
        roots().push((root.clone(), options.keep));
        let mut sandbox = Self { root, keep: options.keep, postgres, user, ports, janitor: None };
        // From here on a failure drops the sandbox, which removes the directory.
        sandbox.janitor = Some(sandbox.spawn_janitor()?);
        sandbox.own_private(&sandbox.root)?;
        Ok(sandbox)
    }

    /// Returns the sandbox' directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns true if the directory outlives the sandbox.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.keep
    }

    /// Returns PostgreSQL's programs.
    #[must_use]
    pub fn postgres(&self) -> &PostgresBin {
        &self.postgres
    }

    /// Returns the user that the cluster's processes run as.
    #[must_use]
    pub fn user(&self) -> &RunAs {
        &self.user
    }

    /// Returns a free loopback port that nobody else gets.
    ///
    /// # Errors
    /// When the sandbox' block is used up.
    pub fn port(&self) -> Result<u16> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).next()
    }

    /// Makes a directory below the root that only the cluster's user can read.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn directory(&self, relative: &str) -> Result<PathBuf> {
        let path = self.root.join(relative);
        std::fs::create_dir_all(&path).map_err(DemoError::io("create", &path))?;
        self.own_private(&path)?;
        Ok(path)
    }

    /// Writes a file below the root that only the cluster's user can read.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn write(&self, path: &Path, text: &str) -> Result<()> {
        std::fs::write(path, text).map_err(DemoError::io("write", path))?;
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path, private).map_err(DemoError::io("set the mode of", path))?;
        self.user.own(path)
    }

    /// Returns a command that runs `program` as the cluster's user, in the sandbox' directory, with
    /// PostgreSQL's own environment variables removed.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        self.command_in(None, program)
    }

    /// As [`Self::command`], in the network namespace at `namespace`.
    pub(super) fn command_in(&self, namespace: Option<&Path>, program: &Path) -> Command {
        let mut command = match namespace {
            Some(namespace) => self.user.command_in(namespace, program),
            None => {
                let mut command = Command::new(program);
                self.user.apply(&mut command);
                command
            }
        };
        let foreign =
            std::env::vars_os().map(|(name, _)| name).filter(|n| n.to_string_lossy().starts_with("PG"));
        for name in foreign.filter(|name| !name.to_string_lossy().starts_with("PGFO_")) {
            command.env_remove(name);
        }
        command.current_dir(&self.root).stdin(Stdio::null());
        command
    }

    /// Runs one of PostgreSQL's programs to its end.
    ///
    /// # Errors
    /// When it can't be started or fails; the error quotes the end of what it wrote.
    pub fn run(&self, program: &str, adjust: impl FnOnce(&mut Command)) -> Result<String> {
        self.run_in(None, program, adjust)
    }

    /// As [`Self::run`], in the network namespace at `namespace`.
    pub(super) fn run_in(
        &self,
        namespace: Option<&Path>,
        program: &str,
        adjust: impl FnOnce(&mut Command),
    ) -> Result<String> {
        let path = self.postgres.program(program);
        let mut command = self.command_in(namespace, &path);
        adjust(&mut command);
        run_to_end(program, &path, &mut command)
    }

    fn own_private(&self, path: &Path) -> Result<()> {
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(path, private).map_err(DemoError::io("set the mode of", path))?;
        self.user.own(path)
    }

    fn spawn_janitor(&self) -> Result<Child> {
        let shell = Path::new("/bin/sh");
        let mut command = Command::new(shell);
        command.args(["-c", JANITOR]).current_dir("/");
        command.env("PGFO_SANDBOX", &self.root);
        if self.keep {
            command.env("PGFO_SANDBOX_KEEP", "1");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        processes::spawn_claimed(&mut command).map_err(DemoError::io("run", shell))
    }
}

/// Runs `command` to its end and returns its standard output.
pub(crate) fn run_to_end(name: &str, path: &Path, command: &mut Command) -> Result<String> {
    let output = command.output().map_err(DemoError::io("run", path))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let all = text + &String::from_utf8_lossy(&output.stderr);
    Err(DemoError::Program { program: name.to_owned(), status: output.status, output: tail(&all).to_owned() })
}

/// Returns the end of `text`, from the start of a line.
pub(crate) fn tail(text: &str) -> &str {
    let text = text.trim_end();
    let from = text.len().saturating_sub(OUTPUT_BYTES_MAX);
    match (from..text.len()).find(|at| *at == 0 || text.as_bytes()[at - 1] == b'\n') {
        Some(at) => &text[at..],
        None => text,
    }
}

fn roots() -> std::sync::MutexGuard<'static, Vec<(PathBuf, bool)>> {
    ROOTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills and removes what belongs to `root`; what can't be done is said, as nobody can be told.
fn clean_up(root: &Path, keep: bool) {
    if let Err(error) = processes::kill_below(root) {
        anstream::eprintln!("pgfo: {error}");
    }
    if !keep && let Err(error) = std::fs::remove_dir_all(root) {
        anstream::eprintln!("pgfo: cannot remove {}: {error}", root.display());
    }
}

/// Kills and removes every sandbox of this process, at once, before it exits on a signal.
pub(crate) fn clean_up_all() {
    for (root, keep) in roots().drain(..) {
        clean_up(&root, keep);
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        roots().retain(|(root, _)| *root != self.root);
        clean_up(&self.root, self.keep);
        if let Some(mut janitor) = self.janitor.take() {
            // Closing its pipe ends it; `wait` does both.
            let _ended = janitor.wait();
            processes::release(janitor.id());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::tail;

    #[test]
    fn a_tail_starts_at_a_line() {
        let text = format!("first {}\nlast\n", "x".repeat(3_000));
        assert_eq!(tail(&text), "last");
        assert_eq!(tail("short\n"), "short");
    }
}
