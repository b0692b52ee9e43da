//! The daemon beside a node: started, stopped, asked, and its log followed. Knows the daemon by its
//! command line and its outputs only.

use super::error::{DemoError, Result};
use super::node::Node;
use super::processes::{self, NODE_MARK, Process, Signal};
use super::sandbox::{Sandbox, tail};
use super::status::Status;
use super::wait::{Deadline, Look, poll};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

/// A daemon that stops orderly may first have to have a pause agreed upon.
const STOP_WITHIN_SECS: u64 = 30;
/// `pgfo status` asks a daemon on this host; one that hangs is no answer.
const STATUS_WITHIN: Duration = Duration::from_secs(5);
/// More than any status has, less than what would hurt.
const OUTPUT_BYTES_MAX: u64 = 64 << 20;

/// The program that is run as daemon, and what it is given.
#[derive(Clone, Debug)]
pub(crate) struct Pgfo {
    program: PathBuf,
    environment: Vec<(String, String)>,
}

/// A daemon that was started here.
#[derive(Debug)]
pub(crate) struct RunningDaemon {
    child: Child,
}

impl Pgfo {
    /// Makes sure that the cluster's user can run `program`: one below root's home is copied.
    pub(crate) fn prepare(
        sandbox: &Sandbox,
        program: &Path,
        environment: Vec<(String, String)>,
    ) -> Result<Self> {
        let real = program.canonicalize().map_err(DemoError::io("find", program))?;
        if !sandbox.user().is_other() || real.ancestors().all(is_open_to_all) {
            return Ok(Self { program: real, environment });
        }
        let copy = sandbox.root().join("pgfo");
        std::fs::copy(&real, &copy).map_err(DemoError::io("copy the program to", &copy))?;
        sandbox.user().own(&copy)?;
        Ok(Self { program: copy, environment })
    }
}

fn is_open_to_all(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o001 != 0)
}

impl Node {
    /// Starts the daemon; its standard error is appended to [`Self::daemon_log`].
    ///
    /// # Errors
    /// When the cluster has no daemons, or this one runs already.
    pub fn start_daemon(&self) -> Result<()> {
        let mut slot = self.daemon_slot();
        if let Some(running) = slot.as_mut()
            && running.exit_status()?.is_none()
        {
            return Err(DemoError::State(format!("{}: the daemon runs already", self.name())));
        }
        let log = self.daemon_log();
        let open = || File::options().create(true).append(true).open(&log);
        let stderr = open().map_err(DemoError::io("open", &log))?;
        let stdout = open().map_err(DemoError::io("open", &log))?;
        let mut command = self.pgfo_command()?;
        command.arg("daemon").arg("--config").arg(self.config_file());
        // Its own group: Ctrl-C at the terminal is for the demo, which then ends the daemons.
        command.stdout(stdout).stderr(stderr);
        let child = processes::spawn_claimed(&mut command);
        let child = child.map_err(DemoError::io("start the daemon of", self.dir()))?;
        *slot = Some(RunningDaemon { child });
        Ok(())
    }

    /// Sends the daemon SIGTERM and waits for its end.
    ///
    /// # Errors
    /// When it isn't running, or doesn't end within 30 s.
    pub fn stop_daemon(&self) -> Result<ExitStatus> {
        self.signal_daemon(Signal::TERM)?;
        self.await_daemon(Deadline::secs(STOP_WITHIN_SECS))
    }

    /// Kills the daemon alone with SIGKILL: its guard lives on.
    ///
    /// # Errors
    /// When it isn't running.
    pub fn kill_daemon(&self) -> Result<()> {
        self.signal_daemon(Signal::KILL)?;
        self.await_daemon(Deadline::secs(STOP_WITHIN_SECS)).map(drop)
    }

    /// Stops the daemon alone with SIGSTOP: its guard and PostgreSQL go on.
    ///
    /// # Errors
    /// When it isn't running.
    pub fn freeze_daemon(&self) -> Result<()> {
        self.signal_daemon(Signal::STOP)
    }

    /// Ends [`Self::freeze_daemon`].
    ///
    /// # Errors
    /// When it isn't running.
    pub fn thaw_daemon(&self) -> Result<()> {
        self.signal_daemon(Signal::CONT)
    }

    /// Returns the daemon's process number, `None` if it doesn't run.
    #[must_use]
    pub fn daemon_pid(&self) -> Option<u32> {
        let mut slot = self.daemon_slot();
        let running = slot.as_mut()?;
        matches!(running.exit_status(), Ok(None)).then(|| running.child.id())
    }

    /// Returns true while the daemon runs and is not frozen.
    #[must_use]
    pub fn is_daemon_running(&self) -> bool {
        let process = self.daemon_pid().and_then(|pid| Process::read(i32::try_from(pid).ok()?));
        process.is_some_and(|found| !found.is_stopped() && !found.is_dead())
    }

    /// Returns the numbers of the guard's processes: those of the node, apart from the daemon, with
    /// `guard` among their arguments.
    #[must_use]
    pub fn guard_pids(&self) -> Vec<u32> {
        let daemon = self.daemon_pid();
        let all = processes::below(self.dir()).into_iter();
        all.filter(|process| process.arguments.iter().any(|argument| argument.starts_with("guard")))
            .filter_map(|process| u32::try_from(process.pid.as_raw_nonzero().get()).ok())
            .filter(|pid| Some(*pid) != daemon)
            .collect()
    }

    /// Returns the file with the daemon's standard error.
    #[must_use]
    pub fn daemon_log(&self) -> PathBuf {
        self.dir().join("daemon.log")
    }

    /// Returns the present end of the daemon's log, to wait for what is logged from now on.
    #[must_use]
    pub fn log_mark(&self) -> LogMark {
        LogMark(std::fs::metadata(self.daemon_log()).map_or(0, |found| found.len()))
    }

    /// Returns the end of the daemon's log, for an error.
    #[must_use]
    pub fn daemon_log_tail(&self) -> String {
        tail(&std::fs::read_to_string(self.daemon_log()).unwrap_or_default()).to_owned()
    }

    /// Returns the event log's directory.
    #[must_use]
    pub fn event_log(&self) -> PathBuf {
        self.dir().join("log/events.db")
    }

    /// Asks the daemon with `pgfo status --json`.
    ///
    /// # Errors
    /// When it can't be run, gives no answer in five seconds, or its answer isn't a status.
    pub fn status(&self) -> Result<Status> {
        let output = self
            .pgfo(&["status", "--config", &self.config_file().to_string_lossy(), "--json"], STATUS_WITHIN)?;
        Status::parse(self.name(), &output)
    }

    /// Runs `pgfo` with any arguments as the cluster's user, bounded by `within`.
    ///
    /// # Errors
    /// When it can't be run, or `within` passes: it is killed then.
    pub fn pgfo(&self, arguments: &[&str], within: Duration) -> Result<Output> {
        let mut command = self.pgfo_command()?;
        run_within(self.name(), command.args(arguments), within)
    }

    /// Waits for the daemon's end after it was killed with its node.
    pub(super) fn reap_daemon(&self) -> Result<()> {
        if self.daemon_slot().is_some() {
            self.await_daemon(Deadline::secs(STOP_WITHIN_SECS))?;
        }
        Ok(())
    }

    fn pgfo_command(&self) -> Result<Command> {
        let none = || DemoError::State("this cluster was built without daemons".into());
        let pgfo = self.pgfo.as_ref().ok_or_else(none)?;
        let mut command = self.sandbox.command(&pgfo.program);
        command.current_dir(self.dir()).env(NODE_MARK, self.dir());
        let dir = self.dir().to_string_lossy();
        let variables = pgfo.environment.iter();
        command.envs(variables.map(|(name, value)| (name, value.replace("{dir}", &dir))));
        Ok(command)
    }

    fn signal_daemon(&self, signal: Signal) -> Result<()> {
        let pid = self.daemon_pid().and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
        match pid {
            Some(pid) => processes::send(pid, signal),
            None => Err(DemoError::State(format!("{}: no daemon runs", self.name()))),
        }
    }

    fn await_daemon(&self, deadline: Deadline) -> Result<ExitStatus> {
        let ended = poll(deadline, || {
            let mut slot = self.daemon_slot();
            let Some(running) = slot.as_mut() else {
                return Look::Done(Err(DemoError::State(format!("{}: no daemon was started", self.name()))));
            };
            match running.exit_status() {
                Ok(None) => Look::NotYet("it still runs".into()),
                Ok(Some(status)) => {
                    *slot = None;
                    Look::Done(Ok(status))
                }
                Err(error) => Look::Done(Err(error)),
            }
        });
        ended.unwrap_or_else(|seen| {
            Err(DemoError::TimedOut {
                what: format!("the daemon of {} to end", self.name()),
                within_ms: deadline.within().as_millis(),
                last_seen: seen,
                evidence: self.daemon_log_tail(),
            })
        })
    }

    fn daemon_slot(&self) -> MutexGuard<'_, Option<RunningDaemon>> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunningDaemon {
    fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        let path = PathBuf::from(format!("/proc/{}", self.child.id()));
        self.child.try_wait().map_err(DemoError::io("wait for", &path))
    }
}

impl Drop for RunningDaemon {
    fn drop(&mut self) {
        // Already ended is what is wanted.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        processes::release(self.child.id());
    }
}

/// Runs `command` to its end, its output read meanwhile; kills it when `within` passes.
pub(crate) fn run_within(who: &str, command: &mut Command, within: Duration) -> Result<Output> {
    let program = PathBuf::from(command.get_program());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(DemoError::io("run", &program))?;
    let stdout = child.stdout.take().map(|pipe| std::thread::spawn(move || read_all(pipe)));
    let stderr = child.stderr.take().map(|pipe| std::thread::spawn(move || read_all(pipe)));
    let ended = poll(Deadline::after(within), || match child.try_wait() {
        Ok(Some(status)) => Look::Done(Ok(status)),
        Ok(None) => Look::NotYet(String::new()),
        Err(source) => Look::Done(Err(DemoError::Io { doing: "wait for", path: program.clone(), source })),
    });
    let Ok(status) = ended else {
        // Gone by itself meanwhile is just as well.
        let _killed = child.kill();
        let _reaped = child.wait();
        return Err(DemoError::Unknown {
            node: who.to_owned(),
            doing: "run pgfo",
            within_ms: within.as_millis(),
        });
    };
    let join = |reader: Option<std::thread::JoinHandle<Vec<u8>>>| {
        reader.and_then(|thread| thread.join().ok()).unwrap_or_default()
    };
    Ok(Output { status: status?, stdout: join(stdout), stderr: join(stderr) })
}

fn read_all(pipe: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A pipe that breaks ends the output; what came until then is shown.
    let _end = pipe.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes);
    bytes
}

/// A place in a daemon's log, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogMark(u64);

impl LogMark {
    /// The start of the log: every line counts.
    pub const START: Self = Self(0);
}

/// Reads a growing log line by line, from a place on.
#[derive(Debug)]
pub(crate) struct LogFollower {
    path: PathBuf,
    offset: u64,
}

impl LogFollower {
    pub(crate) fn since(path: PathBuf, mark: LogMark) -> Self {
        Self { path, offset: mark.0 }
    }

    /// Returns the whole lines written since the last look; none if the file isn't there yet.
    pub(crate) fn new_lines(&mut self) -> Vec<String> {
        let mut text = Vec::new();
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.offset))?;
            file.take(OUTPUT_BYTES_MAX).read_to_end(&mut text)
        });
        let Some(end) = read.ok().and_then(|_| text.iter().rposition(|byte| *byte == b'\n')) else {
            return Vec::new();
        };
        self.offset += end as u64 + 1;
        String::from_utf8_lossy(&text[..end]).lines().map(str::to_owned).collect()
    }
}
