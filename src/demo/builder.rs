//! Builds a cluster: data directories, settings, standbys, daemons' configuration files. It starts
//! what it built and hands it over; it injects no fault.

use super::cluster::Cluster;
use super::daemon::Pgfo;
use super::error::{DemoError, Result};
use super::locks;
use super::node::{Access, Node, Postgres};
use super::sandbox::{Sandbox, SandboxOptions};
use super::template::{ROLE, Template, single_user};
use super::wait::Deadline;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Crash recovery and base backups of an empty cluster take a second; a loaded machine is slower.
const BUILD_WITHIN_SECS: u64 = 60;
/// Bounds how many clusters run at once on this machine; read from the environment, so that it also
/// holds for a `pgfo demo` that a test runs.
const SLOTS_VARIABLE: &str = "PGFO_CLUSTER_SLOTS";

/// How PostgreSQL asks who connects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// It doesn't.
    #[default]
    Trust,
    /// SCRAM-SHA-256, with a password made for this cluster.
    Scram,
}

/// What a cluster shall be like; see [`Cluster::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    data: u8,
    witness: u8,
    sandbox: SandboxOptions,
    pgfo: Option<PathBuf>,
    auth: Auth,
    settings: Vec<String>,
    toml: String,
    node_toml: BTreeMap<String, String>,
    setup_sql: Vec<String>,
    daemon_environment: Vec<(String, String)>,
    own_system_id: bool,
    slots: Option<u16>,
}

impl Default for Builder {
    fn default() -> Self {
        let slots = std::env::var(SLOTS_VARIABLE).ok().and_then(|text| text.parse().ok()).filter(|n| *n > 0);
        Self {
            data: 3,
            witness: 0,
            sandbox: SandboxOptions::default(),
            pgfo: None,
            auth: Auth::Trust,
            settings: Vec::new(),
            toml: String::new(),
            node_toml: BTreeMap::new(),
            setup_sql: Vec::new(),
            daemon_environment: Vec::new(),
            own_system_id: false,
            slots,
        }
    }
}

impl Builder {
    /// Sets how many data members there are, named `node1` and so on; `node1` starts as primary.
    #[must_use]
    pub fn data(mut self, members: u8) -> Self {
        self.data = members;
        self
    }

    /// Sets how many witnesses there are, named `witness1` and so on.
    #[must_use]
    pub fn witness(mut self, members: u8) -> Self {
        self.witness = members;
        self
    }

    /// Runs this `pgfo` as every member's daemon. Without it, PostgreSQL runs alone.
    #[must_use]
    pub fn pgfo(mut self, program: impl Into<PathBuf>) -> Self {
        self.pgfo = Some(program.into());
        self
    }

    /// Sets where the cluster lives and as whom.
    #[must_use]
    pub fn sandbox(mut self, options: SandboxOptions) -> Self {
        self.sandbox = options;
        self
    }

    /// Sets how PostgreSQL asks who connects.
    #[must_use]
    pub fn auth(mut self, auth: Auth) -> Self {
        self.auth = auth;
        self
    }

    /// Adds a line to every node's PostgreSQL settings, such as `max_connections = 20`.
    #[must_use]
    pub fn setting(mut self, line: impl Into<String>) -> Self {
        self.settings.push(line.into());
        self
    }

    /// Adds TOML to every member's configuration, after the sections written here: whole sections,
    /// or dotted sections such as `[failover.x]`.
    #[must_use]
    pub fn toml(mut self, text: &str) -> Self {
        self.toml.push_str(text);
        self.toml.push('\n');
        self
    }

    /// Adds TOML to one member's configuration. A `[failover]` section here replaces the default one.
    #[must_use]
    pub fn node_toml(mut self, node: &str, text: &str) -> Self {
        let entry = self.node_toml.entry(node.to_owned()).or_default();
        entry.push_str(text);
        entry.push('\n');
        self
    }

    /// Adds a statement that is run before the primary first starts, for instance to take the
    /// superuser's rights from the role `pgfo`.
    #[must_use]
    pub fn setup_sql(mut self, statement: impl Into<String>) -> Self {
        self.setup_sql.push(statement.into());
        self
    }

    /// Sets an environment variable of every daemon; `{dir}` in it becomes the node's directory.
    #[must_use]
    pub fn daemon_environment(mut self, name: &str, value: &str) -> Self {
        self.daemon_environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs `initdb` for this cluster alone, so that its system identifier is its own.
    #[must_use]
    pub fn own_system_id(mut self) -> Self {
        self.own_system_id = true;
        self
    }

    /// Waits until fewer than `slots` clusters run on this machine; the default is the environment
    /// variable `PGFO_CLUSTER_SLOTS`, or no bound.
    #[must_use]
    pub fn slots(mut self, slots: u16) -> Self {
        self.slots = Some(slots);
        self
    }

    /// Makes and starts the cluster; returns when every standby streams, and the daemons, if there
    /// are any, have been started.
    ///
    /// # Errors
    /// When PostgreSQL is missing or doesn't start; the error quotes the node's log.
    pub fn build(self) -> Result<Cluster> {
        if self.data == 0 {
            return Err(DemoError::State("a cluster needs at least one data member".into()));
        }
        let slot = self.slots.map(locks::take_slot).transpose()?;
        let sandbox = Arc::new(Sandbox::new(&self.sandbox)?);
        let pgfo = self.pgfo.as_deref().map(|program| self.prepare_pgfo(&sandbox, program)).transpose()?;
        let nodes = self.nodes(&sandbox, pgfo.as_ref())?;
        self.write_files(&sandbox, &nodes)?;
        let cluster = Cluster::new(nodes, sandbox, slot);
        self.start(&cluster)?;
        Ok(cluster)
    }

    fn prepare_pgfo(&self, sandbox: &Sandbox, program: &Path) -> Result<Pgfo> {
        Pgfo::prepare(sandbox, program, self.daemon_environment.clone())
    }

    fn nodes(&self, sandbox: &Arc<Sandbox>, pgfo: Option<&Pgfo>) -> Result<Vec<Node>> {
        let password = (self.auth == Auth::Scram).then(|| format!("{:032x}", rand::random::<u128>()));
        let data = (1..=self.data).map(|n| (format!("node{n}"), true));
        let witnesses = (1..=self.witness).map(|n| (format!("witness{n}"), false));
        data.chain(witnesses)
            .map(|(name, has_data)| {
                let dir = sandbox.directory(&name)?;
                sandbox.directory(&format!("{name}/run"))?;
                sandbox.directory(&format!("{name}/log"))?;
                let postgres = match has_data {
                    true => Some(Postgres::new(&dir, Access::new(sandbox.port()?, password.clone()))),
                    false => None,
                };
                Ok(Node::new(name, dir, postgres, sandbox.port()?, Arc::clone(sandbox), pgfo.cloned()))
            })
            .collect()
    }

    fn write_files(&self, sandbox: &Sandbox, nodes: &[Node]) -> Result<()> {
        for node in nodes {
            if let Some(postgres) = node.postgres() {
                let settings = self.postgres_settings(node, postgres);
                sandbox.write(&node.dir().join("node.conf"), &settings)?;
            }
            sandbox.write(&node.config_file(), &self.daemon_config(sandbox, node, nodes))?;
        }
        Ok(())
    }

    fn postgres_settings(&self, node: &Node, postgres: &Postgres) -> String {
        let mut text = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{}'\ncluster_name = '{}'\n",
            postgres.access().port(),
            node.dir().join("run").display(),
            node.name()
        );
        text.push_str(
            "wal_level = replica\nhot_standby = on\nwal_log_hints = on\nmax_wal_senders = 10\n\
             max_replication_slots = 10\nwal_keep_size = 256MB\nmax_connections = 60\nshared_buffers = 32MB\n\
             fsync = on\npassword_encryption = 'scram-sha-256'\nlog_line_prefix = '%m [%p] %b '\n",
        );
        for line in &self.settings {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    fn daemon_config(&self, sandbox: &Sandbox, node: &Node, nodes: &[Node]) -> String {
        let extra = self.node_toml.get(node.name()).cloned().unwrap_or_default() + &self.toml;
        let mut text = format!(
            "[cluster]\nname = \"demo\"\n\n[node]\nname = \"{}\"\nrun_directory = {:?}\n\n\
             [log]\ndirectory = {:?}\nformat = \"json\"\n\n",
            node.name(),
            node.dir().join("run"),
            node.dir().join("log"),
        );
        if let Some(postgres) = node.postgres() {
            // Writing to a string cannot fail.
            let _written = write!(
                text,
                "[postgres]\nconninfo = {:?}\ndata_directory = {:?}\nbin_directory = {:?}\n\n",
                postgres.access().conninfo(ROLE),
                postgres.data(),
                sandbox.postgres().dir(),
            );
        }
        if !extra.lines().any(|line| line.trim() == "[failover]") {
            text.push_str("[failover]\nmode = \"automatic\"\n\n");
        }
        for member in nodes {
            let address = format!("127.0.0.1:{}", member.daemon_port());
            let (conninfo, role) = match member.postgres() {
                Some(postgres) => (format!("conninfo = {:?}\n", postgres.access().conninfo(ROLE)), "data"),
                None => (String::new(), "witness"),
            };
            let _written = write!(
                text,
                "[[member]]\nname = \"{}\"\naddress = \"{address}\"\n{conninfo}role = \"{role}\"\n\n",
                member.name()
            );
        }
        text + &extra
    }

    fn start(&self, cluster: &Cluster) -> Result<()> {
        let deadline = Deadline::secs(BUILD_WITHIN_SECS);
        let data: Vec<&Node> = cluster.data_nodes().collect();
        let (primary, standbys) =
            data.split_first().ok_or_else(|| DemoError::State("no data member".into()))?;
        self.prepare_primary(cluster.sandbox(), primary)?;
        primary.start_postgres()?;
        std::thread::scope(|scope| {
            let making: Vec<_> =
                standbys.iter().map(|standby| scope.spawn(|| standby.base_backup_from(primary))).collect();
            making.into_iter().try_for_each(|one| {
                one.join().unwrap_or_else(|_| Err(DemoError::State("making a standby panicked".into())))
            })
        })?;
        cluster.wait_streaming(primary, standbys.len(), deadline)?;
        cluster.start_daemons()
    }

    fn prepare_primary(&self, sandbox: &Sandbox, primary: &Node) -> Result<()> {
        let postgres = primary.require_postgres()?;
        let (dir, user) = (sandbox.postgres().dir(), self.sandbox.user.as_deref());
        if self.own_system_id {
            Template::make(dir, user)?.copy_to(postgres.data())?;
        } else {
            Template::shared(dir, user)?.copy_to(postgres.data())?;
        }
        // The same in every data directory, so that a rewind or a base backup, which copy this file
        // from another node, leave each node its own port.
        sandbox.write(&postgres.data().join("postgresql.conf"), "include '../node.conf'\n")?;
        let mut statements = Vec::new();
        if let Some(password) = postgres.access().password() {
            let hba = "local all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n\
                       host replication all 127.0.0.1/32 scram-sha-256\n";
            sandbox.write(&postgres.data().join("pg_hba.conf"), hba)?;
            for role in ["postgres", ROLE] {
                statements.push(format!("ALTER ROLE {role} PASSWORD '{password}'"));
            }
        }
        statements.extend(self.setup_sql.iter().cloned());
        if statements.is_empty() { Ok(()) } else { single_user(sandbox, postgres.data(), &statements) }
    }
}
