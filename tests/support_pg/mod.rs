//! A throw-away PostgreSQL for tests: made by initdb or pg_basebackup, on loopback and a free port, run as user
//! `postgres` when the tests run as root, and gone at the end.
#![allow(dead_code, unreachable_pub)]

use pgfo::postgres::{ConnInfo, Connector, Environment, Session};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Once;
use std::time::Duration;
use tokio::time::Instant;

static REAPER: Once = Once::new();

pub fn bin(program: &str) -> String {
    let dirs = ["/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/15/bin"];
    let found = dirs.iter().find(|dir| Path::new(dir).join("initdb").exists());
    format!("{}/{program}", found.unwrap_or(&"/usr/lib/postgresql/15/bin"))
}

/// Runs a program as the user that PostgreSQL may run as.
pub fn as_postgres(args: &[&str]) -> Output {
    let root = rustix::process::geteuid().is_root();
    let mut command = if root {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]);
        command.arg(args[0]);
        command
    } else {
        Command::new(args[0])
    };
    command.args(&args[1..]).current_dir("/").env_remove("PGPASSWORD");
    command.output().expect("could not start the program")
}

fn run(args: &[&str]) {
    let out = as_postgres(args);
    assert!(
        out.status.success(),
        "{args:?}: {}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn deadline(millis: u64) -> Instant {
    Instant::now() + Duration::from_millis(millis)
}

pub struct Cluster {
    dir: tempfile::TempDir,
    pub port: u16,
}

impl Cluster {
    fn empty() -> Self {
        // Orphans become ours, so that a killed postmaster can be waited for.
        REAPER.call_once(|| rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1)).unwrap());
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        Self { dir, port: free_port() }
    }

    /// A primary, started.
    pub fn primary() -> Self {
        let this = Self::empty();
        run(&[
            &bin("initdb"),
            "-D",
            this.data_str(),
            "-A",
            "trust",
            "-U",
            "postgres",
            "--no-sync",
            "-E",
            "UTF8",
        ]);
        this.configure("wal_level = replica\nmax_wal_senders = 8\nhot_standby = on\nautovacuum = off\n");
        this.start();
        this
    }

    /// A standby of `upstream`, streaming.
    pub fn standby_of(upstream: &Self) -> Self {
        let this = Self::empty();
        let port = upstream.port.to_string();
        run(&[
            &bin("pg_basebackup"),
            "-D",
            this.data_str(),
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            "postgres",
            "-R",
            "-c",
            "fast",
            "-X",
            "stream",
            "--no-sync",
        ]);
        this.configure("");
        this.start();
        this.wait_for("SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'");
        this
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn data_str(&self) -> &'static str {
        // A test leaks a few of these.
        Box::leak(self.data().display().to_string().into_boxed_str())
    }

    pub fn configure(&self, more: &str) {
        let text = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{}'\nshared_buffers = 16MB\nlog_line_prefix = '%m [%p] %b '\n{more}",
            self.port,
            self.dir.path().display()
        );
        use std::io::Write;
        let mut file =
            std::fs::OpenOptions::new().append(true).open(self.data().join("postgresql.conf")).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    pub fn start(&self) {
        let log = self.dir.path().join("log");
        let log = log.display().to_string();
        run(&[&bin("pg_ctl"), "-D", self.data_str(), "-w", "-t", "60", "-s", "-l", &log, "start"]);
    }

    pub fn start_without_waiting(&self) {
        let log = self.dir.path().join("log").display().to_string();
        run(&[&bin("pg_ctl"), "-D", self.data_str(), "-W", "-s", "-l", &log, "start"]);
    }

    pub fn stop(&self, mode: &str) {
        let pid = self.postmaster_pid();
        as_postgres(&[&bin("pg_ctl"), "-D", self.data_str(), "-w", "-s", "-m", mode, "stop"]);
        reap(pid);
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub fn conninfo_text(&self) -> String {
        format!("host=127.0.0.1 port={} user=postgres dbname=postgres sslmode=disable", self.port)
    }

    pub fn conninfo(&self, more: &str) -> ConnInfo {
        ConnInfo::parse(&format!("{} {more}", self.conninfo_text()), &Environment::of("postgres", None, &[]))
            .unwrap()
    }

    pub fn connector(&self) -> Connector {
        Connector::new(self.conninfo("")).unwrap()
    }

    pub fn session(&self) -> Session {
        Session::new(self.connector(), &self.data())
    }

    /// Runs SQL by psql and returns what it printed.
    pub fn sql(&self, sql: &str) -> String {
        let out = self.try_sql(sql);
        assert!(out.status.success(), "{sql}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    pub fn try_sql(&self, sql: &str) -> Output {
        let port = self.port.to_string();
        as_postgres(&[
            &bin("psql"),
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            "postgres",
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            sql,
        ])
    }

    /// Waits until a query returns a row.
    pub fn wait_for(&self, sql: &str) {
        let end = std::time::Instant::now() + Duration::from_secs(30);
        while String::from_utf8_lossy(&self.try_sql(sql).stdout).trim().is_empty() {
            assert!(std::time::Instant::now() < end, "never true: {sql}\n{}", self.log());
            std::thread::yield_now();
        }
    }

    pub fn postmaster_pid(&self) -> i32 {
        pgfo::postgres::postmaster_pid(&self.data()).unwrap().expect("no postmaster")
    }

    pub fn signal_postmaster(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.postmaster_pid()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let end = std::time::Instant::now() + Duration::from_secs(5);
        let pid = pgfo::postgres::postmaster_pid(&self.data()).ok().flatten();
        let _left = pgfo::postgres::sweep(&self.data(), end);
        if let Some(pid) = pid {
            reap(pid);
        }
    }
}

/// Waits for an adopted postmaster that has ended, so that no zombie holds its number.
pub fn reap(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    // Not our child while its parent lives: then that one waits for it.
    while let Ok(None) = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG) {
        std::thread::yield_now();
    }
}
