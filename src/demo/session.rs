//! One connection to one PostgreSQL, blocking, with a deadline on every step. It never retries, and
//! an answer that did not come is unknown, never negative.

use super::error::{DemoError, Result};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, SimpleQueryMessage, Socket, tls::NoTlsStream};

/// The rows of an answer, each a list of columns as text; `None` is NULL.
pub type Rows = Vec<Vec<Option<String>>>;

/// An open connection. Must not be used inside an asynchronous runtime: it blocks.
pub struct Session {
    // Dropped first, so that the connection's task sees the end.
    client: Client,
    runtime: Runtime,
    warnings: Arc<AtomicU32>,
    peer: String,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Session {
    /// Connects to `conninfo` within `within`; `peer` names it in errors.
    ///
    /// # Errors
    /// When it is refused, or `within` passes.
    pub fn open(peer: &str, conninfo: &str, within: Duration) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| DemoError::State(format!("cannot start a runtime: {e}")))?;
        let connected = runtime
            .block_on(async { tokio::time::timeout(within, tokio_postgres::connect(conninfo, NoTls)).await });
        let (client, connection) = match connected {
            Ok(Ok(both)) => both,
            Ok(Err(error)) => return Err(postgres_error(peer, "connect", &error)),
            Err(_elapsed) => return Err(unknown(peer, "connect", within)),
        };
        let warnings = Arc::new(AtomicU32::new(0));
        runtime.spawn(drive(connection, Arc::clone(&warnings)));
        Ok(Self { client, runtime, warnings, peer: peer.to_owned() })
    }

    /// Runs `sql` and returns its rows.
    ///
    /// # Errors
    /// When PostgreSQL refuses, the connection breaks, or `within` passes: then the outcome is
    /// unknown, and the session must not be used again.
    pub fn query(&mut self, sql: &str, within: Duration) -> Result<Rows> {
        let client = &self.client;
        let answer =
            self.runtime.block_on(async { tokio::time::timeout(within, client.simple_query(sql)).await });
        match answer {
            Ok(Ok(messages)) => Ok(messages.iter().filter_map(row).collect()),
            Ok(Err(error)) => Err(postgres_error(&self.peer, "query", &error)),
            Err(_elapsed) => Err(unknown(&self.peer, "query", within)),
        }
    }

    /// Returns how many warnings PostgreSQL has sent. A commit that came with one may not have been
    /// replicated, so it doesn't count as acknowledged.
    #[must_use]
    pub fn warnings(&self) -> u32 {
        self.warnings.load(Ordering::Relaxed)
    }
}

async fn drive(mut connection: Connection<Socket, NoTlsStream>, warnings: Arc<AtomicU32>) {
    // The end of the connection shows in the pending query, which is where it is reported.
    while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
        if let AsyncMessage::Notice(notice) = message
            && notice.severity() == "WARNING"
        {
            warnings.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn row(message: &SimpleQueryMessage) -> Option<Vec<Option<String>>> {
    let SimpleQueryMessage::Row(row) = message else { return None };
    Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect())
}

fn postgres_error(node: &str, doing: &'static str, error: &tokio_postgres::Error) -> DemoError {
    let code = error.code().map(|state| state.code().to_owned());
    let message = match error.as_db_error() {
        Some(answer) => answer.message().to_owned(),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    };
    DemoError::Postgres { node: node.to_owned(), doing, message, code }
}

fn unknown(node: &str, doing: &'static str, within: Duration) -> DemoError {
    DemoError::Unknown { node: node.to_owned(), doing, within_ms: within.as_millis() }
}
