//! The effective configuration: every key with its value, defaults included, in one canonical order.
//!
//! Secrets are masked in what is shown. It is the one list of keys: text, digest and diff come from it.

use super::command_line::CommandLine;
use super::conninfo::Conninfo;
use super::schema::Config;
use super::units::{age_text, duration_text};
use super::words::word_of;
use crate::core::Nanos;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::path::Path;

/// When a changed key takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applies {
    /// At once, on reload.
    Live,
    /// Only when the daemon starts again.
    NeedsRestart,
}

/// One key of the effective configuration.
pub(super) struct Entry {
    /// The header of its section, such as `[lease]` or `[[member]]`.
    pub(super) section: &'static str,
    /// Dotted path; a member's keys carry its name.
    pub(super) path: String,
    key: &'static str,
    /// The value as TOML, secrets masked.
    pub(super) shown: String,
    /// The value as TOML, as it is: compared, never shown.
    pub(super) compared: String,
    pub(super) applies: Applies,
}

/// The canonical text of a configuration, without secrets, and the digest of that text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// TOML, with every key that has a value; loading it gives the same configuration again, but for
    /// masked secrets.
    pub text: String,
    /// SHA-256 of the text.
    pub digest: [u8; 32],
}

impl Config {
    /// Returns the canonical text of the configuration and its digest.
    #[must_use]
    pub fn effective(&self) -> Effective {
        let mut text = String::new();
        let mut group = String::new();
        for entry in entries(self) {
            let this_group = entry.path.trim_end_matches(entry.key).to_owned();
            if this_group != group {
                let _ = writeln!(text, "{}{}", if text.is_empty() { "" } else { "\n" }, entry.section);
                group = this_group;
            }
            let _ = writeln!(text, "{} = {}", entry.key, entry.shown);
        }
        let digest = Sha256::digest(text.as_bytes()).into();
        Effective { text, digest }
    }

    /// Returns the configured commands with the paths of their keys.
    pub(super) fn commands(&self) -> impl Iterator<Item = (&'static str, &CommandLine)> {
        let postgres = self.postgres.as_ref();
        let failover = &self.failover;
        [
            ("postgres.start_command", postgres.and_then(|p| p.start_command.as_ref())),
            ("postgres.stop_command", postgres.and_then(|p| p.stop_command.as_ref())),
            ("postgres.reload_command", postgres.and_then(|p| p.reload_command.as_ref())),
            ("failover.promote_command", failover.promote_command.as_ref()),
            ("failover.follow_command", failover.follow_command.as_ref()),
            ("failover.validation_command", failover.validation_command.as_ref()),
        ]
        .into_iter()
        .filter_map(|(key, command)| command.map(|command| (key, command)))
    }
}

/// A list of entries under construction.
struct Entries {
    section: &'static str,
    prefix: String,
    applies: Applies,
    list: Vec<Entry>,
}

impl Entries {
    fn section(&mut self, section: &'static str, applies: Applies) {
        self.section = section;
        self.prefix = section.trim_matches(['[', ']']).to_owned();
        self.applies = applies;
    }

    fn put(&mut self, key: &'static str, shown: String, compared: String) {
        let path = format!("{}.{key}", self.prefix);
        self.list.push(Entry { section: self.section, path, key, shown, compared, applies: self.applies });
    }

    fn raw(&mut self, key: &'static str, value: &impl ToString) {
        self.put(key, value.to_string(), value.to_string());
    }

    fn text(&mut self, key: &'static str, value: &str) {
        self.raw(key, &quoted(value));
    }

    fn path(&mut self, key: &'static str, value: &Path) {
        self.text(key, &value.to_string_lossy());
    }

    fn duration(&mut self, key: &'static str, value: Nanos) {
        self.text(key, &duration_text(value));
    }

    fn command(&mut self, key: &'static str, value: Option<&CommandLine>) {
        if let Some(value) = value {
            self.put(key, quoted(&value.masked()), quoted(value.expose()));
        }
    }

    fn conninfo(&mut self, value: &Conninfo) {
        self.put("conninfo", quoted(&value.masked()), quoted(value.expose()));
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Returns every key that has a value, in the canonical order.
pub(super) fn entries(config: &Config) -> Vec<Entry> {
    let mut out =
        Entries { section: "", prefix: String::new(), applies: Applies::NeedsRestart, list: Vec::new() };
    place(config, &mut out);
    pace(config, &mut out);
    membership(config, &mut out);
    out.list
}

fn place(config: &Config, out: &mut Entries) {
    out.section("[cluster]", Applies::NeedsRestart);
    out.text("name", &config.cluster.name);
    out.section("[node]", Applies::NeedsRestart);
    out.text("name", &config.node.name);
    out.path("run_directory", &config.node.run_directory);
    out.section("[log]", Applies::NeedsRestart);
    out.path("directory", &config.log.directory);
    out.text("format", word_of(config.log.format));
    out.applies = Applies::Live;
    out.text("level", word_of(config.log.level));
    out.text("age_max", &age_text(config.log.age_max));
    out.text("size_max", &config.log.size_max.to_string());
    out.raw("incidents_max", &config.log.incidents_max);
    out.text("incidents_size_max", &config.log.incidents_size_max.to_string());
    if let Some(postgres) = &config.postgres {
        out.section("[postgres]", Applies::NeedsRestart);
        out.conninfo(&postgres.conninfo);
        out.path("data_directory", &postgres.data_directory);
        out.path("bin_directory", &postgres.bin_directory);
        out.applies = Applies::Live;
        out.command("start_command", postgres.start_command.as_ref());
        out.command("stop_command", postgres.stop_command.as_ref());
        out.command("reload_command", postgres.reload_command.as_ref());
    }
}

fn pace(config: &Config, out: &mut Entries) {
    let failover = &config.failover;
    out.section("[failover]", Applies::Live);
    out.text("mode", word_of(failover.mode));
    out.raw("priority", &failover.priority);
    if let Some(lag_max) = failover.lag_max {
        out.text("lag_max", &lag_max.to_string());
    }
    out.command("promote_command", failover.promote_command.as_ref());
    out.command("follow_command", failover.follow_command.as_ref());
    out.command("validation_command", failover.validation_command.as_ref());
    out.duration("promote_timeout", failover.promote_timeout);
    out.duration("follow_timeout", failover.follow_timeout);
    out.duration("validation_timeout", failover.validation_timeout);
    out.section("[heartbeat]", Applies::Live);
    out.duration("interval", config.heartbeat.interval);
    out.duration("timeout", config.heartbeat.timeout);
    out.duration("reconnect_interval", config.heartbeat.reconnect_interval);
    out.section("[escalation]", Applies::Live);
    out.raw("attempts", &config.escalation.attempts);
    out.duration("interval", config.escalation.interval);
    out.duration("timeout", config.escalation.timeout);
    out.duration("sign_of_life_max", config.escalation.sign_of_life_max);
    out.section("[election]", Applies::Live);
    out.duration("testimony_timeout", config.election.testimony_timeout);
    out.duration("rank_delay", config.election.rank_delay);
    out.duration("retry_interval", config.election.retry_interval);
    out.duration("freeze_timeout", config.election.freeze_timeout);
    // The guard holds deadlines of the old lease, and L4 ties a longer one to a flush: not on the fly.
    out.section("[lease]", Applies::NeedsRestart);
    out.duration("duration", config.lease.duration);
    out.section("[fencing]", Applies::NeedsRestart);
    out.text("mode", word_of(config.fencing.mode));
    out.duration("reserve", config.fencing.reserve);
    out.section("[replication]", Applies::NeedsRestart);
    out.text("mode", word_of(config.replication.mode));
}

fn membership(config: &Config, out: &mut Entries) {
    if let Some(tls) = &config.tls {
        out.section("[tls]", Applies::NeedsRestart);
        out.path("ca", &tls.ca);
        out.path("certificate", &tls.certificate);
        out.path("key", &tls.key);
    }
    for member in config.membership.members() {
        out.section("[[member]]", Applies::NeedsRestart);
        out.prefix = format!("member.{}", member.name);
        out.text("name", &member.name);
        out.text("address", &member.address.to_string());
        if let Some(conninfo) = &member.conninfo {
            out.conninfo(conninfo);
        }
        out.text("role", word_of(member.role));
        out.text("location", &member.location);
        out.raw("votes", &member.votes);
    }
}
