//! Reads the tables of a parsed file key by key, and remembers which keys exist.
//!
//! It must never stop at the first fault: a faulty key yields a stand-in and is marked unsound, so
//! that the rest is still read, and checks that build on the key are skipped.

use super::finding::{Fault, Findings, Span};
use std::cell::RefCell;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Reads one value.
pub(super) type Parse<T> = fn(&DeValue<'_>) -> Result<T, Fault>;

/// One table of the file while it is read.
pub(super) struct Section<'r, 'f> {
    /// Dotted path, such as `heartbeat` or `member[1]`; empty for the whole file.
    path: String,
    table: Option<&'r DeTable<'r>>,
    /// Where the table begins; where the file begins if the table is not written.
    span: Span,
    findings: &'r RefCell<Findings<'f>>,
    known: Vec<&'static str>,
}

impl<'r, 'f> Section<'r, 'f> {
    /// Returns the whole file as a section.
    pub(super) fn root(table: &'r DeTable<'r>, findings: &'r RefCell<Findings<'f>>) -> Self {
        Self { path: String::new(), table: Some(table), span: 0..0, findings, known: Vec::new() }
    }

    /// Returns whether the section is written in the file.
    pub(super) fn is_written(&self) -> bool {
        self.table.is_some()
    }

    /// Returns the sub-table `key`, empty if it is not written.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        let value = self.lookup(key);
        let table = value.and_then(|value| {
            let table = value.get_ref().as_table();
            if table.is_none() {
                self.not_a_section(key, value, "a section", &format!("write it as a section, [{key}]"));
            }
            table
        });
        self.child(
            self.key_path(key),
            table,
            value.map_or(0..0, Spanned::span),
            table.is_some() || value.is_none(),
        )
    }

    /// Returns the elements of the array of tables `key`, numbered from 1 in messages.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Self> {
        let Some(value) = self.lookup(key) else { return Vec::new() };
        let remedy = format!("write one section [[{key}]] for each, in two brackets");
        let Some(array) = value.get_ref().as_array() else {
            self.not_a_section(key, value, "a list of sections", &remedy);
            return Vec::new();
        };
        let mut sections = Vec::with_capacity(array.len());
        for (index, element) in array.iter().enumerate() {
            let table = element.get_ref().as_table();
            if table.is_none() {
                self.not_a_section(key, element, "a section", &remedy);
            }
            let path = format!("{}[{}]", self.key_path(key), index + 1);
            sections.push(self.child(path, table, element.span(), table.is_some()));
        }
        sections
    }

    /// Reads `key`; when it is not written, the value is `default`.
    pub(super) fn or<T>(&mut self, key: &'static str, parse: Parse<T>, default: T) -> T {
        self.optional(key, parse).unwrap_or(default)
    }

    /// Reads `key`; when it is not written, that is an error. A stand-in in case of errors.
    pub(super) fn required<T: Default>(&mut self, key: &'static str, parse: Parse<T>) -> T {
        if self.is_absent(key) {
            let section = match self.path.split_once('[') {
                Some((array, _)) => format!("this [[{array}]]"),
                None => format!("[{}]", self.path),
            };
            let fault = Fault::new("the key is missing", format!("add `{key} = …` to {section}"));
            let path = self.key_path(key);
            let mut findings = self.findings.borrow_mut();
            findings.place(&path, self.span.clone(), false);
            findings.error(&path, fault);
            return T::default();
        }
        self.optional(key, parse).unwrap_or_default()
    }

    /// Reads `key`; when it is not written or faulty, the value is `None`.
    pub(super) fn optional<T>(&mut self, key: &'static str, parse: Parse<T>) -> Option<T> {
        let path = self.key_path(key);
        let value = self.lookup(key);
        let mut findings = self.findings.borrow_mut();
        let Some(value) = value else {
            findings.place(&path, self.span.clone(), true);
            return None;
        };
        findings.place(&path, value.span(), true);
        match parse(value.get_ref()) {
            Ok(value) => Some(value),
            Err(fault) => {
                findings.error(&path, fault);
                None
            }
        }
    }

    /// Reports the keys that nobody asked for; called once all known keys were.
    pub(super) fn finish(self) {
        let Some(table) = self.table else { return };
        for key in table.keys() {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let meant = closest(name, self.known.iter().copied());
            if let Some(meant) = meant.filter(|meant| !table.contains_key(*meant)) {
                // Its default stands in for what was meant: not a value to judge.
                let path = self.key_path(meant);
                self.findings.borrow_mut().place(&path, key.span(), false);
            }
            let remedy = match meant {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("remove it; known here: {}", self.known.join(", ")),
            };
            let path = self.key_path(name);
            self.findings.borrow_mut().error_at(&key.span(), &path, Fault::new("unknown key", remedy));
        }
    }

    fn child(&self, path: String, table: Option<&'r DeTable<'r>>, span: Span, sound: bool) -> Self {
        self.findings.borrow_mut().place(&path, span.clone(), sound);
        Self { path, table, span, findings: self.findings, known: Vec::new() }
    }

    fn key_path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn is_absent(&mut self, key: &'static str) -> bool {
        self.lookup(key).is_none()
    }

    fn lookup(&mut self, key: &'static str) -> Option<&'r Spanned<DeValue<'r>>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table?.get(key)
    }

    fn not_a_section(&self, key: &str, value: &Spanned<DeValue<'_>>, expected: &str, remedy: &str) {
        let problem = format!("{expected} is expected, not {}", type_name(value.get_ref()));
        let path = self.key_path(key);
        let mut findings = self.findings.borrow_mut();
        findings.place(&path, value.span(), false);
        findings.error(&path, Fault::new(problem, remedy));
    }
}

/// Returns a type with its article.
pub(super) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a section",
    }
}

/// Returns the candidate that `word` was probably meant to be, if one is close enough.
pub fn closest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    /// Two edits in a long word, or a transposition, score above it; unrelated words do not.
    const SIMILARITY_MIN: f64 = 0.7;
    let word = word.to_ascii_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| (strsim::normalized_damerau_levenshtein(&word, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
