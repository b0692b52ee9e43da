//! Owns how a column's next value is foreseen from what was read before: the plan that the writer
//! chooses, and its effect, which writer and reader share. It must never depend on anything that the
//! reader does not have.

/// A value that is known when the next one is foreseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Zero.
    Nothing,
    /// The newest value of a column, by its number over all classes.
    Column(usize),
}

/// Columns that belong to no class: the stamps of the record before, whatever its class.
pub(super) const LAST_BOOT: usize = 0;
pub(super) const LAST_WALL_LESS_BOOT: usize = 1;
pub(super) const COMMON_COLUMNS: usize = 2;

/// What the distance from the foreseen value teaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Learning {
    /// Nothing.
    Fixed,
    /// The next one will be off by as much.
    Whole,
    /// A quarter of it.
    Quarter,
}

/// How a column is foreseen: `plus - minus + offset`, all wrapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) plus: Source,
    pub(super) minus: Source,
    pub(super) offset: u64,
    pub(super) learning: Learning,
    /// It is always met: nothing more is stored of this column.
    pub(super) exact: bool,
}

impl Plan {
    /// The plan of a column that never changes.
    pub(super) const fn constant(value: u64) -> Self {
        Self {
            plus: Source::Nothing,
            minus: Source::Nothing,
            offset: value,
            learning: Learning::Fixed,
            exact: true,
        }
    }

    pub(super) fn is_constant(&self) -> bool {
        self.exact && self.plus == Source::Nothing && self.minus == Source::Nothing
    }

    /// Returns what is foreseen, given the newest values of all columns.
    #[inline]
    pub(super) fn foreseen(&self, newest: &[u64]) -> u64 {
        let value = |source| match source {
            Source::Nothing => 0,
            Source::Column(at) => newest[at],
        };
        value(self.plus).wrapping_sub(value(self.minus)).wrapping_add(self.offset)
    }

    /// Takes in by how much the value was above what was foreseen.
    #[inline]
    pub(super) fn learn(&mut self, above: u64) {
        self.offset = self.offset.wrapping_add(match self.learning {
            Learning::Fixed => 0,
            Learning::Whole => above,
            Learning::Quarter => (above as i64 / 4) as u64,
        });
    }
}
