//! Hands batches to the log. One that nothing waits for is held back until the next heartbeat, so that the
//! log's thread is woken for several at once: in an idle member that is most of its work. It never
//! reorders, and never holds back what binds this node or has effects that wait for the log (S5).

#[cfg(feature = "fault-injection")]
use super::injected::Doom;
#[cfg(not(feature = "fault-injection"))]
use super::sequencer::Doom;
use crate::core::Effect;
use crate::events::{Durability, Event, EventLog, Receipt, Record};
use slog::{Logger, crit};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a batch is held back at most, where heartbeats are rarer than usual: less than a buffered one may
/// wait for the disk anyway.
const HOLD_MAX: Duration = Duration::from_millis(1_250);
/// Batches held back at most: a busy member gains nothing by holding more.
const HELD_MAX: usize = 64;

/// A batch that was handed over, and what is to be done once it is as durable as it must be.
pub(super) struct Waiting {
    pub(super) receipt: Receipt,
    pub(super) effects: Vec<Effect>,
    pub(super) doom: Doom,
}

/// What is held back, and what ends that if no heartbeat does.
#[derive(Default)]
struct Held {
    batches: Vec<Vec<Record>>,
    timer: Option<tokio::task::JoinHandle<()>>,
}

/// The way into the log; cheap to clone.
#[derive(Clone)]
pub(super) struct Appender {
    log: Arc<EventLog<Event>>,
    waiting: mpsc::Sender<Waiting>,
    held: Rc<RefCell<Held>>,
    logger: Logger,
}

impl Appender {
    pub(super) fn new(log: Arc<EventLog<Event>>, waiting: mpsc::Sender<Waiting>, logger: Logger) -> Self {
        Self { log, waiting, held: Rc::default(), logger }
    }

    /// Appends a batch; `ordered` is done once it is as durable as asked. Ends the process when the log
    /// takes no more: its order can't be kept any more, and the log restores everything.
    pub(super) fn append(
        &self,
        batch: Vec<Record>,
        durability: Durability,
        ordered: Vec<Effect>,
        doom: Doom,
    ) {
        if durability == Durability::Buffered && ordered.is_empty() && !doom.is_wished() {
            self.hold(batch);
            return;
        }
        self.release();
        let receipt = self.hand_over(batch, durability);
        self.wait_for(Waiting { receipt, effects: ordered, doom });
    }

    fn hold(&self, batch: Vec<Record>) {
        let full = {
            let mut held = self.held.borrow_mut();
            held.batches.push(batch);
            if held.timer.is_none() {
                let this = self.clone();
                held.timer = Some(actix::spawn(async move {
                    tokio::time::sleep(HOLD_MAX).await;
                    this.release();
                }));
            }
            held.batches.len() >= HELD_MAX
        };
        if full {
            self.release();
        }
    }

    /// Hands over what is held back.
    pub(super) fn release(&self) {
        let Held { batches, timer } = self.held.take();
        if let Some(timer) = timer {
            timer.abort();
        }
        if batches.is_empty() {
            return;
        }
        // One after the other, they are one batch: the log's thread is woken once.
        let receipt = self.hand_over(batches.concat(), Durability::Buffered);
        self.wait_for(Waiting { receipt, effects: Vec::new(), doom: Doom::of(&[]) });
    }

    fn hand_over(&self, batch: Vec<Record>, durability: Durability) -> Receipt {
        match self.log.append(batch, durability) {
            Ok(receipt) => receipt,
            Err(refused) => {
                crit!(self.logger, "the log takes no more records"; "why" => %refused);
                std::process::exit(70);
            }
        }
    }

    fn wait_for(&self, waiting: Waiting) {
        if self.waiting.try_send(waiting).is_err() {
            crit!(self.logger, "the queue of effects is full"; "bound" => self.waiting.max_capacity());
            std::process::exit(70);
        }
    }
}
