//! The text log: lines for people on a terminal, or JSON lines, written by a thread of its own.
//!
//! It must never block or end the daemon: lines that find the queue full are counted and dropped, and a
//! closed standard error is ignored. The event log, not this one, is the truth.

use crate::config::{LogFormat, LogLevel};
use slog::{Drain, FnValue, Level, Logger, Never, OwnedKVList, Record, SendSyncRefUnwindSafeKV, o};
use slog_async::{Async, AsyncGuard, OverflowStrategy};
use slog_term::{Decorator, FullFormat, TermDecorator};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

/// Lines that wait for the writing thread: seconds of a busy failover, and below a few MB.
const QUEUE_LINES_MAX: usize = 4096;

/// Keeps the writing thread alive, and changes the level. Dropped last, it writes what is queued.
pub struct LogGuard {
    level: Arc<AtomicUsize>,
    _flush: AsyncGuard,
}

impl LogGuard {
    /// Sets the least severe level written, from now on, for all loggers of this guard.
    pub fn set_level(&self, level: LogLevel) {
        self.level.store(slog_level(level).as_usize(), Ordering::Relaxed);
    }
}

/// Returns a logger to standard error and its guard. `values` stand on every line, for example
/// `o!("node" => name)`.
///
/// The terminal form is coloured on a terminal only, and not if `NO_COLOR` is set.
pub fn to_stderr<T>(level: LogLevel, format: LogFormat, values: slog::OwnedKV<T>) -> (Logger, LogGuard)
where
    T: SendSyncRefUnwindSafeKV + 'static,
{
    match format {
        LogFormat::Terminal => {
            let builder = TermDecorator::new().stderr();
            let plain = anstream::AutoStream::choice(&io::stderr()) == anstream::ColorChoice::Never;
            let decorator = if plain { builder.force_plain().build() } else { builder.build() };
            start(level, terminal(decorator), values)
        }
        LogFormat::Json => start(level, json(io::stderr()), values),
    }
}

/// Returns the terminal form: `2026-01-31T12:00:00.000Z INFO message, key: value`.
fn terminal<D: Decorator + Send + 'static>(decorator: D) -> impl Drain<Ok = (), Err = Never> + Send {
    FullFormat::new(decorator)
        .use_custom_timestamp(|out: &mut dyn Write| write!(out, "{}", now()))
        .use_original_order()
        .build()
        .ignore_res()
}

/// Returns the form of one JSON object a line, with `ts`, `level` and `msg`.
fn json<W: Write + Send + 'static>(out: W) -> impl Drain<Ok = (), Err = Never> + Send {
    let drain = slog_json::Json::new(out)
        .set_flush(true)
        .add_key_value(o!(
            "ts" => FnValue(|_: &Record<'_>| now()),
            "level" => FnValue(|record: &Record<'_>| level_word(record.level())),
            "msg" => FnValue(|record: &Record<'_>| record.msg().to_string()),
        ))
        .build();
    // slog-json keeps its writer in a cell; the one writing thread needs no lock, `Drain` asks for it.
    std::sync::Mutex::new(drain).ignore_res()
}

fn start<D, T>(level: LogLevel, drain: D, values: slog::OwnedKV<T>) -> (Logger, LogGuard)
where
    D: Drain<Ok = (), Err = Never> + Send + 'static,
    T: SendSyncRefUnwindSafeKV + 'static,
{
    let (queue, flush) = Async::new(drain)
        .chan_size(QUEUE_LINES_MAX)
        .overflow_strategy(OverflowStrategy::DropAndReport)
        .thread_name("pgfo-text-log".to_owned())
        .build_with_guard();
    let level = Arc::new(AtomicUsize::new(slog_level(level).as_usize()));
    let gate = Gate { level: Arc::clone(&level), inner: queue.ignore_res() };
    (Logger::root(gate, values), LogGuard { level, _flush: flush })
}

/// Lets through what is severe enough at this moment; a reload changes the level.
struct Gate<D> {
    level: Arc<AtomicUsize>,
    inner: D,
}

impl<D: Drain<Ok = (), Err = Never>> Drain for Gate<D> {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        if self.is_enabled(record.level()) { self.inner.log(record, values) } else { Ok(()) }
    }

    fn is_enabled(&self, level: Level) -> bool {
        level.as_usize() <= self.level.load(Ordering::Relaxed)
    }
}

/// ISO 8601 in UTC with milliseconds; hosts in different zones stay comparable.
fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

const fn slog_level(level: LogLevel) -> Level {
    match level {
        LogLevel::Error => Level::Error,
        LogLevel::Warning => Level::Warning,
        LogLevel::Info => Level::Info,
        LogLevel::Debug => Level::Debug,
    }
}

/// Returns the word that the configuration uses for a level.
const fn level_word(level: Level) -> &'static str {
    match level {
        Level::Critical => "critical",
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slog::{debug, error, info, warn};
    use slog_term::PlainDecorator;
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Shared {
        fn lines(&self) -> Vec<String> {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
        }
    }

    #[test]
    fn json_lines_are_whole_when_the_guard_is_gone() {
        let out = Shared::default();
        let (logger, guard) = start(LogLevel::Info, json(out.clone()), o!("node" => "n1"));
        for number in 0..100 {
            warn!(logger, "a \"line\"\nof two"; "number" => number);
        }
        drop(guard);
        info!(logger, "after the end: neither written nor a panic");
        let lines = out.lines();
        assert_eq!(lines.len(), 100);
        let last: serde_json::Value = serde_json::from_str(&lines[99]).unwrap();
        assert_eq!((&last["level"], &last["msg"]), (&"warning".into(), &"a \"line\"\nof two".into()));
        assert_eq!((&last["node"], &last["number"]), (&"n1".into(), &99.into()));
        assert!(humantime::parse_rfc3339(last["ts"].as_str().unwrap()).is_ok());
    }

    #[test]
    fn terminal_lines_begin_with_time_and_level() {
        let out = Shared::default();
        let (logger, guard) = start(LogLevel::Info, terminal(PlainDecorator::new(out.clone())), o!());
        info!(logger, "lease granted"; "term" => 3);
        drop(guard);
        let lines = out.lines();
        let (time, rest) = lines[0].split_once(' ').unwrap();
        assert_eq!((time.len(), rest), ("2026-01-31T12:00:00.000Z".len(), "INFO lease granted, term: 3"));
        assert!(humantime::parse_rfc3339(time).is_ok(), "{time}");
        assert!(!lines[0].contains('\u{1b}'), "no colour off a terminal");
    }

    #[test]
    fn the_level_changes_while_loggers_are_in_use() {
        let out = Shared::default();
        let (logger, guard) = start(LogLevel::Warning, json(out.clone()), o!());
        let child = logger.new(o!("actor" => "voter"));
        info!(child, "hidden");
        assert!(!child.is_enabled(Level::Info));
        guard.set_level(LogLevel::Debug);
        debug!(child, "shown");
        guard.set_level(LogLevel::Error);
        warn!(child, "hidden");
        error!(child, "shown");
        drop(guard);
        assert_eq!(out.lines().len(), 2, "{:?}", out.lines());
    }

    #[test]
    fn a_closed_output_does_not_end_the_daemon() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        for format in [LogFormat::Terminal, LogFormat::Json] {
            let (logger, guard) = match format {
                LogFormat::Terminal => start(LogLevel::Info, terminal(PlainDecorator::new(Closed)), o!()),
                LogFormat::Json => start(LogLevel::Info, json(Closed), o!()),
            };
            for _ in 0..10 {
                info!(logger, "into the void");
            }
            drop(guard);
        }
    }

    #[test]
    fn a_logger_to_standard_error_can_be_made() {
        for format in [LogFormat::Terminal, LogFormat::Json] {
            let (logger, guard) = to_stderr(LogLevel::Error, format, o!("node" => "n1"));
            info!(logger, "not shown at this level");
            drop(guard);
        }
    }
}
