//! The local PostgreSQL as processes. Synchronous and without a runtime, so that the guard can use it. It must
//! never take a recycled process number for PostgreSQL's, nor "could not look" for "nothing there" (D3).

use crate::os::{cwd_inode, has_ended, is_gone, is_short, names_postgres};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// `postmaster.pid` has eight short lines.
const PID_FILE_BYTES_MAX: u64 = 16 * 1024;

/// What state a live process is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessState {
    /// Running, sleeping or stopped.
    Normal,
    /// In uninterruptible sleep: not even SIGKILL ends it now, and it may go on later.
    Uninterruptible,
}

/// A live process whose working directory is the data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveProcess {
    /// Its number.
    pub pid: i32,
    /// The name of its program, at most 15 bytes.
    pub name: String,
    /// Its state.
    pub state: ProcessState,
}

/// Why a scan is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The data directory or `/proc` can't be read.
    #[error("could not look at {path}: {source}")]
    Unreadable {
        /// What can't be read.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A PostgreSQL process of the data directory's owner hides where it works.
    #[error("process {pid} ({name}) hides its working directory; run as the user that PostgreSQL runs as")]
    Hidden {
        /// Its number.
        pid: i32,
        /// The name of its program.
        name: String,
    },
}

/// A directory's identity, whatever name leads to it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct DirectoryId {
    device: u64,
    inode: u64,
}

impl DirectoryId {
    fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|m| Self { device: m.dev(), inode: m.ino() })
    }

    /// Where a process works.
    fn of_process(pid: i32) -> io::Result<Self> {
        cwd_inode(pid).map(|(device, inode)| Self { device, inode })
    }
}

/// Returns all live processes whose working directory is `data_dir`, but for this one. Zombies don't count, they hold
/// nothing any more; uninterruptible sleep does. Any program counts, an operator's shell, too: better a false alarm
/// than a backend that was overlooked. A process that is just being made can be missed: scan several times.
///
/// # Errors
/// When something could not be looked at: that is not the same as "nothing there".
pub fn scan(data_dir: &Path) -> Result<Vec<LiveProcess>, ScanError> {
    let unreadable = |path: &Path, source| ScanError::Unreadable { path: path.to_path_buf(), source };
    let meta = fs::metadata(data_dir).map_err(|e| unreadable(data_dir, e))?;
    let (dir, owner) = (DirectoryId { device: meta.dev(), inode: meta.ino() }, meta.uid());
    let proc = Path::new("/proc");
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let mut found = Vec::new();
    for entry in fs::read_dir(proc).map_err(|e| unreadable(proc, e))? {
        let entry = entry.map_err(|e| unreadable(proc, e))?;
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse::<i32>().ok()).filter(|p| *p != own) else {
            continue;
        };
        found.extend(look_at(pid, dir, owner)?);
    }
    Ok(found)
}

fn look_at(pid: i32, dir: DirectoryId, owner: u32) -> Result<Option<LiveProcess>, ScanError> {
    let unreadable = |source| ScanError::Unreadable { path: proc_path(pid, "stat"), source };
    match DirectoryId::of_process(pid) {
        Ok(cwd) if cwd == dir => {
            Ok(status(pid).map_err(unreadable)?.map(|(name, state)| LiveProcess { pid, name, state }))
        }
        Err(e) if e.kind() == ErrorKind::PermissionDenied => {
            let is_owners = fs::metadata(format!("/proc/{pid}")).is_ok_and(|m| m.uid() == owner);
            match status(pid).map_err(unreadable)?.filter(|_| is_owners) {
                Some((name, _)) if names_postgres(&name) => Err(ScanError::Hidden { pid, name }),
                _ => Ok(None),
            }
        }
        Err(e) if is_short(&e) => Err(ScanError::Unreadable { path: proc_path(pid, "cwd"), source: e }),
        // Elsewhere, a kernel thread, a zombie, or gone.
        Ok(_) | Err(_) => Ok(None),
    }
}

fn proc_path(pid: i32, what: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{what}"))
}

/// Returns name and state of a live process; `None` if it is dead or a zombie.
///
/// # Errors
/// When that can't be told, as for want of a file descriptor: it may well live.
fn status(pid: i32) -> io::Result<Option<(String, ProcessState)>> {
    let Some((name, rest)) = read_stat(pid)? else { return Ok(None) };
    Ok(match rest.chars().next() {
        None | Some('Z' | 'X' | 'x') => None,
        Some('D') => Some((name, ProcessState::Uninterruptible)),
        Some(_) => Some((name, ProcessState::Normal)),
    })
}

/// Returns a process's name and what follows it in `/proc/<pid>/stat`; the name itself can hold anything. `None` if it is
/// gone.
fn read_stat(pid: i32) -> io::Result<Option<(String, String)>> {
    let stat = match fs::read(proc_path(pid, "stat")) {
        Ok(stat) => stat,
        Err(e) if is_gone(&e) => return Ok(None),
        Err(e) => return Err(e),
    };
    let stat = String::from_utf8_lossy(&stat);
    let parted = stat.rsplit_once(')').and_then(|(before, after)| Some((before.split_once('(')?.1, after)));
    let (name, after) =
        parted.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "no name in brackets"))?;
    Ok(Some((name.to_owned(), after.trim_start().to_owned())))
}

/// Returns a descriptor of `pid` if it works in `data_dir`. The directory is looked at after the descriptor is open, so
/// that both are of the same process, whoever had the number before.
pub(super) fn open_member(data_dir: &Path, pid: i32) -> io::Result<Option<OwnedFd>> {
    let Some(raw) = Pid::from_raw(pid).filter(|_| pid > 0) else { return Ok(None) };
    let pidfd = match pidfd_open(raw, PidfdFlags::empty()) {
        Err(e) if e == rustix::io::Errno::SRCH => return Ok(None),
        other => other?,
    };
    match DirectoryId::of_process(pid) {
        Ok(cwd) if cwd == DirectoryId::of(data_dir)? => Ok(Some(pidfd)),
        // The kernel shows nobody where another user's process works: none of that user's is a postmaster of this directory.
        Err(e) if e.kind() == ErrorKind::PermissionDenied && is_of_another(pid, data_dir)? => Ok(None),
        Err(e) if !is_gone(&e) => Err(e),
        Ok(_) | Err(_) => Ok(None),
    }
}

/// Returns a descriptor of the WAL receiver `pid` of the PostgreSQL in `data_dir`; `None` if it is gone, or has left its
/// number to another process.
pub(super) fn open_receiver(data_dir: &Path, pid: i32) -> io::Result<Option<OwnedFd>> {
    let Some(pidfd) = open_member(data_dir, pid)? else { return Ok(None) };
    // A backend works there as well; PostgreSQL gives each process its title, whatever `update_process_title` says.
    match fs::read(proc_path(pid, "cmdline")) {
        Ok(title) => Ok(String::from_utf8_lossy(&title).contains("walreceiver").then_some(pidfd)),
        Err(e) if is_gone(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether a process belongs to another user than the data directory: PostgreSQL refuses to start in one that is not its
/// own.
fn is_of_another(pid: i32, data_dir: &Path) -> io::Result<bool> {
    match fs::metadata(format!("/proc/{pid}")) {
        Ok(process) => Ok(process.uid() != fs::metadata(data_dir)?.uid()),
        Err(e) if is_gone(&e) => Ok(true),
        Err(e) => Err(e),
    }
}

/// Sends `signal` to `pid` if it works in `data_dir`; returns whether it did.
pub(super) fn signal_member(data_dir: &Path, pid: i32, signal: Signal) -> io::Result<bool> {
    let Some(pidfd) = open_member(data_dir, pid)? else { return Ok(false) };
    match pidfd_send_signal(&pidfd, signal) {
        Err(e) if e == rustix::io::Errno::SRCH => Ok(false),
        other => other.map(|()| true).map_err(io::Error::from),
    }
}

/// Why there is no postmaster to hold.
#[derive(Debug, thiserror::Error)]
pub enum PostmasterError {
    /// There is no `postmaster.pid`, or the process that it names is gone or another one.
    #[error("no postmaster runs in {data_dir}")]
    NotRunning {
        /// The data directory.
        data_dir: PathBuf,
    },
    /// `postmaster.pid` is there but says nothing usable; a postmaster may just be writing it.
    #[error("{path} can't be understood")]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The file system or the kernel refused.
    #[error("could not look at {path}: {source}")]
    Unreadable {
        /// What was looked at.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Reads the process number in `postmaster.pid`; `None` if there is no such file. A standalone backend writes it
/// negated; the number that is returned is positive.
///
/// # Errors
/// When the file can't be read or understood.
pub fn postmaster_pid(data_dir: &Path) -> Result<Option<i32>, PostmasterError> {
    let path = data_dir.join("postmaster.pid");
    let text = match fs::metadata(&path).and_then(|m| {
        if m.len() > PID_FILE_BYTES_MAX { Ok(String::new()) } else { fs::read_to_string(&path) }
    }) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(PostmasterError::Unreadable { path, source }),
    };
    let pid = text.lines().next().and_then(|l| l.trim().parse::<i32>().ok()).map(i32::saturating_abs);
    pid.filter(|p| *p > 0).map(Some).ok_or(PostmasterError::Malformed { path })
}

/// A held postmaster: its descriptor stays its own, whatever becomes of its number.
#[derive(Debug)]
pub struct Postmaster {
    pid: i32,
    start_ticks: u64,
    pidfd: OwnedFd,
}

impl Postmaster {
    /// Opens the postmaster that runs in `data_dir`.
    ///
    /// # Errors
    /// When none runs, or one can't be looked at.
    pub fn open(data_dir: &Path) -> Result<Self, PostmasterError> {
        let not_running = || PostmasterError::NotRunning { data_dir: data_dir.to_path_buf() };
        let pid = postmaster_pid(data_dir)?.ok_or_else(not_running)?;
        let opened = open_member(data_dir, pid);
        let opened =
            opened.map_err(|source| PostmasterError::Unreadable { path: proc_path(pid, "cwd"), source });
        let pidfd = opened?.ok_or_else(not_running)?;
        // The 22nd field, the 20th after the name: the start in clock ticks since boot.
        let unreadable = |source| PostmasterError::Unreadable { path: proc_path(pid, "stat"), source };
        let lives = status(pid).map_err(unreadable)?.is_some();
        let stat = read_stat(pid).map_err(unreadable)?;
        let (_, rest) = stat.filter(|_| lives).ok_or_else(not_running)?;
        let start_ticks = rest.split(' ').nth(19).and_then(|f| f.parse().ok()).ok_or_else(not_running)?;
        Ok(Self { pid, start_ticks, pidfd })
    }

    /// Returns its process number.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.pid
    }

    /// Returns when it started, in the kernel's clock ticks since boot. With the number and the boot identity it names
    /// one run of a postmaster.
    #[must_use]
    pub const fn start_ticks(&self) -> u64 {
        self.start_ticks
    }

    /// Sends it a signal; a dead one is left in peace.
    ///
    /// # Errors
    /// When the kernel does not allow it.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.pidfd, signal) {
            Err(e) if e == rustix::io::Errno::SRCH => Ok(()),
            other => other.map_err(io::Error::from),
        }
    }

    /// Returns whether it is dead, though its parent may not have asked yet.
    ///
    /// # Errors
    /// When the kernel can't tell.
    pub fn has_died(&self) -> io::Result<bool> {
        has_ended(&self.pidfd)
    }

    pub(super) fn into_pidfd(self) -> OwnedFd {
        self.pidfd
    }
}

impl AsFd for Postmaster {
    /// Returns the descriptor, which polls readable once the postmaster is dead.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn only_the_kernels_word_that_it_is_gone_is_evidence() {
        let error = |e: Errno| io::Error::from_raw_os_error(e.raw_os_error());
        assert!([Errno::NOENT, Errno::SRCH].into_iter().map(error).all(|e| is_gone(&e)));
        let unclear = [Errno::MFILE, Errno::NFILE, Errno::IO, Errno::ACCESS, Errno::NOMEM];
        assert!(!unclear.into_iter().map(error).any(|e| is_gone(&e)));
    }
}
