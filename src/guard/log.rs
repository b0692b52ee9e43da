//! Where the guard's few lines for people go. A line that cannot be written at once is dropped: the
//! deadline does not wait for a log.

use super::frame::cut_at;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, Timespec, fstat};
use std::io::Write;

/// Takes one line, without a line feed. Must never block.
pub type Log = Box<dyn FnMut(&str) + Send>;

/// Longest line written, in bytes: within a pipe's atomic write, and within what `poll` vouches for.
const LINE_BYTES_MAX: usize = 1024;

/// Returns a log that keeps nothing.
#[must_use]
pub fn silent() -> Log {
    Box::new(|_| {})
}

/// Returns a log on standard error. When that is a regular file nothing but one line is written to it,
/// since a hung disk would hang the guard; give it a pipe or the journal.
#[must_use]
pub fn stderr() -> Log {
    let err = std::io::stderr();
    let is_file = fstat(&err).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::RegularFile);
    if is_file {
        writeln!(&err, "guard: logs nothing here: a file could hang it; give it a pipe or the journal").ok();
        return silent();
    }
    Box::new(move |line| {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut fds = [PollFd::new(&err, PollFlags::OUT)];
        if poll(&mut fds, Some(&at_once)).is_ok_and(|n| n > 0) {
            let line = &line[..cut_at(line, LINE_BYTES_MAX)];
            // A reader that went away must not end the guard.
            err.lock().write_all(format!("guard: {line}\n").as_bytes()).ok();
        }
    })
}
