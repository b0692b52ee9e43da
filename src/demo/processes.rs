//! The processes below a directory: finding, signalling, and reaping those whose parents were
//! killed. Must never touch a process that neither runs in the directory, nor names it,
//! nor was started by one that did.

use super::error::{DemoError, Result};
use super::wait::{Deadline, Look, poll};
use rustix::process::{Pid, WaitOptions};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

pub use rustix::process::Signal;

/// How often orphans are looked for: a zombie postmaster keeps its lock file valid, so this bounds
/// how long a restart is refused for no reason.
const REAP_INTERVAL: Duration = Duration::from_millis(15);
/// SIGKILL takes effect within milliseconds, except in uninterruptible sleep on a busy disk.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// The environment variable that marks what a node's processes start: its value is the node's directory.
pub(crate) const NODE_MARK: &str = "PGFO_DEMO_NODE";

/// One line of the process table.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) pid: Pid,
    parent: i32,
    group: i32,
    session: i32,
    pub(crate) state: char,
    cwd: Option<PathBuf>,
    pub(crate) arguments: Vec<String>,
}

impl Process {
    /// Reads one process, `None` if it is gone.
    pub(crate) fn read(pid: i32) -> Option<Self> {
        let dir = PathBuf::from(format!("/proc/{pid}"));
        let stat = std::fs::read_to_string(dir.join("stat")).ok()?;
        // The name in parentheses may hold anything, so count from the last parenthesis.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<i32>().ok();
        let cmdline = std::fs::read(dir.join("cmdline")).unwrap_or_default();
        let arguments = cmdline.split(|b| *b == 0).map(|a| String::from_utf8_lossy(a).into_owned());
        Some(Self {
            pid: Pid::from_raw(pid)?,
            state: fields.first()?.chars().next()?,
            parent: number(1)?,
            group: number(2)?,
            session: number(3)?,
            cwd: std::fs::read_link(dir.join("cwd")).ok(),
            arguments: arguments.collect(),
        })
    }

    fn belongs_to(&self, dir: &Path) -> bool {
        if self.cwd.as_ref().is_some_and(|cwd| cwd.starts_with(dir)) {
            return true;
        }
        let named = dir.to_string_lossy();
        self.arguments.iter().any(|argument| names(argument, &named)) || self.is_marked(dir)
    }

    /// Returns true if it inherited the mark of a node below `dir`: a guard runs in `/`, and a hook's
    /// command line may hold anything.
    fn is_marked(&self, dir: &Path) -> bool {
        let path = format!("/proc/{}/environ", self.pid.as_raw_nonzero());
        // Another user's environment can't be read, and another user's process is none of ours.
        let environment = std::fs::read(path).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        let mark =
            variables.find_map(|variable| variable.strip_prefix(NODE_MARK.as_bytes())?.strip_prefix(b"="));
        mark.is_some_and(|mark| Path::new(OsStr::from_bytes(mark)).starts_with(dir))
    }

    /// Returns true if it runs with `dir` as its working directory.
    pub(crate) fn runs_in(&self, dir: &Path) -> bool {
        self.cwd.as_deref() == Some(dir)
    }

    pub(crate) fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }
}

/// True if `argument` names `dir` or something below it, and not a sibling such as `node10`.
fn names(argument: &str, dir: &str) -> bool {
    argument.match_indices(dir).any(|(at, _)| {
        let rest = &argument[at + dir.len()..];
        rest.is_empty() || rest.starts_with('/')
    })
}

/// Returns the living processes that run below `dir` or name it, without this one.
pub(crate) fn below(dir: &Path) -> Vec<Process> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own)
        .filter_map(Process::read)
        .filter(|process| !process.is_dead() && process.belongs_to(dir))
        .collect()
}

/// Sends `signal`; a process that is already gone is no error.
pub(crate) fn send(pid: Pid, signal: Signal) -> Result<()> {
    match rustix::process::kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => Err(DemoError::Io {
            doing: "signal",
            path: PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero())),
            source: errno.into(),
        }),
    }
}

/// Stops every process below `dir`, daemons before PostgreSQL, so that none sees another stop.
/// Looks again until nothing runs: a postmaster may have forked meanwhile.
pub(crate) fn freeze_below(dir: &Path) -> Result<()> {
    let done = poll(Deadline::after(GONE_WITHIN), || {
        let mut running: Vec<Process> = below(dir).into_iter().filter(|p| !p.is_stopped()).collect();
        if running.is_empty() {
            return Look::Done(Ok(()));
        }
        running.sort_by_key(|process| process.cwd.as_ref().is_some_and(|cwd| cwd.ends_with("data")));
        for process in &running {
            if let Err(error) = send(process.pid, Signal::STOP) {
                return Look::Done(Err(error));
            }
        }
        Look::NotYet(format!("{} processes still run", running.len()))
    });
    done.unwrap_or_else(|seen| Err(still_there(dir, "stop", seen)))
}

/// Lets every process below `dir` go on.
pub(crate) fn thaw_below(dir: &Path) -> Result<()> {
    below(dir).iter().try_for_each(|process| send(process.pid, Signal::CONT))
}

/// Kills every process below `dir` at one instant, as a power cut does: all are stopped first, so
/// that no daemon can act on the death of its PostgreSQL. Returns when none is left.
pub(crate) fn kill_below(dir: &Path) -> Result<()> {
    freeze_below(dir)?;
    let done = poll(Deadline::after(GONE_WITHIN), || {
        let left = below(dir);
        for process in &left {
            if let Err(error) = send(process.pid, Signal::KILL) {
                return Look::Done(Err(error));
            }
        }
        if left.is_empty() { Look::Done(Ok(())) } else { Look::NotYet(format!("{} are left", left.len())) }
    });
    done.unwrap_or_else(|seen| Err(still_there(dir, "kill", seen)))
}

fn still_there(dir: &Path, verb: &str, seen: String) -> DemoError {
    DemoError::State(format!("could not {verb} the processes below {}: {seen}", dir.display()))
}

/// Children in a process group of their own whose exit somebody waits for through `Child`.
static WAITED_FOR: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Starts `command` in a process group of its own, as a child that its owner waits for: the reaper
/// leaves it alone until [`release`].
pub(crate) fn spawn_claimed(command: &mut Command) -> std::io::Result<Child> {
    // Held while spawning: the reaper must not see a child that ends before it is marked.
    let mut set = WAITED_FOR.lock().unwrap_or_else(PoisonError::into_inner);
    let child = command.process_group(0).spawn()?;
    set.insert(i32::try_from(child.id()).unwrap_or(0));
    Ok(child)
}

/// Ends the claim of [`spawn_claimed`], after the child was waited for.
pub(crate) fn release(pid: u32) {
    let mut set = WAITED_FOR.lock().unwrap_or_else(PoisonError::into_inner);
    set.remove(&i32::try_from(pid).unwrap_or(0));
}

/// Makes this process adopt orphans, and reaps them. A killed postmaster whose parent has gone
/// would else stay a zombie as long as process 1 pleases, and its lock file valid with it.
///
/// Children that this process spawned in its own process group are never reaped here, so `Child`
/// works as usual.
pub(crate) fn adopt_orphans() -> Result<()> {
    static ONCE: Once = Once::new();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|errno| DemoError::State(format!("cannot adopt orphaned processes: {errno}")))?;
    ONCE.call_once(|| {
        let spawned = std::thread::Builder::new().name("reaper".into()).spawn(|| {
            loop {
                reap_orphans();
                std::thread::sleep(REAP_INTERVAL);
            }
        });
        assert!(spawned.is_ok(), "the reaper's thread could not start: {spawned:?}");
    });
    Ok(())
}

fn reap_orphans() {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let own_group = rustix::process::getpgrp().as_raw_nonzero().get();
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    for task in tasks {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()) {
            let Some(process) = Process::read(child) else { continue };
            let orphan = process.state == 'Z' && process.parent == own && process.group != own_group;
            // Held while reaping: a claim must not come between the look and the reaping.
            let waited_for = WAITED_FOR.lock().unwrap_or_else(PoisonError::into_inner);
            if orphan && !waited_for.contains(&child) {
                // Somebody else reaped it first: that is what is wanted.
                let _gone = rustix::process::waitpid(Some(process.pid), WaitOptions::NOHANG);
            }
        }
    }
}

/// Waits until `pid` is neither running nor a zombie.
pub(crate) fn await_gone(pid: Pid) -> Result<()> {
    let number = pid.as_raw_nonzero().get();
    let gone = poll(Deadline::after(GONE_WITHIN), || match Process::read(number) {
        None => Look::Done(()),
        Some(process) => Look::NotYet(format!("state {}, session {}", process.state, process.session)),
    });
    gone.map_err(|seen| DemoError::State(format!("process {number} is still there after SIGKILL: {seen}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sibling_directory_is_not_named() {
        assert!(names("--config=/tmp/x/node1/pgfo.toml", "/tmp/x/node1"));
        assert!(names("/tmp/x/node1", "/tmp/x/node1"));
        assert!(!names("/tmp/x/node10/pgfo.toml", "/tmp/x/node1"));
    }

    #[test]
    fn reads_its_own_line_of_the_process_table() {
        let own = Process::read(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(!own.is_dead() && !own.is_stopped());
    }
}
