//! Owns the modelled part: a simulated cluster made after the logs, with the fault that the record shows,
//! played under the recorded and under the changed configuration. It must say what it could not infer.

use super::changes::Changes;
use crate::cli::explain::{Delays, Gathered, Incident, Mark, What, kept};
use crate::cluster::{Fault, Scenario, ScenarioMember, SimNanos, TimedFault, Timings, Trial, trial};
use crate::core::{MemberId, Nanos};
use crate::events::{Decision, Event, Settings};
use pgfo_replay::Seq;
use serde::Serialize;

/// When the fault strikes: every simulated cluster has found its primary by then.
const FAULT_AT_MS: u64 = 20_000;
/// How long a simulation goes on after the fault, besides what leases and time-outs take.
const AFTER_MS: u64 = 30_000;
/// Average length of a simulated write, bytes.
const WRITE_BYTES: u64 = 8_224;

/// A cluster and a fault, as inferred from logs.
#[derive(Clone, Debug)]
pub(super) struct Model {
    scenario: Scenario,
    names: Vec<String>,
    /// The fault, in words.
    pub(super) fault: String,
}

/// What came of all seeds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outcomes {
    /// Simulations.
    pub runs: u64,
    /// Of them, those in which somebody took over.
    pub promoted: u64,
    /// Who took over most often.
    pub who: Option<String>,
    /// From the fault until somebody had taken over: median, nanoseconds.
    pub median_ns: Option<u64>,
    /// The longest.
    pub longest_ns: Option<u64>,
    /// Bytes that the old primary had and the new one lacked: median.
    pub lost_median_bytes: Option<u64>,
    /// The most.
    pub lost_most_bytes: Option<u64>,
}

impl Model {
    /// Infers cluster, lag, delays and fault from the logs of an incident.
    ///
    /// # Errors
    /// What could not be inferred.
    pub(super) fn of(logs: &[Gathered], incident: &Incident, delays: &Delays) -> Result<Self, String> {
        let settings = logs.iter().find_map(Gathered::settings).ok_or("no log names its settings")?;
        let names: Vec<String> = settings.members.iter().map(|m| m.name.clone()).collect();
        let missing: Vec<&str> = names
            .iter()
            .filter(|name| log_of(logs, name).is_none())
            .map(String::as_str)
            .filter(|name| *name != settings.name(incident.about.0))
            .collect();
        if !missing.is_empty() {
            return Err(format!("the log of {} is not at hand", missing.join(", ")));
        }
        let (faults, fault) = fault_of(logs, incident, settings)?;
        let members = settings
            .members
            .iter()
            .map(|m| {
                let own = log_of(logs, &m.name).and_then(Gathered::settings);
                ScenarioMember {
                    witness: m.witness,
                    votes: m.votes,
                    automatic: own.is_none_or(|s| s.automatic),
                    priority: own.map_or(100, |s| s.priority),
                    lease_ms: None,
                }
            })
            .collect();
        let timings = timings_of(settings, logs);
        let end_at_ms = FAULT_AT_MS + 3 * timings.lease_ms + AFTER_MS;
        let mut faults: Vec<TimedFault> =
            faults.into_iter().map(|fault| TimedFault { at_ms: FAULT_AT_MS, fault }).collect();
        faults.extend(lagging(logs, incident, settings));
        faults.sort_by_key(|f| f.at_ms);
        let scenario = Scenario {
            name: "after the logs".to_owned(),
            members,
            primary: incident.about.0,
            timings,
            delay_us_max: delays.percentile(95).map_or(1_000, |d| (d.0 / 1_000).clamp(50, 1_000_000)),
            postgres_restart_ms: None,
            rebuild_ms: None,
            write_every_ms: write_every_ms(logs, incident),
            faults,
            heal_at_ms: end_at_ms,
            end_at_ms,
            live: false,
            ..Scenario::default()
        };
        Ok(Self { scenario, names, fault })
    }

    /// Returns the model under another configuration.
    ///
    /// # Errors
    /// When the primary itself is to be removed.
    pub(super) fn changed(&self, changes: &Changes) -> Result<Self, String> {
        let mut model = self.clone();
        let scenario = &mut model.scenario;
        changes.apply_to_timings(&mut scenario.timings);
        for (name, member) in self.names.iter().zip(&mut scenario.members) {
            changes.apply_to_member(name, member);
        }
        let id = |name: &String| {
            let at = self.names.iter().position(|n| n == name)?;
            u8::try_from(at).ok().map(MemberId)
        };
        let at_ms = FAULT_AT_MS;
        let for_ms = scenario.end_at_ms;
        for member in changes.dropped.iter().filter_map(id) {
            let to = scenario.ids().filter(|m| *m != member).collect();
            scenario.faults.push(TimedFault { at_ms, fault: Fault::Cut { from: vec![member], to, for_ms } });
        }
        for (name, by) in &changes.delayed {
            if let Some(member) = id(name) {
                let fault = Fault::SlowMember { member, by_ms: by.as_millis(), for_ms };
                scenario.faults.push(TimedFault { at_ms, fault });
            }
        }
        let end_at_ms = FAULT_AT_MS + 3 * scenario.timings.lease_ms + AFTER_MS;
        (scenario.heal_at_ms, scenario.end_at_ms) = (end_at_ms, end_at_ms);
        for name in &changes.removed {
            model.remove(name)?;
        }
        Ok(model)
    }

    fn remove(&mut self, name: &str) -> Result<(), String> {
        let Some(at) = self.names.iter().position(|n| n == name) else { return Ok(()) };
        if at == usize::from(self.scenario.primary.0) {
            return Err(format!("{name} was the primary: without it there is nothing to fail over from"));
        }
        self.names.remove(at);
        let scenario = &mut self.scenario;
        scenario.members.remove(at);
        let gone = MemberId(u8::try_from(at).unwrap_or(u8::MAX));
        let shift = |m: &mut MemberId| m.0 -= u8::from(*m > gone);
        shift(&mut scenario.primary);
        scenario.faults.retain_mut(|f| match &mut f.fault {
            Fault::Cut { from: one, to: other, .. } | Fault::Split { one, other, .. } => {
                for side in [one, other] {
                    side.retain(|m| *m != gone);
                    side.iter_mut().for_each(shift);
                }
                true
            }
            Fault::KillPostgres { member }
            | Fault::StopPostgres { member, .. }
            | Fault::FreezePostgres { member, .. }
            | Fault::KillHost { member, .. }
            | Fault::LagStandby { member, .. }
            | Fault::SlowMember { member, .. } => {
                let stays = *member != gone;
                shift(member);
                stays
            }
            _ => true,
        });
        Ok(())
    }

    /// Plays all seeds, on two threads.
    pub(super) fn play(&self, seeds: u64) -> Outcomes {
        let one = |seed| {
            let scenario = Scenario { seed, ..self.scenario.clone() };
            trial(&scenario, SimNanos::from_millis(FAULT_AT_MS), true)
        };
        let half = seeds / 2;
        let trials: Vec<Trial> = std::thread::scope(|scope| {
            let other = scope.spawn(move || (half..seeds).map(one).collect::<Vec<_>>());
            let mut all: Vec<Trial> = (0..half).map(one).collect();
            match other.join() {
                Ok(rest) => all.extend(rest),
                Err(panic) => std::panic::resume_unwind(panic),
            }
            all
        });
        self.outcomes(&trials)
    }

    fn outcomes(&self, trials: &[Trial]) -> Outcomes {
        let mut times: Vec<u64> = trials.iter().filter_map(|t| Some(t.promoted?.1.0)).collect();
        let mut lost: Vec<u64> = trials.iter().filter_map(|t| t.lost_bytes).collect();
        times.sort_unstable();
        lost.sort_unstable();
        let wins = |at: usize| {
            trials.iter().filter(|t| t.promoted.is_some_and(|(m, _)| usize::from(m.0) == at)).count()
        };
        let who = (0..self.names.len()).filter(|at| wins(*at) > 0).max_by_key(|at| wins(*at));
        Outcomes {
            runs: trials.len() as u64,
            promoted: times.len() as u64,
            who: who.map(|at| self.names[at].clone()),
            median_ns: times.get(times.len() / 2).copied(),
            longest_ns: times.last().copied(),
            lost_median_bytes: lost.get(lost.len() / 2).copied(),
            lost_most_bytes: lost.last().copied(),
        }
    }
}

fn log_of<'a>(logs: &'a [Gathered], name: &str) -> Option<&'a Gathered> {
    logs.iter().find(|log| log.audit().member() == Some(name))
}

fn timings_of(s: &Settings, logs: &[Gathered]) -> Timings {
    let ms = |length: Nanos| length.as_millis().max(1);
    // The probe's deadline is no setting that decisions read: the longest unanswered probe shows it.
    let unanswered = logs.iter().flat_map(|log| &log.glances).filter(|g| !g.answered);
    let longest = unanswered.map(|g| g.took).max().filter(|took| ms(*took) >= 100);
    Timings {
        heartbeat_ms: ms(s.heartbeat_interval),
        escalation_attempts: s.escalation_attempts,
        escalation_ms: ms(s.escalation_interval),
        sign_of_life_ms: ms(s.sign_of_life_max),
        testimony_ms: ms(s.testimony_timeout),
        rank_delay_ms: ms(s.rank_delay),
        retry_ms: ms(s.retry_interval),
        freeze_ms: ms(s.freeze_timeout),
        lease_ms: ms(s.lease_duration),
        reserve_ms: ms(s.fence_reserve),
        promote_ms: ms(s.promote_timeout),
        follow_ms: ms(s.follow_timeout),
        lag_bytes_max: s.lag_bytes_max,
        probe_ms: longest.map_or(1_000, ms).min(ms(s.heartbeat_interval)),
    }
}

/// The primary's WAL per second, as writes of the simulator's average length.
fn write_every_ms(logs: &[Gathered], incident: &Incident) -> u64 {
    let seen = logs.iter().flat_map(|log| {
        let answers = log.glances.iter().filter(|g| g.target == incident.about.0);
        answers.filter_map(|g| Some((log.common(g.seq, g.wall), g.lsn?)))
    });
    let mut seen: Vec<_> = seen.filter(|(at, _)| *at <= incident.began).collect();
    seen.sort_unstable();
    let (Some(first), Some(last)) = (seen.first(), seen.last()) else { return 200 };
    let ms = u64::try_from((last.0 - first.0) / 1_000_000).unwrap_or(0);
    let bytes = last.1.bytes_since(first.1);
    (ms * WRITE_BYTES).checked_div(bytes).unwrap_or(10_000).clamp(10, 10_000)
}

/// Standbys that were behind the winner when all stood still took in nothing for a while before.
fn lagging(logs: &[Gathered], incident: &Incident, settings: &Settings) -> Vec<TimedFault> {
    let frozen = |member: MemberId| {
        incident.marks.iter().rev().find_map(|m| {
            let k = kept(logs, *m);
            match (k.deed.what, &k.record.event) {
                (What::Frozen(Some(at)), _) if k.deed.who == member => Some(at),
                (_, Event::Decided(Decision::VoteRequested(ask))) if k.deed.who == member => ask.position,
                _ => None,
            }
        })
    };
    let all: Vec<_> = settings.ids().filter_map(|m| Some((m, frozen(m)?))).collect();
    let best = all.iter().map(|(_, at)| *at).max();
    let behind = all.iter().filter(|(_, at)| Some(*at) < best);
    behind
        .map(|(member, _)| TimedFault {
            at_ms: FAULT_AT_MS - 1_000,
            fault: Fault::LagStandby { member: *member, for_ms: AFTER_MS },
        })
        .collect()
}

/// What struck, from who lost whom.
fn fault_of(
    logs: &[Gathered],
    incident: &Incident,
    settings: &Settings,
) -> Result<(Vec<Fault>, String), String> {
    let (member, name) = (incident.about.0, settings.name(incident.about.0));
    let own = log_of(logs, name);
    // What came after another had taken over is no part of what struck: the old primary's own return above all.
    let over = incident.taken_over_at(logs);
    let until = over.unwrap_or(incident.ended);
    let during = |m: &&Mark| (incident.began..=until).contains(&m.at);
    let marks = || incident.marks.iter().filter(during).map(|m| (m.at, kept(logs, *m)));
    let rest = 3_600_000;
    let end = logs.iter().filter_map(Gathered::end).max().unwrap_or(i64::MAX);
    let seen_until = over.map_or(i64::MAX, |at| at.max(incident.began + 3_000_000_000));
    let own_end = own.and_then(|log| {
        let first = log.audit().first.map_or(1, |(first, _)| first.0);
        let walls = (first..).zip(&log.audit().walls).map(|(seq, wall)| log.common(Seq(seq), *wall));
        walls.filter(|at| *at <= seen_until).max()
    });
    let lost: Vec<(MemberId, MemberId)> = marks()
        .filter_map(|(_, k)| match k.deed.what {
            What::Lost(peer) => Some((k.deed.who, peer)),
            _ => None,
        })
        .collect();
    // The postmaster's end, seen by the daemon beside it before anything was ordered.
    let first_own = marks().find(|(_, k)| {
        k.deed.who == member
            && !k.deed.heard
            && matches!(k.deed.what, What::Sign | What::Fence(_) | What::Expired)
    });
    if let Some((_, k)) = first_own
        && matches!(&k.record.event, Event::Observed(crate::events::Observation::PostmasterGone { .. }))
    {
        return Ok((vec![Fault::KillPostgres { member }], format!("the postmaster of {name} ended")));
    }
    if own.is_none() && marks().any(|(_, k)| k.deed.who == member && k.deed.what == What::Confirmed) {
        return Ok((vec![Fault::KillPostgres { member }], format!("the postmaster of {name} ended")));
    }
    let silent = own_end.is_none_or(|at| at < incident.began + 1_000_000_000 && at + 2_000_000_000 < end);
    let others_lost_it = lost.iter().any(|(_, peer)| *peer == member);
    if silent && others_lost_it {
        let fault = Fault::KillHost { member, for_ms: rest };
        return Ok((vec![fault], format!("the host of {name} was lost, its daemon with it")));
    }
    let again = marks().find(|(_, k)| k.deed.what == What::SeenAgain).map(|(at, _)| at - incident.began);
    let for_ms = again.and_then(|nanos| u64::try_from(nanos / 1_000_000).ok()).unwrap_or(rest);
    if let Some(log) = own {
        let hung = log.glances.iter().any(|g| {
            let at = log.common(g.seq, g.wall);
            let near = at >= incident.began - 2_000_000_000 && at <= until + 2_000_000_000;
            g.target == member && near && !g.answered && g.took.0 >= 100_000_000
        });
        if hung {
            let fault = Fault::FreezePostgres { member, for_ms };
            return Ok((vec![fault], format!("the PostgreSQL of {name} did not answer, its daemon did")));
        }
    }
    let cut_off: Vec<MemberId> = settings
        .ids()
        .filter(|m| *m != member && lost.iter().any(|pair| *pair == (*m, member) || *pair == (member, *m)))
        .collect();
    if !cut_off.is_empty() {
        let names: Vec<&str> = cut_off.iter().map(|m| settings.name(*m)).collect();
        let told = format!("{name} was cut off from {}", names.join(" and "));
        // Who did not lose it still hears both sides.
        let fault = Fault::Split { one: vec![member], other: cut_off, for_ms };
        return Ok((vec![fault], told));
    }
    Err(format!("what struck {name} can't be inferred from who lost whom"))
}
