//! The prober of one PostgreSQL: over a kept connection, regularly renewed, or a fresh one. It must never
//! retry by itself on a failure: how often to ask again is the escalation's business (D1, D2).

use super::answer::{ProbeOutcome, SqlState};
use super::link::{Connector, Link, LinkError};
use super::sql;
use crate::core::Nanos;
use std::time::Duration;
use tokio::time::Instant;
use tokio_postgres::Statement;

/// The server gives up a probe after this by itself; longer than any deadline of a probe.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// `object_not_in_prerequisite_state`: recovery ended between two functions of one probe.
const RECOVERY_ENDED: SqlState = SqlState(*b"55000");

/// One probe.
#[derive(Clone, Debug)]
pub struct Probe {
    /// What was answered, or how it failed.
    pub outcome: ProbeOutcome,
    /// How long it took, from the call to the outcome.
    pub latency: Nanos,
    /// Whether it needed a new connection; a kept one does not see a frozen postmaster.
    pub fresh: bool,
    /// The words of a failure, for people; holds no password.
    pub detail: Option<String>,
}

/// Probes one PostgreSQL.
#[derive(Debug)]
pub struct Prober {
    connector: Connector,
    renew_after: Duration,
    link: Option<Link>,
    statement: Option<Statement>,
}

impl Prober {
    /// Returns a prober that renews its connection once it is `renew_after` old.
    #[must_use]
    pub const fn new(connector: Connector, renew_after: Duration) -> Self {
        Self { connector, renew_after, link: None, statement: None }
    }

    /// Probes once: over a new connection if `fresh`, if there is none, or if the kept one is due for renewal.
    /// A new connection that answers takes the place of the kept one.
    pub async fn probe(&mut self, fresh: bool, deadline: Instant) -> Probe {
        let started = Instant::now();
        let kept = self.link.as_ref().is_some_and(|l| l.opened.elapsed() < self.renew_after);
        let fresh = fresh || !kept;
        let result = if fresh { self.probe_anew(deadline).await } else { self.probe_kept(deadline).await };
        let latency = Nanos(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
        match result {
            Ok(outcome) => Probe { outcome, latency, fresh, detail: None },
            Err(e) => Probe { outcome: e.outcome, latency, fresh, detail: Some(e.detail) },
        }
    }

    /// Waits until the kept connection is lost, and returns how; without one it waits for ever.
    pub async fn lost(&self) -> ProbeOutcome {
        match &self.link {
            Some(link) => link.closed().await.outcome,
            None => std::future::pending().await,
        }
    }

    /// Forgets the kept connection: the next probe opens a new one.
    pub fn disconnect(&mut self) {
        self.link = None;
        self.statement = None;
    }

    async fn probe_anew(&mut self, deadline: Instant) -> Result<ProbeOutcome, LinkError> {
        let link = self.connector.open(Some(STATEMENT_TIMEOUT), deadline).await?;
        let ask = async || link.within(link.client.query_typed(sql::PROBE, &[]), deadline).await;
        let rows = match ask().await {
            Err(e) if e.sqlstate() == Some(RECOVERY_ENDED) => ask().await,
            other => other,
        };
        let outcome = decode(&rows?)?;
        self.link = Some(link);
        self.statement = None;
        Ok(outcome)
    }

    async fn probe_kept(&mut self, deadline: Instant) -> Result<ProbeOutcome, LinkError> {
        let result = self.ask_kept(deadline).await;
        let result = match result {
            Err(e) if e.sqlstate() == Some(RECOVERY_ENDED) => self.ask_kept(deadline).await,
            other => other,
        };
        if result.as_ref().is_err_and(|e| !e.by_server) {
            self.disconnect();
        }
        result
    }

    async fn ask_kept(&mut self, deadline: Instant) -> Result<ProbeOutcome, LinkError> {
        let Some(link) = &self.link else {
            return Err(LinkError::new(ProbeOutcome::Closed, "no connection"));
        };
        let statement = match &self.statement {
            Some(statement) => statement.clone(),
            None => link.within(link.client.prepare(sql::PROBE), deadline).await?,
        };
        let rows = link.within(link.client.query(&statement, &[]), deadline).await;
        self.statement = Some(statement);
        decode(&rows?)
    }
}

fn decode(rows: &[tokio_postgres::Row]) -> Result<ProbeOutcome, LinkError> {
    let broken = || LinkError::new(ProbeOutcome::OtherServerError(SqlState(*b"XX000")), "no row");
    let row = rows.first().ok_or_else(broken)?;
    match sql::answer(row) {
        Ok(answer) => Ok(ProbeOutcome::Answered(Box::new(answer))),
        Err(e) => Err(LinkError { detail: e.to_string(), ..broken() }),
    }
}
