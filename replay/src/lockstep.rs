//! The lock-step loop: one observation, delivered to every machine in a fixed order, then every
//! decision in turn, until nobody decides anything more. It performs nothing and reads no clock.

use crate::machine::Machine;
use crate::record::Record;
use crate::stamp::{BootNanos, Seq, WallNanos};

/// More decisions than this on one observation is a bug: the longest real chain has under ten, and
/// a member answers at most a few peers in each.
pub const DECISIONS_MAX: usize = 256;

/// One observation and all that is decided on it: the atomic unit of the log.
///
/// Deliver [`Batch::current`] to each machine in order, hand their answers to [`Batch::answer`], then
/// [`Batch::advance`], until there is no current record. The caller may do so at once, or by
/// messages to actors: the result is the same.
#[derive(Clone, Debug)]
pub struct Batch<E> {
    records: Vec<Record<E>>,
    delivered: usize,
}

impl<E> Batch<E> {
    /// Begins a batch with an observation that gets the number `seq`.
    #[must_use]
    pub fn begin(seq: Seq, boot: BootNanos, wall: WallNanos, actor: u8, observation: E) -> Self {
        Self::begun(vec![Record { seq, boot, wall, actor, cause: None, event: observation }])
    }

    /// As [`Batch::begin`], with a list that holds the observation already, and nothing else.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    #[inline(always)]
    pub fn begun(records: Vec<Record<E>>) -> Self {
        assert!(
            matches!(&records[..], [only] if only.cause.is_none()),
            "a batch begins with one observation"
        );
        Self { records, delivered: 0 }
    }

    /// Returns the record to deliver next, `None` when the batch is complete.
    #[must_use]
    pub fn current(&self) -> Option<&Record<E>> {
        self.records.get(self.delivered)
    }

    /// Adds one machine's decisions on the current record.
    ///
    /// # Panics
    /// When there is no current record, or when more than [`DECISIONS_MAX`] records pile up: the
    /// machines answer each other without end, which is a bug that must not reach the log.
    pub fn answer(&mut self, actor: u8, decisions: impl IntoIterator<Item = E>) {
        self.add(decisions.into_iter().map(|event| (actor, event)));
    }

    fn add(&mut self, decisions: impl Iterator<Item = (u8, E)>) {
        let (cause, boot, wall) = match self.records.get(self.delivered) {
            Some(r) => (r.seq, r.boot, r.wall),
            None => panic!("an answer to a batch that is complete"),
        };
        let mut seq = self.records.last().map_or(cause, |r| r.seq);
        self.records.extend(decisions.map(|(actor, event)| {
            seq = seq.next();
            Record { seq, boot, wall, actor, cause: Some(cause), event }
        }));
        assert!(
            self.records.len() <= DECISIONS_MAX,
            "more than {DECISIONS_MAX} decisions on one observation"
        );
    }

    /// Marks the current record as delivered to every machine.
    pub fn advance(&mut self) {
        self.delivered += 1;
    }

    /// Returns the records so far, the observation first.
    #[must_use]
    pub fn records(&self) -> &[Record<E>] {
        &self.records
    }

    /// Returns the whole batch.
    ///
    /// # Panics
    /// When a record was not yet delivered.
    #[must_use]
    pub fn finish(self) -> Vec<Record<E>> {
        assert!(self.delivered == self.records.len(), "a batch was finished before it was complete");
        self.records
    }
}

/// What was decided on one record, in order, with who decided it. Empty between two steps; kept for its memory.
pub struct Answers<E> {
    decisions: Vec<E>,
    actors: Vec<u8>,
}

impl<E> Default for Answers<E> {
    fn default() -> Self {
        Self { decisions: Vec::new(), actors: Vec::new() }
    }
}

impl<E> Answers<E> {
    /// Takes what one actor appends.
    pub fn of(&mut self, actor: u8, decide: impl FnOnce(&mut Vec<E>)) {
        decide(&mut self.decisions);
        if self.actors.len() < self.decisions.len() {
            self.actors.resize(self.decisions.len(), actor);
        }
    }
}

/// The machines of one member, which are delivered to together.
pub trait Crew {
    /// What records hold.
    type Event;

    /// Delivers a record to each machine in the order of delivery: it evolves, then it decides.
    fn deliver(&mut self, record: &Record<Self::Event>, answers: &mut Answers<Self::Event>);
}

/// Runs one observation to the end and returns the batch.
#[must_use]
pub fn step<C: Crew>(
    crew: &mut C,
    answers: &mut Answers<C::Event>,
    mut batch: Batch<C::Event>,
) -> Vec<Record<C::Event>> {
    while let Some(record) = batch.current() {
        crew.deliver(record, answers);
        if !answers.decisions.is_empty() {
            batch.add(answers.actors.drain(..).zip(answers.decisions.drain(..)));
        }
        batch.advance();
    }
    batch.finish()
}

/// A machine and the actor number its decisions carry.
#[derive(Clone)]
pub struct Seat<M: ?Sized> {
    /// Number in the records.
    pub actor: u8,
    /// The machine.
    pub machine: Box<M>,
}

/// The machines of one member, stepped without actors: for recovery, audit, simulation.
pub struct Ensemble<M: Machine + ?Sized> {
    seats: Vec<Seat<M>>,
    answers: Answers<M::Event>,
}

impl<M: Machine + ?Sized> Crew for Vec<Seat<M>> {
    type Event = M::Event;

    fn deliver(&mut self, record: &Record<M::Event>, answers: &mut Answers<M::Event>) {
        for seat in self {
            seat.machine.evolve(record);
            answers.of(seat.actor, |decisions| seat.machine.decide(record, decisions));
        }
    }
}

impl<M: Machine + Clone> Clone for Ensemble<M> {
    fn clone(&self) -> Self {
        Self::new(self.seats.clone())
    }
}

impl<M: Machine + ?Sized> Ensemble<M> {
    /// Makes an ensemble; the order of the seats is the order of delivery.
    #[must_use]
    pub fn new(seats: Vec<Seat<M>>) -> Self {
        Self { seats, answers: Answers::default() }
    }

    /// Returns the seats in order.
    #[must_use]
    pub fn seats(&self) -> &[Seat<M>] {
        &self.seats
    }

    /// Returns the seats in order, to step them one by one.
    pub(crate) fn seats_mut(&mut self) -> &mut [Seat<M>] {
        &mut self.seats
    }

    /// Folds a record into every machine, except the one whose actor number is in `without`.
    pub fn evolve(&mut self, record: &Record<M::Event>, without: Option<u8>) {
        for seat in &mut self.seats {
            if Some(seat.actor) != without {
                seat.machine.evolve(record);
            }
        }
    }

    /// Runs one observation to the end and returns the batch.
    #[must_use]
    pub fn step(&mut self, batch: Batch<M::Event>) -> Vec<Record<M::Event>> {
        step(&mut self.seats, &mut self.answers, batch)
    }

    /// Returns every deadline that any machine waits for.
    #[must_use]
    pub fn deadlines(&self) -> Vec<(M::Deadline, BootNanos)> {
        let mut all = Vec::new();
        self.deadlines_into(&mut all);
        all
    }

    /// As [`Ensemble::deadlines`], appended to what is there.
    pub fn deadlines_into(&self, all: &mut Vec<(M::Deadline, BootNanos)>) {
        for seat in &self.seats {
            seat.machine.deadlines(all);
        }
    }
}
