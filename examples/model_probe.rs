//! scratch
#[path = "../tests/model_support/mod.rs"]
mod model_support;
use model_support::{Reach, cut_off, explore, killed, log_lost, gone, leases};
use pgfo::cluster::model::{Bounds, ClusterModel, Start, Marks};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let max: usize = a[2].parse().unwrap();
    let mut b = match a[1].as_str() { "killed" => killed(), "cut" => cut_off(), "log" => log_lost(), "lease" => leases(), "gone" => gone(), _ => panic!() };
    let mut deep = true;
    for kv in &a[3..] {
        let (k, v) = kv.split_once('=').unwrap();
        let n: u64 = v.parse().unwrap();
        let n8 = n as u8;
        match k { "gone"=>b.gone=n8,"wit"=>b.witnesses=n8,"deep"=>deep=n>0,"terms"=>b.terms=n,"cand"=>b.candidates=n8,"beating"=>b.beating=n8,"mortal"=>b.mortal=n8,"crashes"=>b.crashes=n8,"ticks"=>b.ticks=n8,"leaps"=>b.leaps=n>0,"pf"=>b.promotion_faults=n8,"blind"=>b.blind=n8,"outages"=>b.outages=n8,"deaths"=>b.deaths=n8,"prompt"=>b.prompt=n>0,"looks"=>b.looks=n>0,"data"=>b.data=n8,"rate0"=>b.rates=vec![n],"writes"=>b.writes=n8,"behind"=>b.behind=vec![0,0,n],"logs"=>b.log_losses=n8,"gossip"=>b.gossip=n>0,"starts"=>b.starts=n8,"beats"=>b.beats=n8, "hosts"=>b.hosts=n>0,_=>panic!("{k}") }
    }
    let marks: &'static [&'static str] = Box::leak(Marks::ALL.iter().map(|m| m.0).chain([pgfo::cluster::model::REFUSED, pgfo::cluster::model::UNREGISTERED]).collect::<Vec<_>>().into_boxed_slice());
    let f = explore(ClusterModel::new(b), marks, Reach { depth: usize::MAX, generated_max: max, threads: 1, may: |_| true, deep });
    f.tell();
    let m = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", m.lines().find(|l| l.starts_with("VmHWM")).unwrap());
}
