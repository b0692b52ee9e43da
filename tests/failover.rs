//! A primary that dies is replaced by one of the others, on real PostgreSQL.

mod support;

use pgfo::demo::{Client, ClientOptions, Deadline};
use std::time::{Duration, Instant};

fn within(seconds: u64) -> Deadline {
    Deadline::after(Duration::from_secs(seconds))
}

#[test]
fn a_killed_postmaster_is_replaced() {
    let cluster = support::cluster_with_daemons().data(3).build().unwrap();
    cluster.start_daemons().unwrap();
    let status = cluster.wait_healthy(within(20)).unwrap();
    let old = status.primary.unwrap();
    let client = Client::start(&cluster, ClientOptions::default()).unwrap();
    client.wait_acks(50, within(10)).unwrap();
    let _fault = Instant::now();
    cluster.node(&old).kill_postmaster().unwrap();
    let new = cluster.wait_primary(Some(&old), within(15)).unwrap();
    client.wait_acks(50, within(10)).unwrap();
    assert!(client.lost(new).unwrap().len() < 5, "asynchronous replication loses what was in flight at most");
    assert!(client.split_brain(new).unwrap().is_empty());
}
