//! One run: a scenario to its end, under all invariants, and what came of it.

use super::fact::{Fact, Hearing};
use super::invariants::{Invariant, is_live, registry};
use super::marks::{Marks, of_fact};
use super::scenario::Scenario;
use super::telling::{Telling, Told};
use super::time::SimNanos;
use super::world::World;
#[cfg(feature = "planted-bugs")]
use crate::core::Planting;
use crate::events::Record;

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Its name.
    pub id: &'static str,
    /// What it says.
    pub says: &'static str,
    /// What broke it.
    pub how: String,
    /// When.
    pub at: SimNanos,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The first invariant that broke.
    pub broken: Option<Broken>,
    /// The run in a number: equal runs have equal ones.
    pub trace: u64,
    /// Promotions that took effect.
    pub promotions: u64,
    /// Batches stepped, of all members.
    pub batches: u64,
    /// Events that happened until it ended.
    pub events: u64,
    /// When it ended.
    pub end: SimNanos,
    /// Whether liveness was promised at the end.
    pub live: bool,
    /// The rare states that it reached.
    pub marks: Marks,
    /// Lines for machines and tests, when asked for.
    pub story: Vec<String>,
    /// Lines for people, when asked for.
    pub told: Vec<Told>,
}

/// Runs a scenario to its end.
#[must_use]
pub fn run(scenario: &Scenario) -> Outcome {
    Runner::default().run(scenario)
}

/// As [`run`], telling every decision and fault as it is.
#[must_use]
pub fn run_with_story(scenario: &Scenario) -> (Outcome, World) {
    play(World::new(scenario.clone(), &mut Vec::new()), true)
}

/// As [`run_with_story`], telling it for people, too.
#[must_use]
pub fn run_told(scenario: &Scenario) -> (Outcome, World) {
    let mut world = World::new(scenario.clone(), &mut Vec::new());
    world.telling = Some(Telling::new(scenario.members.len()));
    play(world, true)
}

/// Runs one scenario after the other, in the same memory.
#[derive(Default)]
pub struct Runner {
    logs: Vec<Vec<Record>>,
}

impl Runner {
    /// Runs a scenario to its end.
    #[must_use]
    pub fn run(&mut self, scenario: &Scenario) -> Outcome {
        let (outcome, mut world) = play(World::new(scenario.clone(), &mut self.logs), false);
        self.take_back(&mut world);
        outcome
    }

    /// Runs a scenario again, as far as `outcome` came, and returns the trace: equal runs have equal ones. The first
    /// run was judged; this one only shows that it repeats itself, so nobody is told of anything.
    #[must_use]
    pub fn again(&mut self, scenario: &Scenario, outcome: &Outcome) -> u64 {
        let mut world = World::new(scenario.clone(), &mut self.logs);
        world.told = false;
        #[cfg(feature = "planted-bugs")]
        let _planting = Planting::of(world.scenario.planted);
        let end = SimNanos::from_millis(world.scenario.end_at_ms);
        for _ in 0..outcome.events {
            world.step(end);
        }
        self.take_back(&mut world);
        world.trace.0
    }

    /// Keeps the memory of the logs for the next run.
    fn take_back(&mut self, world: &mut World) {
        self.logs.extend(world.nodes.drain(..).map(|node| {
            let mut log = node.log.records;
            log.clear();
            log
        }));
    }
}

fn play(mut world: World, story: bool) -> (Outcome, World) {
    #[cfg(feature = "planted-bugs")]
    let _planting = Planting::of(world.scenario.planted);
    world.story = story.then(Vec::new);
    let mut judges = Judges::new(registry());
    let end = SimNanos::from_millis(world.scenario.end_at_ms);
    let mut broken = None;
    let mut facts = Vec::new();
    let mut marks = Marks::default();
    let mut events = 0;
    while broken.is_none() && world.step(end) {
        events += 1;
        if world.facts.is_empty() {
            continue;
        }
        std::mem::swap(&mut facts, &mut world.facts);
        for fact in facts.drain(..) {
            marks.add_all(of_fact(&world, &fact));
            if broken.is_none() {
                broken = judges.look(&world, &fact);
            }
            if matches!(fact, Fact::EveryLogLost) {
                judges.begin_anew(&world);
            }
        }
    }
    if broken.is_none() {
        broken = judges.all.iter_mut().find_map(|i| i.at_end(&world).err().map(|how| say(&**i, &world, how)));
    }
    marks.add_all(world.noted.reached);
    let outcome = Outcome {
        broken,
        trace: world.trace.0,
        promotions: world.promotions,
        batches: world.batches,
        events,
        end: world.now(),
        live: is_live(&world),
        marks,
        story: world.story.take().unwrap_or_default(),
        told: world.telling.take().map(Telling::into_told).unwrap_or_default(),
    };
    (outcome, world)
}

/// The invariants, with those that look at each kind of fact.
struct Judges {
    all: Vec<Box<dyn Invariant>>,
    hearers: Vec<Vec<usize>>,
}

impl Judges {
    fn new(all: Vec<Box<dyn Invariant>>) -> Self {
        let hearers = |kind| (0..all.len()).filter(|i| all[*i].hears().contains(kind)).collect();
        Self { hearers: Hearing::ALL.iter().map(hearers).collect(), all }
    }

    /// Nobody is bound by what was promised before; the causes of what may happen are what they were.
    fn begin_anew(&mut self, world: &World) {
        *self = Self::new(registry());
        for i in 0..world.scenario.faults.len() {
            if SimNanos::from_millis(world.scenario.faults[i].at_ms) <= world.now() {
                // No invariant can break by a fault that began.
                let _held = self.look(world, &Fact::FaultBegan(i));
            }
        }
    }

    fn look(&mut self, world: &World, fact: &Fact) -> Option<Broken> {
        let all = &mut self.all;
        self.hearers[fact.hearing() as usize].iter().find_map(|i| {
            let invariant = &mut all[*i];
            invariant.look(world, fact).err().map(|how| say(&**invariant, world, how))
        })
    }
}

fn say(invariant: &dyn Invariant, world: &World, how: String) -> Broken {
    Broken { id: invariant.id(), says: invariant.says(), how, at: world.now() }
}
