//! A bed for tests of the guard: a throw-away PostgreSQL and a guard process beside it, both ended
//! with the bed.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(unreachable_pub, reason = "shared by test binaries, exported by none")]

use pgfo::core::{Incarnation, Nanos, Term};
use pgfo::guard::procs::{self, DataDir, Process};
use pgfo::guard::protocol::{Notice, ProcessId, Reply, Request, Status};
use pgfo::guard::{GuardClient, GuardError, GuardEvent, GuardEvents, LOCK_FILE, spawn};
use pgfo::os::boot_now;
use pgfo_replay::BootNanos;
use rustix::process::{Pid, Signal};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::task::JoinHandle;

/// The reserve of every guard in these tests.
pub const RESERVE: Nanos = Nanos::from_millis(600);
/// Longest wait for anything at all.
const PATIENCE: Duration = Duration::from_secs(20);
const BIN: &str = "/usr/lib/postgresql/15/bin";
/// PostgreSQL refuses to run as root.
const USER: &str = "postgres";

pub fn now() -> BootNanos {
    boot_now()
}

pub struct Bed {
    root: tempfile::TempDir,
    port: u16,
}

impl Bed {
    /// A data directory without a server.
    pub fn without_postgres() -> Self {
        let root = tempfile::Builder::new().prefix("guard").tempdir().unwrap();
        // The server's user must reach its directories through this one.
        std::fs::set_permissions(root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let bed = Self { root, port };
        std::fs::create_dir(bed.data_dir()).unwrap();
        bed
    }

    /// A running server that flushes, with one database.
    pub fn with_postgres() -> Self {
        let bed = Self::without_postgres();
        bed.give(&bed.data_dir());
        done(bed.server_command("initdb").args(["-A", "trust", "-N", "-D"]).arg(bed.data_dir()));
        let conf = format!(
            "port={}\nlisten_addresses='127.0.0.1'\nunix_socket_directories=''\nshared_buffers='16MB'\n",
            bed.port
        );
        let path = bed.data_dir().join("postgresql.auto.conf");
        std::fs::write(path, conf).unwrap();
        bed.start_postgres();
        bed
    }

    pub fn data_dir(&self) -> PathBuf {
        self.root.path().join("data")
    }

    pub fn run_dir(&self) -> PathBuf {
        self.root.path().join("run")
    }

    pub fn other_run_dir(&self) -> PathBuf {
        self.root.path().join("other")
    }

    /// The guard as a program; built here, since a run of some tests only builds no examples.
    pub fn exe() -> PathBuf {
        static EXE: OnceLock<PathBuf> = OnceLock::new();
        let build = || {
            let own = std::env::current_exe().unwrap();
            let target = own.ancestors().nth(2).unwrap();
            let profile = match target.file_name().and_then(|n| n.to_str()).unwrap() {
                "debug" => "dev",
                other => other,
            };
            done(
                Command::new(env!("CARGO"))
                    .args([
                        "build",
                        "--quiet",
                        "--example",
                        "guard_serve",
                        "--profile",
                        profile,
                        "--target-dir",
                    ])
                    .arg(target.parent().unwrap())
                    .current_dir(env!("CARGO_MANIFEST_DIR")),
            );
            target.join("examples/guard_serve")
        };
        EXE.get_or_init(build).clone()
    }

    pub fn guard_args(&self, run_dir: &Path) -> Vec<PathBuf> {
        vec![run_dir.into(), self.data_dir(), RESERVE.as_millis().to_string().into()]
    }

    fn server_command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(Self::as_server_user())
            .arg(format!("{BIN}/{program}"))
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }

    /// Arguments of `setpriv` in front of a program.
    pub fn as_server_user() -> [&'static str; 5] {
        ["--reuid", USER, "--regid", USER, "--clear-groups"]
    }

    /// Gives a directory to the server's user, making it if it is missing.
    pub fn give(&self, dir: &Path) {
        std::fs::create_dir_all(dir).unwrap();
        done(Command::new("chown").arg(USER).arg(dir));
    }

    pub fn start_postgres(&self) {
        let log = self.data_dir().join("server.log");
        done(
            self.server_command("pg_ctl")
                .args(["start", "-w", "-t", "20", "-s", "-D"])
                .arg(self.data_dir())
                .arg("-l")
                .arg(log),
        );
    }

    pub fn stop_postgres(&self) {
        done(
            self.server_command("pg_ctl").args(["stop", "-w", "-m", "fast", "-s", "-D"]).arg(self.data_dir()),
        );
    }

    pub fn sql(&self, text: &str) -> String {
        self.try_sql(text).unwrap()
    }

    pub fn try_sql(&self, text: &str) -> Result<String, String> {
        let Output { status, stdout, stderr } = Command::new(format!("{BIN}/psql"))
            .args(["-XAtq", "-h", "127.0.0.1", "-U", USER, "-d", "postgres", "-c", text])
            .args(["-p", &self.port.to_string()])
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
        if status.success() { Ok(text(&stdout)) } else { Err(text(&stderr)) }
    }

    pub fn processes(&self) -> Vec<Process> {
        procs::scan(&DataDir::resolve(&self.data_dir()).unwrap()).found
    }

    /// Waits for what outlives a killed postmaster, and for its reaping, without which its lock file
    /// looks alive to the next one. Neither is a child of this process, so neither can be awaited.
    pub fn wait_until_gone(&self, postmaster: ProcessId) {
        let until = now().plus_nanos(20_000_000_000);
        while !self.processes().is_empty() || Path::new(&format!("/proc/{postmaster}")).exists() {
            assert!(now() < until, "processes stay");
            std::thread::yield_now();
        }
    }

    pub fn kill(&self, pid: ProcessId, signal: Signal) {
        rustix::process::kill_process(Pid::from_raw(pid.0).unwrap(), signal).unwrap();
    }

    /// The process that holds the lock of the run directory, which is the guard.
    pub fn guard_pid(&self) -> ProcessId {
        self.find_guard().expect("a guard serves")
    }

    fn find_guard(&self) -> Option<ProcessId> {
        let lock = self.run_dir().join(LOCK_FILE);
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(lock).ok()?);
        locks.lines().find_map(|line| {
            let fields: Vec<_> = line.split_ascii_whitespace().collect();
            let is_it = fields.get(1) == Some(&"FLOCK") && fields.get(5)?.ends_with(&format!(":{inode}"));
            is_it.then(|| ProcessId(fields[4].parse().unwrap()))
        })
    }

    pub fn wait_for_guard_end(&self) {
        let until = now().plus_nanos(20_000_000_000);
        while self.find_guard().is_some() {
            assert!(now() < until, "the guard stays");
            std::thread::yield_now();
        }
    }

    pub fn guard_rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.guard_pid())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Connects, without being a daemon, and subscribes.
    pub async fn watch(&self) -> (GuardClient, GuardEvents) {
        let (client, events) = GuardClient::connect(&self.run_dir()).await.unwrap();
        assert!(matches!(ask(&client, Request::Watch).await, Ok(Reply::Status(_))));
        (client, events)
    }

    /// Runs this test binary's `daemon_process` test as a process of its own, until it has armed.
    pub fn start_daemon_process(&self, lease_ms: u64) -> Child {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["daemon_process", "--exact", "--ignored", "--nocapture"])
            .env("GUARD_TEST_ROOT", self.root.path())
            .env("GUARD_TEST_LEASE_MS", lease_ms.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
        assert!(
            lines.map_while(Result::ok).any(|l| l.contains("armed")),
            "the daemon process armed the guard"
        );
        child
    }

    /// Sessions that insert one row after another, each until its connection ends; each returns how
    /// many were acknowledged, and when the last was.
    pub async fn start_writers(&self, count: usize) -> Vec<JoinHandle<(u64, Option<BootNanos>)>> {
        let mut writers = Vec::new();
        for _ in 0..count {
            let dsn = format!("host=127.0.0.1 port={} user={USER} dbname=postgres", self.port);
            let (client, connection) = tokio_postgres::connect(&dsn, tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(async move { connection.await.ok() });
            writers.push(tokio::spawn(async move {
                let (mut acknowledged, mut last) = (0, None);
                while client.execute("insert into load values (1)", &[]).await.is_ok() {
                    acknowledged += 1;
                    last = Some(now());
                }
                (acknowledged, last)
            }));
        }
        writers
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Some(guard) = self.find_guard() {
            self.kill(guard, Signal::KILL);
        }
        if let Ok(dir) = DataDir::resolve(&self.data_dir()) {
            // Ends a server that is left; the bed goes in any case.
            let _ = pgfo::guard::fence::fence_directly(&dir, None);
        }
    }
}

/// One daemon's connection to the guard.
pub struct Daemon {
    pub client: GuardClient,
    pub incarnation: Incarnation,
}

impl Daemon {
    /// Starts the guard if there is none, connects, says hello.
    pub async fn start(bed: &Bed, incarnation: u64) -> (Self, GuardEvents) {
        let run_dir = bed.run_dir();
        let (client, events) = match GuardClient::connect(&run_dir).await {
            Ok(serves) => serves,
            Err(_) => spawn(&Bed::exe(), bed.guard_args(&run_dir), &run_dir, PATIENCE).await.unwrap(),
        };
        (Self::over(client, incarnation).await, events)
    }

    pub async fn over(client: GuardClient, incarnation: u64) -> Self {
        let daemon = Self { client, incarnation: Incarnation(incarnation) };
        daemon.hello().await;
        daemon
    }

    pub async fn hello(&self) {
        let hello = Request::Hello { incarnation: self.incarnation };
        assert_eq!(ask(&self.client, hello).await.unwrap(), Reply::Ok);
    }

    pub fn arm_request(&self, term: u64, deadline: BootNanos) -> Request {
        Request::Arm { term: Term(term), deadline, incarnation: self.incarnation }
    }

    pub async fn arm(&self, term: u64, deadline: BootNanos) -> Reply {
        ask(&self.client, self.arm_request(term, deadline)).await.unwrap()
    }

    pub async fn stand_down(&self) {
        let request = Request::StandDown { why: "end of test".into() };
        assert_eq!(ask(&self.client, request).await.unwrap(), Reply::Ok);
    }
}

pub async fn ask(client: &GuardClient, request: Request) -> Result<Reply, GuardError> {
    client.request(request, PATIENCE).await
}

pub async fn status(client: &GuardClient) -> Status {
    match ask(client, Request::Status).await.unwrap() {
        Reply::Status(status) => status,
        other => panic!("{other:?}"),
    }
}

/// Waits for the first notice that is wanted; others are passed over.
pub async fn expect_notice(events: &mut GuardEvents, wanted: impl Fn(&Notice) -> bool) -> Notice {
    let search = async {
        loop {
            match events.recv().await {
                Some(GuardEvent::Notice(notice)) if wanted(&notice) => return notice,
                Some(GuardEvent::Notice(_)) => {}
                other => panic!("instead of a notice: {other:?}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, search).await.expect("a notice in time")
}

fn done(command: &mut Command) {
    // A server inherits what it is started with; a pipe here would be held open by it.
    let status = command.stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}
