//! On what it was measured.

use super::Bench;
use crate::demo::PostgresBin;
use serde::Serialize;

/// The machine and its load.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    /// Version of pgfo.
    pub(super) version: &'static str,
    /// `release` or `debug`.
    pub(super) build: &'static str,
    /// What PostgreSQL calls itself.
    pub(super) postgres: String,
    /// Kernel release.
    pub(super) kernel: String,
    /// Processor.
    pub(super) processor: String,
    /// Cores that may be used.
    pub(super) cores: usize,
    /// When it began.
    pub(super) began: String,
    /// Load average over a minute before, which says who else was busy.
    pub(super) load_at_start: f64,
    /// The same afterwards; includes the benchmark itself.
    pub(super) load_at_end: f64,
}

/// Returns the load average over the last minute; 0 if the system does not tell.
pub(super) fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

/// Describes the machine, and the PostgreSQL if one is needed.
pub(super) fn describe(bench: &Bench, with_postgres: bool) -> anyhow::Result<Machine> {
    let mut postgres = "no PostgreSQL".to_owned();
    if with_postgres {
        let found = PostgresBin::find(bench.sandbox.postgres_bin.as_deref())?;
        let version = std::process::Command::new(found.program("postgres")).arg("--version").output()?;
        postgres = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    }
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split(':').nth(1));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Ok(Machine {
        version: env!("CARGO_PKG_VERSION"),
        build: if cfg!(debug_assertions) { "debug" } else { "release" },
        postgres,
        kernel: kernel.trim().to_owned(),
        processor: model.unwrap_or("unknown").trim().to_owned(),
        cores: std::thread::available_parallelism()?.get(),
        began: humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string(),
        load_at_start: load(),
        load_at_end: 0.0,
    })
}
