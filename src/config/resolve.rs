//! From a parsed file to a [`Config`]: reads every key, applies the defaults, has it validated.
//!
//! The defaults stand here and nowhere else; `schema.rs` tells them.

use super::finding::{ConfigErrors, Findings, Warning};
use super::membership::{Member, Membership};
use super::reader::Section;
use super::schema::{
    Cluster, Config, Election, Escalation, Failover, Fencing, Heartbeat, Lease, Log, Node, Postgres,
    Replication, Tls,
};
use super::units::ByteCount;
use super::words::{FailoverMode, FencingMode, LogFormat, LogLevel, MemberRole, ReplicationMode};
use super::{validate, values};
use crate::core::Nanos;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// Sockets of a running daemon; systemd's `RuntimeDirectory=` makes and removes it.
const RUN_DIRECTORY: &str = "/run/pgfo";
/// Event logs; systemd's `StateDirectory=` makes it.
const STATE_DIRECTORY: &str = "/var/lib/pgfo";

/// Reads, resolves and validates a parsed file.
pub(super) fn resolve(
    table: &DeTable<'_>,
    findings: Findings<'_>,
) -> Result<(Config, Vec<Warning>), ConfigErrors> {
    let findings = RefCell::new(findings);
    let (mut config, members) = read(table, &findings);
    let mut findings = findings.into_inner();
    validate::validate(&config, &members, &mut findings);
    let warnings = findings.finish()?;
    config.membership = Membership::new(members, &config.node.name);
    Ok((config, warnings))
}

/// Returns the configuration with an empty membership, and the members in the order of the file.
fn read<'r>(table: &'r DeTable<'r>, findings: &'r RefCell<Findings<'_>>) -> (Config, Vec<Member>) {
    let mut root = Section::root(table, findings);
    let cluster = cluster(root.section("cluster"));
    let config = Config {
        node: node(root.section("node"), &cluster.name),
        log: log(root.section("log"), &cluster.name),
        cluster,
        postgres: written(root.section("postgres"), postgres),
        failover: failover(root.section("failover")),
        heartbeat: heartbeat(root.section("heartbeat")),
        escalation: escalation(root.section("escalation")),
        election: election(root.section("election")),
        lease: lease(root.section("lease")),
        fencing: fencing(root.section("fencing")),
        replication: replication(root.section("replication")),
        tls: written(root.section("tls"), tls),
        membership: Membership::empty(),
    };
    let members = root.sections("member").into_iter().map(member).collect();
    root.finish();
    (config, members)
}

fn written<'r, 'f, T>(section: Section<'r, 'f>, read: fn(Section<'r, 'f>) -> T) -> Option<T> {
    section.is_written().then(|| read(section))
}

fn cluster(mut section: Section<'_, '_>) -> Cluster {
    let cluster = Cluster { name: section.required("name", values::name) };
    section.finish();
    cluster
}

fn below(directory: &str, cluster_name: &str) -> PathBuf {
    Path::new(directory).join(cluster_name)
}

fn node(mut section: Section<'_, '_>, cluster_name: &str) -> Node {
    let node = Node {
        name: section.required("name", values::name),
        run_directory: section.or("run_directory", values::path, below(RUN_DIRECTORY, cluster_name)),
    };
    section.finish();
    node
}

fn log(mut section: Section<'_, '_>, cluster_name: &str) -> Log {
    let log = Log {
        directory: section.or("directory", values::path, below(STATE_DIRECTORY, cluster_name)),
        level: section.or("level", values::word, LogLevel::Info),
        format: section.or("format", values::word, LogFormat::Terminal),
        age_max: section.or("age_max", values::age, Nanos(30 * 24 * 3600 * 1_000_000_000)),
        size_max: section.or("size_max", values::size, ByteCount(1 << 30)),
        incidents_max: section.or("incidents_max", values::incidents, 100),
        incidents_size_max: section.or("incidents_size_max", values::size, ByteCount(256 << 20)),
    };
    section.finish();
    log
}

fn postgres(mut section: Section<'_, '_>) -> Postgres {
    let postgres = Postgres {
        conninfo: section.required("conninfo", values::conninfo),
        data_directory: section.required("data_directory", values::path),
        bin_directory: section.required("bin_directory", values::path),
        start_command: section.optional("start_command", values::command),
        stop_command: section.optional("stop_command", values::command),
        reload_command: section.optional("reload_command", values::command),
    };
    section.finish();
    postgres
}

fn failover(mut section: Section<'_, '_>) -> Failover {
    let minute = Nanos::from_millis(60_000);
    let failover = Failover {
        mode: section.or("mode", values::word, FailoverMode::Automatic),
        priority: section.or("priority", values::priority, 100),
        lag_max: section.optional("lag_max", values::size),
        promote_command: section.optional("promote_command", values::command),
        follow_command: section.optional("follow_command", values::command),
        validation_command: section.optional("validation_command", values::command),
        promote_timeout: section.or("promote_timeout", values::duration, minute),
        follow_timeout: section.or("follow_timeout", values::duration, minute),
        validation_timeout: section.or("validation_timeout", values::duration, minute),
    };
    section.finish();
    failover
}

fn heartbeat(mut section: Section<'_, '_>) -> Heartbeat {
    let heartbeat = Heartbeat {
        interval: section.or("interval", values::duration, Nanos::from_millis(1_000)),
        timeout: section.or("timeout", values::duration, Nanos::from_millis(1_000)),
        reconnect_interval: section.or("reconnect_interval", values::duration, Nanos::from_millis(10_000)),
    };
    section.finish();
    heartbeat
}

fn escalation(mut section: Section<'_, '_>) -> Escalation {
    let escalation = Escalation {
        attempts: section.or("attempts", values::attempts, 3),
        interval: section.or("interval", values::duration, Nanos::from_millis(300)),
        timeout: section.or("timeout", values::duration, Nanos::from_millis(1_000)),
        sign_of_life_max: section.or("sign_of_life_max", values::duration, Nanos::from_millis(60_000)),
    };
    section.finish();
    escalation
}

fn election(mut section: Section<'_, '_>) -> Election {
    let election = Election {
        testimony_timeout: section.or("testimony_timeout", values::duration, Nanos::from_millis(150)),
        rank_delay: section.or("rank_delay", values::duration, Nanos::from_millis(200)),
        retry_interval: section.or("retry_interval", values::duration, Nanos::from_millis(1_000)),
        freeze_timeout: section.or("freeze_timeout", values::duration, Nanos::from_millis(2_000)),
    };
    section.finish();
    election
}

fn lease(mut section: Section<'_, '_>) -> Lease {
    let lease = Lease { duration: section.or("duration", values::duration, Nanos::from_millis(5_000)) };
    section.finish();
    lease
}

fn fencing(mut section: Section<'_, '_>) -> Fencing {
    let fencing = Fencing {
        mode: section.or("mode", values::word, FencingMode::Guard),
        reserve: section.or("reserve", values::duration, Nanos::from_millis(500)),
    };
    section.finish();
    fencing
}

fn replication(mut section: Section<'_, '_>) -> Replication {
    let replication = Replication { mode: section.or("mode", values::word, ReplicationMode::Asynchronous) };
    section.finish();
    replication
}

fn tls(mut section: Section<'_, '_>) -> Tls {
    let tls = Tls {
        ca: section.required("ca", values::path),
        certificate: section.required("certificate", values::path),
        key: section.required("key", values::path),
    };
    section.finish();
    tls
}

fn member(mut section: Section<'_, '_>) -> Member {
    let member = Member {
        name: section.required("name", values::name),
        address: section.required("address", values::address),
        conninfo: section.optional("conninfo", values::conninfo),
        role: section.or("role", values::word, MemberRole::Data),
        location: section.or("location", values::name, "default".to_owned()),
        votes: section.or("votes", values::boolean, true),
    };
    section.finish();
    member
}
