//! Parsers of single values: each takes one TOML value and says what is wrong with it.
//!
//! They must never quote a value that may hold a secret.

use super::command_line::CommandLine;
use super::conninfo::Conninfo;
use super::finding::{Fault, quote};
use super::membership::PeerAddress;
use super::reader::type_name;
use super::units::{self, ByteCount};
use super::words::{Word, parse_word};
use crate::core::Nanos;
use std::path::{Component, Path, PathBuf};
use toml::de::{DeInteger, DeValue};

/// The longest name of a member: PostgreSQL's identifiers, and a host name's label, end there.
const NAME_LENGTH_MAX: usize = 63;

fn text<'v>(value: &'v DeValue<'_>, remedy: &str) -> Result<&'v str, Fault> {
    value.as_str().ok_or_else(|| wrong_type("a string", value, remedy))
}

fn wrong_type(expected: &str, value: &DeValue<'_>, remedy: &str) -> Fault {
    Fault::new(format!("{expected} is expected, not {}", type_name(value)), remedy)
}

pub(super) fn word<W: Word>(value: &DeValue<'_>) -> Result<W, Fault> {
    let words: Vec<String> = W::WORDS.iter().map(|(word, _)| format!("{word:?}")).collect();
    parse_word(text(value, &format!("write one of {}", words.join(", ")))?)
}

pub(super) fn duration(value: &DeValue<'_>) -> Result<Nanos, Fault> {
    match value {
        DeValue::Integer(number) => Err(units::bare_number(number.as_str())),
        DeValue::Float(number) => Err(units::bare_number(number.as_str())),
        _ => units::parse_duration(text(value, "write a duration in quotes, such as \"300ms\"")?),
    }
}

pub(super) fn age(value: &DeValue<'_>) -> Result<Nanos, Fault> {
    match value {
        DeValue::Integer(number) => Err(units::bare_age(number.as_str())),
        DeValue::Float(number) => Err(units::bare_age(number.as_str())),
        _ => units::parse_age(text(value, "write an age in quotes, such as \"30d\"")?),
    }
}

pub(super) fn size(value: &DeValue<'_>) -> Result<ByteCount, Fault> {
    match value {
        DeValue::Integer(number) => Err(units::bare_size(number.as_str())),
        _ => units::parse_size(text(value, "write a size in quotes, such as \"16MB\"")?),
    }
}

pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, Fault> {
    value.as_bool().ok_or_else(|| wrong_type("a boolean", value, "write true or false, without quotes"))
}

pub(super) fn priority(value: &DeValue<'_>) -> Result<u32, Fault> {
    whole(value, 0, super::schema::PRIORITY_MAX)
}

pub(super) fn incidents(value: &DeValue<'_>) -> Result<u32, Fault> {
    whole(value, 1, super::schema::INCIDENTS_MAX)
}

pub(super) fn attempts(value: &DeValue<'_>) -> Result<u32, Fault> {
    whole(value, 1, super::schema::ATTEMPTS_MAX)
}

fn whole(value: &DeValue<'_>, min: u32, max: u32) -> Result<u32, Fault> {
    let remedy = format!("write a whole number from {min} to {max}, without quotes");
    let number = value.as_integer().ok_or_else(|| wrong_type("an integer", value, &remedy))?;
    let parse = |number: &DeInteger<'_>| u32::from_str_radix(number.as_str(), number.radix()).ok();
    parse(number)
        .filter(|parsed| (min..=max).contains(parsed))
        .ok_or_else(|| Fault::new(format!("{number} is out of range"), remedy))
}

/// A name that can stand in a file name, a certificate, `application_name` and
/// `synchronous_standby_names` alike.
pub(super) fn name(value: &DeValue<'_>) -> Result<String, Fault> {
    let remedy = format!(
        "write 1 to {NAME_LENGTH_MAX} of a-z, A-Z, 0-9, \"-\", \"_\" and \".\", beginning with a letter or digit"
    );
    let name = text(value, &remedy)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins_well && name.len() <= NAME_LENGTH_MAX && name.chars().all(allowed) {
        Ok(name.to_owned())
    } else {
        Err(Fault::new(format!("{} is not a name", quote(name)), remedy))
    }
}

/// An absolute path in its plainest spelling.
pub(super) fn path(value: &DeValue<'_>) -> Result<PathBuf, Fault> {
    let remedy = "write a path that begins with \"/\"";
    let text = text(value, remedy)?;
    let written = Path::new(text);
    if !written.is_absolute() {
        return Err(Fault::new(format!("{} is a relative path", quote(text)), remedy));
    }
    if written.components().any(|part| part == Component::ParentDir) {
        let remedy = "write the path that is meant, without \"..\"";
        return Err(Fault::new(format!("{} contains \"..\"", quote(text)), remedy));
    }
    Ok(written.components().collect())
}

pub(super) fn command(value: &DeValue<'_>) -> Result<CommandLine, Fault> {
    let remedy = "write a command line for the shell, or leave the key out";
    let command = text(value, remedy)?;
    if command.trim().is_empty() {
        return Err(Fault::new("the command is empty", remedy));
    }
    Ok(CommandLine::new(command))
}

pub(super) fn conninfo(value: &DeValue<'_>) -> Result<Conninfo, Fault> {
    let remedy = "write it as libpq takes it, such as \"host=10.0.0.1 port=5432 dbname=postgres user=pgfo\"";
    Conninfo::new(text(value, remedy)?).map_err(|error| Fault::new(error.to_string(), remedy))
}

pub(super) fn address(value: &DeValue<'_>) -> Result<PeerAddress, Fault> {
    let remedy = "write host:port, such as \"10.0.0.1:7654\", \"db1.example.com:7654\" or \"[::1]:7654\"";
    let address = text(value, remedy)?;
    PeerAddress::parse(address).map_err(|why| Fault::new(format!("{} {why}", quote(address)), remedy))
}
