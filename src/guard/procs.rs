//! Finds and kills the processes that work in a data directory (D3). Signals go through pidfds after
//! the working directory was checked again, so never to a process that only inherited a number. Never
//! reads the disk of the data directory: a hung one must not hold the kill.

use super::protocol::{Postmaster, ProcessId, StartTicks};
use crate::os::{cwd_inode, has_ended, is_gone, is_short, names_postgres};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Device and inode: what a directory is known by, whatever its name.
pub(super) type Inode = (u64, u64);

/// A data directory, known by path and by inode: a bind mount changes the path that `/proc` shows, a
/// replaced directory the inode. A process in either counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDir {
    /// As it was given, with its links: one of them may be turned to another directory while the guard serves.
    path: PathBuf,
    /// Without links, as `/proc` shows it.
    real: PathBuf,
    /// None while the directory does not exist.
    inode: Option<Inode>,
    /// Directories that were here before, while somebody may still work there.
    former: Vec<Inode>,
}

impl DataDir {
    /// Resolves links in `path`; a directory that does not exist yet is known by its path alone.
    ///
    /// # Errors
    /// When the path cannot be made absolute.
    pub fn resolve(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let real = match std::fs::canonicalize(&path) {
            Ok(real) => real,
            Err(e) if e.kind() == io::ErrorKind::NotFound => path.clone(),
            Err(e) => return Err(e),
        };
        let inode = inode_of(&path);
        Ok(Self { path, real, inode, former: Vec::new() })
    }

    /// Returns the path as it was given, made absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns device and inode, if the directory was there when it was looked at.
    #[must_use]
    pub const fn inode(&self) -> Option<(u64, u64)> {
        self.inode
    }

    /// Takes what a look found; returns whether it is another directory. One that another takes the place of still counts,
    /// until nobody works there.
    pub(super) fn look_anew(&mut self, real: Option<PathBuf>, inode: Option<Inode>) -> bool {
        let Some(new) = inode else { return false };
        self.real = real.unwrap_or_else(|| std::mem::take(&mut self.real));
        if self.inode == Some(new) {
            return false;
        }
        self.former.retain(|known| *known != new);
        self.former.extend(self.inode);
        self.inode = Some(new);
        true
    }

    /// Counts the directory that a process works in, too, wherever this one's name leads by now.
    ///
    /// # Errors
    /// When that can't be told.
    pub(super) fn count_place_of(&mut self, pid: ProcessId) -> io::Result<()> {
        let place = cwd_inode(pid.0)?;
        if self.inode != Some(place) && !self.former.contains(&place) {
            self.former.push(place);
        }
        Ok(())
    }

    /// Whether it is where it was, as far as anybody still works there.
    pub(super) fn was_replaced(&self) -> bool {
        !self.former.is_empty()
    }

    /// Forgets the directories that were here before in which nobody works: their inodes may soon be others'. While somebody
    /// does they can't be.
    pub(super) fn forget_deserted(&mut self) {
        if self.former.is_empty() {
            return;
        }
        let mut used = Vec::new();
        // As often as a fence looks: a fork between two reads of `/proc` hides a process from one of them.
        for _ in 0..super::fence::EMPTY_SCANS_MIN {
            for pid in pids() {
                match pid.and_then(cwd_of) {
                    Ok(inode) => used.extend(inode),
                    Err(_) => return,
                }
            }
        }
        self.former.retain(|known| used.contains(known));
    }

    /// Nothing runs any more in a directory that was here before.
    pub(super) fn forget_former(&mut self) {
        self.former.clear();
    }

    /// Whether that process works in this directory.
    ///
    /// # Errors
    /// When that can't be told.
    fn is_cwd_of(&self, pid: ProcessId) -> io::Result<bool> {
        if let Ok(cwd) = std::fs::read_link(format!("/proc/{pid}/cwd")) {
            let cwd = cwd.as_os_str().as_bytes();
            if cwd.strip_suffix(b" (deleted)").unwrap_or(cwd) == self.real.as_os_str().as_bytes() {
                return Ok(true);
            }
        }
        let inode = cwd_of(pid)?;
        Ok(inode.is_some_and(|inode| self.inode == Some(inode) || self.former.contains(&inode)))
    }
}

/// Returns the directory that a process works in; none of one that is gone, a kernel thread, a zombie, or another user's,
/// which the kernel shows nobody else.
///
/// # Errors
/// When it can't be told, of a process that may well be PostgreSQL's.
fn cwd_of(pid: ProcessId) -> io::Result<Option<Inode>> {
    match cwd_inode(pid.0) {
        Ok(inode) => Ok(Some(inode)),
        Err(e) if is_short(&e) => Err(e),
        Err(e) => match hidden_postgres(pid, &e) {
            Some(name) => {
                Err(io::Error::new(e.kind(), format!("process {pid} ({name}) hides where it works: {e}")))
            }
            None => Ok(None),
        },
    }
}

/// Returns device and inode of what `path` names.
pub(super) fn inode_of(path: &Path) -> Option<(u64, u64)> {
    rustix::fs::stat(path).ok().map(|s| (s.st_dev, s.st_ino))
}

/// One process that works in the data directory; never a zombie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: ProcessId,
    /// Its parent's id.
    pub parent: ProcessId,
    /// Its start.
    pub start: StartTicks,
    /// Whether it is in uninterruptible sleep: SIGKILL reaches it only when it wakes.
    pub uninterruptible: bool,
}

struct Stat {
    state: u8,
    parent: ProcessId,
    start: StartTicks,
}

impl Stat {
    const fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// Parses `/proc/PID/stat`; the command's name may hold spaces and brackets, so fields are counted
/// from the last bracket.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, tail) = text.rsplit_once(')')?;
    let mut fields = tail.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let parent = ProcessId(fields.next()?.parse().ok()?);
    // State is field 3 and start field 22; two were taken.
    let start = StartTicks(fields.nth(17)?.parse().ok()?);
    Some(Stat { state, parent, start })
}

/// Returns what the kernel tells of a live process; `None` once it is gone, or a zombie, which holds no socket and
/// acknowledges nothing.
///
/// # Errors
/// When that can't be told: too many open files, for instance. It may well live.
fn live_stat(pid: ProcessId) -> io::Result<Option<Stat>> {
    let text = match std::fs::read(format!("/proc/{pid}/stat")) {
        Ok(text) => text,
        Err(e) if is_gone(&e) => return Ok(None),
        Err(e) => return Err(e),
    };
    let stat = parse_stat(&String::from_utf8_lossy(&text));
    let stat =
        stat.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/PID/stat is not understood"))?;
    Ok(Some(stat).filter(|s| !s.is_dead()))
}

/// Returns the name of a process of this very user that is a PostgreSQL by its name, where the kernel hides its directory:
/// one that is not dumpable, or that a security module protects. Others of the user's hide as well, ssh-agent for one.
fn hidden_postgres(pid: ProcessId, error: &io::Error) -> Option<String> {
    let own = rustix::process::geteuid().as_raw();
    if error.kind() != io::ErrorKind::PermissionDenied
        || !std::fs::metadata(format!("/proc/{pid}")).is_ok_and(|m| m.uid() == own)
    {
        return None;
    }
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    let name = name.trim_end();
    names_postgres(name).then(|| name.to_owned())
}

/// What a scan found.
#[derive(Debug, Default)]
pub struct Scan {
    /// The processes that work in the data directory.
    pub found: Vec<Process>,
    /// What could not be looked at: there may be more.
    pub unseen: Option<io::Error>,
}

impl Scan {
    /// Whether nobody works there, for all that is known; unknown is not empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty() && self.unseen.is_none()
    }

    /// Returns how many are left, [`u32::MAX`] if that is unknown.
    #[must_use]
    pub fn left(&self) -> u32 {
        match self.unseen {
            None => u32::try_from(self.found.len()).unwrap_or(u32::MAX),
            Some(_) => u32::MAX,
        }
    }
}

/// Every process's number, this one's left out.
fn pids() -> impl Iterator<Item = io::Result<ProcessId>> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let (entries, failed) = match std::fs::read_dir("/proc") {
        Ok(entries) => (Some(entries), None),
        Err(e) => (None, Some(Err(e))),
    };
    let pid = |entry: io::Result<std::fs::DirEntry>| match entry {
        Ok(entry) => entry.file_name().to_str().and_then(|n| n.parse().ok()).map(|n| Ok(ProcessId(n))),
        Err(e) => Some(Err(e)),
    };
    let others = entries.into_iter().flatten().filter_map(pid);
    failed.into_iter().chain(others).filter(move |pid| !pid.as_ref().is_ok_and(|pid| pid.0 == own))
}

/// Looks for the processes whose working directory is the data directory, this process left out. What can't be looked at
/// keeps nobody from being found.
pub fn scan(dir: &DataDir) -> Scan {
    let mut scan = Scan::default();
    for pid in pids() {
        match pid.and_then(|pid| process_in(dir, pid)) {
            Ok(process) => scan.found.extend(process),
            Err(e) => scan.unseen = scan.unseen.or(Some(e)),
        }
    }
    scan
}

fn process_in(dir: &DataDir, pid: ProcessId) -> io::Result<Option<Process>> {
    if !dir.is_cwd_of(pid)? {
        return Ok(None);
    }
    Ok(live_stat(pid)?.map(|stat| Process {
        pid,
        parent: stat.parent,
        start: stat.start,
        uninterruptible: stat.state == b'D',
    }))
}

/// Returns those of `found` whose parent is not among them: the postmaster, and strays.
pub fn roots(found: &[Process]) -> impl Iterator<Item = &Process> {
    found.iter().filter(|p| !found.iter().any(|q| q.pid == p.parent))
}

/// Sends a signal to a process that still works in the data directory; returns whether it was sent.
/// The pidfd is opened before the check, so that what was checked is what is signalled.
///
/// # Errors
/// When the kernel refuses, by permission for instance.
pub fn signal(dir: &DataDir, pid: ProcessId, signal: Signal) -> io::Result<bool> {
    let Some(fd) = open(pid)? else { return Ok(false) };
    if !dir.is_cwd_of(pid)? {
        return Ok(false);
    }
    match pidfd_send_signal(&fd, signal) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

fn open(pid: ProcessId) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = Pid::from_raw(pid.0) else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::SRCH) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// A postmaster that was found, verified, and is watched.
#[derive(Debug)]
pub struct Watched {
    /// Which one.
    pub postmaster: Postmaster,
    /// Readable when it has ended.
    pub pidfd: OwnedFd,
}

/// Opens the process named by `postmaster.pid`, if it works in the data directory and lives.
///
/// # Errors
/// When the kernel refuses a pidfd, or the process can't be looked at.
pub fn watch(dir: &DataDir, pid: ProcessId) -> io::Result<Option<Watched>> {
    let Some(pidfd) = open(pid)? else { return Ok(None) };
    if !dir.is_cwd_of(pid)? {
        return Ok(None);
    }
    let Some(stat) = live_stat(pid)? else { return Ok(None) };
    // Alive after it was looked at: what was read is its own, not a successor's with the same number.
    if has_ended(&pidfd)? {
        return Ok(None);
    }
    Ok(Some(Watched { postmaster: Postmaster { pid, start: stat.start }, pidfd }))
}

impl Watched {
    /// Signals it, wherever it works and whatever can be looked at. One that has ended is left in peace; a failure shows by
    /// its not ending.
    pub fn signal(&self, signal: Signal) {
        pidfd_send_signal(&self.pidfd, signal).ok();
    }

    /// Returns whether it is known to have ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        has_ended(&self.pidfd).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::process::Rlimit;
    use std::process::{Child, Command};

    fn sleeper(dir: &Path) -> Child {
        Command::new("sleep").arg("60").current_dir(dir).spawn().unwrap()
    }

    #[test]
    fn stat_survives_a_hostile_name() {
        let stat = parse_stat("7 (a) b) R 1) D 42 7 7 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 9911 0 0").unwrap();
        assert_eq!((stat.state, stat.parent, stat.start), (b'D', ProcessId(42), StartTicks(9911)));
        assert!(parse_stat("7 (x").is_none());
    }

    #[test]
    fn finds_by_working_directory_and_kills_nobody_else() {
        let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (mut child, mut other) = (sleeper(inside.path()), sleeper(outside.path()));
        let dir = DataDir::resolve(inside.path()).unwrap();
        let found = scan(&dir).found;
        let pid = ProcessId(i32::try_from(child.id()).unwrap());
        assert_eq!(found.iter().map(|p| p.pid).collect::<Vec<_>>(), [pid]);
        assert_eq!(roots(&found).count(), 1);

        let stranger = ProcessId(i32::try_from(other.id()).unwrap());
        assert!(!signal(&dir, stranger, Signal::KILL).unwrap());
        assert!(other.try_wait().unwrap().is_none());

        let watched = watch(&dir, pid).unwrap().unwrap();
        assert!(signal(&dir, pid, Signal::KILL).unwrap());
        child.wait().unwrap();
        assert!(has_ended(&watched.pidfd).unwrap());
        assert!(scan(&dir).is_empty());
        assert!(watch(&dir, pid).unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }

    /// Without a descriptor to spare nothing can be looked at: that must not read as an empty list, which would be proof that
    /// nothing is left.
    #[test]
    fn too_many_open_files_are_no_empty_list() {
        const CHILD: &str = "PGFO_TEST_SHORT_OF_FILES_IN";
        if let Some(dir) = std::env::var_os(CHILD) {
            let dir = DataDir::resolve(Path::new(&dir)).unwrap();
            // Room for the list of processes, and for nothing else.
            let free = std::fs::File::open("/").unwrap();
            let number = u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&free)).unwrap();
            drop(free);
            let limit = rustix::process::Resource::Nofile;
            let limits = rustix::process::getrlimit(limit);
            rustix::process::setrlimit(limit, Rlimit { current: Some(number + 1), ..limits }).unwrap();
            let unseen = scan(&dir).unseen.unwrap();
            assert_eq!(unseen.raw_os_error(), Some(Errno::MFILE.raw_os_error()));
            return;
        }
        let inside = tempfile::tempdir().unwrap();
        let mut child = sleeper(inside.path());
        let name = "guard::procs::tests::too_many_open_files_are_no_empty_list";
        let short = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--test-threads", "1"])
            .env(CHILD, inside.path())
            .output()
            .unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(short.status.success(), "{}", String::from_utf8_lossy(&short.stdout));
        assert!(String::from_utf8_lossy(&short.stdout).contains("1 passed"));
    }

    #[test]
    fn a_zombie_does_not_count() {
        let inside = tempfile::tempdir().unwrap();
        let mut child = sleeper(inside.path());
        let dir = DataDir::resolve(inside.path()).unwrap();
        let pidfd = open(ProcessId(i32::try_from(child.id()).unwrap())).unwrap().unwrap();
        child.kill().unwrap();
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
        poll(&mut fds, None).unwrap();
        assert!(scan(&dir).is_empty());
        child.wait().unwrap();
    }

    #[test]
    fn a_moved_directory_is_known_by_its_inode() {
        let outer = tempfile::tempdir().unwrap();
        let (old, new) = (outer.path().join("old"), outer.path().join("new"));
        std::fs::create_dir(&old).unwrap();
        let dir = DataDir::resolve(&old).unwrap();
        let mut child = sleeper(&old);
        std::fs::rename(&old, &new).unwrap();
        assert_eq!(scan(&dir).found.len(), 1);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
