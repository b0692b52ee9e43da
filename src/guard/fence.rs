//! The fence (L7): seal, then SIGQUIT to the postmaster, soon SIGKILL to what is left, then scans until
//! nothing is left, then the seal again. Synchronous and bounded: one pass; who calls it repeats it
//! while [`FenceOutcome::is_complete`] is false.

use super::disk::SealResult;
use super::procs::{self, DataDir, Scan, Watched};
use super::protocol::{FenceOutcome, Postmaster, ProcessId, StartTicks};
use super::seal::{self, Sealed};
use crate::core::Nanos;
use crate::os::boot_now;
use pgfo_replay::BootNanos;
use rustix::process::Signal;
use std::time::Duration;

/// How long PostgreSQL has to end by itself after SIGQUIT, in which clients hear why; then SIGKILL.
/// An immediate shutdown takes a few ms; 100 ms cover a busy host.
pub const QUIT_GRACE: Nanos = Nanos::from_millis(100);
/// Empty scans in a row that mean that nothing is left: a fork between two reads of `/proc` hides one
/// process from one scan (D3).
pub const EMPTY_SCANS_MIN: u32 = 3;
/// Pause between scans at first: a killed process goes within a millisecond, and each one is write
/// outage when a postmaster has died.
pub const SCAN_PAUSE: Duration = Duration::from_millis(1);
/// Pause between later scans: what a few did not see go takes its time, and scans cost CPU.
pub const SCAN_PAUSE_LATER: Duration = Duration::from_millis(5);
/// Scans of one pass that are [`SCAN_PAUSE`] apart.
pub const QUICK_SCANS_MAX: u32 = 16;
/// Longest pass after the seal: then the caller answers its clients, and tries again.
pub const PASS_MAX: Nanos = Nanos::from_millis(1_500);
/// Longest wait for the seal: a flush under load takes tens of ms, a hung disk for ever.
pub const SEAL_WAIT_MAX: Nanos = Nanos::from_millis(500);
/// Shortest wait for the seal, also past the deadline: an unsealed PostgreSQL may be started again
/// writable, so an ordinary flush is worth waiting for.
pub const SEAL_WAIT_MIN: Nanos = Nanos::from_millis(50);

/// Fences a data directory from the calling thread, without a deadline: one pass. A postmaster that is held ends wherever it
/// works. A hung disk hangs this; the guard process has a thread for the disk instead.
#[must_use]
pub fn fence_directly(dir: &DataDir, postmaster: Option<&Watched>) -> FenceOutcome {
    let by = boot_now().plus_nanos(PASS_MAX.0);
    let mut dir = dir.clone();
    // Before it is signalled: its backends work where it does, and may outlive it.
    let unknown = postmaster.and_then(|held| dir.count_place_of(held.postmaster.pid).err());
    let outcome =
        fence(&dir, Some(by), postmaster.map_or(Head::Unknown, Head::Watched), &mut |_| match seal::seal(
            dir.path(),
        ) {
            Ok(sealed) => SealResult::Sealed(sealed),
            Err(e) => SealResult::Failed(e),
        });
    match unknown {
        None => outcome,
        Some(e) => {
            let why = format!("where the postmaster works can't be told: {e}");
            FenceOutcome { left: u32::MAX, seal_error: Some(super::frame::cut_text(why)), ..outcome }
        }
    }
}

/// What is known of the postmaster when a fence begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Head<'a> {
    /// It was seen to end: what is left are orphans, which nobody can ask to end, and whose clients
    /// hear nothing from them. They are killed at once (D3: one may still acknowledge).
    Gone,
    /// It may live: it is asked first.
    Unknown,
    /// It lives, and is held by a descriptor: it ends wherever its data directory has gone, and whatever can be looked at.
    Watched(&'a Watched),
}

/// Makes one pass. `by`: when the lease ends; none: it has, so there is no grace. `sealer` seals, and
/// takes at most the given time.
pub(super) fn fence(
    dir: &DataDir,
    by: Option<BootNanos>,
    head: Head<'_>,
    sealer: &mut dyn FnMut(Duration) -> SealResult,
) -> FenceOutcome {
    let started = boot_now();
    let mut pass =
        Pass { dir, head, sealer, killed: Vec::new(), scans: 0, last: Scan::default(), seal: None };
    pass.seal(seal_wait(by, started));
    match head {
        Head::Gone => {}
        Head::Unknown => pass.quit(by),
        Head::Watched(postmaster) => pass.quit_watched(postmaster, by),
    }
    let until = boot_now().plus_nanos(PASS_MAX.0);
    let clear = loop {
        let clear = pass.kill_until_clear(until);
        // Somebody may have removed the seal, and started a PostgreSQL in between: look again.
        let put_back = pass.seal(SEAL_WAIT_MAX) == Some(Sealed::Created);
        if !clear || !put_back {
            break clear;
        }
        if boot_now() >= until {
            break false;
        }
    };
    pass.outcome(started, clear)
}

/// Half of what is left until the lease ends, less the grace, within the bounds above.
fn seal_wait(by: Option<BootNanos>, now: BootNanos) -> Nanos {
    let left = by.map_or(0, |by| by.nanos_since(now)).saturating_sub(QUIT_GRACE.0);
    Nanos((left / 2).clamp(SEAL_WAIT_MIN.0, SEAL_WAIT_MAX.0))
}

/// When SIGKILL is due: after the grace, but with half of what is left of the lease in hand.
fn kill_at(by: Option<BootNanos>, now: BootNanos) -> BootNanos {
    let left = by.map_or(0, |by| by.nanos_since(now));
    now.plus_nanos(QUIT_GRACE.0.min(left / 2))
}

struct Pass<'a> {
    dir: &'a DataDir,
    head: Head<'a>,
    sealer: &'a mut dyn FnMut(Duration) -> SealResult,
    killed: Vec<(ProcessId, StartTicks)>,
    scans: u32,
    last: Scan,
    /// The last word about the seal: there, or why that is not known.
    seal: Option<Result<(), String>>,
}

impl Pass<'_> {
    fn seal(&mut self, within: Nanos) -> Option<Sealed> {
        let (known, sealed) = match (self.sealer)(Duration::from_nanos(within.0)) {
            SealResult::Sealed(sealed) => (Ok(()), Some(sealed)),
            SealResult::Failed(e) => (Err(e.to_string()), None),
            SealResult::Unknown => (Err(format!("the disk did not answer within {within}")), None),
        };
        self.seal = Some(known);
        sealed
    }

    fn scan(&mut self) -> bool {
        self.scans += 1;
        self.last = procs::scan(self.dir);
        self.last.is_empty()
    }

    /// Asks the postmaster for an immediate shutdown, and waits while the lease allows.
    fn quit(&mut self, by: Option<BootNanos>) {
        let kill_at = kill_at(by, boot_now());
        if boot_now() >= kill_at || self.scan() {
            return;
        }
        for root in procs::roots(&self.last.found) {
            // A failure here is made good by SIGKILL.
            procs::signal(self.dir, root.pid, Signal::QUIT).ok();
        }
        while boot_now() < kill_at {
            self.pause();
            if self.scan() {
                return;
            }
        }
    }

    /// As [`Self::quit`], without a look at anything but the postmaster itself; its children end before it does.
    fn quit_watched(&mut self, postmaster: &Watched, by: Option<BootNanos>) {
        let kill_at = kill_at(by, boot_now());
        postmaster.signal(Signal::QUIT);
        while boot_now() < kill_at && !postmaster.has_ended() {
            self.pause();
        }
        self.kill_watched(postmaster);
    }

    fn kill_watched(&mut self, postmaster: &Watched) {
        if postmaster.has_ended() {
            return;
        }
        postmaster.signal(Signal::KILL);
        let Postmaster { pid, start } = postmaster.postmaster;
        if !self.killed.contains(&(pid, start)) {
            self.killed.push((pid, start));
        }
    }

    fn head_lives(&self) -> bool {
        matches!(self.head, Head::Watched(postmaster) if !postmaster.has_ended())
    }

    /// Kills and scans until enough scans in a row are empty; returns whether that came to be.
    fn kill_until_clear(&mut self, until: BootNanos) -> bool {
        let mut empty = 0;
        loop {
            empty = if self.scan() && !self.head_lives() { empty + 1 } else { 0 };
            if empty >= EMPTY_SCANS_MIN {
                return true;
            }
            if boot_now() >= until {
                return false;
            }
            self.kill();
            self.pause();
        }
    }

    fn pause(&self) {
        std::thread::sleep(if self.scans < QUICK_SCANS_MAX { SCAN_PAUSE } else { SCAN_PAUSE_LATER });
    }

    fn kill(&mut self) {
        if let Head::Watched(postmaster) = self.head {
            self.kill_watched(postmaster);
        }
        for process in &self.last.found {
            let sent = procs::signal(self.dir, process.pid, Signal::KILL).unwrap_or(false);
            let one = (process.pid, process.start);
            if sent && !self.killed.contains(&one) {
                self.killed.push(one);
            }
        }
    }

    /// `clear`: enough empty scans in a row since the last seal. One empty scan proves nothing (D3).
    fn outcome(self, started: BootNanos, clear: bool) -> FenceOutcome {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let left = self.last.left();
        let seal = self.seal.unwrap_or_else(|| Err("not tried".into()));
        let sealed = seal.is_ok();
        let unseen = self.last.unseen.map(|e| format!("it is sealed, but {e}"));
        FenceOutcome {
            sealed,
            seal_error: seal.err().or(unseen).map(super::frame::cut_text),
            killed: count(self.killed.len()),
            scans: self.scans,
            left: if left == 0 && !clear { u32::MAX } else { left },
            uninterruptible: count(self.last.found.iter().filter(|p| p.uninterruptible).count()),
            started,
            took: Nanos(boot_now().nanos_since(started)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::process::Command;

    #[test]
    fn kills_what_does_not_listen_to_sigquit() {
        let dir = seal::stand_in();
        let mut deaf = Command::new("sh")
            .args(["-c", "trap '' QUIT; echo ready; while :; do read x; done"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .current_dir(dir.path())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        std::io::Read::read_exact(deaf.stdout.as_mut().unwrap(), &mut ready).unwrap();
        let outcome = fence_directly(&DataDir::resolve(dir.path()).unwrap(), None);
        assert!(outcome.is_complete(), "{outcome:?}");
        assert_eq!(outcome.killed, 1);
        assert!(outcome.scans > EMPTY_SCANS_MIN);
        assert!(outcome.took >= QUIT_GRACE);
        assert!(seal::is_sealed(dir.path()).unwrap());
        deaf.wait().unwrap();
    }

    #[test]
    fn what_a_dead_postmaster_left_behind_gets_no_grace() {
        let dir = seal::stand_in();
        let mut orphan = Command::new("sleep").arg("60").current_dir(dir.path()).spawn().unwrap();
        let path = dir.path();
        let by = boot_now().plus_nanos(PASS_MAX.0);
        let outcome = fence(&DataDir::resolve(path).unwrap(), Some(by), Head::Gone, &mut |_| {
            SealResult::Sealed(seal::seal(path).unwrap())
        });
        assert!(outcome.is_complete() && outcome.scans >= EMPTY_SCANS_MIN);
        assert_eq!(outcome.killed, 1);
        assert_eq!(orphan.wait().unwrap().code(), None);
    }

    /// An operator puts a new directory in the place of one whose PostgreSQL he takes for stopped.
    #[test]
    fn who_is_watched_ends_wherever_its_directory_has_gone() {
        let outer = tempfile::tempdir().unwrap();
        let (here, aside) = (outer.path().join("data"), outer.path().join("data.old"));
        std::fs::create_dir(&here).unwrap();
        std::fs::write(here.join("PG_VERSION"), "15\n").unwrap();
        let sleeper = || Command::new("sleep").arg("60").current_dir(&here).spawn().unwrap();
        let (mut postmaster, mut backend) = (sleeper(), sleeper());
        let mut dir = DataDir::resolve(&here).unwrap();
        let pid = ProcessId(i32::try_from(postmaster.id()).unwrap());
        let watched = procs::watch(&dir, pid).unwrap().unwrap();
        std::fs::rename(&here, &aside).unwrap();
        std::fs::create_dir(&here).unwrap();
        std::fs::write(here.join("PG_VERSION"), "15\n").unwrap();
        let replaced = DataDir::resolve(&here).unwrap();
        dir.look_anew(None, replaced.inode());
        dir.forget_deserted();
        assert!(procs::scan(&replaced).is_empty(), "the new one alone tells nothing");
        let by = boot_now().plus_nanos(PASS_MAX.0);
        let outcome = fence(&dir, Some(by), Head::Watched(&watched), &mut |_| {
            SealResult::Sealed(seal::seal(&here).unwrap())
        });
        assert!(outcome.is_complete() && watched.has_ended(), "{outcome:?}");
        assert_eq!((postmaster.wait().unwrap().code(), backend.wait().unwrap().code()), (None, None));
        dir.forget_deserted();
        assert_eq!(dir, replaced);
    }

    /// As above, by a fence that is told of nothing but the postmaster: its backends are found by where it works.
    #[test]
    fn who_outlives_the_postmaster_that_is_held_is_found_where_that_worked() {
        let outer = tempfile::tempdir().unwrap();
        let (here, aside) = (outer.path().join("data"), outer.path().join("data.old"));
        std::fs::create_dir(&here).unwrap();
        let sleeper = || Command::new("sleep").arg("60").current_dir(&here).spawn().unwrap();
        let (mut postmaster, mut backend) = (sleeper(), sleeper());
        let pid = ProcessId(i32::try_from(postmaster.id()).unwrap());
        let watched = procs::watch(&DataDir::resolve(&here).unwrap(), pid).unwrap().unwrap();
        std::fs::rename(&here, &aside).unwrap();
        std::fs::create_dir(&here).unwrap();
        let replaced = DataDir::resolve(&here).unwrap();
        let outcome = fence_directly(&replaced, Some(&watched));
        assert!(outcome.is_complete() && watched.has_ended(), "{outcome:?}");
        assert_eq!((postmaster.wait().unwrap().code(), backend.wait().unwrap().code()), (None, None));
        // Of one that is gone nobody can tell where it worked.
        let unknown = fence_directly(&replaced, Some(&watched));
        assert!(!unknown.is_complete() && unknown.left == u32::MAX, "{unknown:?}");
    }

    /// An operator moves the data to another disk, and turns the link to it.
    #[test]
    fn who_works_behind_a_link_that_was_turned_is_fenced_there() {
        let outer = tempfile::tempdir().unwrap();
        let (link, before, after) =
            (outer.path().join("data"), outer.path().join("a"), outer.path().join("b"));
        for disk in [&before, &after] {
            std::fs::create_dir(disk).unwrap();
            std::fs::write(disk.join("PG_VERSION"), "15\n").unwrap();
        }
        std::os::unix::fs::symlink(&before, &link).unwrap();
        let mut dir = DataDir::resolve(&link).unwrap();
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&after, &link).unwrap();
        let mut postmaster = Command::new("sleep").arg("60").current_dir(&link).spawn().unwrap();
        let mut orphan = Command::new("sleep").arg("60").current_dir(&before).spawn().unwrap();
        dir.look_anew(std::fs::canonicalize(&link).ok(), procs::inode_of(&link));
        dir.forget_deserted();
        assert!(dir.was_replaced(), "somebody still works where it was");
        let outcome = fence_directly(&dir, None);
        assert!(outcome.is_complete(), "{outcome:?}");
        assert!(seal::is_sealed(&after).unwrap() && !seal::is_sealed(&before).unwrap());
        assert_eq!((postmaster.wait().unwrap().code(), orphan.wait().unwrap().code()), (None, None));
        dir.forget_deserted();
        assert!(!dir.was_replaced());
    }

    #[test]
    fn past_the_deadline_there_is_no_grace() {
        let dir = seal::stand_in();
        let mut child = Command::new("sleep").arg("60").current_dir(dir.path()).spawn().unwrap();
        let path = dir.path();
        let outcome = fence(&DataDir::resolve(path).unwrap(), None, Head::Unknown, &mut |_| {
            SealResult::Sealed(seal::seal(path).unwrap())
        });
        assert!(outcome.is_complete());
        assert_eq!(outcome.killed, 1);
        assert_eq!(child.wait().unwrap().code(), None);
    }

    #[test]
    fn a_disk_that_does_not_answer_does_not_hold_the_kill() {
        let dir = seal::stand_in();
        let mut child = Command::new("sleep").arg("60").current_dir(dir.path()).spawn().unwrap();
        let outcome =
            fence(&DataDir::resolve(dir.path()).unwrap(), Some(boot_now()), Head::Unknown, &mut |_| {
                SealResult::Unknown
            });
        assert!(!outcome.sealed && outcome.left == 0 && !outcome.is_complete());
        assert!(outcome.seal_error.unwrap().contains("did not answer"));
        child.wait().unwrap();
    }

    /// The pass runs out just as what was left goes, or as the seal is put back: who might have been
    /// started, or forked, in between was not looked for.
    #[test]
    fn a_pass_that_ran_out_claims_no_emptiness() {
        let dir = seal::stand_in();
        let dir_data = DataDir::resolve(dir.path()).unwrap();
        let mut none = |_: Duration| SealResult::Unknown;
        let mut pass = Pass {
            dir: &dir_data,
            head: Head::Unknown,
            sealer: &mut none,
            killed: Vec::new(),
            scans: 0,
            last: Scan::default(),
            seal: None,
        };
        assert!(!pass.kill_until_clear(boot_now()), "one scan is not enough");
        assert!(pass.last.is_empty());
        let outcome = pass.outcome(boot_now(), false);
        assert_eq!(outcome.left, u32::MAX);

        let seals = Cell::new(0);
        let late = fence(&dir_data, None, Head::Unknown, &mut |_| {
            seals.set(seals.get() + 1);
            let sealed = seal::seal(dir.path()).unwrap();
            if seals.get() == 1 {
                seal::unseal(dir.path()).unwrap();
            } else {
                std::thread::sleep(Duration::from_nanos(PASS_MAX.0));
            }
            SealResult::Sealed(sealed)
        });
        assert!(!late.is_complete(), "{late:?}");
    }

    #[test]
    fn a_seal_removed_meanwhile_is_put_back_and_looked_behind() {
        let dir = seal::stand_in();
        let (path, seals) = (dir.path(), Cell::new(0));
        let outcome = fence(&DataDir::resolve(path).unwrap(), None, Head::Unknown, &mut |_| {
            seals.set(seals.get() + 1);
            let sealed = seal::seal(path).unwrap();
            if seals.get() == 1 {
                seal::unseal(path).unwrap();
            }
            SealResult::Sealed(sealed)
        });
        assert!(outcome.is_complete());
        assert_eq!(seals.get(), 3);
        assert!(outcome.scans >= 2 * EMPTY_SCANS_MIN);
    }

    #[test]
    fn the_waits_shrink_with_the_lease() {
        let now = BootNanos(1_000_000_000_000);
        assert_eq!(seal_wait(None, now), SEAL_WAIT_MIN);
        assert_eq!(seal_wait(Some(now.plus_nanos(10_000_000_000)), now), SEAL_WAIT_MAX);
        assert_eq!(seal_wait(Some(now.plus_nanos(500_000_000)), now), Nanos::from_millis(200));
        assert_eq!(kill_at(None, now), now);
        assert_eq!(kill_at(Some(now.plus_nanos(40_000_000)), now), now.plus_nanos(20_000_000));
        assert_eq!(kill_at(Some(now.plus_nanos(9_000_000_000)), now), now.plus_nanos(QUIT_GRACE.0));
    }
}
