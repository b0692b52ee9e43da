//! A client that writes all the while, as an application with a list of hosts does, and remembers
//! what it was told. It never retries an id: an answer that did not come may stand for a commit.

use super::cluster::Cluster;
use super::error::{DemoError, Result};
use super::ledger::{Ack, AckKey, Ledger, Outage};
use super::node::{Access, Node};
use super::prober;
use super::session::Session;
use super::wait::{Deadline, Look, poll};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Reading back every row of a run.
const READ_BACK_WITHIN: Duration = Duration::from_secs(30);
/// Between two rounds over all hosts, as an application's pool would pause.
const ROUND_PAUSE: Duration = Duration::from_millis(20);

/// How a [`Client`] behaves.
#[derive(Clone, Copy, Debug)]
pub struct ClientOptions {
    /// Time between two INSERTs of the main client, if each is answered in time.
    pub interval: Duration,
    /// For each host of the list, as libpq's `connect_timeout`, whose smallest value this is.
    pub connect_within: Duration,
    /// For each INSERT; past it, its outcome is unknown and the connection is given up.
    pub statement_within: Duration,
    /// How often each node's prober looks, which is how exactly the service's outage is known.
    pub probe_interval: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(5),
            connect_within: Duration::from_secs(2),
            statement_within: Duration::from_secs(1),
            probe_interval: Duration::from_millis(20),
        }
    }
}

/// What the writer's and the probers' threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: ClientOptions,
    stop: AtomicBool,
    ledger: Mutex<Ledger>,
    last_error: Mutex<String>,
}

impl Shared {
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Writes one row; what was acknowledged without a warning goes to the ledger.
    pub(super) fn insert(&self, session: &mut Session, key: AckKey, port: u16) -> Result<()> {
        let warnings = session.warnings();
        let sent = Instant::now();
        let sql = format!("INSERT INTO pgfo_demo_writes VALUES ({}, {})", key.writer, key.id);
        session.query(&sql, self.options.statement_within)?;
        let acked = Instant::now();
        if session.warnings() == warnings {
            self.ledger().push(Ack { key, port, sent, acked });
        }
        Ok(())
    }

    pub(super) fn note(&self, error: &DemoError) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = error.to_string();
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A writer over all hosts, and one prober a node. Dropping it stops its threads.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Client {
    /// Makes the table on the primary and starts to write.
    ///
    /// # Errors
    /// When there is no primary, or the table can't be made.
    pub fn start(cluster: &Cluster, options: ClientOptions) -> Result<Self> {
        let none = || DemoError::State("no node of the cluster accepts writes".into());
        let primary = cluster.writable_nodes().first().copied().ok_or_else(none)?;
        primary.query(
            "CREATE TABLE IF NOT EXISTS pgfo_demo_writes (writer int, id bigint, PRIMARY KEY (writer, id))",
        )?;
        let shared = Arc::new(Shared {
            options,
            stop: AtomicBool::new(false),
            ledger: Mutex::default(),
            last_error: Mutex::default(),
        });
        let hosts: Vec<Access> =
            cluster.data_nodes().filter_map(|node| node.postgres().map(|p| p.access().clone())).collect();
        let mut client = Self { shared, threads: Vec::new() };
        for (index, access) in hosts.iter().enumerate() {
            let (shared, access) = (Arc::clone(&client.shared), access.clone());
            let writer =
                u8::try_from(index + 1).map_err(|_| DemoError::State("too many nodes to probe".into()))?;
            client.spawn(&format!("prober-{writer}"), move || prober::run(&shared, &access, writer))?;
        }
        let shared = Arc::clone(&client.shared);
        client.spawn("writer", move || write_all_the_while(&shared, &hosts))?;
        Ok(client)
    }

    /// Returns a copy of what was acknowledged so far.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.shared.ledger().clone()
    }

    /// Returns how many commits were acknowledged to the main client so far.
    #[must_use]
    pub fn acked(&self) -> usize {
        self.shared.ledger().acked()
    }

    /// Returns the longest time without an acknowledged commit since `fault`.
    #[must_use]
    pub fn outage(&self, fault: Instant) -> Outage {
        self.shared.ledger().outage(fault, Instant::now())
    }

    /// Waits until the main client had `more` further commits acknowledged.
    ///
    /// # Errors
    /// When the deadline passes; the error quotes what the client last met.
    pub fn wait_acks(&self, more: usize, deadline: Deadline) -> Result<()> {
        let wanted = self.acked() + more;
        let reached = poll(deadline, || match self.acked() {
            count if count >= wanted => Look::Done(()),
            count => Look::NotYet(format!("{} are missing", wanted - count)),
        });
        reached.map_err(|last_seen| DemoError::TimedOut {
            what: format!("{more} further commits of the client"),
            within_ms: deadline.within().as_millis(),
            last_seen,
            evidence: self.shared.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        })
    }

    /// Returns the commits that were acknowledged until now and are not on `primary`.
    ///
    /// # Errors
    /// When the rows can't be read.
    pub fn lost(&self, primary: &Node) -> Result<Vec<AckKey>> {
        // Copied before reading, so that a commit in between can't look lost.
        let ledger = self.ledger();
        let rows = primary.session()?.query("SELECT writer, id FROM pgfo_demo_writes", READ_BACK_WITHIN)?;
        let present: Option<BTreeSet<AckKey>> = rows.iter().map(|row| key(row)).collect();
        let present =
            present.ok_or_else(|| DemoError::State("the table of writes holds other rows".into()))?;
        Ok(ledger.lost(&present))
    }

    /// Returns the commits that others acknowledged after `primary` had begun to.
    ///
    /// # Errors
    /// When it is a witness.
    pub fn split_brain(&self, primary: &Node) -> Result<Vec<Ack>> {
        Ok(self.shared.ledger().split_brain(primary.postgres_port()?))
    }

    /// Stops writing and returns what was acknowledged.
    #[must_use]
    pub fn stop(mut self) -> Ledger {
        self.join();
        self.ledger()
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
        let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(body);
        self.threads.push(spawned.map_err(|e| DemoError::State(format!("cannot start a thread: {e}")))?);
        Ok(())
    }

    fn join(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() && !std::thread::panicking() {
                panic!("a thread of the client panicked; its figures are void");
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.join();
    }
}

fn key(row: &[Option<String>]) -> Option<AckKey> {
    let [Some(writer), Some(id)] = row else { return None };
    Some(AckKey { writer: writer.parse().ok()?, id: id.parse().ok()? })
}

/// The main client: one connection, to whichever host of the list takes writes.
fn write_all_the_while(shared: &Shared, hosts: &[Access]) {
    let mut id = 0;
    while !shared.stopped() {
        let Some((mut session, port)) = connect(shared, hosts) else {
            std::thread::sleep(ROUND_PAUSE);
            continue;
        };
        while !shared.stopped() {
            let started = Instant::now();
            id += 1;
            if let Err(error) = shared.insert(&mut session, AckKey { writer: 0, id }, port) {
                shared.note(&error);
                break;
            }
            std::thread::sleep(shared.options.interval.saturating_sub(started.elapsed()));
        }
    }
}

/// One round over the list, in order, as libpq does with `target_session_attrs=read-write`: a
/// deadline for each host, so that a silent first one costs its share and no more.
fn connect(shared: &Shared, hosts: &[Access]) -> Option<(Session, u16)> {
    for access in hosts.iter().take_while(|_| !shared.stopped()) {
        let within = shared.options.connect_within;
        let started = Instant::now();
        let opened =
            Session::open("client", &access.superuser("pgfo_client"), within).and_then(|mut session| {
                let rest = within.saturating_sub(started.elapsed());
                let rows = session.query("SHOW transaction_read_only", rest)?;
                Ok((session, rows))
            });
        match opened {
            Ok((session, rows)) if rows.first().is_some_and(|row| row[0].as_deref() == Some("off")) => {
                return Some((session, access.port()));
            }
            Ok(_read_only) => {}
            Err(error) => shared.note(&error),
        }
    }
    None
}
