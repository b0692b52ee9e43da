//! The model under stateright: every invariant must hold always, every mark must be reached sometimes.
#![allow(dead_code, unreachable_pub)]

use pgfo::cluster::model::{Action, Bounds, ClusterModel, INVARIANTS, Marks, PASSING, State};
use stateright::{Checker, HasDiscoveries, Model, Property};
use std::time::{Duration, Instant};

/// A model as stateright takes it.
struct Explored {
    cluster: ClusterModel,
    marks: &'static [&'static str],
    may: fn(&Action) -> bool,
}

fn holds<const I: usize>(_: &Explored, s: &State) -> bool {
    s.broken(I).is_none()
}

fn reached<const I: usize>(_: &Explored, s: &State) -> bool {
    (Marks::ALL[I].1)(s)
}

type Condition = fn(&Explored, &State) -> bool;

/// stateright takes no closures as conditions.
const HOLDS: [Condition; INVARIANTS.len()] =
    [holds::<0>, holds::<1>, holds::<2>, holds::<3>, holds::<4>, holds::<5>, holds::<6>];
const REACHED: [Condition; Marks::ALL.len()] = [
    reached::<0>,
    reached::<1>,
    reached::<2>,
    reached::<3>,
    reached::<4>,
    reached::<5>,
    reached::<6>,
    reached::<7>,
];

impl Model for Explored {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.cluster.first()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.cluster.actions(state, actions);
        actions.retain(self.may);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        self.cluster.next(state, &action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let always = INVARIANTS.iter().zip(HOLDS).map(|((name, _), holds)| Property::always(name, holds));
        let marks = Marks::ALL.iter().zip(REACHED).filter(|(m, _)| self.marks.contains(&m.0));
        always.chain(marks.map(|(m, reached)| Property::sometimes(m.0, reached))).collect()
    }
}

/// How far to explore.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// Every sequence of so many actions.
    pub depth: usize,
    /// At most about so many states are generated.
    pub generated_max: usize,
    /// With one thread, nothing within the depth is left out, and the way to what breaks is the shortest.
    pub threads: usize,
    /// What may happen, of what could.
    pub may: fn(&Action) -> bool,
    /// Depth first, which takes far less memory; the way to what breaks is not the shortest then.
    pub deep: bool,
}

impl Reach {
    /// Everything, one state after the other, up to a number of states.
    pub const fn all(generated_max: usize) -> Self {
        Self { depth: usize::MAX, generated_max, threads: 1, may: |_| true, deep: true }
    }
}

/// What an exploration found.
#[derive(Debug)]
pub struct Found {
    pub name: &'static str,
    pub distinct: usize,
    pub generated: usize,
    pub depth: usize,
    pub took: Duration,
    /// Whether it ended before the bound on states.
    pub complete: bool,
    /// The broken invariant, how, and the way there.
    pub broken: Option<(&'static str, String, Vec<Action>)>,
    pub missed: Vec<&'static str>,
}

/// Explores a model breadth first, until something breaks or all is seen.
pub fn explore(cluster: ClusterModel, marks: &'static [&'static str], reach: Reach) -> Found {
    for mark in marks {
        let unseen = PASSING.contains(mark);
        assert!(unseen || Marks::named(mark).is_some(), "no mark {mark:?}");
    }
    let name = cluster.bounds().name;
    let begun = Instant::now();
    let builder = Explored { cluster, marks, may: reach.may }
        .checker()
        .threads(reach.threads)
        .finish_when(HasDiscoveries::AnyFailures)
        .target_max_depth(reach.depth)
        .target_state_count(reach.generated_max);
    if reach.deep {
        Found::of(name, begun, marks, reach, &builder.spawn_dfs().join())
    } else {
        Found::of(name, begun, marks, reach, &builder.spawn_bfs().join())
    }
}

impl Found {
    fn of(
        name: &'static str,
        begun: Instant,
        marks: &'static [&'static str],
        reach: Reach,
        checker: &impl Checker<Explored>,
    ) -> Self {
        let found = checker.discoveries();
        let broken = INVARIANTS.iter().enumerate().find_map(|(i, (id, _))| {
            let path = found.get(id)?;
            let how = path.last_state().broken(i).unwrap_or_default().to_owned();
            Some((*id, how, path.clone().into_actions()))
        });
        let reached = |mark: &str| found.contains_key(mark) || checker.model().cluster.passed(mark);
        Self {
            name,
            distinct: checker.unique_state_count(),
            generated: checker.state_count(),
            depth: checker.max_depth(),
            took: begun.elapsed(),
            complete: broken.is_none() && checker.state_count() < reach.generated_max,
            broken,
            missed: marks.iter().copied().filter(|m| !reached(m)).collect(),
        }
    }

    /// Prints what was explored, and the way to what broke.
    pub fn tell(&self) {
        let seconds = self.took.as_secs_f64();
        println!(
            "{}: {} distinct states, {} generated, depth {}, {seconds:.1} s, {:.0} generated/s, {}",
            self.name,
            self.distinct,
            self.generated,
            self.depth,
            self.generated as f64 / seconds,
            if self.complete { "all of it, to the depth asked for" } else { "not all of it" }
        );
        for mark in &self.missed {
            println!("  never reached: {mark}");
        }
        if let Some((id, how, actions)) = &self.broken {
            println!("  {id} broke after {} actions: {how}", actions.len());
            for action in actions {
                println!("    {action:?}");
            }
        }
    }
}

/// The primary's postmaster died, and everybody knows: two candidates, two terms, one crash.
pub fn killed() -> Bounds {
    use pgfo::cluster::model::Start;
    Bounds {
        name: "killed",
        start: Start::Killed,
        candidates: 0b0110,
        beating: 0b0110,
        blind: 0,
        deaths: 0,
        ..Bounds::default()
    }
}

/// The primary was cut off until its guard fenced it.
pub fn cut_off() -> Bounds {
    Bounds { name: "cut off", start: pgfo::cluster::model::Start::CutOff, ..killed() }
}

/// The primary's host is gone for good: three members must find a winner, and every one of them must vote.
pub fn gone() -> Bounds {
    Bounds { name: "the primary's host is gone", gone: 0b0001, ..cut_off() }
}

/// The same, small enough to be explored to its end: two terms, one crash of anybody, a promotion that goes wrong.
pub fn failover() -> Bounds {
    Bounds {
        name: "a failover, and a crash of anybody",
        terms: 2,
        promotion_faults: 1,
        hasty: true,
        ..gone()
    }
}

/// The primary leads, the others lose sight of it, and its lease is renewed or runs out: the clock moves.
pub fn leases() -> Bounds {
    Bounds {
        name: "leases",
        start: pgfo::cluster::model::Start::Adopted,
        data: 2,
        terms: 2,
        candidates: 0b010,
        beating: 0b011,
        blind: 0b110,
        outages: 1,
        mortal: 0b100,
        deaths: 0,
        ticks: 3,
        ..Bounds::default()
    }
}

/// A log is lost, and the member comes back with another one.
pub fn log_lost() -> Bounds {
    Bounds { name: "log lost", crashes: 0, log_losses: 1, candidates: 0b0010, beating: 0b0010, ..killed() }
}
