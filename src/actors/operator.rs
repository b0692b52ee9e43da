//! The PostgresOperator: freezes, promotes, follows and fences the local PostgreSQL as decided, and
//! says what it observed. It never decides; a call that timed out is unknown.

use super::operations::Tools;
use super::peers::Envelope;
use super::postmaster::Held;
use super::role_shell::Ping;
use super::saved_upstream;
use super::sequencer::Observer;
use crate::core::{BootNanos, Effect, MemberId, Nanos, Term, Watch};
use crate::events::{Announcement, FenceOutcome, FenceReason, GuardReport, Observation};
use crate::guard::procs::DataDir;
use crate::guard::protocol::{GuardState, Reply, Request};
use crate::guard::{GuardClient, GuardError, GuardEvent, GuardEvents};
use crate::os;
use crate::peer::PeerHandle;
use crate::postgres::{ConnInfo, Connector, Session};
use actix::prelude::*;
use slog::{Logger, error, info, warn};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// A guard that does not answer within this is unknown to have taken a request.
pub(super) const GUARD_ANSWER_MAX: Duration = Duration::from_secs(2);
/// A fence keeps trying in the guard; this long its first pass is waited for.
pub(super) const FENCE_ANSWER_MAX: Duration = Duration::from_secs(5);

/// How this member's PostgreSQL is operated.
#[derive(Clone)]
pub struct OperatorConfig {
    /// This member's name, as `application_name`.
    pub name: String,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// The log's directory, for what must not be lost.
    pub log_dir: PathBuf,
    /// How to reach it.
    pub local: Connector,
    /// How standbys reach each member, and its name.
    pub upstreams: BTreeMap<MemberId, (String, ConnInfo)>,
    /// All other members, witnesses included.
    pub others: Vec<MemberId>,
    /// Instead of `pg_promote`.
    pub promote_command: Option<String>,
    /// Instead of `primary_conninfo`.
    pub follow_command: Option<String>,
    /// Asked before a promotion.
    pub validation_command: Option<String>,
    /// Deadlines.
    pub promote_timeout: Duration,
    /// Deadline of following.
    pub follow_timeout: Duration,
    /// Deadline of the validation.
    pub validation_timeout: Duration,
    /// Deadline of freezing.
    pub freeze_timeout: Duration,
    /// Whether a guard fences at all.
    pub guarded: bool,
}

/// Perform an effect.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Perform(pub Effect);

/// A guard was reached.
#[derive(Message)]
#[rtype(result = "()")]
pub struct GuardReached(pub GuardClient, pub GuardEvents);

/// New commands and deadlines, from a reload.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Reconfigure(pub OperatorConfig);

/// What the operator shares with the rest of its process.
pub struct Shared {
    /// This process's log.
    pub process: crate::core::Incarnation,
    /// Told whenever a guard is needed and none is connected.
    pub lost_guard: tokio::sync::mpsc::Sender<()>,
    /// The postmaster that is watched.
    pub postmaster: Held,
}

/// The actor.
pub struct PostgresOperator {
    tools: Tools,
    guard: Option<GuardClient>,
    /// Counts the connections to guards: what an older one still tells is over.
    connection: Rc<Cell<u64>>,
    process: crate::core::Incarnation,
    /// Freezing, promoting and following take turns; a new one ends the one under way.
    under_way: Option<JoinHandle<()>>,
    /// The highest term that the guard was asked to arm for.
    armed: Rc<Cell<Term>>,
    /// The term of the promotion under way, if that is what is.
    promoting: Option<Term>,
    lost_guard: tokio::sync::mpsc::Sender<()>,
    /// What of PostgreSQL is known to live.
    postmaster: Held,
}

impl PostgresOperator {
    /// Starts the operator.
    #[must_use]
    pub fn start(
        config: OperatorConfig,
        winner: Option<Announcement>,
        shared: Shared,
        observer: Observer,
        peers: PeerHandle<Envelope>,
        logger: Logger,
    ) -> Addr<Self> {
        let Shared { process, lost_guard, postmaster } = shared;
        Self::create(move |_| {
            let session = Session::new(config.local.clone(), &config.data_dir);
            // What a freeze before this process untied.
            let upstream = saved_upstream::load(&config.log_dir).unwrap_or_else(|why| {
                warn!(logger, "the saved upstream settings can't be read"; "why" => %why);
                None
            });
            Self {
                tools: Tools {
                    config,
                    session: Rc::new(Mutex::new(session)),
                    upstream: Rc::new(RefCell::new(upstream)),
                    saved: Rc::default(),
                    watch: Watch::new(winner),
                    observer,
                    peers,
                    logger,
                },
                guard: None,
                connection: Rc::default(),
                process,
                under_way: None,
                armed: Rc::default(),
                promoting: None,
                lost_guard,
                postmaster,
            }
        })
    }

    fn begin(&mut self, operation: impl Future<Output = ()> + 'static) {
        self.promoting = None;
        if let Some(old) = self.under_way.take() {
            old.abort();
        }
        self.under_way = Some(actix::spawn(operation));
    }

    fn ask_guard(
        &self,
        request: Request,
        within: Duration,
        then: impl FnOnce(Result<Reply, String>) -> Option<Observation> + 'static,
    ) {
        let guard = self.guard.clone();
        let observer = self.tools.observer.clone();
        let lost = self.lost_guard.clone();
        actix::spawn(async move {
            let answer = ask(guard, request, within, &lost).await;
            if let Some(observation) = then(answer) {
                observer.tell(observation).await;
            }
        });
    }

    fn arm(&self, term: Term, until: BootNanos) {
        self.armed.set(self.armed.get().max(term));
        let incarnation = self.process;
        let logger = self.tools.logger.clone();
        self.ask_guard(
            Request::Arm { term, deadline: until, incarnation },
            GUARD_ANSWER_MAX,
            move |answer| {
                Some(Observation::GuardReported(match answer {
                    Ok(Reply::Ok) => GuardReport::Armed { term, until },
                    Ok(Reply::Refused(why)) => {
                        warn!(logger, "the guard refused a deadline"; "why" => %why);
                        GuardReport::Refused { term }
                    }
                    Ok(_) | Err(_) => GuardReport::Lost,
                }))
            },
        );
    }

    fn release(&mut self, term: Term) {
        // What the tenure began must not outlive it.
        if let Some(old) = self.under_way.take_if(|_| self.promoting == Some(term)) {
            old.abort();
        }
        // After a fence the guard keeps the seal; without one PostgreSQL is a standby that goes on.
        let guard = self.guard.clone();
        let armed = self.armed.clone();
        let logger = self.tools.logger.clone();
        actix::spawn(async move {
            let Some(guard) = guard else { return };
            let released = guard.request(Request::Release { term }, GUARD_ANSWER_MAX).await;
            // A later term's deadline is not stood down.
            if !matches!(released, Ok(Reply::Ok)) && armed.get() <= term {
                let why = format!("the tenure of term {} ended without a fence", term.0);
                if let Err(e) = guard.request(Request::StandDown { why }, GUARD_ANSWER_MAX).await {
                    warn!(logger, "the guard could not be told that the tenure is over"; "why" => %e);
                }
            }
        });
    }

    fn stand_down(&self) {
        let why = "a quorum agreed to pause while the daemon is away".to_owned();
        let logger = self.tools.logger.clone();
        self.ask_guard(Request::StandDown { why }, GUARD_ANSWER_MAX, move |answer| match answer {
            Ok(Reply::Ok) => Some(Observation::GuardReported(GuardReport::StoodDown)),
            other => {
                error!(logger, "the guard did not stand down"; "answer" => ?other);
                Some(Observation::GuardReported(GuardReport::Lost))
            }
        });
    }

    fn fence(&mut self, why: FenceReason) {
        if let Some(old) = self.under_way.take() {
            old.abort();
        }
        if !self.tools.config.guarded {
            let tools = self.tools.clone();
            actix::spawn(async move { tools.sweep_only(why).await });
            return;
        }
        let begun = os::boot_now();
        let guard = self.guard.clone();
        let observer = self.tools.observer.clone();
        let lost = self.lost_guard.clone();
        let dir = self.tools.config.data_dir.clone();
        let held = self.postmaster.clone();
        let logger = self.tools.logger.clone();
        actix::spawn(async move {
            let request = Request::Fence { why: format!("{why:?}") };
            let outcome = match ask(guard, request, FENCE_ANSWER_MAX, &lost).await {
                Ok(Reply::Fenced(outcome)) => judged(&outcome, dir, &held, &logger).await,
                // Meanwhile the daemon fences by itself.
                other => fence_without_guard(dir, &held, begun, format!("{other:?}")).await,
            };
            observer.tell(Observation::FenceCompleted(outcome)).await;
        });
    }
}

/// Asks the guard; without one, or when its connection has ended, another is looked for. One that only takes its time, in a
/// fence of its own or because this daemon stood still, is still the one that is connected.
async fn ask(
    guard: Option<GuardClient>,
    request: Request,
    within: Duration,
    lost: &tokio::sync::mpsc::Sender<()>,
) -> Result<Reply, String> {
    let answer = match guard {
        Some(guard) => guard.request(request, within).await,
        None => Err(GuardError::Disconnected { why: "no guard is connected".to_owned() }),
    };
    if matches!(answer, Err(GuardError::Disconnected { .. })) {
        // One request to look for a guard is enough.
        let _ = lost.try_send(());
    }
    answer.map_err(|e| e.to_string())
}

/// What a fence came to; not what is refuted by the postmaster that is held (L7).
fn outcome_of(o: &crate::guard::protocol::FenceOutcome, held: &Held) -> FenceOutcome {
    let left = (o.left > 0).then(|| format!("{}, {} uninterruptible", o.describe_left(), o.uninterruptible));
    let survivor = held.survivor_of(o.started);
    let lives = survivor.map(|pid| format!("postmaster {pid} lives on, wherever its data directory is"));
    FenceOutcome {
        sealed: o.sealed,
        nothing_left: o.left == 0 && lives.is_none(),
        killed: o.killed,
        took: o.took,
        trouble: o.seal_error.clone().or(lives).or(left),
    }
}

/// What the guard's fence came to. Whom it did not find, the daemon fences by itself: the guard would be asked again for
/// ever. Whom it did find, it goes on with.
async fn judged(
    o: &crate::guard::protocol::FenceOutcome,
    dir: PathBuf,
    held: &Held,
    logger: &Logger,
) -> FenceOutcome {
    let Some(pid) = held.survivor_of(o.started).filter(|_| o.left == 0) else { return outcome_of(o, held) };
    error!(logger, "the guard's fence left the postmaster alive"; "pid" => pid.0);
    fence_without_guard(dir, held, o.started, format!("{o:?}")).await
}

/// The same fence, made by the daemon: nobody else is there to make it.
async fn fence_without_guard(dir: PathBuf, held: &Held, begun: BootNanos, why: String) -> FenceOutcome {
    let postmaster = held.living();
    let fenced = tokio::task::spawn_blocking(move || {
        DataDir::resolve(&dir).map(|dir| crate::guard::fence::fence_directly(&dir, postmaster.as_ref()))
    });
    match fenced.await {
        Ok(Ok(outcome)) => outcome_of(&outcome, held),
        Ok(Err(e)) => unknown_fence(begun, format!("{why}; {e}")),
        Err(e) => unknown_fence(begun, format!("{why}; {e}")),
    }
}

fn unknown_fence(begun: BootNanos, why: String) -> FenceOutcome {
    let took = Nanos(os::boot_now().nanos_since(begun));
    FenceOutcome { sealed: false, nothing_left: false, killed: 0, took, trouble: Some(why) }
}

impl Actor for PostgresOperator {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(64);
        // The session is opened ahead, so that a failover needs no new connection.
        let tools = self.tools.clone();
        actix::spawn(async move { tools.keep_session_open().await });
    }
}

impl Handler<Ping> for PostgresOperator {
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Context<Self>) {}
}

impl Handler<Reconfigure> for PostgresOperator {
    type Result = ();

    fn handle(&mut self, Reconfigure(config): Reconfigure, _: &mut Context<Self>) {
        self.tools.config = config;
    }
}

impl Handler<GuardReached> for PostgresOperator {
    type Result = ();

    fn handle(&mut self, GuardReached(client, mut events): GuardReached, _: &mut Context<Self>) {
        // The one before is closed with its last request: a guard takes a few connections, and drops the oldest.
        self.guard = Some(client.clone());
        let number = self.connection.get() + 1;
        self.connection.set(number);
        let connection = self.connection.clone();
        let incarnation = self.process;
        let observer = self.tools.observer.clone();
        let logger = self.tools.logger.clone();
        let lost = self.lost_guard.clone();
        let held = self.postmaster.clone();
        let dir = self.tools.config.data_dir.clone();
        actix::spawn(async move {
            let hello = client.request(Request::Hello { incarnation }, GUARD_ANSWER_MAX).await;
            let status = client.request(Request::Status, GUARD_ANSWER_MAX).await;
            match (hello, status) {
                (Ok(_), Ok(Reply::Status(status))) => {
                    let armed = match status.state {
                        GuardState::Armed { term, deadline, .. } => Some((term, deadline)),
                        _ => None,
                    };
                    observer.tell(Observation::GuardReported(GuardReport::Present { armed })).await;
                    if let GuardState::Fenced { term, outcome: Some(outcome), .. } = status.state
                        && outcome.is_complete()
                    {
                        observer.tell(Observation::GuardReported(GuardReport::Fenced { term })).await;
                    }
                }
                (hello, status) => {
                    warn!(logger, "the guard answers oddly"; "hello" => ?hello, "status" => ?status)
                }
            }
            drop(client);
            while let Some(event) = events.recv().await {
                if connection.get() != number {
                    return info!(logger, "a connection to the guard that another took the place of is over");
                }
                match event {
                    GuardEvent::Notice(crate::guard::protocol::Notice::Fenced { outcome }) => {
                        let (dir, held) = (dir.clone(), held.clone());
                        let (observer, logger) = (observer.clone(), logger.clone());
                        // A fence of the daemon's own may wait for a disk; what the guard says next is heard meanwhile.
                        actix::spawn(async move {
                            let outcome = judged(&outcome, dir, &held, &logger).await;
                            observer.tell(Observation::FenceCompleted(outcome)).await;
                        });
                    }
                    GuardEvent::Notice(crate::guard::protocol::Notice::FenceStarted { why }) => {
                        warn!(logger, "the guard fences: {}", why; "why" => ?why);
                        let lease_over = matches!(why, crate::guard::protocol::FenceReason::Deadline { .. });
                        let begun = GuardReport::FenceBegun { lease_over };
                        observer.tell(Observation::GuardReported(begun)).await;
                    }
                    GuardEvent::Notice(notice) => info!(logger, "{}", notice; "what" => ?notice),
                    GuardEvent::Lagged { missed } => {
                        warn!(logger, "notices of the guard were lost"; "missed" => missed)
                    }
                    GuardEvent::Disconnected { why } => {
                        warn!(logger, "lost the guard"; "why" => why);
                        observer.tell(Observation::GuardReported(GuardReport::Lost)).await;
                        let _ = lost.try_send(());
                        return;
                    }
                }
            }
        });
    }
}

impl Handler<Perform> for PostgresOperator {
    type Result = ();

    fn handle(&mut self, Perform(effect): Perform, _: &mut Context<Self>) {
        let tools = self.tools.clone();
        match effect {
            Effect::WatchPrimary(winner) => {
                self.tools.watch.turn_to(winner);
            }
            Effect::Freeze { term } => self.begin(async move { tools.freeze(term).await }),
            Effect::Promote { term, postmaster_started } => {
                let guard = self.guard.clone().filter(|_| self.tools.config.guarded);
                let checked = self.tools.config.guarded;
                self.begin(async move { tools.promote(term, postmaster_started, checked, guard).await });
                self.promoting = Some(term);
            }
            Effect::Follow { term, primary } => self.begin(async move { tools.follow(term, primary).await }),
            Effect::CatchUp { term, from, until } => {
                self.begin(async move { tools.catch_up(term, from, until).await });
            }
            Effect::Fence { why } => self.fence(why),
            Effect::ArmGuard { term, until } if self.tools.config.guarded => self.arm(term, until),
            Effect::ReleaseGuard { term } if self.tools.config.guarded => self.release(term),
            Effect::StandDownGuard => self.stand_down(),
            Effect::ArmGuard { .. } | Effect::ReleaseGuard { .. } => {}
            Effect::Send { .. }
            | Effect::Massage { .. }
            | Effect::Stop
            | Effect::StayRunning
            | Effect::StartAnew => {}
        }
    }
}
