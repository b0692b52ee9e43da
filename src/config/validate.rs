//! Checks across keys: membership, paths, secrets. What a single value must look like is not known here.
//!
//! A check is skipped when a key that it builds on is faulty already: one slip, one error.

use super::conninfo::Conninfo;
use super::finding::{Fault, Findings};
use super::membership::{MEMBERS_MAX, Member};
use super::reader::closest;
use super::schema::{Config, LOG_AGE_MIN, LOG_SIZE_MIN};
use super::validate_times;
use super::words::{FencingMode, MemberRole};
use std::collections::BTreeMap;
use std::path::Path;

/// A Unix socket's path ends at 107 bytes; the rest is for the names of the sockets.
const RUN_DIRECTORY_LENGTH_MAX: usize = 85;

/// Reports what is wrong or doubtful in a configuration whose single values are right.
pub(super) fn validate(config: &Config, members: &[Member], findings: &mut Findings<'_>) {
    names_and_addresses(members, findings);
    roles(members, findings);
    this_member(config, members, findings);
    voters(members, findings);
    transport(config, members, findings);
    directories(config, findings);
    retention(config, findings);
    fencing(config, findings);
    secrets(config, members, findings);
    validate_times::validate(config, findings);
}

fn key(index: usize, key: &str) -> String {
    format!("member[{}].{key}", index + 1)
}

fn names_and_addresses(members: &[Member], findings: &mut Findings<'_>) {
    if members.is_empty() && findings.are_sound(&["member"]) {
        findings.error(
            "member",
            Fault::new("no members", "add a [[member]] section for each member of the cluster"),
        );
    }
    if members.len() > MEMBERS_MAX {
        let problem = format!("{} members are more than {MEMBERS_MAX}", members.len());
        findings
            .error(&format!("member[{}]", MEMBERS_MAX + 1), Fault::new(problem, "register fewer members"));
    }
    let by_name = |member: &Member| member.name.to_ascii_lowercase();
    unique(
        members,
        findings,
        "name",
        "give each member a name of its own; PostgreSQL ignores case here",
        by_name,
    );
    let by_address = |member: &Member| member.address.to_string();
    unique(members, findings, "address", "give each member a host and port of its own", by_address);
}

fn unique(
    members: &[Member],
    findings: &mut Findings<'_>,
    what: &str,
    remedy: &str,
    of: fn(&Member) -> String,
) {
    let mut first_places: BTreeMap<String, usize> = BTreeMap::new();
    for (index, member) in members.iter().enumerate() {
        if !findings.are_sound(&[key(index, what)]) {
            continue;
        }
        let value = of(member);
        if let Some(first) = first_places.get(&value) {
            let line = findings.line_of(&key(*first, what));
            let fault = Fault::new(format!("{value:?} is taken by the member at line {line}"), remedy);
            findings.error(&key(index, what), fault);
        } else {
            first_places.insert(value, index);
        }
    }
}

fn roles(members: &[Member], findings: &mut Findings<'_>) {
    for (index, member) in members.iter().enumerate() {
        let conninfo = key(index, "conninfo");
        if !findings.are_sound(&[key(index, "role"), conninfo.clone()]) {
            continue;
        }
        match (member.role, &member.conninfo) {
            (MemberRole::Data, None) => {
                let remedy =
                    "add the conninfo by which the other members reach its PostgreSQL, or role = \"witness\"";
                findings.error(&conninfo, Fault::new("a data member needs a conninfo", remedy));
            }
            (MemberRole::Witness, Some(_)) => {
                let remedy = "remove the conninfo, or write role = \"data\"";
                findings.error(&conninfo, Fault::new("a witness has no PostgreSQL to connect to", remedy));
            }
            (MemberRole::Witness, None) if !member.votes => {
                let fault = Fault::new(
                    "a witness without a vote does nothing",
                    "write votes = true, or remove the member",
                );
                findings.warn(&key(index, "votes"), fault);
            }
            _ => {}
        }
    }
}

fn this_member(config: &Config, members: &[Member], findings: &mut Findings<'_>) {
    let names_are_sound = (0..members.len()).all(|index| findings.are_sound(&[key(index, "name")]));
    if members.is_empty() || !names_are_sound || !findings.are_sound(&["node.name"]) {
        return;
    }
    let name = &config.node.name;
    let Some(index) = members.iter().position(|member| member.name == *name) else {
        let names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
        let remedy = match closest(name, names.iter().copied()) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => format!("write one of {}, or add a [[member]] section of that name", names.join(", ")),
        };
        findings.error("node.name", Fault::new(format!("{name:?} is no [[member]]"), remedy));
        return;
    };
    if !findings.are_sound(&[key(index, "role"), "postgres".to_owned()]) {
        return;
    }
    match (members[index].role, &config.postgres) {
        (MemberRole::Data, None) => {
            let problem = format!("{name:?} is a data member, and the section [postgres] is missing");
            let remedy = "add [postgres] with conninfo, data_directory and bin_directory";
            findings.error_near("node.name", "postgres", Fault::new(problem, remedy));
        }
        (MemberRole::Witness, Some(_)) => {
            let problem = format!("{name:?} is a witness, which has no PostgreSQL");
            let remedy = "remove the section [postgres], or give the member role = \"data\"";
            findings.error("postgres", Fault::new(problem, remedy));
        }
        _ => {}
    }
}

fn voters(members: &[Member], findings: &mut Findings<'_>) {
    let known = |index: usize| findings.are_sound(&[key(index, "role"), key(index, "votes")]);
    if members.is_empty() || !(0..members.len()).all(known) {
        return;
    }
    let data = members.iter().filter(|member| member.role == MemberRole::Data).count();
    let voters = members.iter().filter(|member| member.votes).count();
    let voting_data = members.iter().filter(|member| member.votes && member.role == MemberRole::Data).count();
    let quorum = voters / 2 + 1;
    if data == 0 {
        let remedy = "write role = \"data\" for the members that run PostgreSQL";
        findings.error("member[1]", Fault::new("no data member: there is nothing to promote", remedy));
    } else if voting_data == 0 {
        let problem = format!(
            "no data member votes ({voters} of {} members do): nobody could be elected",
            members.len()
        );
        findings.error("member[1]", Fault::new(problem, "write votes = true for the data members"));
    } else if data == 1 {
        let remedy = "add a second data member for failover";
        findings.warn("member[1]", Fault::new("one data member: nobody can take over from it", remedy));
    } else if voters == 1 {
        let remedy = "give an odd number of members, three or more, a vote";
        findings
            .warn("member[1]", Fault::new("one voter: when its host is down, nobody can take over", remedy));
    } else if voters == 2 {
        let problem =
            "two voters: when a whole host is lost, the other is no quorum and nobody can take over";
        findings.warn("member[1]", Fault::new(problem, "add a witness, or a third data member"));
    } else if voters % 2 == 0 {
        let problem = format!(
            "{voters} voters need {quorum} for a quorum and so survive the loss of {}, no more than {} voters would",
            voters - quorum,
            voters - 1
        );
        findings
            .warn("member[1]", Fault::new(problem, "add a witness, or write votes = false for one member"));
    }
}

fn transport(config: &Config, members: &[Member], findings: &mut Findings<'_>) {
    if config.tls.is_some() || !findings.are_sound(&["tls"]) {
        return;
    }
    let exposed = members.iter().enumerate().find(|(index, member)| {
        findings.are_sound(&[key(*index, "address")]) && !member.address.is_loopback()
    });
    if let Some((index, member)) = exposed {
        let problem =
            format!("{} is not on loopback, and without [tls] anybody could speak to it", member.address);
        let remedy = "make certificates with `pgfo cert` and add [tls] with ca, certificate and key";
        findings.error(&key(index, "address"), Fault::new(problem, remedy));
    }
}

fn directories(config: &Config, findings: &mut Findings<'_>) {
    let run = config.node.run_directory.as_os_str().len();
    if run > RUN_DIRECTORY_LENGTH_MAX {
        let problem = format!("the path has {run} bytes, and a socket's path ends at 107");
        let remedy = format!("choose a path of at most {RUN_DIRECTORY_LENGTH_MAX} bytes");
        findings.error("node.run_directory", Fault::new(problem, remedy));
    }
    let Some(postgres) = &config.postgres else { return };
    if !findings.are_sound(&["postgres.data_directory"]) {
        return;
    }
    let outside = |key: &str, directory: &Path, findings: &mut Findings<'_>| {
        if findings.are_sound(&[key]) && directory.starts_with(&postgres.data_directory) {
            let problem = format!(
                "{directory:?} is inside the data directory, which a rewind or a base backup overwrites"
            );
            findings.error(
                key,
                Fault::new(problem, "choose a directory outside, such as one below /var/lib/pgfo"),
            );
        }
    };
    outside("log.directory", &config.log.directory, findings);
    outside("node.run_directory", &config.node.run_directory, findings);
}

fn retention(config: &Config, findings: &mut Findings<'_>) {
    if config.log.age_max < LOG_AGE_MIN {
        let remedy = "write at least \"1h\"; incidents are kept apart, whatever their age";
        findings.error("log.age_max", Fault::new("records would be gone within the hour", remedy));
    }
    if config.log.size_max < LOG_SIZE_MIN {
        let remedy = format!("write at least \"{LOG_SIZE_MIN}\"");
        findings.error("log.size_max", Fault::new("the store's overhead leaves no room for records", remedy));
    }
}

fn fencing(config: &Config, findings: &mut Findings<'_>) {
    if config.postgres.is_none() {
        return;
    }
    let problem = match config.fencing.mode {
        FencingMode::Guard => return,
        FencingMode::Daemon => {
            "the daemon is the only guard: while it is dead or stuck, an isolated primary goes on accepting writes"
        }
        FencingMode::Off => {
            "neither lease nor seal: an isolated primary goes on accepting writes beside the new one, and they are lost"
        }
    };
    findings.warn("fencing.mode", Fault::new(problem, "write \"guard\" unless that risk is wanted"));
}

fn secrets(config: &Config, members: &[Member], findings: &mut Findings<'_>) {
    let check = |key: &str, conninfo: &Conninfo, findings: &mut Findings<'_>| {
        if conninfo.has_secret() {
            let problem = "a password is written in the configuration";
            let remedy = "remove it, and write it to ~/.pgpass (mode 0600) of the daemon's user";
            findings.warn(key, Fault::new(problem, remedy));
        }
    };
    if let Some(postgres) = &config.postgres {
        check("postgres.conninfo", &postgres.conninfo, findings);
    }
    for (index, member) in members.iter().enumerate() {
        if let Some(conninfo) = &member.conninfo {
            check(&key(index, "conninfo"), conninfo, findings);
        }
    }
    for (key, command) in config.commands() {
        if command.has_secret() {
            let problem = "a password is written in the command, where `ps` shows it";
            findings.warn(key, Fault::new(problem, "let the command read it from ~/.pgpass (mode 0600)"));
        }
    }
}
