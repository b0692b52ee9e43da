//! The benchmark's table. The JSON is the same structure.

use super::idle::Idle;
use super::log::Log;
use super::machine::Machine;
use super::outage::{Measured, Takeovers};
use super::simulate::Simulator;
use super::spread::Spread;
use serde::Serialize;

/// All that was measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    /// On what.
    pub(super) machine: Machine,
    /// Write outages.
    pub(super) takeovers: Option<Takeovers>,
    /// An idle cluster.
    pub(super) idle: Option<Idle>,
    /// Log and audit.
    pub(super) log: Option<Log>,
    /// The simulator.
    pub(super) simulator: Option<Simulator>,
}

fn word(reached: bool) -> &'static str {
    if reached { "reached" } else { "NOT reached" }
}

impl Report {
    pub(super) const fn new(machine: Machine) -> Self {
        Self { machine, takeovers: None, idle: None, log: None, simulator: None }
    }

    /// Returns whether everything measured is within its bounds.
    pub(super) fn reached(&self) -> bool {
        let takeovers = self.takeovers.iter().flat_map(|t| t.postmaster.iter().chain(&t.node));
        takeovers
            .map(|m| m.reached)
            .chain(self.idle.as_ref().map(|i| i.reached))
            .chain(self.log.as_ref().map(|l| l.reached))
            .chain(self.simulator.as_ref().map(|s| s.reached))
            .all(|r| r)
    }

    pub(super) fn print(&self) {
        let m = &self.machine;
        anstream::println!(
            "pgfo {} ({}), {}, {} x {}, Linux {}\n{}, load {:.2} before, {:.2} after\n",
            m.version,
            m.build,
            m.postgres,
            m.cores,
            m.processor,
            m.kernel,
            m.began,
            m.load_at_start,
            m.load_at_end
        );
        if let Some(t) = &self.takeovers {
            takeovers(t);
        }
        if let Some(idle) = &self.idle {
            idle_cluster(idle);
        }
        if let Some(l) = &self.log {
            log(l);
        }
        if let Some(s) = &self.simulator {
            simulator(s);
        }
    }
}

fn row(name: &str, s: Spread) -> String {
    format!("{name:<36}{:>10.1}{:>10.1}{:>10.1}", s.min_ms, s.median_ms, s.max_ms)
}

fn takeovers(t: &Takeovers) {
    anstream::println!("write outage, {} runs each{:>20}{:>10}{:>10}", t.runs, "min ms", "median", "max");
    anstream::println!(
        "{}   {} more stalled for 5 s",
        row("pg_promote() by hand: the floor", t.floor),
        t.floors_stalled
    );
    let kinds = [("postmaster killed", &t.postmaster), ("node killed", &t.node)];
    for (name, measured) in kinds {
        let Some(m) = measured else { continue };
        anstream::println!(
            "{}   floor {:+.1} (at most {:+.0}: {})",
            row(name, m.outage),
            m.over_floor_ms,
            m.over_floor_max_ms,
            word(m.reached)
        );
    }
    for (name, measured) in kinds {
        if let Some(m) = measured {
            phases(name, m);
        }
    }
    anstream::println!();
}

fn phases(name: &str, m: &Measured) {
    anstream::println!(
        "\n{:<36}{:>10}{:>10}{:>10}{:>10}{:>6}",
        format!("{name}: after the kill"),
        "min ms",
        "median",
        "max",
        "step",
        "runs"
    );
    for phase in &m.phases {
        anstream::println!(
            "{}{:>10.1}{:>6}",
            row(phase.milestone, phase.after_kill),
            phase.step_ms,
            phase.runs
        );
    }
}

fn idle_cluster(idle: &Idle) {
    anstream::println!(
        "idle for {:.0} s{:>28}{:>14}{:>12}{:>9}",
        idle.seconds,
        "CPU s/min",
        "resident MB",
        "wakeups/s",
        "threads"
    );
    for p in &idle.processes {
        let name = format!("{} ({}) {}", p.member, p.role, p.process);
        anstream::println!(
            "{name:<30}{:>10.3}{:>14.1}{:>12.1}{:>9}",
            p.cpu_s_a_minute,
            p.resident_mb,
            p.wakeups_a_second,
            p.threads
        );
    }
    anstream::println!(
        "each less than {} CPU s/min and {} MB: {}\nthe log grows by {} records a day\n",
        idle.cpu_max,
        idle.resident_max_mb,
        word(idle.reached),
        idle.log.records_a_day
    );
}

fn simulator(s: &Simulator) {
    let rate = |name: &str, rate: f64, aim: f64| {
        anstream::println!("{name:<56}{rate:>10.0}   at least {aim:.0}: {}", word(rate >= aim));
    };
    anstream::println!("simulator, a second of one core (its own CPU time)");
    rate(
        "simulated s, swarm: 2 to 7 members, every kind of fault",
        s.swarm.simulated_a_second(),
        s.simulated_min,
    );
    rate(
        "simulated s, 3 members at default settings, no fault",
        s.calm.simulated_a_second(),
        s.simulated_min,
    );
    rate(
        "failovers, 3 members, the primary killed again and again",
        s.drill.failovers_a_second(),
        s.failovers_min,
    );
    for (name, a) in [("swarm", &s.swarm), ("no fault", &s.calm), ("primary killed", &s.drill)] {
        anstream::println!(
            "  {name}: {} runs, {:.0} simulated s, {} failovers, {} observations of {:.0} ns; {}",
            a.runs,
            a.simulated_s,
            a.failovers,
            a.observations,
            a.core_s * 1e9 / a.observations as f64,
            if a.broken.is_empty() {
                "all held".to_owned()
            } else {
                format!("BROKE: {}", a.broken.join(", "))
            }
        );
    }
    let all = s.campaign_of_10_000_s;
    let extrapolated = if s.seeds == 10_000 { "" } else { ", extrapolated" };
    anstream::println!(
        "{} seeds of {} minutes, each twice, on {} cores: {:.1} s by the clock, {:.1} s of each core; 10,000: {all:.0} s{extrapolated} (at most {:.0}: {})",
        s.seeds,
        s.minutes,
        s.threads,
        s.campaign_s,
        s.campaign_core_s,
        s.campaign_max_s,
        word(all <= s.campaign_max_s)
    );
    match &s.wrong[..] {
        [] => anstream::println!("  every seed held, and repeated itself"),
        wrong => anstream::println!(
            "  {} seeds BROKE: {wrong:?}: pgfo simulate --seed N --minutes {}",
            wrong.len(),
            s.minutes
        ),
    }
    match &s.shrinking {
        None => anstream::println!("nothing to shrink: build with `--features planted-bugs` to plant a bug"),
        Some(k) => anstream::println!(
            "shrunk, {}{}: {} of {} faults are left after {:.1} s (at most 12 in 30 s: {})",
            k.name,
            k.planted.map_or(String::new(), |plant| format!(" with {plant} planted")),
            k.faults_after,
            k.faults_before,
            k.took_s,
            word(k.reached)
        ),
    }
}

fn log(l: &Log) {
    anstream::println!("event log{:>37}{:>10}{:>10}", "min ms", "median", "max");
    let small = |name: &str, s: Spread| {
        anstream::println!("{name:<36}{:>10.3}{:>10.3}{:>10.3}", s.min_ms, s.median_ms, s.max_ms);
    };
    small("append, not flushed", l.append_buffered);
    small("append, flushed", l.append_flushed);
    anstream::println!(
        "audit: {:.2} M records/s from memory, {:.2} M read from a packed log (aim {:.0} M)\n\
         a day of {} records: {:.1} MB on the disk (at most {}), {:.2} MB of it packed (at most {}),\n\
         audited in {:.1} s: {}",
        l.audit_a_second / 1e6,
        l.audit_from_disk_a_second / 1e6,
        l.audit_min / 1e6,
        l.day_records,
        l.day_bytes as f64 / 1e6,
        l.day_bytes_max / 1_000_000,
        l.day_packed_bytes as f64 / 1e6,
        l.day_packed_bytes_max / 1_000_000,
        l.day_audit_s,
        word(l.reached)
    );
}
