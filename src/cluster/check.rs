//! Owns the rules of a scenario: which can be played at all, and which would show nothing however they end. It
//! plays none, and must never mend one.

use super::check_faults;
use super::scenario::{Scenario, Timings};
use crate::config::{ATTEMPTS_MAX, DURATION_MAX, LeaseTimes, MEMBERS_MAX, Trouble};
use crate::core::Nanos;
use crate::events::Fencing;
use std::fmt;
use std::ops::RangeInclusive;

/// The longest scenario and the longest time in one, milliseconds: a day, as configuration files have it.
pub(super) const DAY_MS: u64 = DURATION_MAX.0 / 1_000_000;

/// Every simulated cluster that is left alone has its primary by then.
const ADOPTED_MS: u64 = 6_000;

/// Heartbeats that members may say to each other: each is a record, and all of them are kept.
const HEARTBEATS_MAX: u64 = 20_000_000;

/// What is wrong with, or doubtful in, a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioFinding {
    /// Where, as a path from the top of the file: `faults[3].fault.Split.other[1]`. Lists count from 0.
    pub place: String,
    /// What was found, without a full stop.
    pub problem: String,
    /// What to do about it, as an imperative.
    pub remedy: String,
}

impl fmt::Display for ScenarioFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.problem, self.remedy)
    }
}

/// All that is found in one scenario.
#[derive(Debug, Default)]
pub(super) struct Findings {
    errors: Vec<ScenarioFinding>,
    doubts: Vec<ScenarioFinding>,
}

impl Findings {
    pub(super) fn error(&mut self, place: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        self.errors.push(finding(place, problem, remedy));
    }

    pub(super) fn doubt(&mut self, place: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        self.doubts.push(finding(place, problem, remedy));
    }

    /// A number that must be within bounds.
    pub(super) fn within(&mut self, place: &str, number: u64, bounds: RangeInclusive<u64>) {
        if !bounds.contains(&number) {
            let (least, most) = (bounds.start(), bounds.end());
            let remedy = match *most {
                u64::MAX => format!("write {least} or more"),
                _ => format!("write a number from {least} to {most}"),
            };
            self.error(place, format!("{number} is not possible here"), remedy);
        }
    }
}

fn finding(place: &str, problem: impl Into<String>, remedy: impl Into<String>) -> ScenarioFinding {
    ScenarioFinding { place: place.to_owned(), problem: problem.into(), remedy: remedy.into() }
}

impl Scenario {
    /// Returns what is doubtful in a scenario that can be played.
    ///
    /// # Errors
    /// All that is wrong with it: it could not be played, would never end, or would show nothing.
    pub fn check(&self) -> Result<Vec<ScenarioFinding>, Vec<ScenarioFinding>> {
        let mut found = Findings::default();
        members(self, &mut found);
        let own = self.members.iter().enumerate().filter_map(|(i, m)| Some((i, m.lease_ms?)));
        timings(&self.timings, "timings", &mut found);
        for (i, lease_ms) in own {
            let place = format!("members[{i}].lease_ms");
            lease(&Timings { lease_ms, ..self.timings.clone() }, &place, &place, &mut found);
        }
        rest(self, &mut found);
        check_faults::check(self, &mut found);
        cost(self, &mut found);
        if found.errors.is_empty() { Ok(found.doubts) } else { Err(found.errors) }
    }
}

fn members(s: &Scenario, found: &mut Findings) {
    let data = s.members.iter().filter(|m| !m.witness).count();
    let voters = s.members.iter().filter(|m| m.votes).count();
    let electable = s.members.iter().filter(|m| !m.witness && m.automatic && m.priority > 0).count();
    if s.members.is_empty() {
        return found.error(
            "members",
            "no members",
            "leave the key out for three, or list some: [{}, {}, {}]",
        );
    }
    if s.members.len() > MEMBERS_MAX {
        let problem = format!("{} members are more than {MEMBERS_MAX}", s.members.len());
        found.error("members", problem, "list fewer");
    }
    if data == 0 {
        let remedy = "make a member {}: one that is no witness";
        found.error("members", "no member has PostgreSQL: there is nothing to promote", remedy);
    } else if !s.members.iter().any(|m| m.votes && !m.witness) {
        let remedy = "leave \"votes\" out for the members with PostgreSQL";
        found.error("members", "no member with PostgreSQL votes: nobody could be elected", remedy);
    } else if data == 1 {
        let problem = "one member with PostgreSQL: nobody can take over from it";
        found.doubt("members", problem, "list a second one to see a failover");
    } else if s.live && !(voters > 2 && electable == data) {
        let problem =
            "liveness is promised with three or more voters, and data members that may all be promoted";
        found.doubt(
            "live",
            problem,
            "write \"live\": false, or list more members that vote and may be promoted",
        );
    }
    match s.members.get(usize::from(s.primary.0)) {
        None => {
            let problem = format!("there is no member {}", s.primary.0);
            found.error("primary", problem, counted(s.members.len()));
        }
        Some(member) if member.witness => {
            let problem = format!("member {} is a witness, which has no PostgreSQL", s.primary.0);
            found.error("primary", problem, "name a member that is no witness");
        }
        Some(_) => {}
    }
}

/// How members are told by number.
pub(super) fn counted(members: usize) -> String {
    match members {
        1 => "the only member is 0".to_owned(),
        n => format!("members count from 0: write 0 to {}", n.saturating_sub(1)),
    }
}

/// Times and lease of one configuration, and the rules of the daemon's own.
pub(super) fn timings(t: &Timings, place: &str, found: &mut Findings) {
    let times = [
        ("heartbeat_ms", t.heartbeat_ms),
        ("escalation_ms", t.escalation_ms),
        ("sign_of_life_ms", t.sign_of_life_ms),
        ("testimony_ms", t.testimony_ms),
        ("retry_ms", t.retry_ms),
        ("freeze_ms", t.freeze_ms),
        ("lease_ms", t.lease_ms),
        ("reserve_ms", t.reserve_ms),
        ("promote_ms", t.promote_ms),
        ("follow_ms", t.follow_ms),
        ("probe_ms", t.probe_ms),
    ];
    let errors = found.errors.len();
    for (name, ms) in times {
        found.within(&format!("{place}.{name}"), ms, 1..=DAY_MS);
    }
    // Without a delay, whoever may stand stands at once.
    found.within(&format!("{place}.rank_delay_ms"), t.rank_delay_ms, 0..=DAY_MS);
    let attempts = u64::from(t.escalation_attempts);
    found.within(&format!("{place}.escalation_attempts"), attempts, 1..=u64::from(ATTEMPTS_MAX));
    if found.errors.len() == errors {
        lease(t, &format!("{place}.lease_ms"), &format!("{place}.reserve_ms"), found);
    }
}

/// The arithmetic of a lease, as the daemon has it; where the lease and the reserve are written.
pub(super) fn lease(t: &Timings, place: &str, reserve_place: &str, found: &mut Findings) {
    if !(1..=DAY_MS).contains(&t.lease_ms) {
        return found.within(place, t.lease_ms, 1..=DAY_MS);
    }
    let ms = Nanos::from_millis;
    let (lease, reserve) = (ms(t.lease_ms), ms(t.reserve_ms.min(DAY_MS)));
    let (heartbeat, timeout) = (ms(t.heartbeat_ms.min(DAY_MS)), ms(t.probe_ms.min(DAY_MS)));
    let times = LeaseTimes { lease, reserve, heartbeat, timeout };
    if let Err(Trouble { problem, remedy }) = times.reserve_fits() {
        found.error(reserve_place, problem, remedy);
    } else if let Err(Trouble { problem, remedy }) = times.outlasts_one_lost_heartbeat() {
        found.doubt(place, format!("no daemon would start with this: {problem}"), remedy);
    }
}

fn rest(s: &Scenario, found: &mut Findings) {
    found.within("delay_us_max", s.delay_us_max, 0..=60_000_000);
    found.within("write_every_ms", s.write_every_ms, 1..=DAY_MS);
    for (place, ms) in [("postgres_restart_ms", s.postgres_restart_ms), ("rebuild_ms", s.rebuild_ms)] {
        if let Some(ms) = ms {
            found.within(place, ms, 1..=DAY_MS);
        }
    }
    if s.end_at_ms <= ADOPTED_MS {
        let problem =
            format!("it ends after {} ms, and a cluster may need {ADOPTED_MS} ms to begin", s.end_at_ms);
        found.error("end_at_ms", problem, "let it last longer, such as 60000");
    }
    found.within("end_at_ms", s.end_at_ms, 0..=DAY_MS);
    if s.heal_at_ms > s.end_at_ms {
        let problem = format!(
            "everything is mended at {} ms, after the end at {} ms: whether somebody leads then is never looked at",
            s.heal_at_ms, s.end_at_ms
        );
        found.error("heal_at_ms", problem, "mend before the end, or let it end later");
    }
    if s.fencing == Fencing::Off {
        let problem = "without a fence there is neither lease nor seal, and the invariants that are judged here are \
                       not promised: two primaries are possible";
        found.error("fencing", problem, "write \"Guard\" or \"Daemon\"");
    }
}

fn cost(s: &Scenario, found: &mut Findings) {
    let members = s.members.len() as u64;
    let said = u128::from(members * members.saturating_sub(1)) * u128::from(s.end_at_ms)
        / u128::from(s.timings.heartbeat_ms.max(1));
    if s.end_at_ms <= DAY_MS && s.members.len() <= MEMBERS_MAX && said > u128::from(HEARTBEATS_MAX) {
        let problem = format!(
            "{members} members say {said} heartbeats in {} ms, more than the {HEARTBEATS_MAX} that fit",
            s.end_at_ms
        );
        found.error(
            "end_at_ms",
            problem,
            "let it end sooner, raise timings.heartbeat_ms, or list fewer members",
        );
    }
}
