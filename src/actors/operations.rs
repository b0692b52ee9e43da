//! What the PostgresOperator does to the local PostgreSQL: freeze, promote, follow, catch up. Each
//! operation observes its own outcome and tells it; none decides, and a call that timed out is unknown.

use super::operator::{FENCE_ANSWER_MAX, GUARD_ANSWER_MAX, OperatorConfig};
use super::peers::Envelope;
use super::saved_upstream;
use super::sequencer::Observer;
use crate::core::{Lsn, MemberId, Nanos, Term, Watch};
use crate::events::{
    CommandRun, FenceOutcome, FenceReason, FollowOutcome, FreezeOutcome, Observation, ProbeReport,
    PromotionOutcome,
};
use crate::guard::GuardClient;
use crate::guard::protocol::{GuardState, Reply, Request};
use crate::os;
use crate::peer::PeerHandle;
use crate::postgres::{
    CommandEnd, ConnInfo, Followed, Outcome, Postmaster, PostmasterError, PostmasterStart, Prober, Promotion,
    Session, Sweep, UpstreamSettings, expand, run_command, sweep,
};
use slog::{Logger, warn};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How often a promotion by command is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Deadline of one look.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);
/// How much of a command's output goes into a record.
const OUTPUT_CHARS_MAX: usize = 1000;

/// What an operation works with; shared by operations that follow each other.
#[derive(Clone)]
pub(super) struct Tools {
    pub(super) config: OperatorConfig,
    pub(super) session: Rc<Mutex<Session>>,
    pub(super) upstream: Rc<RefCell<Option<UpstreamSettings>>>,
    /// What is saved beside the log, as far as this process wrote it.
    pub(super) saved: Rc<RefCell<Option<UpstreamSettings>>>,
    pub(super) watch: Watch,
    pub(super) observer: Observer,
    pub(super) peers: PeerHandle<Envelope>,
    pub(super) logger: Logger,
}

impl Tools {
    fn until(&self, length: Duration) -> Instant {
        Instant::now() + length
    }

    /// Keeps one connection to the local PostgreSQL open and warm, and what a freeze would have to save
    /// first saved: a failover has no time for either.
    pub(super) async fn keep_session_open(&self) {
        loop {
            let mut session = self.session.lock().await;
            let opened = session.ensure_open(self.until(LOOK_TIMEOUT)).await;
            // Failing is normal while PostgreSQL is down; the probes tell.
            if opened.is_err() {
                drop(session);
                tokio::time::sleep(LOOK_TIMEOUT).await;
                continue;
            }
            let settings = session.read_upstream_settings(self.until(LOOK_TIMEOUT)).await;
            let ended = session.ended();
            drop(session);
            if let Outcome::Done(settings) = settings
                && let Err(why) = self.save_upstream(&settings).await
            {
                warn!(self.logger, "a freeze will have to save the upstream settings itself"; "why" => why);
            }
            ended.await;
        }
    }

    /// Whether it is certain that no postmaster runs: not being able to look is no evidence.
    fn runs_not(&self) -> bool {
        matches!(Postmaster::open(&self.config.data_dir), Err(PostmasterError::NotRunning { .. }))
    }

    // ---- freeze (E2) ----------------------------------------------------------------------

    pub(super) async fn freeze(&self, term: Term) {
        let outcome = self.freeze_now().await;
        self.observer.tell(Observation::FreezeCompleted { term, outcome }).await;
    }

    async fn freeze_now(&self) -> FreezeOutcome {
        if self.runs_not() {
            return FreezeOutcome::NothingRuns;
        }
        let deadline = self.until(self.config.freeze_timeout);
        let mut session = self.session.lock().await;
        match session.read_upstream_settings(deadline).await {
            Outcome::Done(settings) => {
                if let Err(why) = self.record_upstream(settings).await {
                    return FreezeOutcome::NotObserved { why };
                }
            }
            Outcome::Failed { why } | Outcome::Unknown { why } => return self.not_frozen(why),
        }
        match session.freeze(deadline).await {
            Outcome::Done(frozen) => {
                drop(session);
                match self.system_id(deadline).await {
                    Some(system_id) => FreezeOutcome::FrozenAt {
                        lsn: frozen.receive.max(frozen.replay),
                        received: frozen.receive.is_some(),
                        settled: frozen.startup_wait.has_replayed_local_wal(),
                        system_id,
                        timeline: frozen.timeline,
                    },
                    None => {
                        FreezeOutcome::NotObserved { why: "its system identifier can't be read".to_owned() }
                    }
                }
            }
            Outcome::Failed { why } | Outcome::Unknown { why } => self.not_frozen(why),
        }
    }

    fn not_frozen(&self, why: String) -> FreezeOutcome {
        // It may have ended meanwhile: then nothing can be received.
        if self.runs_not() { FreezeOutcome::NothingRuns } else { FreezeOutcome::NotObserved { why } }
    }

    async fn system_id(&self, deadline: Instant) -> Option<crate::core::SystemId> {
        if let Some(winner) = self.watch.winner() {
            // The probes have compared it; the freeze has no time for another connection.
            return Some(winner.system_id);
        }
        match self.look(deadline).await {
            Some(ProbeReport::Answered(a)) => Some(a.system_id),
            _ => None,
        }
    }

    async fn look(&self, deadline: Instant) -> Option<ProbeReport> {
        let mut prober = Prober::new(self.config.local.clone(), Duration::MAX);
        super::prober::report_of(&prober.probe(true, deadline).await.outcome)
    }

    /// E2: the old value is recorded first; it may be the only copy. The record has no password, the
    /// file beside the log, readable by its owner only, has.
    async fn record_upstream(&self, mut settings: UpstreamSettings) -> Result<(), String> {
        if settings.are_untied() {
            // Frozen before: what is saved stays the truth.
            return Ok(());
        }
        if let Some(saved) = &*self.upstream.borrow() {
            // A freeze that did not get to its end has untied some of them.
            settings.keep_where_untied(saved);
        }
        self.save_upstream(&settings).await?;
        let conninfo = settings.primary_conninfo.value.clone();
        let environment = crate::postgres::Environment::of_process();
        let redacted = ConnInfo::parse(&conninfo, &environment)
            .map_or_else(|_| "(not readable)".to_owned(), |c| c.redacted());
        *self.upstream.borrow_mut() = Some(settings);
        self.observer.tell(Observation::UpstreamRecorded { primary_conninfo: redacted }).await;
        Ok(())
    }

    /// Writes the settings beside the log, unless this process has written these very ones.
    async fn save_upstream(&self, settings: &UpstreamSettings) -> Result<(), String> {
        // Frozen already, or a primary: what was saved before is the only copy.
        if settings.are_untied() || self.saved.borrow().as_ref() == Some(settings) {
            return Ok(());
        }
        let dir = self.config.log_dir.clone();
        let copy = settings.clone();
        let written = tokio::task::spawn_blocking(move || saved_upstream::save(&dir, &copy)).await;
        let written = written.map_err(std::io::Error::other).and_then(|written| written);
        written.map_err(|e| format!("can't save the upstream in {}: {e}", self.config.log_dir.display()))?;
        *self.saved.borrow_mut() = Some(settings.clone());
        Ok(())
    }

    // ---- promotion (E8) -------------------------------------------------------------------

    pub(super) async fn promote(
        &self,
        term: Term,
        named: Option<i64>,
        checked: bool,
        guard: Option<GuardClient>,
    ) {
        let mut commands = Vec::new();
        let outcome = self.promote_now(term, named, checked, guard.as_ref(), &mut commands).await;
        let restore = matches!(outcome, PromotionOutcome::Promoted { .. });
        self.observer.tell(Observation::PromotionCompleted { term, outcome, commands }).await;
        if restore {
            self.restore_settings().await;
        }
    }

    /// Puts back what a freeze changed besides `primary_conninfo`.
    async fn restore_settings(&self) {
        let Some(old) = self.upstream.borrow().clone() else { return };
        let mut session = self.session.lock().await;
        match session.restore_recovery_settings(&old, self.until(LOOK_TIMEOUT)).await {
            Outcome::Done(()) => self.forget_upstream(),
            Outcome::Failed { why } | Outcome::Unknown { why } => {
                warn!(self.logger, "settings of the freeze were not put back"; "why" => why);
            }
        }
    }

    fn forget_upstream(&self) {
        *self.upstream.borrow_mut() = None;
        *self.saved.borrow_mut() = None;
        if let Err(why) = saved_upstream::forget(&self.config.log_dir) {
            warn!(self.logger, "the saved upstream settings were not removed"; "why" => %why);
        }
    }

    /// E8: the guard holds the deadline of this very term, with time left: asked last before PostgreSQL is
    /// told, because the order may have waited behind a slow disk or a slow command.
    async fn still_guarded(&self, term: Term, guard: Option<&GuardClient>) -> Result<(), String> {
        let guard = guard.ok_or("no guard is connected")?;
        match guard.request(Request::Status, GUARD_ANSWER_MAX).await {
            Ok(Reply::Status(status)) => match status.state {
                GuardState::Armed { term: armed, deadline, .. } if armed == term && deadline > status.now => {
                    Ok(())
                }
                other => Err(format!("the guard is not armed for term {term}: {other:?}")),
            },
            Ok(other) => Err(format!("the guard answers oddly: {other:?}")),
            Err(e) => Err(e.to_string()),
        }
    }

    async fn promote_now(
        &self,
        term: Term,
        named: Option<i64>,
        checked: bool,
        guard: Option<&GuardClient>,
        commands: &mut Vec<CommandRun>,
    ) -> PromotionOutcome {
        if let Some(template) = &self.config.validation_command {
            let deadline = self.until(self.config.validation_timeout);
            let (run, end) = self.command("validation_command", template, None, &[], deadline).await;
            commands.push(run.clone());
            if end != CommandEnd::Exited(0) {
                return PromotionOutcome::Vetoed { why: ended(&run) };
            }
        }
        let deadline = self.until(self.config.promote_timeout);
        let by_command = self.config.promote_command.is_some();
        if let Some(template) = &self.config.promote_command {
            if checked && let Err(why) = self.still_guarded(term, guard).await {
                return PromotionOutcome::Failed { why };
            }
            if let Some(asked) = named
                && let Err(outcome) = self.still_run_by(asked).await
            {
                return outcome;
            }
            let start = named.map(|start| start.to_string());
            let start: Vec<_> = start.iter().map(|s| ("PGFO_POSTMASTER_START", s.as_str())).collect();
            let (run, end) = self.command("promote_command", template, None, &start, deadline).await;
            commands.push(run.clone());
            match end {
                CommandEnd::Exited(0) => {
                    if let Err(outcome) = self.await_promotion(deadline).await {
                        return outcome;
                    }
                }
                CommandEnd::NotStarted(_) => return PromotionOutcome::Failed { why: ended(&run) },
                CommandEnd::Exited(_) => return self.after_failed_command(&run).await,
                CommandEnd::Signalled(_) | CommandEnd::TimedOut => {
                    return PromotionOutcome::Unknown { why: ended(&run) };
                }
            }
        }
        // The lock may be waited for, and the command may have taken its time: the guard is asked behind both.
        let mut session = self.session.lock().await;
        if checked && let Err(why) = self.still_guarded(term, guard).await {
            return match by_command {
                true => PromotionOutcome::Unknown { why: format!("after promote_command: {why}") },
                false => PromotionOutcome::Failed { why },
            };
        }
        match session.promote(named.map(PostmasterStart), deadline).await {
            Outcome::Done(Promotion::OtherPostmaster { .. }) if by_command => {
                let why = "after promote_command, another postmaster runs".to_owned();
                PromotionOutcome::Unknown { why }
            }
            Outcome::Done(Promotion::OtherPostmaster { found }) => {
                PromotionOutcome::Refused { asked: named.unwrap_or_default(), found: found.0 }
            }
            Outcome::Done(Promotion::Promoted(done)) => {
                drop(session);
                match self.look(deadline).await {
                    Some(ProbeReport::Answered(a)) if !a.in_recovery => PromotionOutcome::Promoted {
                        timeline: done.timeline,
                        // An unknown fork is before everything: nobody follows over it by mistake.
                        switched_at: done.switch_lsn.unwrap_or_default(),
                        system_id: a.system_id,
                    },
                    other => {
                        PromotionOutcome::Unknown { why: format!("after the promotion: {}", seen(other)) }
                    }
                }
            }
            Outcome::Failed { why } => PromotionOutcome::Failed { why },
            Outcome::Unknown { why } => PromotionOutcome::Unknown { why },
        }
    }

    /// A command promotes whatever runs, so the daemon looks directly before that it is the postmaster that was
    /// asked for.
    async fn still_run_by(&self, asked: i64) -> Result<(), PromotionOutcome> {
        match self.look(self.until(LOOK_TIMEOUT)).await {
            Some(ProbeReport::Answered(a)) if a.postmaster_started == asked => Ok(()),
            Some(ProbeReport::Answered(a)) => {
                Err(PromotionOutcome::Refused { asked, found: a.postmaster_started })
            }
            other => {
                let why = format!("not seen before promote_command: {}", seen(other));
                Err(PromotionOutcome::Failed { why })
            }
        }
    }

    async fn after_failed_command(&self, run: &CommandRun) -> PromotionOutcome {
        match self.look(self.until(LOOK_TIMEOUT)).await {
            Some(ProbeReport::Answered(a)) if a.in_recovery => PromotionOutcome::Failed { why: ended(run) },
            _ => PromotionOutcome::Unknown { why: ended(run) },
        }
    }

    /// A command that succeeded said so; whether PostgreSQL left recovery is looked at.
    async fn await_promotion(&self, deadline: Instant) -> Result<(), PromotionOutcome> {
        let mut prober = Prober::new(self.config.local.clone(), Duration::MAX);
        loop {
            let probe = prober.probe(false, deadline.min(self.until(LOOK_TIMEOUT))).await;
            if let Some(ProbeReport::Answered(a)) = super::prober::report_of(&probe.outcome)
                && !a.in_recovery
            {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let why = "promote_command succeeded, but PostgreSQL is still in recovery".to_owned();
                return Err(PromotionOutcome::Unknown { why });
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    // ---- following ------------------------------------------------------------------------

    pub(super) async fn follow(&self, term: Term, primary: MemberId) {
        let mut commands = Vec::new();
        let outcome = self.follow_now(primary, &mut commands).await;
        self.observer.tell(Observation::FollowCompleted { term, outcome, commands }).await;
    }

    async fn follow_now(&self, primary: MemberId, commands: &mut Vec<CommandRun>) -> FollowOutcome {
        let deadline = self.until(self.config.follow_timeout);
        let timeline = self.watch.winner().filter(|w| w.primary == primary).map(|w| w.lineage.timeline);
        if let Some(template) = &self.config.follow_command {
            let (run, end) = self.command("follow_command", template, Some(primary), &[], deadline).await;
            commands.push(run.clone());
            return match end {
                CommandEnd::Exited(0) => {
                    let outcome = self.await_streaming(timeline, deadline).await;
                    if matches!(outcome, FollowOutcome::Streaming { .. }) {
                        self.restore_settings().await;
                    }
                    outcome
                }
                CommandEnd::Exited(_) | CommandEnd::NotStarted(_) => {
                    FollowOutcome::Failed { why: ended(&run) }
                }
                CommandEnd::Signalled(_) | CommandEnd::TimedOut => {
                    FollowOutcome::Unknown { why: ended(&run) }
                }
            };
        }
        self.point_at(primary, timeline, deadline).await
    }

    async fn point_at(
        &self,
        upstream: MemberId,
        timeline: Option<crate::core::Timeline>,
        deadline: Instant,
    ) -> FollowOutcome {
        let Some((name, conninfo)) = self.config.upstreams.get(&upstream) else {
            return FollowOutcome::Failed {
                why: "the primary has no conninfo in the configuration".to_owned(),
            };
        };
        let target = crate::postgres::FollowTarget {
            primary_conninfo: conninfo.to_libpq_string(&self.config.name),
            timeline,
        };
        let old = self.upstream.borrow().clone();
        let mut session = self.session.lock().await;
        match session.follow(&target, old.as_ref(), deadline).await {
            Outcome::Done(Followed::Streaming { timeline, receive, .. }) => {
                self.forget_upstream();
                FollowOutcome::Streaming { timeline, lsn: receive }
            }
            Outcome::Done(Followed::Diverged(hint)) => {
                FollowOutcome::Diverged { why: format!("following {name}: {hint:?}") }
            }
            Outcome::Failed { why } => FollowOutcome::Failed { why },
            Outcome::Unknown { why } => FollowOutcome::Unknown { why },
        }
    }

    async fn await_streaming(
        &self,
        timeline: Option<crate::core::Timeline>,
        deadline: Instant,
    ) -> FollowOutcome {
        let mut prober = Prober::new(self.config.local.clone(), Duration::MAX);
        loop {
            let probe = prober.probe(false, deadline.min(self.until(LOOK_TIMEOUT))).await;
            if let Some(ProbeReport::Answered(a)) = super::prober::report_of(&probe.outcome)
                && let Some(t) =
                    a.timeline.filter(|t| a.streaming && timeline.is_none_or(|wanted| wanted == *t))
            {
                return FollowOutcome::Streaming { timeline: t, lsn: a.received };
            }
            if Instant::now() >= deadline {
                let why =
                    "follow_command succeeded, but the WAL receiver does not stream on the new timeline";
                return FollowOutcome::Unknown { why: why.to_owned() };
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// E7: streams from another standby up to a position, then freezes again.
    pub(super) async fn catch_up(&self, term: Term, from: MemberId, until: Lsn) {
        let deadline = self.until(self.config.follow_timeout);
        let mut outcome = self.point_at(from, None, deadline).await;
        if let FollowOutcome::Streaming { timeline, .. } = outcome {
            outcome = self.await_position(timeline, until, deadline).await;
        }
        let frozen = self.freeze_now().await;
        if let FreezeOutcome::NotObserved { why } = frozen {
            outcome = FollowOutcome::Unknown { why };
        }
        self.observer.tell(Observation::CatchUpCompleted { term, outcome }).await;
    }

    async fn await_position(
        &self,
        timeline: crate::core::Timeline,
        until: Lsn,
        deadline: Instant,
    ) -> FollowOutcome {
        let mut prober = Prober::new(self.config.local.clone(), Duration::MAX);
        loop {
            let probe = prober.probe(false, deadline.min(self.until(LOOK_TIMEOUT))).await;
            if let Some(ProbeReport::Answered(a)) = super::prober::report_of(&probe.outcome)
                && a.lsn().is_some_and(|lsn| lsn >= until)
            {
                return FollowOutcome::Streaming { timeline, lsn: a.lsn() };
            }
            if Instant::now() >= deadline {
                return FollowOutcome::Unknown { why: format!("{until} was not reached in time") };
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    // ---- without a guard (L10) ------------------------------------------------------------

    /// With fencing off nothing that runs is stopped; what a dead postmaster left behind is.
    pub(super) async fn sweep_only(&self, why: FenceReason) {
        let begun = os::boot_now();
        let dead = matches!(why, FenceReason::PostmasterGone | FenceReason::FoundDown) && self.runs_not();
        let (nothing_left, killed, trouble) = if dead {
            let dir = self.config.data_dir.clone();
            let until = std::time::Instant::now() + FENCE_ANSWER_MAX;
            match tokio::task::spawn_blocking(move || sweep(&dir, until)).await {
                Ok(Sweep::Gone { killed, .. }) => (true, killed, None),
                Ok(Sweep::Remains { killed, left }) => {
                    (false, killed, Some(format!("{} processes left", left.len())))
                }
                Ok(Sweep::Unknown(e)) => (false, 0, Some(e.to_string())),
                Err(e) => (false, 0, Some(e.to_string())),
            }
        } else {
            (false, 0, Some("fencing is off: PostgreSQL goes on".to_owned()))
        };
        let took = Nanos(os::boot_now().nanos_since(begun));
        let outcome = FenceOutcome { sealed: false, nothing_left, killed, took, trouble };
        self.observer.tell(Observation::FenceCompleted(outcome)).await;
    }

    // ---- commands -------------------------------------------------------------------------

    /// Runs a configured command with the placeholders that repmgr's users know: `%n` the number, from 1, of
    /// the member it is about (the primary to follow, else this one), `%a` its name, `%v` members that can be
    /// heard now, this one included, `%u` data members other than the failed primary, `%t` all members; and
    /// `%c` its conninfo without password, `%d` the data directory.
    async fn command(
        &self,
        name: &str,
        template: &str,
        upstream: Option<MemberId>,
        more: &[(&str, &str)],
        deadline: Instant,
    ) -> (CommandRun, CommandEnd) {
        let about = upstream.and_then(|m| self.config.upstreams.get(&m));
        let member = about.map_or(self.config.name.as_str(), |(n, _)| n.as_str());
        let number = self.number_of(member).to_string();
        let conninfo = about.map_or_else(String::new, |(_, c)| c.redacted());
        let data = self.config.data_dir.display().to_string();
        let heard = |m: &MemberId| self.peers.status(*m).is_some_and(|status| status.hello.is_some());
        let visible = (1 + self.config.others.iter().filter(|m| heard(m)).count()).to_string();
        let standbys = self.config.upstreams.len().saturating_sub(1).to_string();
        let total = (1 + self.config.others.len()).to_string();
        let values = [
            ('n', number.as_str()),
            ('a', member),
            ('c', conninfo.as_str()),
            ('d', data.as_str()),
            ('v', visible.as_str()),
            ('u', standbys.as_str()),
            ('t', total.as_str()),
        ];
        let line = match expand(template, &values) {
            Ok(line) => line,
            Err(why) => {
                let run = CommandRun {
                    name: name.to_owned(),
                    exit_code: None,
                    signal: None,
                    timed_out: false,
                    took: Nanos(0),
                    output: why.to_string(),
                };
                return (run, CommandEnd::NotStarted(0));
            }
        };
        let mut environment = vec![("PGFO_MEMBER", self.config.name.as_str()), ("PGDATA", data.as_str())];
        environment.extend_from_slice(more);
        let report = run_command(&line, &environment, deadline).await;
        let (exit_code, signal, timed_out) = match report.end {
            CommandEnd::Exited(code) => (Some(code), None, false),
            CommandEnd::Signalled(signal) => (None, Some(signal), false),
            CommandEnd::TimedOut => (None, None, true),
            CommandEnd::NotStarted(code) => (Some(code), None, false),
        };
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        let output = report.output_tail.chars().map(printable).take(OUTPUT_CHARS_MAX).collect();
        let run =
            CommandRun { name: name.to_owned(), exit_code, signal, timed_out, took: report.took, output };
        (run, report.end)
    }

    fn number_of(&self, name: &str) -> usize {
        let mut names: Vec<&str> = self.config.upstreams.values().map(|(n, _)| n.as_str()).collect();
        names.push(self.config.name.as_str());
        names.sort_unstable();
        names.dedup();
        names.iter().position(|n| *n == name).map_or(0, |at| at + 1)
    }
}

fn seen(report: Option<ProbeReport>) -> String {
    report.map_or_else(|| "it could not be asked".to_owned(), |report| format!("{report:?}"))
}

fn ended(run: &CommandRun) -> String {
    let how = match (run.timed_out, run.exit_code, run.signal) {
        (true, ..) => "was killed at its deadline".to_owned(),
        (_, Some(code), _) => format!("exited with {code}"),
        (_, _, Some(signal)) => format!("was killed by signal {signal}"),
        _ => "could not be started".to_owned(),
    };
    format!("{} {how} after {}", run.name, run.took)
}
