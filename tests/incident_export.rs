//! `pgfo incident export` cuts out of a damaged log what lies wholly before the damage, and says so.

mod log_support;
mod replay_support;

use log_support::edit;
use pgfo::cli::exit::Exit;
use replay_support::*;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn export(log: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgfo"));
    command.args(["incident", "export"]).arg(log).args(more).output().unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The log of node2 with a failover, and with a record that was altered in the peace after it.
fn damaged(dir: &Path) -> PathBuf {
    let mut cluster = failover();
    for _ in 0..60 {
        cluster.heartbeat(NODE3);
    }
    let log = write(&mut cluster, NODE2, dir);
    edit(&log, |tree| {
        let (key, value) = tree.last().unwrap().unwrap();
        let mut altered = value.to_vec();
        altered[0] ^= 1;
        tree.insert(key, altered).unwrap();
    });
    log
}

#[test]
fn what_lies_before_the_damage_is_cut_out() {
    let dir = tempfile::tempdir().unwrap();
    let log = damaged(dir.path());
    for (name, more) in
        [("incident", &[][..]), ("part", &["--from", "1", "--to", "40"]), ("rest", &["--from", "1"])]
    {
        let file = dir.path().join(name);
        let output = export(&log, &[&["--out", file.to_str().unwrap()], more].concat());
        assert_eq!(output.status.code(), Some(i32::from(Exit::Unreadable.code())), "{}", err(&output));
        let warned = err(&output);
        let says = format!("warning: {}: damaged from record #", log.display());
        assert!(warned.starts_with(&says), "{warned}");
        assert!(warned.ends_with("; only what lies before can be cut out\n"), "{warned}");
        let (exit, out, _) = replay(&args(&[file]));
        assert_eq!(exit, Exit::Ok, "{name}: {out}");
    }
}

#[test]
fn an_error_is_said_once() {
    let dir = tempfile::tempdir().unwrap();
    let output = export(&dir.path().join("nowhere"), &[]);
    assert_eq!(output.status.code(), Some(i32::from(Exit::Usage.code())));
    assert_eq!(err(&output).matches("No such file or directory").count(), 1, "{}", err(&output));
}
