//! The rules of a scenario's faults: whom they strike, when, and how hard. It plays none.

use super::check::{DAY_MS, Findings, counted, lease, timings};
use super::fault::{Fault, TimedFault};
use super::scenario::{Scenario, Timings};
use crate::core::MemberId;
use crate::events::Fencing;
use std::ops::RangeInclusive;

/// The farthest that a wall clock is set, in seconds: a year.
const WALL_STEP_S_MAX: u64 = 366 * 24 * 3600;

pub(super) fn check(s: &Scenario, found: &mut Findings) {
    for (i, timed) in s.faults.iter().enumerate() {
        moment(s, timed, &format!("faults[{i}].at_ms"), found);
        whom(s, &timed.fault, &format!("faults[{i}].fault.{}", timed.fault.kind()), found);
        how(s, &timed.fault, &format!("faults[{i}].fault.{}", timed.fault.kind()), found);
    }
    let late = |timed: &TimedFault| timed.at_ms >= s.heal_at_ms;
    if !s.faults.is_empty() && s.faults.iter().all(late) {
        let problem = format!("no fault begins before everything is mended, at {} ms", s.heal_at_ms);
        found.error("heal_at_ms", problem, "mend later than the faults begin, and let it end later still");
    }
}

fn moment(s: &Scenario, timed: &TimedFault, place: &str, found: &mut Findings) {
    let at_ms = timed.at_ms;
    if at_ms >= s.end_at_ms {
        let problem = format!("it would begin at {at_ms} ms, and the scenario ends at {} ms", s.end_at_ms);
        found.error(place, problem, "let it begin sooner, or raise heal_at_ms and end_at_ms");
    } else if at_ms >= s.heal_at_ms {
        let problem = format!("it never begins: everything is mended at {} ms, and stays so", s.heal_at_ms);
        found.doubt(place, problem, "let it begin sooner, or raise heal_at_ms and end_at_ms");
    }
}

/// Whom a fault names.
fn whom(s: &Scenario, fault: &Fault, place: &str, found: &mut Findings) {
    let named = members_of(fault);
    for (field, member) in &named {
        if usize::from(member.0) >= s.members.len() {
            let problem = format!("there is no member {}", member.0);
            found.error(&format!("{place}.{field}"), problem, counted(s.members.len()));
        }
    }
    let witness = |m: MemberId| s.members.get(usize::from(m.0)).is_some_and(|m| m.witness);
    if let Some(member) = of_postgres(fault).filter(|m| witness(*m)) {
        let problem = format!("member {} is a witness, which has no PostgreSQL", member.0);
        found.error(&format!("{place}.member"), problem, "name a member that is no witness");
    }
    if let Fault::Cut { from: one, to: other, .. }
    | Fault::Split { one, other, .. }
    | Fault::Clog { from: one, to: other, .. } = fault
        && !one.iter().any(|a| other.iter().any(|b| a != b))
    {
        found.doubt(place, "no two members are on either side", "list members on both sides");
    }
    if matches!(fault, Fault::KillGuard { .. }) && s.fencing != Fencing::Guard {
        let remedy = "kill the daemon instead: KillDaemon";
        found.doubt(place, "with this fencing the daemon is the only guard", remedy);
    }
}

/// How long and how hard a fault strikes.
fn how(s: &Scenario, fault: &Fault, place: &str, found: &mut Findings) {
    if lasts(fault) {
        found.within(&format!("{place}.for_ms"), fault.length_ms(), 1..=DAY_MS);
    } else if fault.length_ms() > 0 {
        found.within(&format!("{place}.for_ms"), fault.length_ms(), 0..=DAY_MS);
    }
    if let Some((field, number, bounds)) = amount(fault) {
        found.within(&format!("{place}.{field}"), number, bounds);
    }
    match fault {
        Fault::Reload { lease_ms, .. } if *lease_ms > 0 => {
            let other = Timings { lease_ms: *lease_ms, ..s.timings.clone() };
            let place = format!("{place}.lease_ms");
            lease(&other, &place, &place, found);
        }
        Fault::Retime { timings: other, .. } => timings(other, &format!("{place}.timings"), found),
        _ => {}
    }
}

/// Each member that a fault names, and in which field.
fn members_of(fault: &Fault) -> Vec<(String, MemberId)> {
    let list = |name: &str, members: &[MemberId]| -> Vec<(String, MemberId)> {
        members.iter().enumerate().map(|(i, m)| (format!("{name}[{i}]"), *m)).collect()
    };
    let one = |name: &str, member: MemberId| vec![(name.to_owned(), member)];
    match fault {
        Fault::PowerCut { .. }
        | Fault::PowerCutLogsLost { .. }
        | Fault::Loss { .. }
        | Fault::Duplicate { .. }
        | Fault::Delay { .. }
        | Fault::KillPrimary => vec![],
        Fault::Cut { from, to, .. } | Fault::Clog { from, to, .. } => {
            [list("from", from), list("to", to)].concat()
        }
        Fault::Split { one, other, .. } => [list("one", one), list("other", other)].concat(),
        Fault::Flap { one: a, other, .. } => [one("one", *a), one("other", *other)].concat(),
        Fault::Adopt { at, member } | Fault::AdoptVouched { at, member } => {
            [one("at", *at), one("member", *member)].concat()
        }
        Fault::KillPostgres { member }
        | Fault::StopPostgres { member, .. }
        | Fault::FreezePostgres { member, .. }
        | Fault::TooManyClients { member, .. }
        | Fault::LagStandby { member, .. }
        | Fault::KillDaemon { member, .. }
        | Fault::StopDaemon { member, .. }
        | Fault::FreezeDaemon { member, .. }
        | Fault::KillGuard { member }
        | Fault::KillHost { member, .. }
        | Fault::FreezeHost { member, .. }
        | Fault::SlowDisk { member, .. }
        | Fault::DiskFull { member, .. }
        | Fault::LoseLog { member }
        | Fault::RollBackLog { member, .. }
        | Fault::Promotion { member, .. }
        | Fault::FreezeUnobserved { member, .. }
        | Fault::StubbornBackend { member, .. }
        | Fault::SlowMember { member, .. }
        | Fault::Reload { member, .. }
        | Fault::StrayDeadlines { member, .. }
        | Fault::SlowPostgres { member, .. }
        | Fault::RefuseLogins { member, .. }
        | Fault::WallStep { member, .. }
        | Fault::ReceiverDies { member }
        | Fault::CrashAt { member, .. }
        | Fault::LogRefuses { member }
        | Fault::ManualPromotion { member }
        | Fault::RolePanics { member, .. }
        | Fault::LoseReports { member, .. }
        | Fault::BackendCrashes { member }
        | Fault::PostgresDiskFull { member, .. }
        | Fault::Reject { member, .. }
        | Fault::CoarseTimers { member, .. }
        | Fault::Retime { member, .. } => one("member", *member),
    }
}

/// Whose PostgreSQL a fault is about.
const fn of_postgres(fault: &Fault) -> Option<MemberId> {
    match fault {
        Fault::KillPostgres { member }
        | Fault::StopPostgres { member, .. }
        | Fault::FreezePostgres { member, .. }
        | Fault::TooManyClients { member, .. }
        | Fault::LagStandby { member, .. }
        | Fault::KillGuard { member }
        | Fault::Promotion { member, .. }
        | Fault::FreezeUnobserved { member, .. }
        | Fault::StubbornBackend { member, .. }
        | Fault::SlowPostgres { member, .. }
        | Fault::RefuseLogins { member, .. }
        | Fault::ReceiverDies { member }
        | Fault::ManualPromotion { member }
        | Fault::LoseReports { member, .. }
        | Fault::BackendCrashes { member }
        | Fault::PostgresDiskFull { member, .. }
        | Fault::Reject { member, .. } => Some(*member),
        _ => None,
    }
}

/// Whether a fault that lasts no time would change nothing. What is killed or stopped is so at once.
const fn lasts(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::FreezePostgres { .. }
            | Fault::TooManyClients { .. }
            | Fault::LagStandby { .. }
            | Fault::FreezeDaemon { .. }
            | Fault::FreezeHost { .. }
            | Fault::Cut { .. }
            | Fault::Split { .. }
            | Fault::Loss { .. }
            | Fault::Duplicate { .. }
            | Fault::Delay { .. }
            | Fault::SlowDisk { .. }
            | Fault::DiskFull { .. }
            | Fault::Promotion { .. }
            | Fault::FreezeUnobserved { .. }
            | Fault::StubbornBackend { .. }
            | Fault::SlowMember { .. }
            | Fault::StrayDeadlines { .. }
            | Fault::Clog { .. }
            | Fault::Flap { .. }
            | Fault::SlowPostgres { .. }
            | Fault::RefuseLogins { .. }
            | Fault::CrashAt { .. }
            | Fault::RolePanics { .. }
            | Fault::LoseReports { .. }
            | Fault::PostgresDiskFull { .. }
            | Fault::Reject { .. }
            | Fault::CoarseTimers { .. }
    )
}

/// The number of a fault besides its length, and its bounds.
const fn amount(fault: &Fault) -> Option<(&'static str, u64, RangeInclusive<u64>)> {
    Some(match fault {
        Fault::Loss { permille, .. } | Fault::Duplicate { permille, .. } => {
            ("permille", *permille, 1..=1_000)
        }
        Fault::Delay { up_to_ms, .. } => ("up_to_ms", *up_to_ms, 1..=DAY_MS),
        Fault::SlowDisk { flush_ms, .. } => ("flush_ms", *flush_ms, 1..=DAY_MS),
        Fault::SlowMember { by_ms, .. } | Fault::SlowPostgres { by_ms, .. } => ("by_ms", *by_ms, 1..=DAY_MS),
        Fault::Flap { every_ms, .. } => ("every_ms", *every_ms, 1..=DAY_MS),
        Fault::CoarseTimers { grain_ms, .. } => ("grain_ms", *grain_ms, 1..=DAY_MS),
        Fault::RollBackLog { records, .. } => ("records", *records, 1..=u64::MAX),
        Fault::RolePanics { times, .. } | Fault::LoseReports { times, .. } => ("times", *times, 1..=u64::MAX),
        Fault::Reload { lease_ms, .. } => ("lease_ms", *lease_ms, 1..=DAY_MS),
        Fault::WallStep { by_s, .. } => ("by_s", by_s.unsigned_abs(), 0..=WALL_STEP_S_MAX),
        _ => return None,
    })
}
