//! The model under stateright: every invariant must hold always, every mark must be reached sometimes.

use pgfo::cluster::model::{Action, Bounds, ClusterModel, INVARIANTS, Marks, State};
use stateright::{Checker, HasDiscoveries, Model, Property};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

/// A model as stateright takes it.
pub struct Explored {
    cluster: ClusterModel,
    marks: &'static [&'static str],
}

impl Explored {
    pub fn new(cluster: ClusterModel, marks: &'static [&'static str]) -> Self {
        for mark in marks {
            assert!(Marks::named(mark).is_some(), "no mark {mark:?}");
        }
        Self { cluster, marks }
    }
}

fn holds<const I: usize>(_: &Explored, s: &State) -> bool {
    s.broken(I).is_none()
}

fn reached<const I: usize>(_: &Explored, s: &State) -> bool {
    (Marks::ALL[I].1)(s)
}

type Condition = fn(&Explored, &State) -> bool;

const HOLDS: [Condition; 7] = [holds::<0>, holds::<1>, holds::<2>, holds::<3>, holds::<4>, holds::<5>, holds::<6>];
const REACHED: [Condition; 12] = [
    reached::<0>, reached::<1>, reached::<2>, reached::<3>, reached::<4>, reached::<5>, reached::<6>,
    reached::<7>, reached::<8>, reached::<9>, reached::<10>, reached::<11>,
];

impl Model for Explored {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.cluster.first()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.cluster.actions(state, actions);
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

/// What an exploration found.
pub struct Found {
    pub name: &'static str,
    pub distinct: usize,
    pub generated: usize,
    pub depth: usize,
    pub took: Duration,
    /// Whether nothing within the bounds was left out.
    pub exhausted: bool,
    /// The broken invariant, how, and the shortest way there.
    pub broken: Option<(&'static str, String, Vec<Action>)>,
    pub missed: Vec<&'static str>,
}

/// Explores a model breadth first.
pub fn explore(cluster: ClusterModel, marks: &'static [&'static str], states_max: Option<NonZeroUsize>) -> Found {
    let name = cluster.bounds().name;
    let begun = Instant::now();
    let mut builder = Explored::new(cluster, marks)
        .checker()
        .threads(std::thread::available_parallelism().map_or(1, NonZeroUsize::get))
        .finish_when(HasDiscoveries::AnyFailures);
    if let Some(max) = states_max {
        builder = builder.target_state_count(max.get());
    }
    let checker = builder.spawn_bfs().join();
    let found = checker.discoveries();
    let broken = INVARIANTS.iter().enumerate().find_map(|(i, (id, _))| {
        let path = found.get(id)?;
        let how = path.last_state().broken(i).unwrap_or_default().to_owned();
        Some((*id, how, path.clone().into_actions()))
    });
    let exhausted = broken.is_none() && states_max.is_none_or(|max| checker.state_count() < max.get());
    Found {
        name,
        distinct: checker.unique_state_count(),
        generated: checker.state_count(),
        depth: checker.max_depth(),
        took: begun.elapsed(),
        exhausted,
        broken,
        missed: marks.iter().copied().filter(|m| !found.contains_key(m)).collect(),
    }
}

impl Found {
    /// Prints what was explored, and the way to what broke.
    pub fn tell(&self) {
        let seconds = self.took.as_secs_f64();
        println!(
            "{}: {} distinct states, {} generated, depth {}, {:.1} s, {:.0} distinct/s, {}",
            self.name,
            self.distinct,
            self.generated,
            self.depth,
            seconds,
            self.distinct as f64 / seconds,
            if self.exhausted { "exhausted" } else { "not exhausted" }
        );
        for mark in &self.missed {
            println!("  never reached: {mark}");
        }
        if let Some((id, how, actions)) = &self.broken {
            println!("  {id} broke after {} steps: {how}", actions.len());
            for action in actions {
                println!("    {action:?}");
            }
        }
    }
}

/// Bounds that the tests and the campaign share: everybody's default.
pub fn bounds(name: &'static str) -> Bounds {
    Bounds { name, ..Bounds::default() }
}
