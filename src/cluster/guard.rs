//! A simulated guard: the same rules as the guard process, in simulated time (L6, L7, L8).

use super::queue::Run;
use crate::core::{Incarnation, Nanos, Term};
use pgfo_replay::BootNanos;

/// A standstill of the host that fences at once while armed.
pub(super) const STALL_MAX: Nanos = Nanos::from_millis(1_000);

/// What the guard is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GuardState {
    /// Watches only.
    Idle,
    /// Fences at the deadline, less the reserve.
    Armed {
        /// The term of the lease.
        term: Term,
        /// When it ends.
        until: BootNanos,
    },
    /// Told to guard no more.
    StoodDown,
    /// Fenced.
    Fenced,
}

/// The guard of one host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Guard {
    /// What it is about.
    pub state: GuardState,
    /// Number of this run.
    pub run: Run,
    /// Whether a fence is under way.
    pub fencing: bool,
    /// How many fences have begun: one that ends late must not end a later one.
    pub fences: u64,
    /// Whether this data was ever guarded: a mark beside the data, which outlives everything (L9).
    pub marked: bool,
    highest: Term,
    ended: Term,
    /// The log whose terms these are.
    terms_of: Option<Incarnation>,
}

impl Guard {
    /// Makes an idle guard.
    #[must_use]
    pub const fn new(run: Run) -> Self {
        Self {
            state: GuardState::Idle,
            run,
            fencing: false,
            fences: 0,
            marked: false,
            highest: Term(0),
            ended: Term(0),
            terms_of: None,
        }
    }

    /// A new process takes the place of this one: only the mark on the disk is left.
    pub fn restart(&mut self, run: Run) {
        *self = Self { marked: self.marked, ..Self::new(run) };
    }

    /// Returns what of it tells two futures apart, its deadline aside.
    pub(super) fn shape(&self) -> impl std::hash::Hash + use<> {
        let armed = self.armed().map(|a| a.0);
        (std::mem::discriminant(&self.state), armed, self.fencing, self.marked, self.highest, self.ended)
    }

    /// Returns the deadline it holds.
    #[must_use]
    pub const fn armed(&self) -> Option<(Term, BootNanos)> {
        match self.state {
            GuardState::Armed { term, until } => Some((term, until)),
            _ => None,
        }
    }

    /// Returns the term it has fenced completely, and keeps so.
    #[must_use]
    pub fn fenced(&self) -> Option<Term> {
        (self.state == GuardState::Fenced && !self.fencing).then_some(self.ended)
    }

    /// Arms, or extends; returns whether the deadline is held.
    pub fn arm(
        &mut self,
        now: BootNanos,
        reserve: Nanos,
        term: Term,
        until: BootNanos,
        of: Incarnation,
    ) -> bool {
        if self.terms_of != Some(of) && self.armed().is_none() {
            self.terms_of = Some(of);
            (self.highest, self.ended) = (Term(0), Term(0));
        }
        if term <= self.ended || term < self.highest {
            return false;
        }
        if self.armed().is_some_and(|(t, held)| t == term && until <= held) {
            return true;
        }
        if until.0.saturating_sub(reserve.0) <= now.0 {
            return false;
        }
        self.highest = term;
        self.marked = true;
        self.state = GuardState::Armed { term, until };
        true
    }

    /// A fence begins: it ends every tenure known here.
    pub fn begin_fence(&mut self) {
        self.ended = self.ended.max(self.highest);
        self.state = GuardState::Fenced;
        self.fencing = true;
        self.fences += 1;
    }

    /// The tenure of a term is over; refused while processes are left and nothing was fenced. Whoever asked then
    /// has it stand down, unless a later term's deadline is held: what is left is a standby that goes on.
    pub fn release(&mut self, term: Term, sealed: bool, lives: bool) {
        let refused =
            self.fencing || term < self.highest || !sealed || lives && self.state != GuardState::Fenced;
        if refused {
            if term >= self.highest {
                self.stand_down();
            }
            return;
        }
        self.ended = self.ended.max(term);
        self.highest = self.highest.max(term);
        if self.state != GuardState::StoodDown {
            self.state = GuardState::Idle;
        }
    }

    /// Stands down, unless a fence is under way; returns whether it did.
    pub fn stand_down(&mut self) -> bool {
        if !self.fencing {
            self.state = GuardState::StoodDown;
        }
        !self.fencing
    }
}
