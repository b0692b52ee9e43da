//! What a cluster of three costs while nothing happens: CPU time and memory of each daemon and each
//! guard, and how fast the event log grows.

use super::Bench;
use super::phases::records;
use crate::demo::{Cluster, Deadline, Node};
use crate::os;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// Members of the cluster.
const MEMBERS: u8 = 3;
/// First connections, adoption and the first pages of memory are not what a day is made of.
const SETTLING: Duration = Duration::from_secs(30);
/// CPU seconds a minute, each process.
const CPU_MAX: f64 = 0.1;
/// Resident megabytes, each process.
const RESIDENT_MAX_MB: f64 = 20.0;
/// Until three daemons agree on the first primary.
const HEALTHY_WITHIN_SECS: u64 = 60;
/// What the kernel counts CPU time in for `/proc`: `USER_HZ`, part of its interface.
const TICKS_A_SECOND: f64 = 100.0;
const SECONDS_A_DAY: f64 = 86_400.0;

/// One process.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Process {
    /// The member.
    pub(super) member: String,
    /// `primary` or `standby`.
    pub(super) role: &'static str,
    /// `daemon` or `guard`.
    pub(super) process: &'static str,
    /// User and system time, seconds a minute.
    pub(super) cpu_s_a_minute: f64,
    /// Resident memory, megabytes (10⁶ bytes).
    pub(super) resident_mb: f64,
    /// How often its threads gave up the processor by themselves, a second.
    pub(super) wakeups_a_second: f64,
    /// Threads.
    pub(super) threads: usize,
}

/// The primary's event log, as it grows.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Growth {
    /// Records a day, extrapolated.
    pub(super) records_a_day: u64,
}

/// The idle cluster.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Idle {
    /// How long it was watched.
    pub(super) seconds: f64,
    /// Its processes.
    pub(super) processes: Vec<Process>,
    /// CPU seconds a minute that no process should exceed.
    pub(super) cpu_max: f64,
    /// Megabytes that no process should exceed.
    pub(super) resident_max_mb: f64,
    /// The log that grows fastest.
    pub(super) log: Growth,
    /// Whether all is within its bounds.
    pub(super) reached: bool,
}

/// What the kernel has counted for a process.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    cpu_ticks: u64,
    switches: u64,
    threads: usize,
    resident_kib: u64,
}

/// A process under watch.
struct Watched {
    member: String,
    role: &'static str,
    process: &'static str,
    pid: u32,
    before: Counted,
}

/// Builds a cluster, lets it settle, and watches it.
pub(super) fn measure(bench: &Bench, length: Duration) -> anyhow::Result<Idle> {
    bench.say("idle: a cluster of three settles");
    let cluster =
        Cluster::builder().data(MEMBERS).pgfo(&bench.pgfo).sandbox(bench.sandbox.clone()).build()?;
    let status = cluster.wait_healthy(Deadline::secs(HEALTHY_WITHIN_SECS))?;
    std::thread::sleep(SETTLING);
    let mut watched = Vec::new();
    for node in cluster.nodes() {
        let role = if Some(node.name()) == status.primary.as_deref() { "primary" } else { "standby" };
        let daemon = node.daemon_pid().map(|pid| ("daemon", pid));
        for (process, pid) in
            daemon.into_iter().chain(node.guard_pids().into_iter().map(|pid| ("guard", pid)))
        {
            watched.push(Watched { member: node.name().to_owned(), role, process, pid, before: count(pid)? });
        }
    }
    bench.say(&format!("idle: watching {} processes for {} s", watched.len(), length.as_secs()));
    let begun = os::boot_now();
    std::thread::sleep(length);
    let seconds = os::boot_now().nanos_since(begun) as f64 / 1e9;
    let processes: Vec<Process> =
        watched.iter().map(|w| Ok(w.process(count(w.pid)?, seconds))).collect::<anyhow::Result<_>>()?;
    let ended = os::boot_now();
    let mut records_a_day = 0;
    for node in cluster.nodes() {
        stop(node)?;
        let all = records(node)?;
        let counted = all.iter().filter(|r| r.boot >= begun && r.boot < ended).count();
        let span = ended.nanos_since(begun) as f64 / 1e9;
        records_a_day = records_a_day.max((counted as f64 / span * SECONDS_A_DAY) as u64);
    }
    let reached = processes.iter().all(|p| p.cpu_s_a_minute < CPU_MAX && p.resident_mb < RESIDENT_MAX_MB);
    Ok(Idle {
        seconds,
        processes,
        cpu_max: CPU_MAX,
        resident_max_mb: RESIDENT_MAX_MB,
        log: Growth { records_a_day },
        reached,
    })
}

/// Ends a daemon so that its log is whole.
pub(super) fn stop(node: &Node) -> anyhow::Result<()> {
    if node.daemon_pid().is_some() && node.stop_daemon().is_err() {
        // A daemon that stays, since no quorum agrees to a pause: what it has flushed must do.
        node.kill_daemon()?;
    }
    Ok(())
}

impl Watched {
    fn process(&self, now: Counted, seconds: f64) -> Process {
        let ticks = (now.cpu_ticks - self.before.cpu_ticks) as f64;
        let cpu_s = ticks / TICKS_A_SECOND;
        Process {
            member: self.member.clone(),
            role: self.role,
            process: self.process,
            cpu_s_a_minute: cpu_s * 60.0 / seconds,
            resident_mb: now.resident_kib as f64 * 1024.0 / 1e6,
            wakeups_a_second: now.switches.saturating_sub(self.before.switches) as f64 / seconds,
            threads: now.threads,
        }
    }
}

fn count(pid: u32) -> anyhow::Result<Counted> {
    let dir = format!("/proc/{pid}");
    let dir = Path::new(&dir);
    let stat = std::fs::read_to_string(dir.join("stat"))?;
    // Fields are counted from the last bracket: the name may hold anything. utime is field 14.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, tail)| tail).split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    let mut counted = Counted { cpu_ticks: field(14) + field(15), ..Counted::default() };
    let status = std::fs::read_to_string(dir.join("status"))?;
    counted.resident_kib = named(&status, "VmRSS:");
    for task in std::fs::read_dir(dir.join("task"))? {
        let status = std::fs::read_to_string(task?.path().join("status")).unwrap_or_default();
        counted.switches += named(&status, "voluntary_ctxt_switches:");
        counted.threads += 1;
    }
    Ok(counted)
}

fn named(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_this_process() {
        let counted = count(std::process::id()).unwrap();
        assert!(counted.threads > 0 && counted.resident_kib > 0);
    }
}
