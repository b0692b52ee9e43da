//! The guard's loop: waits for the deadline, the postmaster, clients and signals, and performs what
//! the machine says. Holds no policy: that is [`super::state`]. Never waits for a disk, a log or a
//! client.

use super::clients::Clients;
use super::clocks::Reading;
use super::disk::{Disk, SealResult, Sight};
use super::facts::{Action, Asker, Input};
use super::fence::{self, Head, SEAL_WAIT_MAX};
use super::inotify::DirWatch;
use super::log::Log;
use super::procs::{self, DataDir, Watched};
use super::protocol::{GuardState, Notice, ProcessId, Reply};
use super::state::Machine;
use crate::core::{Nanos, Term};
use crate::os::boot_now;
use pgfo_replay::BootNanos;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

/// Longest time between two looks at clocks and data directory while something is guarded.
const TICK_GUARDING: Nanos = Nanos::from_millis(200);
/// The same while nothing is: inotify tells of changes, this is the safety net.
const TICK_IDLE: Nanos = Nanos::from_millis(2_000);
/// Pause after a failed poll, so that a broken kernel call does not burn the host.
const POLL_FAILED_PAUSE: Duration = Duration::from_millis(10);
/// Descriptors polled besides the clients: timer, disk, postmaster, inotify, listener, signal.
const SOURCES_MAX: usize = 6;

/// Lines for people kept within one pass; each input says at most a few.
const LINES_MAX: usize = 64;

/// Where requests come from, and what ends the loop.
pub(super) struct Sources {
    /// Accepts clients; none for a guard inside the daemon.
    pub(super) listener: Option<UnixListener>,
    /// Readable when SIGTERM arrived.
    pub(super) terminated: Option<UnixStream>,
    /// The first client of a guard inside the daemon; the loop ends after it, when nothing is guarded.
    pub(super) only_client: Option<OwnedFd>,
}

/// The loop and all it holds.
pub(super) struct Loop {
    machine: Machine,
    dir: DataDir,
    disk: Disk,
    clients: Clients,
    sources: Sources,
    inline: bool,
    timer: OwnedFd,
    watched: Option<Watched>,
    /// The last postmaster that was watched has ended.
    postmaster_ended: bool,
    changes: DirWatch,
    clocks: Option<Reading>,
    tick_at: BootNanos,
    log: Log,
    /// Lines said during this pass; written when all else is done.
    lines: Vec<String>,
    last_refusal: String,
    /// Why the data is not marked as guarded, as it was last said.
    unmarked: Option<String>,
    ended: bool,
}

/// Which descriptors have something.
#[derive(Default)]
struct Ready {
    postmaster: bool,
    changes: bool,
    listener: bool,
    terminated: bool,
    clients: Vec<usize>,
}

impl Loop {
    pub(super) fn new(dir: DataDir, reserve: Nanos, mut sources: Sources, log: Log) -> io::Result<Self> {
        let mut clients = Clients::default();
        let only_client = sources.only_client.take();
        let inline = only_client.is_some();
        if let Some(socket) = only_client {
            clients.add(socket, None);
        }
        if let Some(listener) = &sources.listener {
            listener.set_nonblocking(true)?;
        }
        if let Some(terminated) = &sources.terminated {
            terminated.set_nonblocking(true)?;
        }
        Ok(Self {
            machine: Machine::new(reserve),
            disk: Disk::start(&dir)?,
            changes: DirWatch::new()?,
            dir,
            clients,
            sources,
            inline,
            timer: timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?,
            watched: None,
            postmaster_ended: false,
            clocks: Reading::take(),
            tick_at: BootNanos(0),
            log,
            lines: Vec::new(),
            last_refusal: String::new(),
            unmarked: None,
            ended: false,
        })
    }

    /// Runs until told to end. A panic while something is guarded fences first: no deadline counts
    /// as expired.
    pub(super) fn run(mut self) {
        while !self.ended {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.pass())) {
                if self.is_guarding() {
                    let head = self.watched.as_ref().map_or(Head::Unknown, Head::Watched);
                    fence::fence(&self.dir, None, head, &mut |within| self.disk.seal(within));
                }
                resume_unwind(panic);
            }
        }
    }

    fn is_guarding(&self) -> bool {
        matches!(self.machine.state(), GuardState::Armed { .. } | GuardState::Fenced { .. })
    }

    fn pass(&mut self) {
        let ready = self.wait().unwrap_or_else(|_| {
            std::thread::sleep(POLL_FAILED_PAUSE);
            Ready::default()
        });
        // The deadline comes before anything that waits to be read.
        self.step(Input::Instant);
        self.check_clocks();
        if ready.postmaster
            && let Some(ended) = self.watched.take()
        {
            self.postmaster_ended = true;
            self.step(Input::PostmasterEnded(ended.postmaster));
            // Another may have been started while this one was watched.
            self.disk.look();
        }
        if ready.changes && self.changes.drain() {
            self.disk.look();
        }
        if let Some(sight) = self.disk.sight() {
            self.looked(sight);
        }
        if ready.listener {
            self.accept();
        }
        for index in ready.clients {
            for (asker, request) in self.clients.receive(index) {
                self.step(Input::Asked(asker, request));
            }
        }
        if ready.terminated && self.take_termination() {
            self.step(Input::TerminationAsked);
        }
        self.tick();
        self.clients.flush();
        for (client, why) in self.clients.sweep() {
            self.say(format!("connection {} ended: {why}", client.0));
            self.step(Input::ClientGone(client));
        }
        for line in self.lines.drain(..) {
            (self.log)(&line);
        }
        self.ended |= self.inline && self.clients.is_empty() && !self.is_guarding();
    }

    fn wait(&mut self) -> io::Result<Ready> {
        let wake = self.machine.wake_at().map_or(self.tick_at, |at| at.min(self.tick_at));
        self.set_timer(if self.clients.has_unread() { BootNanos(1) } else { wake })?;
        let mut fds = Vec::with_capacity(SOURCES_MAX + self.clients.len());
        let add = |fds: &mut Vec<_>, fd| {
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            fds.len() - 1
        };
        add(&mut fds, self.timer.as_fd());
        add(&mut fds, self.disk.wake_fd());
        let changes = add(&mut fds, self.changes.fd());
        let postmaster = self.watched.as_ref().map(|w| add(&mut fds, w.pidfd.as_fd()));
        let listener = self.sources.listener.as_ref().map(|l| add(&mut fds, l.as_fd()));
        let terminated = self.sources.terminated.as_ref().map(|t| add(&mut fds, t.as_fd()));
        let first_client = fds.len();
        fds.extend(self.clients.polls().map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
        rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
        let is_ready = |i: usize| !fds[i].revents().is_empty();
        Ok(Ready {
            postmaster: postmaster.is_some_and(is_ready),
            changes: is_ready(changes),
            listener: listener.is_some_and(is_ready),
            terminated: terminated.is_some_and(is_ready),
            clients: (0..self.clients.len())
                .filter(|i| is_ready(first_client + i) || self.clients.has_unread())
                .collect(),
        })
    }

    fn set_timer(&self, at: BootNanos) -> io::Result<()> {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Zero would disarm the timer; the first nanosecond after boot is long past.
        let at = at.0.max(1);
        let value = Timespec {
            tv_sec: i64::try_from(at / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(at % 1_000_000_000).unwrap_or(0),
        };
        let spec = Itimerspec { it_interval: zero, it_value: value };
        // Setting it also forgets an expiration that was not read.
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &spec)?;
        Ok(())
    }

    fn check_clocks(&mut self) {
        let Some(now) = Reading::take() else { return };
        let stalled = self.clocks.and_then(|last| now.stalled_since(&last));
        self.clocks = Some(now);
        if let Some(stalled) = stalled {
            self.step(Input::HostStalled(stalled));
        }
    }

    fn tick(&mut self) {
        let now = boot_now();
        let tick = if self.is_guarding() { TICK_GUARDING } else { TICK_IDLE };
        if now >= self.tick_at || self.tick_at > now.plus_nanos(tick.0) {
            if now >= self.tick_at {
                self.disk.look();
            }
            self.tick_at = now.plus_nanos(tick.0);
        }
    }

    fn looked(&mut self, sight: Sight) {
        if self.dir.look_anew(sight.real, sight.inode) && self.is_guarding() {
            self.disk.mark();
        }
        self.dir.forget_deserted();
        let unmarked = sight.unmarked.map(|why| why.to_string());
        if unmarked != self.unmarked {
            if let Some(why) = &unmarked {
                self.say(format!("cannot mark {} as guarded: {why}", self.dir.path().display()));
            }
            self.unmarked = unmarked;
        }
        self.changes.follow(self.dir.path(), sight.inode);
        // One that lives is watched to its end, also where another directory takes the place of its own.
        let may_change = !self.dir.was_replaced() || self.watched.as_ref().is_none_or(Watched::has_ended);
        if let Some(pid) = sight.pid.filter(|_| may_change)
            && self.watched.as_ref().is_none_or(|w| w.postmaster.pid != pid)
        {
            self.watch(pid);
        }
        let postmaster = self.watched.as_ref().map(|w| w.postmaster);
        self.step(Input::Looked { sealed: sight.sealed.ok(), postmaster });
    }

    /// Watches whom `postmaster.pid` names, if it works in the data directory. Who was watched till then was named by a
    /// file that a power cut left behind, and is found by where it works.
    fn watch(&mut self, pid: ProcessId) {
        match procs::watch(&self.dir, pid) {
            Ok(Some(found)) => {
                self.watched = Some(found);
                self.postmaster_ended = false;
            }
            Ok(None) => {}
            Err(e) => self.say(format!("cannot watch process {pid}: {e}")),
        }
    }

    fn accept(&mut self) {
        let Some(listener) = &self.sources.listener else { return };
        match listener.accept() {
            Ok((socket, _)) => self.clients.add(socket.into(), self.machine.daemon_client()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => {
                self.say(format!("cannot accept a connection: {e}"));
                std::thread::sleep(POLL_FAILED_PAUSE);
            }
        }
    }

    fn take_termination(&self) -> bool {
        let mut bytes = [0; 16];
        self.sources.terminated.as_ref().is_some_and(|mut t| t.read(&mut bytes).is_ok_and(|n| n > 0))
    }

    /// Steps the machine and performs all that follows from it.
    fn step(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        let mut actions = Vec::new();
        while let Some(input) = inputs.pop_front() {
            self.machine.step(boot_now(), input, &mut actions);
            for action in actions.drain(..) {
                if let Some(fact) = self.perform(action) {
                    inputs.push_back(fact);
                }
            }
        }
    }

    fn perform(&mut self, action: Action) -> Option<Input> {
        match action {
            Action::Fence { why: _, by } => {
                self.clients.flush();
                let head = match &self.watched {
                    // The pidfd knows before the loop has read it.
                    Some(watched) if watched.has_ended() => Head::Gone,
                    Some(watched) => Head::Watched(watched),
                    None if self.postmaster_ended => Head::Gone,
                    None => Head::Unknown,
                };
                let outcome = fence::fence(&self.dir, by, head, &mut |within| self.disk.seal(within));
                if outcome.is_complete() {
                    self.dir.forget_former();
                }
                return Some(Input::FenceEnded(outcome));
            }
            Action::Reply(asker, reply) => {
                if let Reply::Refused(refusal) = &reply {
                    let line = format!("refused: {refusal}");
                    // A client that keeps asking is told each time; people are told once.
                    if line != self.last_refusal {
                        self.say(line.clone());
                        self.last_refusal = line;
                    }
                }
                self.clients.reply(asker, reply);
            }
            Action::Notify(notice) => self.notify(&notice),
            Action::NotifyOne(client, notice) => self.clients.notify(Some(client), &notice),
            Action::Subscribe(client) => self.clients.subscribe(client),
            Action::Seal(asker) => return Some(Input::SealTried(asker, self.seal())),
            Action::CheckRelease(asker, term) => return Some(self.check_release(asker, term)),
            Action::Look => self.disk.look(),
            Action::Mark => self.disk.mark(),
            Action::Log(line) => self.say(line),
            Action::Exit => self.ended = true,
        }
        None
    }

    fn seal(&mut self) -> Result<(), String> {
        match self.disk.seal(self.seal_wait()) {
            SealResult::Sealed(_) => Ok(()),
            SealResult::Failed(e) => Err(e.to_string()),
            SealResult::Unknown => {
                Err("the disk did not answer in time: whether it is sealed is unknown".into())
            }
        }
    }

    /// A seal that nobody is fenced for must not hold the deadline.
    fn seal_wait(&self) -> Duration {
        let left = self.machine.wake_at().map_or(u64::MAX, |at| at.nanos_since(boot_now()));
        Duration::from_nanos(left.min(SEAL_WAIT_MAX.0))
    }

    /// A seal that is there is flushed once more; one that is not is not made here, since a release of
    /// an older term may arrive beside a primary of a later one.
    fn check_release(&mut self, asker: Asker, term: Term) -> Input {
        let sealed = self.disk.is_sealed(self.seal_wait()) && self.seal().is_ok();
        let left =
            (0..fence::EMPTY_SCANS_MIN).map(|_| procs::scan(&self.dir).left()).max().unwrap_or(u32::MAX);
        Input::ReleaseChecked { asker, term, sealed, left }
    }

    fn notify(&mut self, notice: &Notice) {
        self.clients.notify(None, notice);
        self.say(describe(notice));
    }

    fn say(&mut self, line: String) {
        if self.lines.len() < LINES_MAX {
            self.lines.push(line);
        }
    }
}

fn describe(notice: &Notice) -> String {
    match notice {
        Notice::PostmasterGone { postmaster, .. } => format!("postmaster {} is gone", postmaster.pid),
        Notice::PostmasterSeen { postmaster } => format!("watching postmaster {}", postmaster.pid),
        Notice::FenceStarted { why } => format!("fencing: {why}"),
        Notice::Fenced { outcome } if outcome.is_complete() => {
            format!(
                "fenced in {}: sealed, {} killed, nothing left after {} scans",
                outcome.took, outcome.killed, outcome.scans
            )
        }
        Notice::Fenced { outcome } => format!(
            "fence NOT complete, trying again: {} ({} in uninterruptible sleep), {}",
            outcome.describe_left(),
            outcome.uninterruptible,
            outcome.seal_error.as_deref().unwrap_or("sealed"),
        ),
        Notice::SealLost => "standby.signal went away after the fence: sealing and killing again".into(),
    }
}
