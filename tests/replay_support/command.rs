//! Runs the command as the binary does, on logs that a cluster wrote.

use super::{Cluster, NODE1, NODE2, NODE3};
use pgfo::cli::exit::Exit;
use pgfo::cli::explain::{self, ExplainArgs};
use pgfo::cli::replay::{ReplayArgs, WhatIfArgs, run_to};
use pgfo::core::MemberId;
use std::path::{Path, PathBuf};

pub fn args(logs: &[PathBuf]) -> ReplayArgs {
    ReplayArgs {
        logs: logs.to_vec(),
        json: false,
        from: None,
        to: None,
        all: false,
        quiet: false,
        what_if: WhatIfArgs::default(),
    }
}

pub fn replay(args: &ReplayArgs) -> (Exit, String, String) {
    let mut out = anstream::StripStream::new(Vec::new());
    let mut err = Vec::new();
    let exit = run_to(args, &mut out, &mut err).unwrap();
    (exit, String::from_utf8(out.into_inner()).unwrap(), String::from_utf8(err).unwrap())
}

pub fn replay_json(args: &ReplayArgs) -> (Exit, serde_json::Value) {
    let (exit, out, _) = replay(&ReplayArgs { json: true, ..args.clone() });
    (exit, serde_json::from_str(&out).unwrap())
}

pub fn page_args(logs: &[PathBuf]) -> ExplainArgs {
    ExplainArgs { logs: logs.to_vec(), json: false, all: false, at: None, term: None, list: false }
}

pub fn explain(args: &ExplainArgs) -> (Exit, String, String) {
    let mut out = anstream::StripStream::new(Vec::new());
    let mut err = Vec::new();
    let exit = explain::run_to(args, &mut out, &mut err).unwrap();
    (exit, String::from_utf8(out.into_inner()).unwrap(), String::from_utf8(err).unwrap())
}

pub fn explain_json(args: &ExplainArgs) -> (Exit, serde_json::Value) {
    let (exit, out, _) = explain(&ExplainArgs { json: true, ..args.clone() });
    (exit, serde_json::from_str(&out).unwrap())
}

pub fn write(cluster: &mut Cluster, member: MemberId, dir: &Path) -> PathBuf {
    let path = dir.join(format!("node{}", member.0 + 1));
    cluster.node(member).write(&path);
    path
}

pub fn write_all(cluster: &mut Cluster, dir: &Path) -> Vec<PathBuf> {
    [NODE1, NODE2, NODE3].map(|member| write(cluster, member, dir)).into()
}
