//! The Sequencer: stamps observations, delivers them to every role in lock-step, appends each batch
//! to the log, and lets the hands act once it is as durable as it must be (S5). It decides nothing.

use super::appender::{Appender, Waiting};
use super::clock::ClockHandle;
use super::hands::Hands;
#[cfg(feature = "fault-injection")]
use super::injected::{Doom, Step};
use super::role_shell::{Answer, Deliver, Ping, Rebuild, RoleShell};
use crate::core::{Effect, Ledger, Remedy, Urgency, effects, remedy, urgency};
use crate::events::{
    Actor as ActorName, AppendError, Decision, Durability, Event, EventLog, Observation, Record, Settings,
};
use crate::os;
use actix::prelude::*;
use pgfo_replay::{Batch, Seq};
use slog::{Logger, crit, error};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Batches whose effects wait for the disk. A stalled disk holds them back, for as long as the log's own queue
/// has room.
const WAITING_MAX: usize = crate::events::QUEUE_BATCHES_MAX;

/// Tells records to people.
pub type Teller = Box<dyn FnMut(&Record, &Settings)>;

/// Something was observed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Observe {
    /// Who observed it.
    pub actor: ActorName,
    /// What.
    pub observation: Observation,
}

/// What does this member know?
#[derive(Message)]
#[rtype(result = "Ledger")]
pub struct GetLedger;

/// The log, to read from.
#[derive(Message)]
#[rtype(result = "Arc<EventLog<Event>>")]
pub struct GetLog;

/// What the sequencer works with.
pub struct SequencerConfig {
    /// The log.
    pub log: Arc<EventLog<Event>>,
    /// The number of the next record.
    pub next: Seq,
    /// The roles, in the order of delivery.
    pub roles: Vec<(ActorName, Addr<RoleShell>)>,
    /// What this member knows, folded from the log.
    pub ledger: Ledger,
    /// The deadline hand.
    pub clock: ClockHandle,
    /// The text log.
    pub logger: Logger,
    /// Tells each record to people.
    pub teller: Teller,
}

/// The actor.
pub struct Sequencer {
    log: Arc<EventLog<Event>>,
    next: Seq,
    roles: Vec<(ActorName, Addr<RoleShell>)>,
    ledger: Ledger,
    clock: ClockHandle,
    logger: Logger,
    teller: Teller,
    hands: Hands,
    appender: Appender,
    stored: watch::Receiver<Seq>,
    /// A first grant whose flush is awaited: until then no renewal overtakes it (L5).
    grant_pending: Option<Seq>,
}

/// Sends observations to the sequencer; cheap to clone.
#[derive(Clone)]
pub struct Observer {
    actor: ActorName,
    sequencer: Recipient<Observe>,
}

impl Observer {
    /// Makes an observer that signs as `actor`.
    #[must_use]
    pub fn new(actor: ActorName, sequencer: Recipient<Observe>) -> Self {
        Self { actor, sequencer }
    }

    /// Hands an observation over, and waits until it was decided upon. Every hand waits for its own,
    /// which bounds the queue.
    pub async fn tell(&self, observation: Observation) {
        let message = Observe { actor: self.actor, observation };
        if self.sequencer.send(message).await.is_err() {
            // The sequencer is gone: the guardian ends the process.
        }
    }
}

impl Sequencer {
    /// Starts the sequencer; `hands` are told afterwards, since they need its address.
    #[must_use]
    pub fn start(config: SequencerConfig, hands: impl FnOnce(Addr<Self>) -> Hands) -> Addr<Self> {
        Self::create(move |ctx| {
            let hands = hands(ctx.address());
            let (waiting, queue) = mpsc::channel(WAITING_MAX);
            let (stored_in, stored) = watch::channel(Seq(config.next.0 - 1));
            let appender = Appender::new(config.log.clone(), waiting, config.logger.clone());
            actix::spawn(perform_in_order(queue, stored_in, hands.clone(), config.logger.clone()));
            Self {
                log: config.log,
                next: config.next,
                roles: config.roles,
                ledger: config.ledger,
                clock: config.clock,
                logger: config.logger,
                teller: config.teller,
                hands,
                appender,
                stored,
                grant_pending: None,
            }
        })
    }

    /// Appends a batch and arranges its effects.
    fn commit(&mut self, batch: Vec<Record>) {
        let Some(last) = batch.last().map(|r| r.seq) else { return };
        self.next = last.next();
        let mut highest = Urgency::Overtakes;
        let mut now = Vec::new();
        let mut ordered = Vec::new();
        if self.grant_pending.is_some_and(|seq| *self.stored.borrow() >= seq) {
            self.grant_pending = None;
        }
        for record in &batch {
            self.ledger.evolve(record);
            let settings = &self.ledger.settings;
            (self.teller)(record, settings);
            let nonce = self.ledger.process.nonce;
            let how = urgency(&record.event);
            let overtakes = how == Urgency::Overtakes && !self.held_back(record);
            effects(record, settings, nonce, if overtakes { &mut now } else { &mut ordered });
            if record.cause.is_some() || how == Urgency::Durable {
                highest = highest.max(how);
            }
            if matches!(
                record.event,
                Event::Decided(Decision::LeaseGranted { first: true, .. } | Decision::ElectionWon { .. })
            ) {
                self.grant_pending = Some(last);
            }
        }
        // A fence is safe whether it is remembered or not (E11): a stalled disk must not delay it.
        if self.ledger.log_stalled {
            let (fences, rest) = ordered.into_iter().partition(|e| matches!(e, Effect::Fence { .. }));
            now.extend::<Vec<Effect>>(fences);
            ordered = rest;
        }
        let durability = if highest == Urgency::Durable { Durability::Flushed } else { Durability::Buffered };
        let beat = matches!(batch.first(), Some(r) if matches!(r.event, Event::Observed(Observation::HeartbeatDue { .. })));
        let doom = Doom::of(&batch);
        doom.strike(Step::Before);
        for effect in now {
            self.hands.perform(effect, last);
        }
        self.appender.append(batch, durability, ordered, doom);
        if beat {
            self.appender.release();
        }
        doom.strike(Step::Appended);
    }

    fn held_back(&self, record: &Record) -> bool {
        self.grant_pending.is_some()
            && matches!(
                record.event,
                Event::Decided(Decision::LeaseGranted { .. } | Decision::LeaseExtended { .. })
            )
    }
}

/// Performs effects in order, each batch's once it is as durable as it must be.
async fn perform_in_order(
    mut queue: mpsc::Receiver<Waiting>,
    stored: watch::Sender<Seq>,
    hands: Hands,
    logger: Logger,
) {
    while let Some(Waiting { receipt, effects, doom }) = queue.recv().await {
        match receipt.await {
            Ok(seq) => {
                doom.strike(Step::Stored);
                // Nobody listens at shutdown.
                let _ = stored.send(seq);
                for effect in effects {
                    hands.perform(effect, seq);
                }
                doom.strike(Step::After);
            }
            Err(AppendError::Closed) => {
                error!(logger, "the log is closed; effects are not performed any more")
            }
            Err(why) => {
                // Everything after it would fail as well, unseen: the log restores what is stored.
                crit!(logger, "a batch can't be stored: ending"; "why" => %why);
                std::process::exit(70);
            }
        }
    }
}

impl Actor for Sequencer {
    type Context = Context<Self>;
}

impl Handler<Observe> for Sequencer {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, message: Observe, _: &mut Context<Self>) -> Self::Result {
        let event = Event::Observed(message.observation);
        let batch = Batch::begin(self.next, os::boot_now(), os::wall_now(), message.actor.number(), event);
        let work = deliver(
            batch,
            self.roles.clone(),
            self.log.clone(),
            self.appender.clone(),
            self.stored.clone(),
            self.logger.clone(),
        );
        AtomicResponse::new(Box::pin(work.into_actor(self).map(|(batch, deadlines), this, _| {
            this.commit(batch);
            this.clock.wait_for(deadlines);
        })))
    }
}

/// Delivers a batch to every role in a fixed order, until nobody decides anything more.
async fn deliver(
    mut batch: Batch<Event>,
    roles: Vec<(ActorName, Addr<RoleShell>)>,
    log: Arc<EventLog<Event>>,
    appender: Appender,
    mut stored: watch::Receiver<Seq>,
    logger: Logger,
) -> (Vec<Record>, Vec<(crate::events::Deadline, pgfo_replay::BootNanos)>) {
    let mut deadlines = Vec::new();
    while let Some(record) = batch.current().cloned() {
        let record = Arc::new(record);
        deadlines.clear();
        for (name, addr) in &roles {
            let answer = match addr.send(Deliver(record.clone())).await {
                Ok(answer) => answer,
                Err(gone) => {
                    // The guardian notices, too; a member without this role must not go on.
                    crit!(logger, "a role is gone"; "role" => name.name(), "why" => %gone);
                    std::process::exit(70);
                }
            };
            let Answer { decisions, deadlines: waits, failed } = answer;
            batch.answer(name.number(), decisions);
            deadlines.extend(waits);
            if failed {
                appender.release();
                rebuild(*name, addr, &batch, record.seq, &log, &mut stored, &logger).await;
            }
        }
        batch.advance();
    }
    (batch.finish(), deadlines)
}

async fn rebuild(
    name: ActorName,
    addr: &Addr<RoleShell>,
    batch: &Batch<Event>,
    without: Seq,
    log: &Arc<EventLog<Event>>,
    stored: &mut watch::Receiver<Seq>,
    logger: &Logger,
) {
    // All that came before this batch must be readable.
    let before = Seq(batch.records().first().map_or(0, |r| r.seq.0 - 1));
    if stored.wait_for(|seq| *seq >= before).await.is_err() {
        return;
    }
    let Remedy::Rebuild { records, failed } = remedy(batch.records(), name, without) else {
        crit!(logger, "a role failed on the start of the process: ending"; "role" => name.name());
        std::process::exit(70);
    };
    let rebuilt = addr.send(Rebuild { log: log.clone(), batch: records.to_vec(), failed }).await;
    match rebuilt {
        Ok(Ok(folded)) => slog::warn!(logger, "a role failed and was rebuilt from the log";
            "role" => name.name(), "record" => without.0, "folded" => folded),
        // A silent role would not be seen in the log: the process ends, to be started anew from it.
        Ok(Err(why)) => {
            crit!(logger, "a role can't be rebuilt: ending"; "role" => name.name(), "why" => why);
            std::process::exit(70);
        }
        Err(gone) => {
            crit!(logger, "a role is gone: ending"; "role" => name.name(), "why" => %gone);
            std::process::exit(70);
        }
    }
}

impl Handler<GetLedger> for Sequencer {
    type Result = MessageResult<GetLedger>;

    fn handle(&mut self, _: GetLedger, _: &mut Context<Self>) -> Self::Result {
        let mut ledger = self.ledger.clone();
        ledger.now = os::boot_now();
        MessageResult(ledger)
    }
}

impl Handler<GetLog> for Sequencer {
    type Result = MessageResult<GetLog>;

    fn handle(&mut self, _: GetLog, _: &mut Context<Self>) -> Self::Result {
        self.appender.release();
        MessageResult(self.log.clone())
    }
}

impl Handler<Ping> for Sequencer {
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Context<Self>) {}
}

/// Without the feature `fault-injection` nothing is injected.
#[cfg(not(feature = "fault-injection"))]
enum Step {
    Before,
    Appended,
    Stored,
    After,
}

#[cfg(not(feature = "fault-injection"))]
#[derive(Clone, Copy)]
pub(super) struct Doom;

#[cfg(not(feature = "fault-injection"))]
impl Doom {
    pub(super) const fn of(_: &[Record]) -> Self {
        Self
    }

    pub(super) const fn is_wished(self) -> bool {
        false
    }

    const fn strike(self, _: Step) {}
}
