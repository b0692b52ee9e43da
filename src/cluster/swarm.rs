//! The swarm: from a seed to a scenario. Size, timings, which faults and how many differ from seed to
//! seed, so that each seed is bad in its own way.

use super::draw::{Domain, Draw, Draws};
use super::fault::{CrashPoint, Fault, PromotionFault, TimedFault};
use super::scenario::{Scenario, ScenarioMember, Timings};
use super::swarm_more::more_faults;
use crate::core::MemberId;
use crate::events::Fencing;

/// Kinds of faults a swarm draws from.
const KINDS: u64 = 35;
/// Faults begin this late at most; in some swarms before the first adoption is done.
const QUIET_MS: u64 = 15_000;
/// Kinds from here on are several faults that belong together.
const SERIES: u64 = 32;
const SWIZZLE: u64 = 32;
const CRASH_LOOP: u64 = 33;
/// What is left after the faults: the bound of V1 and V2, and some.
const AFTER_MS: u64 = 180_000;

struct Swarm {
    draws: Draws,
    asked: u64,
}

impl Swarm {
    fn next(&mut self) -> Draw {
        self.asked += 1;
        self.draws.draw(Domain::Swarm, &[self.asked])
    }
}

/// Returns the scenario of a seed.
#[must_use]
pub fn swarm(seed: u64) -> Scenario {
    swarm_of(seed, None)
}

/// As [`swarm`], but the scenario ends at `end_ms`; the faults last as long as that allows.
#[must_use]
pub fn swarm_lasting(seed: u64, end_ms: u64) -> Scenario {
    swarm_of(seed, Some(end_ms))
}

fn swarm_of(seed: u64, end_ms: Option<u64>) -> Scenario {
    let mut s = Swarm { draws: Draws::new(seed), asked: 0 };
    let members = members(&mut s);
    let data: Vec<MemberId> = ids(&members).filter(|m| !members[usize::from(m.0)].witness).collect();
    let primary = data[usize::try_from(s.next().below(data.len() as u64)).unwrap_or(0)];
    let faults_for_ms = s.next().between(20, 300) * 1_000;
    let quiet_ms = if s.next().happens(200) { s.next().below(QUIET_MS) } else { QUIET_MS };
    let faults_for_ms =
        end_ms.map_or(faults_for_ms, |end| end.saturating_sub(AFTER_MS + quiet_ms).max(1_000));
    let heal_at_ms = quiet_ms + faults_for_ms;
    let voters = members.iter().filter(|m| m.votes).count();
    let electable = members.iter().filter(|m| !m.witness && m.automatic && m.priority > 0).count();
    let mut faults = faults(&mut s, seed, &members, (quiet_ms, faults_for_ms));
    let timings = timings(&mut s);
    faults.extend(more_faults(seed, &members, timings.heartbeat_ms, (quiet_ms, faults_for_ms)));
    faults.sort_by_key(|f| f.at_ms);
    Scenario {
        name: format!("seed {seed}"),
        seed,
        primary,
        timings,
        delay_us_max: *pick(&mut s, &[300, 1_000, 1_000, 5_000, 40_000]),
        postgres_restart_ms: Some(s.next().between(300, 20_000)),
        rebuild_ms: Some(s.next().between(3_000, 20_000)),
        write_every_ms: *pick(&mut s, &[100, 200, 500]),
        heal_at_ms,
        end_at_ms: heal_at_ms + AFTER_MS,
        live: voters > 2 && electable > 1 && electable == data.len(),
        faults,
        members,
        fencing: Fencing::Guard,
        planted: None,
    }
}

fn ids(members: &[ScenarioMember]) -> impl Iterator<Item = MemberId> + use<> {
    (0..members.len()).filter_map(|i| u8::try_from(i).ok()).map(MemberId)
}

fn pick<'a, T>(s: &mut Swarm, from: &'a [T]) -> &'a T {
    &from[usize::try_from(s.next().below(from.len() as u64)).unwrap_or(0)]
}

fn members(s: &mut Swarm) -> Vec<ScenarioMember> {
    let data = *pick(s, &[2, 2, 3, 3, 3, 4, 5]);
    let witnesses = if data == 2 { *pick(s, &[1, 1, 1, 0, 2]) } else { *pick(s, &[0, 0, 1, 2]) };
    let odd_priorities = s.next().happens(400);
    let reluctant = s.next().happens(150);
    let silent = s.next().happens(100);
    let odd_leases = s.next().happens(150);
    (0..data + witnesses)
        .map(|i| {
            let mut m = ScenarioMember { witness: i >= data, ..ScenarioMember::default() };
            if odd_priorities {
                m.priority = u32::try_from(s.next().between(50, 150)).unwrap_or(100);
            }
            if reluctant && s.next().happens(300) {
                m.priority = 0;
            }
            if reluctant && s.next().happens(300) {
                m.automatic = false;
            }
            if odd_leases && s.next().happens(500) {
                m.lease_ms = Some(s.next().between(3_000, 12_000));
            }
            if silent && data > 3 && i == data - 1 {
                m.votes = false;
            }
            m
        })
        .collect()
}

fn timings(s: &mut Swarm) -> Timings {
    let mut t = Timings::default();
    if s.next().happens(500) {
        return t;
    }
    t.heartbeat_ms = *pick(s, &[500, 1_000, 2_000]);
    t.escalation_attempts = u8::try_from(s.next().between(1, 5)).unwrap_or(3);
    t.escalation_ms = *pick(s, &[100, 300, 500]);
    t.probe_ms = *pick(s, &[300, 1_000]).min(&t.heartbeat_ms);
    t.lease_ms = t.heartbeat_ms * s.next().between(4, 8);
    t.reserve_ms = *pick(s, &[300, 500, 800]);
    t.promote_ms = *pick(s, &[5_000, 20_000, 60_000]);
    t.follow_ms = *pick(s, &[5_000, 20_000, 60_000]);
    t
}

fn some_of(s: &mut Swarm, members: &[ScenarioMember]) -> Vec<MemberId> {
    let mut chosen: Vec<MemberId> = ids(members).filter(|_| s.next().happens(400)).collect();
    if chosen.is_empty() {
        chosen.push(MemberId(u8::try_from(s.next().below(members.len() as u64)).unwrap_or(0)));
    }
    chosen
}

fn faults(
    s: &mut Swarm,
    seed: u64,
    members: &[ScenarioMember],
    (quiet_ms, for_ms): (u64, u64),
) -> Vec<TimedFault> {
    // Which kinds occur at all is drawn first: a swarm of all kinds is the same soup each time.
    let enabled: Vec<u64> = (0..KINDS).filter(|_| s.next().happens(350)).collect();
    // How bad it gets: a fault every eight seconds, or one a second.
    let every_ms = *pick(s, &[8_000, 8_000, 8_000, 3_000, 1_000]);
    let count = s.next().between(1, 1 + for_ms / every_ms);
    let draws = Draws::new(seed ^ 0xFA17);
    let mut faults: Vec<TimedFault> = (0..count)
        .flat_map(|n| {
            let mut f = Swarm { draws, asked: n * 1_000 };
            let kind = if enabled.is_empty() { f.next().below(KINDS) } else { *pick(&mut f, &enabled) };
            let at_ms = quiet_ms + f.next().below(for_ms);
            if kind >= SERIES {
                return series(&mut f, kind, members, at_ms);
            }
            one_fault(&mut f, kind, members).map(|fault| TimedFault { at_ms, fault }).into_iter().collect()
        })
        .collect();
    faults.sort_by_key(|f| f.at_ms);
    faults
}

/// Several faults that belong together.
fn series(s: &mut Swarm, kind: u64, members: &[ScenarioMember], at_ms: u64) -> Vec<TimedFault> {
    let all: Vec<MemberId> = ids(members).collect();
    let member = *pick(s, &all);
    let others: Vec<MemberId> = all.iter().copied().filter(|m| *m != member).collect();
    let times = s.next().between(2, 6);
    match kind {
        // One link after the other is clogged, and they come back in another order.
        SWIZZLE => others
            .iter()
            .map(|other| {
                let begins = at_ms + s.next().below(2_000);
                let fault = Fault::Clog {
                    from: vec![member],
                    to: vec![*other],
                    for_ms: s.next().between(500, 9_000),
                };
                TimedFault { at_ms: begins, fault }
            })
            .collect(),
        // A daemon that dies again and again.
        CRASH_LOOP => (0..times)
            .map(|n| {
                let fault = Fault::KillDaemon { member, for_ms: s.next().between(50, 2_000) };
                TimedFault { at_ms: at_ms + n * s.next().between(300, 2_500), fault }
            })
            .collect(),
        // A process that gets no time, and then does everything at once.
        _ => (0..times)
            .map(|n| {
                let fault = Fault::FreezeDaemon { member, for_ms: s.next().between(200, 1_500) };
                TimedFault { at_ms: at_ms + n * 1_800, fault }
            })
            .collect(),
    }
}

fn one_fault(s: &mut Swarm, kind: u64, members: &[ScenarioMember]) -> Option<Fault> {
    let all: Vec<MemberId> = ids(members).collect();
    let member = *pick(s, &all);
    // Short, about a lease, or long.
    let for_ms = match s.next().below(3) {
        0 => s.next().between(50, 1_500),
        1 => s.next().between(1_500, 8_000),
        _ => s.next().between(8_000, 60_000),
    };
    let data = !members[usize::from(member.0)].witness;
    let one_way = s.next().happens(400);
    let some = some_of(s, members);
    let rest: Vec<MemberId> = all.iter().copied().filter(|m| !some.contains(m)).collect();
    let cut = |from: Vec<MemberId>, to: Vec<MemberId>| Some(Fault::Cut { from, to, for_ms });
    let promotion = *pick(
        s,
        &[
            PromotionFault::Vetoed,
            PromotionFault::Failed,
            PromotionFault::UnknownNotDone,
            PromotionFault::UnknownDoneLater,
            PromotionFault::ReportLost,
            PromotionFault::DoneThenCrash,
        ],
    );
    Some(match kind {
        0 | 1 if data => Fault::KillPostgres { member },
        2 if data => Fault::StopPostgres { member, for_ms },
        3 if data => Fault::FreezePostgres { member, for_ms },
        4 if data => Fault::TooManyClients { member, for_ms },
        5 if data => Fault::LagStandby { member, for_ms },
        6 => Fault::KillDaemon { member, for_ms },
        7 => Fault::StopDaemon { member, for_ms },
        8 => Fault::FreezeDaemon { member, for_ms },
        9 if data => Fault::KillGuard { member },
        10 => Fault::KillHost { member, for_ms },
        11 => Fault::FreezeHost { member, for_ms },
        12 if s.next().happens(200) => Fault::PowerCut { for_ms },
        13 if one_way => return cut(vec![member], all.into_iter().filter(|m| *m != member).collect()),
        13 => return cut(all.clone(), vec![member]).map(|f| both(f, &all)),
        14 if one_way => return cut(some, rest),
        14 => return cut(some, rest).map(|f| both(f, &all)),
        15 => {
            let other = *pick(s, &all);
            return cut(vec![member], vec![other]);
        }
        16 => {
            let other = *pick(s, &all);
            return Some(Fault::Cut { from: vec![member, other], to: vec![member, other], for_ms });
        }
        17 => Fault::Loss { permille: s.next().between(10, 400), for_ms },
        18 => Fault::Duplicate { permille: s.next().between(10, 400), for_ms },
        19 => Fault::Delay { up_to_ms: s.next().between(5, 3_000), for_ms },
        20 => Fault::SlowDisk { member, flush_ms: s.next().between(50, 4_000), for_ms },
        // A log that is restored together with its head file can't be told from a whole one until a peer's
        // heartbeat comes: a scenario of its own, not part of the swarm.
        21 => match s.next().below(4) {
            3 => Fault::LogRefuses { member },
            0 => Fault::DiskFull { member, for_ms },
            1 => Fault::LoseLog { member },
            _ => Fault::RollBackLog { member, records: s.next().between(1, 500), noticed: true },
        },
        22 if data => Fault::Promotion { member, fault: promotion, for_ms: for_ms.max(20_000) },
        23 if data && s.next().happens(500) => Fault::FreezeUnobserved { member, for_ms },
        23 if data => Fault::StubbornBackend { member, for_ms },
        24 if s.next().happens(200) => {
            let at = *pick(s, &all);
            if for_ms % 2 == 0 { Fault::Adopt { at, member } } else { Fault::AdoptVouched { at, member } }
        }
        25 => Fault::Reload { member, lease_ms: s.next().between(3_000, 12_000) },
        26 if s.next().happens(500) => Fault::StrayDeadlines { member, for_ms },
        26 => Fault::WallStep { member, by_s: i64::try_from(s.next().below(7_201)).unwrap_or(0) - 3_600 },
        27 if one_way => Fault::Clog { from: some, to: rest, for_ms },
        27 => Fault::Clog { from: all.clone(), to: vec![member], for_ms },
        28 => {
            let other = *pick(s, &all);
            Fault::Flap { one: member, other, every_ms: s.next().between(200, 4_000), for_ms }
        }
        29 if data && s.next().happens(500) => {
            Fault::SlowPostgres { member, by_ms: s.next().between(50, 2_000), for_ms }
        }
        29 if data => Fault::RefuseLogins { member, for_ms },
        30 if data => Fault::ReceiverDies { member },
        31 => {
            let points =
                [CrashPoint::Appended, CrashPoint::Flushed, CrashPoint::BetweenDeeds, CrashPoint::Done];
            Fault::CrashAt { member, point: *pick(s, &points), for_ms: for_ms.max(10_000) }
        }
        _ => return None,
    })
}

/// A cut of one member or group from the rest, in both directions.
fn both(fault: Fault, all: &[MemberId]) -> Fault {
    let Fault::Cut { from, to, for_ms } = fault else { return fault };
    // Cutting everybody from everybody across the line is the same as listing both directions: the
    // group is cut from itself too only when it is one member, whose own link does not exist.
    let group = if to.len() == 1 { to } else { from };
    let rest: Vec<MemberId> = all.iter().copied().filter(|m| !group.contains(m)).collect();
    Fault::Split { one: group, other: rest, for_ms }
}
