//! The guard process: takes its locks, makes itself hard to swap, kill and detain, and runs the loop.

use super::error::GuardError;
use super::fence;
use super::log::Log;
use super::procs::DataDir;
use super::run::{Loop, Sources};
use crate::core::Nanos;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, getrlimit, setpriority_process, setsid, umask};
use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Name of the guard's socket within the run directory.
pub const SOCKET_FILE: &str = "guard.sock";
/// Name of the file whose lock says that a run directory has a guard.
pub const LOCK_FILE: &str = "guard.lock";
/// Said on standard output, when asked, as soon as the socket answers.
pub(super) const READY_LINE: &str = "ready";
/// Said on standard output, when asked, in front of why the guard does not serve.
pub(super) const REFUSED_PREFIX: &str = "refused: ";
/// Locking memory that comes later can make an allocation fail under a small limit, and so end the
/// guard; from this limit on, in bytes, there is room for all it ever takes.
const MEMLOCK_BYTES_MIN: u64 = 64 << 20;
/// The kernel's out-of-memory killer takes everybody else first.
const OOM_SCORE_ADJ: &str = "-1000";
/// Highest priority of the ordinary scheduler.
const NICE: i32 = -20;

/// What a guard needs to know.
pub struct ServeOptions {
    /// Directory of the socket and the lock; made if missing, for its owner only.
    pub run_dir: PathBuf,
    /// PostgreSQL's data directory; it may not exist yet.
    pub data_dir: PathBuf,
    /// How long before the deadline the fence begins.
    pub fence_reserve: Nanos,
    /// Whether to leave the session of the parent, so that what ends it does not end the guard.
    pub detach: bool,
    /// Whether to say on standard output that the guard serves, or why not.
    pub announce: bool,
    /// Where lines for people go.
    pub log: Log,
}

impl std::fmt::Debug for ServeOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServeOptions")
            .field("run_dir", &self.run_dir)
            .field("data_dir", &self.data_dir)
            .field("fence_reserve", &self.fence_reserve)
            .field("detach", &self.detach)
            .finish_non_exhaustive()
    }
}

/// Serves until it is stood down and told to end by SIGTERM. Call it on the main thread of a process
/// of its own, early: it changes the working directory, the session and the handling of signals.
///
/// # Errors
/// When the guard cannot begin to serve; once it serves it does not give up.
pub fn serve(options: ServeOptions) -> Result<(), GuardError> {
    let announce = options.announce;
    let prepared = prepare(options);
    if announce {
        let line = match &prepared {
            Ok(_) => READY_LINE.to_owned(),
            Err(e) => format!("{REFUSED_PREFIX}{e}"),
        };
        // Who started the guard may be gone already; it serves all the same.
        writeln!(io::stdout(), "{line}").ok();
    }
    let (ready, _locks) = prepared?;
    if !announce {
        // Nobody started it but a service manager, which starts PostgreSQL once this is said. Without one there is nobody
        // to tell.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }
    ready.run();
    Ok(())
}

fn prepare(options: ServeOptions) -> Result<(Loop, Vec<OwnedFd>), GuardError> {
    let ServeOptions { run_dir, data_dir, fence_reserve, detach, announce: _, mut log } = options;
    let run_dir = std::path::absolute(&run_dir).map_err(GuardError::system("resolve the run directory"))?;
    let dir = DataDir::resolve(&data_dir)
        .map_err(GuardError::system(format!("resolve the data directory {}", data_dir.display())))?;
    check_owner(&dir)?;
    make_run_dir(&run_dir)?;
    let locks = lock(&run_dir, &dir, &mut log)?;
    let terminated = catch_signals()?;
    if detach && let Err(e) = setsid() {
        log(&format!("cannot leave the session: {e}; what ends it may end the guard"));
    }
    // A guard within the data directory would be counted as PostgreSQL's by others.
    std::env::set_current_dir("/").map_err(GuardError::system("change to /"))?;
    rehearse(&run_dir, &mut log);
    harden(&mut log);
    let listener = bind(&run_dir)?;
    let sources = Sources { listener: Some(listener), terminated: Some(terminated), only_client: None };
    log(&format!("serving {}, fencing {fence_reserve} before each deadline", dir.path().display()));
    let ready = Loop::new(dir, fence_reserve, sources, log).map_err(GuardError::system("set up the loop"))?;
    Ok((ready, locks))
}

fn check_owner(dir: &DataDir) -> Result<(), GuardError> {
    let euid = rustix::process::geteuid();
    match std::fs::metadata(dir.path()) {
        Ok(m) if !euid.is_root() && m.uid() != euid.as_raw() => {
            Err(GuardError::NotOwner { data_dir: dir.path().to_owned() })
        }
        // Not there yet; the first base backup makes it.
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(GuardError::system(format!("look at {}", dir.path().display()))(e)),
    }
}

fn make_run_dir(run_dir: &Path) -> Result<(), GuardError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(run_dir)
        .map_err(GuardError::system(format!("make the run directory {}", run_dir.display())))
}

/// Locks the run directory, whose socket is then ours, and the data directory, which must have one
/// guard only, whatever its run directory. The latter takes no file: base backups want it empty.
fn lock(run_dir: &Path, dir: &DataDir, log: &mut Log) -> Result<Vec<OwnedFd>, GuardError> {
    let path = run_dir.join(LOCK_FILE);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|e| GuardError::system(format!("open {}", path.display()))(e.into()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(GuardError::AlreadyServed { path: run_dir.to_owned() }),
        Err(e) => return Err(GuardError::system(format!("lock {}", path.display()))(e.into())),
    }
    let mut locks = vec![file];
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::open(dir.path(), flags, Mode::empty()) {
        Ok(data) => match flock(&data, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => locks.push(data),
            Err(Errno::WOULDBLOCK) => return Err(GuardError::AlreadyServed { path: dir.path().to_owned() }),
            // Network file systems may not lock directories; the run directory's lock stands.
            Err(e) => log(&format!("cannot lock {}: {e}", dir.path().display())),
        },
        Err(Errno::NOENT) => {}
        Err(e) => return Err(GuardError::system(format!("open {}", dir.path().display()))(e.into())),
    }
    Ok(locks)
}

fn bind(run_dir: &Path) -> Result<UnixListener, GuardError> {
    let path = run_dir.join(SOCKET_FILE);
    let place = || format!("bind {}", path.display());
    // The lock is ours, so a socket found here is a dead guard's.
    match std::fs::remove_file(&path) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(GuardError::system(place())(e)),
    }
    // By the mask, so that there is no instant at which others could connect.
    let before = umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(&path);
    umask(before);
    listener.map_err(GuardError::system(place()))
}

/// Returns a stream that is readable after SIGTERM. SIGINT and SIGHUP are caught and mean nothing, so
/// that a closed terminal does not end a guard.
fn catch_signals() -> Result<UnixStream, GuardError> {
    let wrap = || GuardError::system("catch signals");
    let (reader, writer) = UnixStream::pair().map_err(wrap())?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGTERM, writer).map_err(wrap())?;
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false))).map_err(wrap())?;
    }
    Ok(reader)
}

/// Fences an empty directory once, so that the code of a fence is in memory before it is locked there:
/// the disk it would be read from may hang just then.
fn rehearse(run_dir: &Path, log: &mut Log) {
    let stage = run_dir.join("guard.rehearsal");
    let rehearsed = std::fs::create_dir_all(&stage).and_then(|()| DataDir::resolve(&stage)).map(|dir| {
        let outcome = fence::fence_directly(&dir, None);
        if !outcome.is_complete() {
            log(&format!("the rehearsal of a fence in {} failed: {outcome:?}", stage.display()));
        }
    });
    if let Err(e) = rehearsed.and_then(|()| std::fs::remove_dir_all(&stage)) {
        log(&format!("cannot rehearse a fence in {}: {e}", stage.display()));
    }
}

/// Keeps the guard in memory and ahead of others, as far as the kernel permits; says what it does not.
fn harden(log: &mut Log) {
    let limit = getrlimit(Resource::Memlock).current;
    let mut flags = MlockAllFlags::CURRENT | MlockAllFlags::ONFAULT;
    if rustix::process::geteuid().is_root() || limit.is_none_or(|l| l >= MEMLOCK_BYTES_MIN) {
        flags |= MlockAllFlags::FUTURE;
    }
    if let Err(e) = mlockall(flags) {
        log(&format!("memory is not locked: {e}; raise LimitMEMLOCK to {MEMLOCK_BYTES_MIN} bytes"));
    }
    if let Err(e) = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ) {
        log(&format!("the out-of-memory killer may take the guard: {e}; set OOMScoreAdjust={OOM_SCORE_ADJ}"));
    }
    if let Err(e) = setpriority_process(None, NICE) {
        log(&format!("the guard runs at ordinary priority: {e}; set Nice={NICE}"));
    }
}
