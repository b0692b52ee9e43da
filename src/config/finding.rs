//! Findings: what is wrong with, or doubtful in, a configuration, and how to put it right.
//!
//! Owns the place of a finding (file, line, column, key) and its wording. It must never carry a
//! secret: values of conninfo strings do not enter a finding.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Errors shown of one file; what follows is counted only, because nobody reads further at once.
pub const ERRORS_SHOWN_MAX: usize = 50;

/// A line and a column of a file, both counted from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineColumn {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// One finding: where, about which key, what, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The configuration file as it was named.
    pub file: PathBuf,
    /// Where in the file; `None` when the finding is about the file or the world, not a place in it.
    pub at: Option<LineColumn>,
    /// Dotted path of the key, such as `lease.duration` or `member.node1.address`; may be empty.
    pub key: String,
    /// What was found, without a full stop.
    pub problem: String,
    /// What to do about it, as an imperative.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(at) = self.at {
            write!(f, ":{}:{}", at.line, at.column)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}; {}", self.problem, self.remedy)
    }
}

/// One reason why a configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub Finding);

/// Something that works, but that the operator should know. Shown at start and by `pgfo daemon --check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub Finding);

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// All errors of one configuration, in the order of the file; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub(super) Vec<ConfigError>);

impl ConfigErrors {
    /// Returns the errors, in the order of the file.
    #[must_use]
    pub fn errors(&self) -> &[ConfigError] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().take(ERRORS_SHOWN_MAX).enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            error.fmt(f)?;
        }
        match self.0.len().saturating_sub(ERRORS_SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more errors"),
        }
    }
}

/// What a value parser reports; the reader adds the place and the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What was found, without a full stop.
    pub(crate) problem: String,
    /// What to do about it, as an imperative.
    pub(crate) remedy: String,
}

impl Fault {
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }
}

/// Returns a value for a message: quoted, or not at all if it may be a connection string gone astray.
pub(super) fn quote(value: &str) -> String {
    if value.contains(['@', '=']) { "the value".to_owned() } else { format!("{value:?}") }
}

/// A byte range of the source text.
pub(super) type Span = Range<usize>;

/// Where a key stands, and whether its value is sound.
struct KeyPlace {
    span: Span,
    sound: bool,
}

/// The text of one file, where its keys stand, and what was found in it so far.
pub(super) struct Findings<'a> {
    file: &'a Path,
    text: &'a str,
    places: BTreeMap<String, KeyPlace>,
    errors: Vec<ConfigError>,
    warnings: Vec<Warning>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Self { file, text, places: BTreeMap::new(), errors: Vec::new(), warnings: Vec::new() }
    }

    /// Remembers where a key stands; of a key that is not written, where its section does.
    pub(super) fn place(&mut self, key: &str, span: Span, sound: bool) {
        self.places.insert(key.to_owned(), KeyPlace { span, sound });
    }

    /// Returns whether no error was reported of any of these keys, so that a check may build on them.
    pub(super) fn are_sound<K: AsRef<str>>(&self, keys: &[K]) -> bool {
        keys.iter().all(|key| self.places.get(key.as_ref()).is_none_or(|place| place.sound))
    }

    /// Returns the line of a key.
    pub(super) fn line_of(&self, key: &str) -> usize {
        locate(self.text, self.span_of(key).start).line
    }

    /// Reports an error at the place of `key`, and calls the key unsound.
    pub(super) fn error(&mut self, key: &str, fault: Fault) {
        let span = self.span_of(key);
        self.place(key, span.clone(), false);
        self.error_at(&span, key, fault);
    }

    /// Reports an error about `key`, which is not written, at the place of `neighbour`.
    pub(super) fn error_near(&mut self, neighbour: &str, key: &str, fault: Fault) {
        let span = self.span_of(neighbour);
        self.error_at(&span, key, fault);
    }

    /// Reports an error at a place of the text.
    pub(super) fn error_at(&mut self, span: &Span, key: &str, fault: Fault) {
        let finding = self.finding(span, key.to_owned(), fault);
        self.errors.push(ConfigError(finding));
    }

    /// Reports a warning at the place of `key`.
    pub(super) fn warn(&mut self, key: &str, fault: Fault) {
        let finding = self.finding(&self.span_of(key), key.to_owned(), fault);
        self.warnings.push(Warning(finding));
    }

    fn span_of(&self, key: &str) -> Span {
        self.places.get(key).map_or(0..0, |place| place.span.clone())
    }

    fn finding(&self, span: &Span, key: String, fault: Fault) -> Finding {
        let at = Some(locate(self.text, span.start));
        Finding { file: self.file.to_path_buf(), at, key, problem: fault.problem, remedy: fault.remedy }
    }

    /// Returns the warnings when nothing is wrong, else the errors, each in the order of the file.
    pub(super) fn finish(mut self) -> Result<Vec<Warning>, ConfigErrors> {
        if !self.errors.is_empty() {
            return Err(self.into_errors());
        }
        self.warnings.sort_by_key(|warning| warning.0.at);
        Ok(self.warnings)
    }

    /// Returns the errors in the order of the file.
    pub(super) fn into_errors(mut self) -> ConfigErrors {
        self.errors.sort_by_key(|error| error.0.at);
        ConfigErrors(self.errors)
    }
}

/// Returns the line and column of byte `offset`; past the end counts as the end.
pub(super) fn locate(text: &str, offset: usize) -> LineColumn {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    LineColumn { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
}
