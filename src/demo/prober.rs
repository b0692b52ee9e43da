//! A prober: one connection to one node, which writes as soon as that node takes writes. So the
//! outage of the service is known without the main client's dialling.

use super::client::Shared;
use super::error::{DemoError, Result};
use super::ledger::AckKey;
use super::node::Access;
use super::session::Session;
use std::time::Instant;

/// What PostgreSQL answers to a write while it is in recovery or read-only.
const READ_ONLY: &str = "25006";

/// Probes until the client stops.
pub(super) fn run(shared: &Shared, access: &Access, writer: u8) {
    let mut prober = Prober { shared, access, writer, id: 0, session: None, writable: false };
    while !shared.stopped() {
        let started = Instant::now();
        if let Err(error) = prober.look() {
            prober.writable = false;
            if !matches!(&error, DemoError::Postgres { code: Some(code), .. } if code == READ_ONLY) {
                prober.session = None;
            }
        }
        std::thread::sleep(shared.options.probe_interval.saturating_sub(started.elapsed()));
    }
}

struct Prober<'a> {
    shared: &'a Shared,
    access: &'a Access,
    writer: u8,
    id: u64,
    session: Option<Session>,
    writable: bool,
}

impl Prober<'_> {
    fn look(&mut self) -> Result<()> {
        let within = self.shared.options.statement_within;
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(Session::open("prober", &self.access.superuser("pgfo_prober"), within)?),
        };
        if !self.writable {
            // Asked first: a write that fails would fill the standby's log with errors.
            let sql = "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool";
            let rows = session.query(sql, within)?;
            self.writable = rows.first().is_some_and(|row| row[0].as_deref() == Some("f"));
        }
        if self.writable {
            self.id += 1;
            let key = AckKey { writer: self.writer, id: self.id };
            self.shared.insert(session, key, self.access.port())?;
        }
        Ok(())
    }
}
