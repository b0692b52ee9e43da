//! Owns the reading of a scenario file, and what a person is told about one that is none: where, what, and what was
//! meant. It must never run one.

use crate::cluster::{Fault, Scenario, ScenarioFinding, ScenarioMember, TimedFault, Timings};
use crate::config::closest;
use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::path::Path;

/// What is told of one file: nobody reads further at once.
const TOLD_MAX: usize = 20;

/// Reads a file; with it, what is doubtful in it.
///
/// # Errors
/// It can't be read, is no scenario, or one that can't be played or would show nothing.
pub(super) fn read(path: &Path) -> anyhow::Result<(Scenario, Vec<ScenarioFinding>)> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the scenario {}", path.display()))?;
    let scenario = match parse(&text) {
        Ok(scenario) => scenario,
        Err(found) => bail!("{} is not a scenario{}", path.display(), list(&found)),
    };
    match scenario.check() {
        Ok(doubts) => Ok((scenario, doubts)),
        Err(found) => {
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            bail!("{} can't be rehearsed{}", path.display(), list(&found))
        }
    }
}

fn list(found: &[String]) -> String {
    let more = found.len().saturating_sub(TOLD_MAX);
    let told: String = found.iter().take(TOLD_MAX).map(|line| format!("\n  {line}")).collect();
    if more > 0 { format!("{told}\n  and {more} more") } else { told }
}

fn parse(text: &str) -> Result<Scenario, Vec<String>> {
    // serde takes a list for an object whose keys are left out.
    let whole = match serde_json::from_str::<Scenario>(text) {
        Ok(scenario) if text.trim_start().starts_with('{') => return Ok(scenario),
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    let found = match serde_json::from_str::<Value>(text) {
        Err(error) => vec![format!("not JSON: {error}; correct that line")],
        Ok(Value::Object(scenario)) => {
            let mut found = Vec::new();
            for (key, value) in &scenario {
                top(key, value, &mut found);
            }
            found
        }
        Ok(_) => {
            vec!["it is no JSON object; `pgfo simulate --seed 6 --print-scenario` prints one".to_owned()]
        }
    };
    // A key that is written twice is none of what is looked for above.
    Err(if found.is_empty() { vec![whole] } else { found })
}

fn top(key: &str, value: &Value, found: &mut Vec<String>) {
    match (key, value) {
        ("faults", Value::Array(faults)) => {
            for (i, timed) in faults.iter().enumerate() {
                timed_fault(&format!("faults[{i}]"), timed, found);
            }
        }
        ("members", Value::Array(members)) => {
            for (i, member) in members.iter().enumerate() {
                keys::<ScenarioMember>(&format!("members[{i}]"), member, "{}", found);
            }
        }
        ("timings", timings) => keys::<Timings>("timings", timings, "{\"heartbeat_ms\": 1000}", found),
        _ => {
            if let Err(why) = probe::<Scenario>(&one(key, value)) {
                found.push(say(key, key, &why));
            }
        }
    }
}

/// An object all of whose keys may be left out.
fn keys<T: DeserializeOwned>(place: &str, value: &Value, example: &str, found: &mut Vec<String>) {
    let Value::Object(map) = value else {
        return found.push(format!("{place}: it is no object; write one, such as {example}"));
    };
    for (key, value) in map {
        if let Err(why) = probe::<T>(&one(key, value)) {
            found.push(say(&format!("{place}.{key}"), key, &why));
        }
    }
}

fn timed_fault(place: &str, value: &Value, found: &mut Vec<String>) {
    let Value::Object(map) = value else {
        let example = "{\"at_ms\": 20000, \"fault\": {\"KillPostgres\": {\"member\": 0}}}";
        return found.push(format!("{place}: it is no object; write one, such as {example}"));
    };
    for (key, value) in map {
        let path = format!("{place}.{key}");
        match key.as_str() {
            "fault" => fault(&path, value, found),
            _ => {
                if let Err(why) = probe::<TimedFault>(&one(key, value))
                    && !why.starts_with("missing field")
                {
                    found.push(say(&path, key, &why));
                }
            }
        }
    }
    for (key, what) in [("at_ms", "when it begins, in milliseconds"), ("fault", "what strikes")] {
        if !map.contains_key(key) {
            found.push(format!("{place}: no \"{key}\"; add it: {what}"));
        }
    }
}

fn fault(place: &str, value: &Value, found: &mut Vec<String>) {
    let (kind, body) = match value {
        Value::String(kind) => (kind, None),
        Value::Object(map) if map.len() == 1 => match map.iter().next() {
            Some((kind, body)) => (kind, Some(body)),
            None => return,
        },
        _ => {
            let remedy = "write one kind, such as {\"KillPostgres\": {\"member\": 0}}";
            return found.push(format!("{place}: it is not one kind of fault; {remedy}"));
        }
    };
    let fields = match fields(kind) {
        Kind::Unknown(why) => return found.push(say(place, kind, &why)),
        Kind::Alone if body.is_none() => return,
        Kind::Alone => {
            return found.push(format!("{place}: {kind} takes nothing; write \"{kind}\""));
        }
        Kind::Fields(fields) => fields,
    };
    let example = || {
        let fields: Vec<String> = fields.iter().map(|f| format!("\"{f}\": …")).collect();
        format!("{{\"{kind}\": {{{}}}}}", fields.join(", "))
    };
    let Some(Value::Object(body)) = body else {
        return found.push(format!("{place}: {kind} takes {}; write {}", fields.join(", "), example()));
    };
    for (field, value) in body {
        let path = format!("{place}.{kind}.{field}");
        match (kind.as_str(), field.as_str(), value) {
            ("Retime", "timings", Value::Object(_)) => keys::<Timings>(&path, value, "{}", found),
            _ => {
                let alone = one(kind, &one(field, value));
                if let Err(why) = probe::<Fault>(&alone)
                    && !why.starts_with("missing field")
                {
                    found.push(say(&path, field, &why));
                }
            }
        }
    }
    for field in fields.iter().filter(|f| !body.contains_key(*f)) {
        found.push(format!("{place}.{kind}: no \"{field}\"; write {}", example()));
    }
}

/// What a kind of fault takes.
enum Kind {
    /// There is no such kind.
    Unknown(String),
    /// Nothing.
    Alone,
    /// These fields.
    Fields(Vec<String>),
}

fn fields(kind: &str) -> Kind {
    if probe::<Fault>(&Value::String(kind.to_owned())).is_ok() {
        return Kind::Alone;
    }
    match probe::<Fault>(&one(kind, &json!({"?": 0}))) {
        Err(why) if why.starts_with("unknown field") => Kind::Fields(quoted(&why).split_off(1)),
        Err(why) => Kind::Unknown(why),
        Ok(()) => Kind::Alone,
    }
}

fn one(key: &str, value: &Value) -> Value {
    Value::Object(Map::from_iter([(key.to_owned(), value.clone())]))
}

/// Why a value is no `T`.
fn probe<T: DeserializeOwned>(value: &Value) -> Result<(), String> {
    T::deserialize(value).map(|_| ()).map_err(|error| error.to_string())
}

/// One line about a place, of what serde says: what was meant, where a word is unknown.
fn say(place: &str, word: &str, why: &str) -> String {
    if !why.starts_with("unknown ") {
        return format!("{place}: {why}");
    }
    let names = quoted(why);
    let (unknown, known) = names.split_first().map_or((word, &[][..]), |(u, known)| (u.as_str(), known));
    let what = if why.starts_with("unknown field") { "key" } else { "word" };
    let remedy = match nearest(unknown, known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("known here: {}", known.join(", ")),
    };
    format!("{place}: unknown {what} `{unknown}`; {remedy}")
}

/// The names between backticks.
fn quoted(why: &str) -> Vec<String> {
    why.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// What was meant, however it is capitalised and with or without underscores.
fn nearest<'a>(word: &str, known: &'a [String]) -> Option<&'a str> {
    let plain = |word: &str| word.to_ascii_lowercase().replace(['_', '-', ' '], "");
    let plainly: Vec<String> = known.iter().map(|k| plain(k)).collect();
    let word = plain(word);
    let meant = closest(&word, plainly.iter().map(String::as_str))
        .or_else(|| plainly.iter().map(String::as_str).find(|k| k.starts_with(&word) && word.len() > 3))?;
    known.iter().find(|k| plain(k) == meant).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn told(text: &str) -> String {
        parse(text).unwrap_err().join("\n")
    }

    #[test]
    fn what_was_meant_is_told_at_its_place() {
        let kind = r#"{"faults": [{"at_ms": 1, "fault": "KillPrimary"}, {"at_ms": 1, "fault": {"KilPostgres": {"member": 0}}}]}"#;
        assert_eq!(told(kind), "faults[1].fault: unknown word `KilPostgres`; did you mean `KillPostgres`?");
        let key =
            r#"{"faults": [{"at_ms": 1, "fault": {"Split": {"group": [0], "other": [1], "for_ms": 1}}}]}"#;
        let said = told(key);
        assert!(
            said.starts_with(
                "faults[0].fault.Split.group: unknown key `group`; known here: one, other, for_ms"
            ),
            "{said}"
        );
        assert!(said.contains("faults[0].fault.Split: no \"one\"; write {\"Split\": {\"one\": …"), "{said}");
        assert_eq!(
            told(r#"{"timings": {"heartbeat": 5}}"#),
            "timings.heartbeat: unknown key `heartbeat`; did you mean `heartbeat_ms`?"
        );
        assert_eq!(told(r#"{"member": []}"#), "member: unknown key `member`; did you mean `members`?");
        assert_eq!(
            told(r#"{"members": [{}, {"witnes": true}]}"#),
            "members[1].witnes: unknown key `witnes`; did you mean `witness`?"
        );
        let word = r#"{"faults": [{"at_ms": 1, "fault": {"Promotion": {"member": 0, "fault": "vetoed", "for_ms": 1}}}]}"#;
        assert_eq!(
            told(word),
            "faults[0].fault.Promotion.fault: unknown word `vetoed`; did you mean `Vetoed`?"
        );
        let nested =
            r#"{"faults": [{"at_ms": 1, "fault": {"Retime": {"member": 0, "timings": {"leas_ms": 1}}}}]}"#;
        assert_eq!(
            told(nested),
            "faults[0].fault.Retime.timings.leas_ms: unknown key `leas_ms`; did you mean `lease_ms`?"
        );
    }

    #[test]
    fn a_fault_that_is_no_object_is_told_how_to_write_one() {
        let text = r#"{"faults": [{"at_ms": 1, "fault": "KillDaemon"}]}"#;
        let said = "faults[0].fault: KillDaemon takes member, for_ms; write {\"KillDaemon\": {\"member\": …, \"for_ms\": …}}";
        assert_eq!(told(text), said);
        let alone = told(r#"{"faults": [{"at_ms": 1, "fault": {"KillPrimary": {"member": 0}}}]}"#);
        assert_eq!(alone, "faults[0].fault: KillPrimary takes nothing; write \"KillPrimary\"");
        assert!(told(r#"{"faults": ["KillPrimary"]}"#).starts_with("faults[0]: it is no object; write one"));
        let said = told(r#"{"faults": [{"fault": "KillPrimary"}, {"at_ms": "1s"}]}"#);
        assert!(said.contains("faults[0]: no \"at_ms\""), "{said}");
        assert!(said.contains("faults[1].at_ms: invalid type: string"), "{said}");
        assert!(said.contains("faults[1]: no \"fault\""), "{said}");
    }

    #[test]
    fn what_is_no_json_is_told_by_line() {
        assert!(told("{\n\"seed\": }").contains("line 2"), "{}", told("{\n\"seed\": }"));
        assert!(told("[]").contains("--print-scenario"));
        assert!(told(r#"{"seed": 1, "seed": 2}"#).contains("duplicate field `seed`"));
        assert!(told(r#"{"seed": -1}"#).starts_with("seed: invalid value"));
    }
}
