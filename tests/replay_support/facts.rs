//! The settings and the answers of PostgreSQL that the tests of the replay share.

use super::SYSTEM;
use pgfo::core::{Lsn, MemberId, Nanos, Timeline};
use pgfo::events::{Answer, Fencing, MemberSettings, PromotionOutcome, Settings};

pub fn settings(me: MemberId) -> Settings {
    Settings {
        cluster: "main".to_owned(),
        members: ["node1", "node2", "node3"]
            .map(|name| MemberSettings { name: name.to_owned(), witness: false, votes: true })
            .to_vec(),
        me,
        automatic: true,
        priority: 100,
        lag_bytes_max: Some(16 * 1024 * 1024),
        heartbeat_interval: Nanos::from_millis(1_000),
        escalation_attempts: 3,
        escalation_interval: Nanos::from_millis(300),
        sign_of_life_max: Nanos::from_millis(30_000),
        testimony_timeout: Nanos::from_millis(150),
        rank_delay: Nanos::from_millis(300),
        retry_interval: Nanos::from_millis(1_000),
        freeze_timeout: Nanos::from_millis(2_000),
        lease_duration: Nanos::from_millis(5_000),
        fence_reserve: Nanos::from_millis(1_000),
        fencing: Fencing::Guard,
        promote_timeout: Nanos::from_millis(60_000),
        follow_timeout: Nanos::from_millis(60_000),
    }
}

pub fn promoted() -> PromotionOutcome {
    PromotionOutcome::Promoted { timeline: Timeline(2), switched_at: Lsn(0x300_0220), system_id: SYSTEM }
}

pub fn primary(lsn: u64, timeline: u32) -> Answer {
    Answer {
        system_id: SYSTEM,
        in_recovery: false,
        timeline: Some(Timeline(timeline)),
        received: Some(Lsn(lsn)),
        replayed: None,
        streaming: false,
        receiver: false,
        waits_for_wal: false,
        postmaster_started: 1_769_860_000_000_000,
    }
}

pub fn standby(lsn: u64, timeline: u32) -> Answer {
    Answer {
        in_recovery: true,
        received: Some(Lsn(lsn)),
        replayed: Some(Lsn(lsn)),
        streaming: true,
        receiver: true,
        ..primary(lsn, timeline)
    }
}
