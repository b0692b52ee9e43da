//! Explores the larger models, and says what they covered.

#[path = "../tests/model_support/mod.rs"]
mod model_support;

use model_support::{bounds, explore};
use pgfo::cluster::model::{ClusterModel, Start};
use std::num::NonZeroUsize;

fn main() {
    let mut b = bounds("try");
    let mut max = 1_000_000;
    for arg in std::env::args().skip(1) {
        let (key, value) = arg.split_once('=').unwrap();
        let n: u8 = value.parse().unwrap_or(0);
        match key {
            "start" => b.start = match value { "killed" => Start::Killed, "cut" => Start::CutOff, _ => Start::Adopted },
            "data" => b.data = n, "witnesses" => b.witnesses = n, "terms" => b.terms = u64::from(n),
            "candidates" => b.candidates = n, "blind" => b.blind = n, "mortal" => b.mortal = n,
            "crashes" => b.crashes = n, "hosts" => b.hosts = n > 0, "log_losses" => b.log_losses = n,
            "deaths" => b.deaths = n, "starts" => b.starts = n, "ticks" => b.ticks = n, "writes" => b.writes = n,
            "faults" => b.promotion_faults = n, "beats" => b.beats = n, "beating" => b.beating = n,
            "once" => b.answers_at_once = n > 0, "gossip" => b.gossip = n > 0, "sight" => b.sight = n > 0,
            "behind" => b.behind = value.split(',').map(|v| v.parse().unwrap()).collect(),
            "rates" => b.rates = value.split(',').map(|v| v.parse().unwrap()).collect(),
            "max" => max = value.parse().unwrap(),
            _ => panic!("{key}"),
        }
    }
    if std::env::var_os("WALK").is_some() {
        let m = ClusterModel::new(b.clone());
        let mut seen: Vec<pgfo::cluster::model::State> = vec![m.first()];
        let mut at = 0;
        while at < seen.len() && at < 120 {
            let s = seen[at].clone();
            println!("#{at} {s:?}");
            let mut acts = Vec::new();
            m.actions(&s, &mut acts);
            for a in acts {
                match m.next(&s, &a) {
                    None => println!("   {a:?} -> nothing"),
                    Some(n) => {
                        let i = seen.iter().position(|x| *x == n).unwrap_or_else(|| { seen.push(n); seen.len() - 1 });
                        println!("   {a:?} -> #{i}");
                    }
                }
            }
            at += 1;
        }
        return;
    }
    explore(ClusterModel::new(b), &["a standby was elected", "two elections were won", "a standby was promoted", "two members stood in one term", "a vote was refused", "a voter restarted after its vote", "a member came back without what it had not flushed", "the guard fenced at the lease's end", "a tenure was released", "a standby followed the winner", "a promotion's outcome was not known", "a forgetful member was refused or refused"], NonZeroUsize::new(max)).tell();
}
