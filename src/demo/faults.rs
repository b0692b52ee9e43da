//! Faults of one node: killed and frozen processes. Every one returns when it has taken effect.

use super::error::{DemoError, Result};
use super::node::Node;
use super::processes::{self, Process, Signal};
use rustix::process::Pid;

impl Node {
    /// Kills the postmaster with SIGKILL, and returns when it is gone. Busy backends outlive it by
    /// some milliseconds.
    ///
    /// # Errors
    /// When it isn't running.
    pub fn kill_postmaster(&self) -> Result<()> {
        processes::await_gone(self.signal_postmaster_kill()?)
    }

    /// Sends the postmaster SIGKILL, and does not wait.
    pub(super) fn signal_postmaster_kill(&self) -> Result<Pid> {
        let postmaster = self.require_postmaster()?;
        processes::send(postmaster.pid, Signal::KILL)?;
        Ok(postmaster.pid)
    }

    /// Stops the postmaster alone with SIGSTOP: old sessions are served, new ones hang.
    ///
    /// # Errors
    /// When it isn't running.
    pub fn freeze_postmaster(&self) -> Result<()> {
        processes::send(self.require_postmaster()?.pid, Signal::STOP)
    }

    /// Ends [`Self::freeze_postmaster`].
    ///
    /// # Errors
    /// When it isn't running.
    pub fn thaw_postmaster(&self) -> Result<()> {
        processes::send(self.require_postmaster()?.pid, Signal::CONT)
    }

    /// Stops every process of the node with SIGSTOP: PostgreSQL, daemon and guard.
    ///
    /// # Errors
    /// When a process can't be stopped.
    pub fn freeze_node(&self) -> Result<()> {
        processes::freeze_below(self.dir())
    }

    /// Ends [`Self::freeze_node`].
    ///
    /// # Errors
    /// When a process can't be signalled.
    pub fn thaw_node(&self) -> Result<()> {
        processes::thaw_below(self.dir())
    }

    /// Kills every process of the node at one instant: PostgreSQL, daemon and guard. The address
    /// stays: a connection is refused, where it would get no answer from a host without power.
    ///
    /// # Errors
    /// When a process can't be killed.
    pub fn kill_node(&self) -> Result<()> {
        processes::kill_below(self.dir())?;
        self.reap_daemon()
    }

    /// Returns the numbers of the node's living processes.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let all = processes::below(self.dir()).into_iter();
        all.filter_map(|process| u32::try_from(process.pid.as_raw_nonzero().get()).ok()).collect()
    }

    /// Returns true if the node has processes, and every one of them is stopped.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        let all = processes::below(self.dir());
        !all.is_empty() && all.iter().all(Process::is_stopped)
    }

    fn require_postmaster(&self) -> Result<Process> {
        let none = || DemoError::State(format!("{}: no postmaster runs", self.name()));
        self.require_postgres()?;
        self.postmaster().ok_or_else(none)
    }
}
