//! What a reload would change, and whether it can be applied while the daemon runs.
//!
//! A reload is all or nothing: one key that needs a restart refuses the whole.

use super::effective::{Applies, Entry, entries};
use super::schema::Config;
use std::collections::BTreeMap;
use std::fmt;

/// One key that differs between two configurations, secrets masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Dotted path, such as `lease.duration` or `member.node1.address`.
    pub key: String,
    /// The old value as TOML; `None` if the key had none.
    pub old: Option<String>,
    /// The new value as TOML; `None` if the key has none.
    pub new: Option<String>,
    /// When it takes effect.
    pub applies: Applies,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = "(none)";
        let (old, new) = (self.old.as_deref().unwrap_or(none), self.new.as_deref().unwrap_or(none));
        if old == new {
            write!(f, "{}: the password changed", self.key)?;
        } else {
            write!(f, "{}: {old} -> {new}", self.key)?;
        }
        match self.applies {
            Applies::Live => Ok(()),
            Applies::NeedsRestart => f.write_str(" (needs a restart)"),
        }
    }
}

/// Returns the keys that differ, in the order of their paths.
#[must_use]
pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
    let (old, new) = (by_path(old), by_path(new));
    let mut changes = BTreeMap::new();
    for (path, entry) in old.iter().chain(&new) {
        let (before, after) = (old.get(path), new.get(path));
        if before.map(|e| &e.compared) == after.map(|e| &e.compared) {
            continue;
        }
        let change = Change {
            key: path.clone(),
            old: before.map(|e| e.shown.clone()),
            new: after.map(|e| e.shown.clone()),
            applies: entry.applies,
        };
        changes.insert(path.clone(), change);
    }
    changes.into_values().collect()
}

/// A reload was refused, because these keys need a restart; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ReloadRefused(pub Vec<Change>);

impl fmt::Display for ReloadRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing was reloaded; restart the daemon, or take these changes back:")?;
        self.0.iter().try_for_each(|change| write!(f, "\n  {change}"))
    }
}

/// Returns the changes of a reload if all of them can be applied live.
///
/// # Errors
/// [`ReloadRefused`] with the keys that need a restart.
pub fn reload_changes(old: &Config, new: &Config) -> Result<Vec<Change>, ReloadRefused> {
    let changes = diff(old, new);
    let refused: Vec<Change> =
        changes.iter().filter(|c| c.applies == Applies::NeedsRestart).cloned().collect();
    if refused.is_empty() { Ok(changes) } else { Err(ReloadRefused(refused)) }
}

fn by_path(config: &Config) -> BTreeMap<String, Entry> {
    entries(config).into_iter().map(|entry| (entry.path.clone(), entry)).collect()
}
