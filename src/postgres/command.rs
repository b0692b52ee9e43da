//! Commands that the operator configured, run with a bound on time and output. It must never wait for what a
//! command left running in the background, and never leave what it killed.

use crate::core::Nanos;
use rustix::process::{Pid, Signal, kill_process_group};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout, timeout_at};

/// So much of a command's output is kept, its end: an error is told last.
pub const OUTPUT_TAIL_BYTES: usize = 4096;
/// What a command that has ended still had in the pipe arrives at once; a background child may hold the pipe for ever.
const DRAIN: Duration = Duration::from_millis(50);
/// A killed process group ends at once, unless it is in uninterruptible sleep.
const REAP: Duration = Duration::from_millis(200);

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandEnd {
    /// With this exit code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// It was killed at the deadline: what it did by then is unknown.
    TimedOut,
    /// It could not be started, so it did nothing: the operating system's error number.
    NotStarted(i32),
}

/// A command that was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandReport {
    /// How it ended.
    pub end: CommandEnd,
    /// The end of its standard output and error, mixed as they came, at most [`OUTPUT_TAIL_BYTES`].
    pub output_tail: String,
    /// From its start to its end.
    pub took: Nanos,
}

/// Runs `line` by `sh -c` in a process group of its own, in the root directory (a process in the data directory
/// would count as PostgreSQL's), with `env` added to this process's environment, until `deadline`.
pub async fn run_command(line: &str, env: &[(&str, &str)], deadline: Instant) -> CommandReport {
    let started = Instant::now();
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(line).envs(env.iter().copied()).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    let (end, tail) = match command.spawn() {
        Ok(child) => wait(child, deadline).await,
        Err(e) => (CommandEnd::NotStarted(e.raw_os_error().unwrap_or(0)), Tail::default()),
    };
    let output_tail = String::from_utf8_lossy(&tail.0).into_owned();
    let took = Nanos(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
    CommandReport { end, output_tail, took }
}

/// A command's process group, which is killed when nobody waits for the command any more: also when its caller is
/// given up in between, as a fence does. What the shell has started would go on otherwise.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// The command ended by itself: what it left in the background is its own affair.
    const fn let_go(&mut self) {
        self.0 = None;
    }

    fn kill(&mut self) {
        // An error means that the group is gone already. Its number is not another's: the shell is not reaped yet.
        let _gone = self.0.take().map(|g| kill_process_group(g, Signal::KILL));
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn wait(mut child: Child, deadline: Instant) -> (CommandEnd, Tail) {
    let mut group = Group::of(&child);
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let mut tail = Tail::default();
    let status = timeout_at(deadline, async {
        loop {
            tokio::select! {
                biased;
                bytes = read_from(&mut out) => tail.push(&bytes),
                bytes = read_from(&mut err) => tail.push(&bytes),
                status = child.wait() => return status,
            }
        }
    })
    .await;
    let end = match status {
        Ok(Ok(status)) => {
            group.let_go();
            ended(status)
        }
        // Its end can't be seen, so what it did is unknown, as at the deadline.
        Ok(Err(_)) | Err(_) => {
            group.kill();
            let _reaped = timeout(REAP, child.wait()).await;
            CommandEnd::TimedOut
        }
    };
    let rest = async {
        while out.is_some() || err.is_some() {
            tokio::select! {
                bytes = read_from(&mut out) => tail.push(&bytes),
                bytes = read_from(&mut err) => tail.push(&bytes),
            }
        }
    };
    let _background_child_holds_the_pipe = timeout(DRAIN, rest).await;
    (end, tail)
}

fn ended(status: ExitStatus) -> CommandEnd {
    match (status.code(), status.signal()) {
        (Some(code), _) => CommandEnd::Exited(code),
        (None, signal) => CommandEnd::Signalled(signal.unwrap_or(0)),
    }
}

#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let excess = self.0.len().saturating_sub(OUTPUT_TAIL_BYTES);
        self.0.drain(..excess);
    }
}

/// Reads once from `pipe`, and forgets it at its end; without one it waits for ever.
async fn read_from<R: AsyncRead + Unpin>(pipe: &mut Option<R>) -> Vec<u8> {
    let Some(open) = pipe else { return std::future::pending().await };
    let mut buffer = vec![0; OUTPUT_TAIL_BYTES];
    let read = open.read(&mut buffer).await.unwrap_or(0);
    if read == 0 {
        *pipe = None;
    }
    buffer.truncate(read);
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon(millis: u64) -> Instant {
        Instant::now() + Duration::from_millis(millis)
    }

    #[tokio::test]
    async fn exit_code_output_and_environment_are_reported() {
        let report =
            run_command("echo $GREETING; echo bad >&2; exit 3", &[("GREETING", "hi")], soon(10_000)).await;
        assert_eq!(report.end, CommandEnd::Exited(3));
        assert!(report.output_tail.contains("hi") && report.output_tail.contains("bad"));
        let report = run_command("kill -9 $$", &[], soon(10_000)).await;
        assert_eq!(report.end, CommandEnd::Signalled(9));
    }

    #[tokio::test]
    async fn only_the_end_of_much_output_is_kept() {
        let report = run_command("seq 1 100000", &[], soon(20_000)).await;
        assert_eq!(report.end, CommandEnd::Exited(0));
        assert_eq!(report.output_tail.len(), OUTPUT_TAIL_BYTES);
        assert!(report.output_tail.ends_with("99999\n100000\n"));
    }

    #[tokio::test]
    async fn a_background_child_is_not_waited_for() {
        let report = run_command("sleep 30 & echo started $!", &[], soon(10_000)).await;
        assert_eq!(report.end, CommandEnd::Exited(0));
        assert!(report.took < Nanos::from_millis(9_000));
        let pid = report.output_tail.trim().rsplit(' ').next().unwrap().parse().unwrap();
        rustix::process::kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }

    #[tokio::test]
    async fn the_whole_group_is_killed_at_the_deadline() {
        let report = run_command("sleep 60 & echo $!; wait", &[], soon(300)).await;
        assert_eq!(report.end, CommandEnd::TimedOut);
        await_end_of(report.output_tail.trim().parse().unwrap());
    }

    #[tokio::test]
    async fn the_whole_group_is_killed_when_its_caller_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let told = dir.path().join("pid");
        let line = format!("sleep 60 & echo $! >{0}.new; mv {0}.new {0}; wait", told.display());
        let running = tokio::spawn(async move { run_command(&line, &[], soon(60_000)).await });
        let pid = loop {
            match std::fs::read_to_string(&told) {
                Ok(text) => break text.trim().parse().unwrap(),
                Err(_) => tokio::task::yield_now().await,
            }
        };
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        await_end_of(pid);
    }

    fn await_end_of(pid: i32) {
        let ended = || match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => stat.contains(") Z ") || stat.contains(") X "),
            Err(_) => true,
        };
        let end = std::time::Instant::now() + Duration::from_secs(10);
        while !ended() {
            assert!(std::time::Instant::now() < end, "process {pid} outlived its group's kill");
            std::thread::yield_now();
        }
    }
}
