//! The guard's only thread that touches the data directory's disk: it seals and looks. A hung disk
//! hangs it, and not the loop, which then kills without knowing about the seal. Decides nothing.

use super::procs::{DataDir, Inode, inode_of};
use super::protocol::ProcessId;
use super::seal::{self, Sealed};
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

/// Jobs that may wait; a hung disk needs no longer queue, since a later job tells the same.
const JOBS_MAX: usize = 4;
/// Answers that may wait: one for each job, and the one at hand.
const DONE_MAX: usize = JOBS_MAX + 1;
/// The thread makes system calls with short paths only.
const STACK_BYTES: usize = 128 * 1024;
/// Longest `postmaster.pid` that is read, in bytes; the process id is its first line.
const PID_FILE_BYTES_MAX: u64 = 4096;

/// What a seal came to.
#[derive(Debug)]
pub(super) enum SealResult {
    /// There, and flushed.
    Sealed(Sealed),
    /// The disk said no.
    Failed(io::Error),
    /// The disk has not answered.
    Unknown,
}

/// What a look at the data directory found.
#[derive(Debug)]
pub(super) struct Sight {
    /// Whether the seal is there; an error too where there is no PostgreSQL to seal.
    pub(super) sealed: io::Result<bool>,
    /// What `postmaster.pid` names; a single-user server is none.
    pub(super) pid: Option<ProcessId>,
    /// Why the mark that was to be left is not there.
    pub(super) unmarked: Option<io::Error>,
    /// Its path without links.
    pub(super) real: Option<PathBuf>,
    /// The directory's device and inode.
    pub(super) inode: Option<Inode>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    Seal(u64),
    Look,
}

#[derive(Debug)]
enum Done {
    Sealed(u64, io::Result<Sealed>),
    Looked(Sight),
}

/// The handle of the thread, held by the loop.
#[derive(Debug)]
pub(super) struct Disk {
    jobs: SyncSender<Job>,
    done: Receiver<Done>,
    wake: OwnedFd,
    seals: u64,
    look_waits: bool,
    /// Set as long as the mark is to be left.
    mark: Arc<AtomicBool>,
}

impl Disk {
    /// Starts the thread.
    pub(super) fn start(dir: &DataDir) -> io::Result<Self> {
        let (jobs, job_queue) = sync_channel(JOBS_MAX);
        let (done_queue, done) = sync_channel(DONE_MAX);
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let waker = wake.try_clone()?;
        let path = dir.path().to_owned();
        let mark = Arc::new(AtomicBool::new(false));
        let wanted = Arc::clone(&mark);
        std::thread::Builder::new()
            .name("guard-disk".into())
            .stack_size(STACK_BYTES)
            .spawn(move || work(&path, &wanted, &job_queue, &done_queue, &waker))?;
        Ok(Self { jobs, done, wake, seals: 0, look_waits: false, mark })
    }

    /// Readable when [`Disk::sight`] has something.
    pub(super) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Has the mark left with the next look that finds the disk willing.
    pub(super) fn mark(&self) {
        self.mark.store(true, Ordering::Relaxed);
    }

    /// Asks for a look, unless one is waited for already.
    pub(super) fn look(&mut self) {
        if !self.look_waits {
            self.look_waits = self.jobs.try_send(Job::Look).is_ok();
        }
    }

    /// Returns the newest look, if one arrived.
    pub(super) fn sight(&mut self) -> Option<Sight> {
        drain_wake(&self.wake);
        let mut newest = None;
        while let Ok(done) = self.done.try_recv() {
            match done {
                Done::Looked(sight) => {
                    self.look_waits = false;
                    newest = Some(sight);
                }
                // What was seen before a seal says nothing of what is there after it.
                Done::Sealed(..) => newest = None,
            }
        }
        newest
    }

    /// Looks, and waits for the disk for at most `within`; returns whether the seal is known to be
    /// there. Creates nothing.
    pub(super) fn is_sealed(&mut self, within: Duration) -> bool {
        let until = Instant::now() + within;
        // An older look may be on its way: the first answer must not be taken for the one asked here.
        while self.look_waits {
            match self.done.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Done::Looked(_)) => self.look_waits = false,
                Ok(Done::Sealed(..)) => {}
                Err(_) => return false,
            }
        }
        self.look();
        while self.look_waits {
            match self.done.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Done::Looked(sight)) => {
                    self.look_waits = false;
                    return sight.sealed.is_ok_and(|sealed| sealed);
                }
                Ok(Done::Sealed(..)) => {}
                Err(_) => return false,
            }
        }
        false
    }

    /// Seals, and waits for the disk for at most `within`. Looks made before are dropped.
    pub(super) fn seal(&mut self, within: Duration) -> SealResult {
        let until = Instant::now() + within;
        self.seals += 1;
        match self.jobs.try_send(Job::Seal(self.seals)) {
            Ok(()) => {}
            // Full of jobs that wait for the same disk.
            Err(TrySendError::Full(_)) => return SealResult::Unknown,
            Err(TrySendError::Disconnected(_)) => {
                return SealResult::Failed(io::Error::other("the guard's disk thread has ended"));
            }
        }
        loop {
            match self.done.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Done::Sealed(n, result)) if n == self.seals => {
                    return match result {
                        Ok(sealed) => SealResult::Sealed(sealed),
                        Err(e) => SealResult::Failed(e),
                    };
                }
                Ok(Done::Sealed(..)) => {}
                Ok(Done::Looked(_)) => self.look_waits = false,
                Err(_) => return SealResult::Unknown,
            }
        }
    }
}

fn drain_wake(wake: &OwnedFd) {
    let mut count = [0_u8; 8];
    // Fails only when nothing is there to drain.
    rustix::io::read(wake, &mut count).ok();
}

fn work(path: &Path, mark: &AtomicBool, jobs: &Receiver<Job>, done: &SyncSender<Done>, wake: &OwnedFd) {
    while let Ok(job) = jobs.recv() {
        let answer = match job {
            Job::Seal(n) => Done::Sealed(n, seal::seal(path)),
            Job::Look => Done::Looked(look(path, mark)),
        };
        if done.send(answer).is_err() {
            return;
        }
        // Can only fail by overflow, when the loop is to be woken anyway.
        rustix::io::write(wake, &1_u64.to_ne_bytes()).ok();
    }
}

fn look(path: &Path, mark: &AtomicBool) -> Sight {
    let unmarked = mark.load(Ordering::Relaxed).then(|| seal::mark(path)).and_then(|marked| match marked {
        Ok(marked) => {
            mark.store(!marked, Ordering::Relaxed);
            None
        }
        Err(why) => Some(why),
    });
    Sight {
        unmarked,
        sealed: seal::is_sealed(path),
        pid: read_postmaster_pid(path),
        real: std::fs::canonicalize(path).ok(),
        inode: inode_of(path),
    }
}

fn read_postmaster_pid(path: &Path) -> Option<ProcessId> {
    use std::io::Read;
    let file = std::fs::File::open(path.join("postmaster.pid")).ok()?;
    let mut text = String::new();
    file.take(PID_FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    let pid = text.lines().next()?.trim().parse().ok()?;
    (pid > 0).then_some(ProcessId(pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_for_the_seal_creates_none() {
        let dir = seal::stand_in();
        let mut disk = Disk::start(&DataDir::resolve(dir.path()).unwrap()).unwrap();
        let patience = Duration::from_secs(5);
        disk.look();
        assert!(!disk.is_sealed(patience));
        assert!(!seal::is_sealed(dir.path()).unwrap());
        seal::seal(dir.path()).unwrap();
        assert!(disk.is_sealed(patience));
    }

    #[test]
    fn seals_and_looks() {
        let dir = seal::stand_in();
        std::fs::write(dir.path().join("postmaster.pid"), "4711\n/data\n").unwrap();
        let mut disk = Disk::start(&DataDir::resolve(dir.path()).unwrap()).unwrap();
        disk.look();
        let mut fds = [rustix::event::PollFd::new(&disk.wake, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
        let sight = disk.sight().unwrap();
        assert!(!sight.sealed.unwrap());
        assert_eq!(sight.pid, Some(ProcessId(4711)));
        let result = disk.seal(Duration::from_secs(5));
        assert!(matches!(result, SealResult::Sealed(Sealed::Created)), "{result:?}");
        assert!(disk.sight().is_none());
    }

    #[test]
    fn a_single_user_server_is_no_postmaster() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("postmaster.pid"), "-4711\n").unwrap();
        assert_eq!(read_postmaster_pid(dir.path()), None);
    }

    #[test]
    fn a_directory_that_cannot_be_sealed_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone");
        let mut disk = Disk::start(&DataDir::resolve(&gone).unwrap()).unwrap();
        assert!(matches!(disk.seal(Duration::from_secs(5)), SealResult::Failed(_)));
    }
}
