//! Owns what is to be different: configuration keys under their own names, and members that are silent,
//! slow or gone. It must never accept what it then ignores.

use crate::cluster::{ScenarioMember, Timings};
use crate::config::{ATTEMPTS_MAX, Config, FailoverMode, PRIORITY_MAX, closest, read_duration, read_size};
use crate::core::{MemberId, Nanos};
use crate::events::Settings;

/// A key, of all members or of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The member it is about; `None`: all.
    pub member: Option<String>,
    /// The key, as the configuration names it.
    pub key: &'static str,
    /// The value.
    pub value: Value,
}

/// The value of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A duration.
    Length(Nanos),
    /// A whole number.
    Number(u32),
    /// A size; `None`: no limit.
    Bytes(Option<u64>),
    /// Yes or no: automatic, votes.
    Flag(bool),
}

/// All that is to be different.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys.
    pub keys: Vec<Change>,
    /// Members whose messages nobody gets.
    pub dropped: Vec<String>,
    /// Members whose messages take longer.
    pub delayed: Vec<(String, Nanos)>,
    /// Members that are not there.
    pub removed: Vec<String>,
    /// As it was asked, for people.
    pub asked: Vec<String>,
}

enum Form {
    Length,
    Attempts,
    Priority,
    Bytes,
    Mode,
    Votes,
}

/// Every key that decisions, or the probes they rest on, depend on.
const KEYS: [(&str, Form); 18] = [
    ("heartbeat.interval", Form::Length),
    ("heartbeat.timeout", Form::Length),
    ("escalation.attempts", Form::Attempts),
    ("escalation.interval", Form::Length),
    ("escalation.timeout", Form::Length),
    ("escalation.sign_of_life_max", Form::Length),
    ("election.testimony_timeout", Form::Length),
    ("election.rank_delay", Form::Length),
    ("election.retry_interval", Form::Length),
    ("election.freeze_timeout", Form::Length),
    ("lease.duration", Form::Length),
    ("fencing.reserve", Form::Length),
    ("failover.mode", Form::Mode),
    ("failover.priority", Form::Priority),
    ("failover.lag_max", Form::Bytes),
    ("failover.promote_timeout", Form::Length),
    ("failover.follow_timeout", Form::Length),
    ("member.votes", Form::Votes),
];

impl Changes {
    /// Reads `KEY=VALUE` texts, for a cluster of these members.
    ///
    /// # Errors
    /// The first text that can't be read, with what was probably meant.
    pub fn parse(texts: &[String], members: &[&str]) -> Result<Self, String> {
        let mut changes = Self { asked: texts.to_vec(), ..Self::default() };
        for text in texts {
            let (key, value) = text.split_once('=').ok_or_else(|| {
                format!("{text:?} is no change; write KEY=VALUE, such as lease.duration=8s")
            })?;
            let (key, value) = (key.trim(), value.trim());
            let member = |name: &str| known(name, members);
            match key {
                "drop" => changes.dropped.push(member(value)?),
                "remove" => changes.removed.push(member(value)?),
                "delay" => {
                    let (name, length) = value
                        .split_once(':')
                        .ok_or_else(|| format!("delay={value} names no length; write delay=NAME:300ms"))?;
                    changes.delayed.push((member(name)?, read_duration(length)?));
                }
                _ => changes.keys.push(one(key, value, members)?),
            }
        }
        changes.contradict()?;
        Ok(changes)
    }

    /// Refuses two values of one key, and what is to be done to a member that is not there.
    fn contradict(&self) -> Result<(), String> {
        for (at, change) in self.keys.iter().enumerate() {
            let other = self.keys[..at].iter().find(|c| (&c.member, c.key) == (&change.member, change.key));
            if other.is_some_and(|other| other.value != change.value) {
                return Err(format!("{} is given two values; name one", change.key));
            }
        }
        let named = self.dropped.iter().chain(self.delayed.iter().map(|(name, _)| name));
        match named.into_iter().find(|name| self.removed.contains(name)) {
            None => Ok(()),
            Some(name) => {
                Err(format!("{name} is to be removed: what it says can't be dropped or delayed as well"))
            }
        }
    }

    /// Takes over what a configuration file says.
    pub fn take_config(&mut self, config: &Config) {
        let me = Some(config.node.name.clone());
        let mut put = |member: Option<String>, key, value| self.keys.push(Change { member, key, value });
        let lengths = [
            ("heartbeat.interval", config.heartbeat.interval),
            ("heartbeat.timeout", config.heartbeat.timeout),
            ("escalation.interval", config.escalation.interval),
            ("escalation.timeout", config.escalation.timeout),
            ("escalation.sign_of_life_max", config.escalation.sign_of_life_max),
            ("election.testimony_timeout", config.election.testimony_timeout),
            ("election.rank_delay", config.election.rank_delay),
            ("election.retry_interval", config.election.retry_interval),
            ("election.freeze_timeout", config.election.freeze_timeout),
            ("lease.duration", config.lease.duration),
            ("fencing.reserve", config.fencing.reserve),
            ("failover.promote_timeout", config.failover.promote_timeout),
            ("failover.follow_timeout", config.failover.follow_timeout),
        ];
        for (key, length) in lengths {
            put(None, key, Value::Length(length));
        }
        put(None, "escalation.attempts", Value::Number(config.escalation.attempts));
        put(None, "failover.lag_max", Value::Bytes(config.failover.lag_max.map(|b| b.0)));
        put(me.clone(), "failover.priority", Value::Number(config.failover.priority));
        put(me, "failover.mode", Value::Flag(config.failover.mode == FailoverMode::Automatic));
        for member in config.membership.members() {
            put(Some(member.name.clone()), "member.votes", Value::Flag(member.votes));
        }
    }

    fn of<'a>(&'a self, member: &'a str) -> impl Iterator<Item = &'a Change> {
        self.keys.iter().filter(move |c| c.member.as_deref().is_none_or(|name| name == member))
    }

    /// Returns the value of a key for a member, if it is to be another one.
    #[must_use]
    pub fn value(&self, member: &str, key: &str) -> Option<Value> {
        self.of(member).filter(|c| c.key == key).last().map(|c| c.value)
    }

    /// Changes one member's settings.
    pub fn apply(&self, settings: &mut Settings) {
        let me = settings.name(settings.me).to_owned();
        for change in self.of(&me) {
            match (change.key, change.value) {
                ("heartbeat.interval", Value::Length(l)) => settings.heartbeat_interval = l,
                ("escalation.attempts", Value::Number(n)) => {
                    settings.escalation_attempts = u8::try_from(n).unwrap_or(u8::MAX);
                }
                ("escalation.interval", Value::Length(l)) => settings.escalation_interval = l,
                ("escalation.sign_of_life_max", Value::Length(l)) => settings.sign_of_life_max = l,
                ("election.testimony_timeout", Value::Length(l)) => settings.testimony_timeout = l,
                ("election.rank_delay", Value::Length(l)) => settings.rank_delay = l,
                ("election.retry_interval", Value::Length(l)) => settings.retry_interval = l,
                ("election.freeze_timeout", Value::Length(l)) => settings.freeze_timeout = l,
                ("lease.duration", Value::Length(l)) => settings.lease_duration = l,
                ("fencing.reserve", Value::Length(l)) => settings.fence_reserve = l,
                ("failover.mode", Value::Flag(automatic)) => settings.automatic = automatic,
                ("failover.priority", Value::Number(n)) => settings.priority = n,
                ("failover.lag_max", Value::Bytes(limit)) => settings.lag_bytes_max = limit,
                ("failover.promote_timeout", Value::Length(l)) => settings.promote_timeout = l,
                ("failover.follow_timeout", Value::Length(l)) => settings.follow_timeout = l,
                _ => {}
            }
        }
        for member in &mut settings.members {
            if let Some(Value::Flag(votes)) = self.value(&member.name, "member.votes") {
                member.votes = votes;
            }
            member.votes &= !self.removed.contains(&member.name);
        }
    }

    /// Changes the timings of a simulation, which all members have in common.
    pub fn apply_to_timings(&self, timings: &mut Timings) {
        for change in self.keys.iter().filter(|c| c.member.is_none()) {
            let ms = |length: Nanos| length.as_millis().max(1);
            match (change.key, change.value) {
                ("heartbeat.interval", Value::Length(l)) => timings.heartbeat_ms = ms(l),
                ("heartbeat.timeout" | "escalation.timeout", Value::Length(l)) => timings.probe_ms = ms(l),
                ("escalation.attempts", Value::Number(n)) => {
                    timings.escalation_attempts = u8::try_from(n).unwrap_or(u8::MAX);
                }
                ("escalation.interval", Value::Length(l)) => timings.escalation_ms = ms(l),
                ("escalation.sign_of_life_max", Value::Length(l)) => timings.sign_of_life_ms = ms(l),
                ("election.testimony_timeout", Value::Length(l)) => timings.testimony_ms = ms(l),
                ("election.rank_delay", Value::Length(l)) => timings.rank_delay_ms = ms(l),
                ("election.retry_interval", Value::Length(l)) => timings.retry_ms = ms(l),
                ("election.freeze_timeout", Value::Length(l)) => timings.freeze_ms = ms(l),
                ("lease.duration", Value::Length(l)) => timings.lease_ms = ms(l),
                ("fencing.reserve", Value::Length(l)) => timings.reserve_ms = ms(l),
                ("failover.lag_max", Value::Bytes(limit)) => timings.lag_bytes_max = limit,
                ("failover.promote_timeout", Value::Length(l)) => timings.promote_ms = ms(l),
                ("failover.follow_timeout", Value::Length(l)) => timings.follow_ms = ms(l),
                _ => {}
            }
        }
    }

    /// Changes a member of a simulation.
    pub fn apply_to_member(&self, name: &str, member: &mut ScenarioMember) {
        if let Some(Value::Flag(automatic)) = self.value(name, "failover.mode") {
            member.automatic = automatic;
        }
        if let Some(Value::Number(priority)) = self.value(name, "failover.priority") {
            member.priority = priority;
        }
        if let Some(Value::Flag(votes)) = self.value(name, "member.votes") {
            member.votes = votes;
        }
    }

    /// Returns the numbers of members by name.
    #[must_use]
    pub fn ids(names: &[String], settings: &Settings) -> Vec<MemberId> {
        settings.ids().filter(|m| names.iter().any(|n| n == settings.name(*m))).collect()
    }
}

fn known(name: &str, members: &[&str]) -> Result<String, String> {
    if members.contains(&name) {
        return Ok(name.to_owned());
    }
    let meant =
        closest(name, members.iter().copied()).map_or(String::new(), |m| format!("; did you mean {m:?}?"));
    Err(format!("{name:?} is no member of this cluster, which has {}{meant}", members.join(", ")))
}

fn one(key: &str, text: &str, members: &[&str]) -> Result<Change, String> {
    let of_member = members.iter().find_map(|m| Some((*m, key.strip_prefix(*m)?.strip_prefix('.')?)));
    let (member, named) = of_member.map_or((None, key), |(member, rest)| (Some(member.to_owned()), rest));
    let full = |k: &str| k == named || k.rsplit('.').next() == Some(named);
    let found: Vec<&(&'static str, Form)> = KEYS.iter().filter(|(k, _)| full(k)).collect();
    let (key, form) = match found.as_slice() {
        [one] => *one,
        [] => {
            // `node7.failover.priority`: the key is right, the name is not.
            if let Some((name, rest)) = named.split_once('.')
                && KEYS.iter().any(|(k, _)| *k == rest)
            {
                known(name, members)?;
            }
            let words = KEYS.iter().flat_map(|(k, _)| [*k, k.rsplit('.').next().unwrap_or(k)]);
            let words = words.chain(["drop", "delay", "remove"]);
            let meant = closest(named, words).map_or(String::new(), |k| format!("; did you mean {k:?}?"));
            let keys: Vec<&str> = KEYS.iter().map(|(k, _)| *k).collect();
            let keys = keys.join(", ");
            return Err(format!("{named:?} is no key that decisions depend on{meant}; those are {keys}"));
        }
        several => {
            let names: Vec<&str> = several.iter().map(|(k, _)| *k).collect();
            return Err(format!("{named:?} may be any of {}; write it in full", names.join(", ")));
        }
    };
    let whose = matches!(form, Form::Mode | Form::Priority | Form::Votes);
    if member.is_some() && !whose {
        return Err(format!("{key} is the same for all members; leave out the member's name"));
    }
    let number = |max: u32| match text.parse::<u32>() {
        Ok(n) if n <= max => Ok(Value::Number(n)),
        _ => Err(format!("{key}={text}: write a whole number up to {max}")),
    };
    let value = match form {
        Form::Length => Value::Length(read_duration(text).map_err(|why| format!("{key}={text}: {why}"))?),
        Form::Attempts => match number(ATTEMPTS_MAX)? {
            Value::Number(0) => return Err(format!("{key}=0: write at least 1")),
            value => value,
        },
        Form::Priority => number(PRIORITY_MAX)?,
        Form::Bytes if text == "none" => Value::Bytes(None),
        Form::Bytes => Value::Bytes(Some(read_size(text).map_err(|why| format!("{key}={text}: {why}"))?.0)),
        Form::Mode => match text {
            "automatic" => Value::Flag(true),
            "manual" => Value::Flag(false),
            _ => return Err(format!("{key}={text}: write automatic or manual")),
        },
        Form::Votes => Value::Flag(text.parse().map_err(|_| format!("{key}={text}: write true or false"))?),
    };
    Ok(Change { member, key, value })
}
