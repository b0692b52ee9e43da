//! A configured command, with passwords in it kept out of sight.
//!
//! It must never be run from here, nor shown but masked.

use super::conninfo::mask_ranges;
use std::fmt;

/// A command line for the shell.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandLine(String);

impl CommandLine {
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Returns the text itself, secrets included: for running, never for showing.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the text with the mask in the place of what looks like a password.
    #[must_use]
    pub fn masked(&self) -> String {
        mask(&self.0)
    }

    /// Returns whether something in it looks like a password.
    #[must_use]
    pub fn has_secret(&self) -> bool {
        self.masked() != self.0
    }
}

impl fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommandLine({:?})", self.masked())
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

/// Returns `command` with the mask in the place of what follows `password=` (as in `PGPASSWORD=…`), up to
/// the next space outside quotes.
fn mask(command: &str) -> String {
    const WORD: &str = "password";
    let lower = command.to_ascii_lowercase();
    let mut ranges = Vec::new();
    let mut from = 0;
    while let Some(found) = lower[from..].find(WORD) {
        from += found + WORD.len();
        if command[from..].trim_start().starts_with('=') {
            let equals = from + command[from..].find('=').unwrap_or(0) + 1;
            let start = equals + (command[equals..].len() - command[equals..].trim_start().len());
            let end = shell_word_end(command, start);
            ranges.push(start..end);
            from = end;
        }
    }
    mask_ranges(command, &ranges)
}

fn shell_word_end(command: &str, start: usize) -> usize {
    let mut quote = None;
    for (offset, c) in command[start..].char_indices() {
        match quote {
            None if c.is_whitespace() => return start + offset,
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => {}
        }
    }
    command.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_commands_are_masked() {
        assert_eq!(mask("PGPASSWORD='a b' pg_ctl start"), "PGPASSWORD=******** pg_ctl start");
        assert_eq!(mask("x --password=s3cret y"), "x --password=******** y");
        assert_eq!(mask("x --no-password"), "x --no-password");
        assert_eq!(mask("password = é"), "password = ********");
        assert!(!CommandLine::new("x --no-password").has_secret());
    }
}
