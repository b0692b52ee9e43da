//! Tells what the daemons log, live: one line a decision, with the time since the fault. A
//! projection of the logs; it adds nothing and leaves out what is below "info".

use super::cluster::Cluster;
use super::daemon::LogFollower;
use anstyle::{AnsiColor, Style};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// People can't tell a line that comes this much later.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// One line of a terminal; what is longer is in the log.
const MESSAGE_CHARS_MAX: usize = 160;

pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const BOLD: Style = Style::new().bold();
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(super) const GOOD: Style = AnsiColor::Green.on_default().bold();
const NODES: [AnsiColor; 4] = [AnsiColor::Cyan, AnsiColor::Magenta, AnsiColor::Yellow, AnsiColor::Blue];

/// Follows every daemon's log until dropped.
pub(super) struct Narrator {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Narrator {
    /// Starts to tell what is logged from `fault` on.
    pub(super) fn start(cluster: &Cluster, fault: SystemTime) -> Self {
        // Lines that are there already tell of the start, and may have no time of their own.
        let nodes = cluster.nodes().iter();
        let logs: Vec<(String, LogFollower)> = nodes
            .map(|node| (node.name().to_owned(), LogFollower::since(node.daemon_log(), node.log_mark())))
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || follow(logs, fault, &stopped));
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Narrator {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            anstream::eprintln!("pgfo: the narrator panicked; the logs themselves are whole");
        }
    }
}

fn follow(mut logs: Vec<(String, LogFollower)>, fault: SystemTime, stopped: &AtomicBool) {
    loop {
        // Looked at before reading, so that what was logged until the stop is told.
        let last_look = stopped.load(Ordering::Relaxed);
        let mut fresh = Vec::new();
        for (index, (name, follower)) in logs.iter_mut().enumerate() {
            for line in follower.new_lines() {
                if let Some((at, text)) = told(&line) {
                    fresh.push((at, index, name.clone(), text));
                }
            }
        }
        fresh.sort_by_key(|(at, index, ..)| (*at, *index));
        for (at, index, name, text) in fresh {
            if let Ok(since) = at.duration_since(fault) {
                tell(since, &name, NODES[index % NODES.len()], &text);
            }
        }
        if last_look {
            return;
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

fn tell(since: Duration, node: &str, colour: AnsiColor, text: &str) {
    let style = colour.on_default();
    let seconds = since.as_secs_f64();
    anstream::println!("  {DIM}+{seconds:7.3} s{DIM:#}  {style}{node:<9}{style:#} {text}");
}

/// Returns when a line was logged and its text, `None` if it is not for people who watch.
fn told(line: &str) -> Option<(SystemTime, String)> {
    let value: Value = serde_json::from_str(line).ok()?;
    let level = value.get("level").and_then(Value::as_str).unwrap_or("INFO").to_ascii_uppercase();
    if level.starts_with("DEB") || level.starts_with("TR") {
        return None;
    }
    let text = value.get("msg").or_else(|| value.get("message"))?.as_str()?;
    let stamp = value.get("ts").or_else(|| value.get("time")).and_then(Value::as_str);
    let at =
        stamp.and_then(|stamp| humantime::parse_rfc3339_weak(stamp).ok()).unwrap_or_else(SystemTime::now);
    Some((at, text.chars().take(MESSAGE_CHARS_MAX).collect()))
}

#[cfg(test)]
mod tests {
    use super::told;

    #[test]
    fn debug_lines_and_other_texts_are_left_out() {
        let line =
            r#"{"level":"INFO","ts":"2026-01-02T03:04:05.678Z","msg":"vote granted to node2, term 2"}"#;
        let (at, text) = told(line).unwrap();
        assert_eq!(humantime::format_rfc3339_millis(at).to_string(), "2026-01-02T03:04:05.678Z");
        assert_eq!(text, "vote granted to node2, term 2");
        assert!(told(r#"{"level":"DEBG","msg":"probe answered"}"#).is_none());
        assert!(told("no JSON").is_none());
    }
}
