//! What the daemon answers over its control socket, and how it tells records to people.

use super::certificate::{self, Peers};
use super::status;
use crate::actors::{GetLedger, GetLog, Observer, Sequencer, Teller};
use crate::config::{Config, closest};
use crate::control::{ControlError, Incoming, Replier, Request};
use crate::core::{Ledger, MemberId};
use crate::events::story::{Level, StoryMemory, tell};
use crate::events::{Observation, OperatorRequest, Refusal};
use actix::Addr;
use serde_json::json;
use slog::Logger;
use std::io::{self, Write};
use tokio::sync::mpsc;

/// Returns what tells records to the text log: the same story that a replay tells.
pub(super) fn teller(logger: Logger) -> Teller {
    let mut memory = StoryMemory::new();
    Box::new(move |record, settings| {
        let Some(line) = tell(record, settings, &mut memory) else { return };
        let term = line.term.map(|t| t.0);
        let values = slog::o!(
            "kind" => line.subject, "record" => record.seq.0, "cause" => record.cause.map(|c| c.0), "term" => term
        );
        let logger = logger.new(values);
        match line.level {
            Level::Debug => slog::debug!(logger, "{}", line.text),
            Level::Info => slog::info!(logger, "{}", line.text),
            Level::Warning => slog::warn!(logger, "{}", line.text),
            Level::Critical => slog::crit!(logger, "{}", line.text),
        }
    })
}

/// Answers requests for as long as the socket lives.
pub(super) async fn answer(
    mut asked: mpsc::Receiver<Incoming>,
    sequencer: Addr<Sequencer>,
    daemon: Observer,
    config: Config,
    peers: Peers,
) {
    while let Some(Incoming { request, reply, .. }) = asked.recv().await {
        let sequencer = sequencer.clone();
        match request {
            Request::Version => end(reply, Ok(json!({ "version": env!("CARGO_PKG_VERSION") }))),
            Request::Status => {
                let beside = certificate::complaint(&peers);
                end(reply, ledger(&sequencer).await.map(|l| status::status(&l, &config, beside)));
            }
            Request::MayStart => end(reply, ledger(&sequencer).await.map(|l| may_start(&l))),
            Request::Adopt { name, vouched } => {
                let answer = match ledger(&sequencer).await {
                    Ok(ledger) => adopt(&name, vouched, &ledger, &config, &daemon).await,
                    Err(why) => Err(why),
                };
                end(reply, answer);
            }
            Request::Export { from, to } => {
                let Ok(log) = sequencer.send(GetLog).await else { continue };
                // The handler of a long export waits when its client is slow: on a thread of its own.
                tokio::task::spawn_blocking(move || {
                    let mut out = Chunks(&reply);
                    let done = log.export_to(from, to, None, &mut out);
                    let answer = match done {
                        Ok(exported) => Ok(json!({ "first": exported.first.0, "last": exported.last.0 })),
                        Err(why) => {
                            Err(ControlError::new("export-failed", why.to_string(), "see the daemon's log"))
                        }
                    };
                    end(reply, answer);
                });
            }
        }
    }
}

struct Chunks<'a>(&'a Replier);

impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.blocking_bytes(bytes).map_err(|e| io::Error::new(io::ErrorKind::BrokenPipe, e))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn end(reply: Replier, answer: Result<serde_json::Value, ControlError>) {
    // A client that went away needs no answer.
    let _ = match answer {
        Ok(value) => reply.done(value),
        Err(error) => reply.error(error),
    };
}

async fn ledger(sequencer: &Addr<Sequencer>) -> Result<Ledger, ControlError> {
    sequencer.send(GetLedger).await.map_err(|e| {
        ControlError::new("internal", format!("the sequencer is gone: {e}"), "see the daemon's log")
    })
}

/// L9: a former primary runs unsealed only with a standing lease of this boot. `by` is what allows it; whether a guard
/// holds the end of that lease, and whether the data was guarded before, `pgfo guard` looks up itself.
fn may_start(ledger: &Ledger) -> serde_json::Value {
    let allowed = |by: &str, why: &str| json!({ "unsealed": true, "by": by, "why": why });
    let refused = |why: String| json!({ "unsealed": false, "why": why });
    if ledger.nobody_knows_a_primary() {
        allowed("nobody", "all members agree that there is no primary of any term yet")
    } else if ledger.knows_no_primary() {
        refused("this member knows of no primary, but not all others can be asked".to_owned())
    } else if ledger.pause_protects() && ledger.tenure.is_some() {
        // Before the lease: that of the time before the pause may stand, and its guard is stood down.
        allowed("pause", "the cluster is paused for this primary")
    } else if ledger.lease_stands() {
        allowed("lease", "this member holds a standing lease")
    } else {
        let term = ledger.announced_term();
        let primary = ledger.primary().map_or("nobody", |p| ledger.settings.name(p));
        refused(format!("this member holds no lease; {primary} is the primary of term {term}"))
    }
}

async fn adopt(
    name: &str,
    vouched: bool,
    ledger: &Ledger,
    config: &Config,
    daemon: &Observer,
) -> Result<serde_json::Value, ControlError> {
    let Some(member) = config.membership.id_of(name) else {
        let names = config.membership.members().iter().map(|m| m.name.as_str());
        let remedy = match closest(name, names) {
            Some(near) => format!("did you mean {near}?"),
            None => "see the [[member]] sections of the configuration".to_owned(),
        };
        return Err(ControlError::new("unknown-member", format!("there is no member {name}"), remedy));
    };
    if let Some(pause) = ledger.paused.filter(|_| !vouched) {
        let paused = ledger.settings.name(pause.primary);
        return Err(ControlError::new(
            "paused",
            format!("the cluster is paused while the daemon of its primary {paused} is away"),
            format!(
                "start the daemon of {paused}; if that is not possible, make sure that no process of its \
                 PostgreSQL is left and that none will start, and say so with --paused-primary-is-gone"
            ),
        ));
    }
    if let Some(why) = unremembered(member, ledger) {
        return Err(why);
    }
    if let Err(Refusal::PostgresUnknown { member }) = ledger.no_unled_writer_but(member) {
        let unseen = ledger.settings.name(member);
        return Err(ControlError::new(
            "postgres-unknown",
            format!("it is not known yet whether the PostgreSQL of {unseen} accepts writes"),
            format!("wait until the daemon of {unseen} can tell (`pgfo status`), or stop that PostgreSQL"),
        ));
    }
    let asked =
        if vouched { OperatorRequest::AdoptVouched { member } } else { OperatorRequest::Adopt { member } };
    daemon.tell(Observation::OperatorRequested(asked)).await;
    Ok(json!({ "asked": name }))
}

/// E10: why the first primary can't be named now, if it can't: somebody may remember an earlier one.
fn unremembered(named: MemberId, ledger: &Ledger) -> Option<ControlError> {
    if !ledger.before_rosters() {
        return None;
    }
    match ledger.nobody_remembers().err()? {
        Refusal::MemberUnheard { member } => {
            let silent = ledger.settings.name(member);
            Some(ControlError::new(
                "not-all-heard",
                format!("{silent} is not heard, and may remember a primary that the logs here have lost"),
                format!(
                    "start the daemon of {silent}, which needs no PostgreSQL for this; if its host is lost for good, \
                     start one under its name elsewhere, with an empty log. No primary is named before every member \
                     is heard, and none remembers one"
                ),
            ))
        }
        Refusal::HistoryExists if named == ledger.me() => Some(ControlError::new(
            "history-exists",
            "this member's log knows of no primary, but another member remembers one",
            "wait until the primary has registered this member's new log (`pgfo status`), or name a member that \
             remembers; see \"the logs of most members are lost\" in docs/operations.md",
        )),
        _ => None,
    }
}
