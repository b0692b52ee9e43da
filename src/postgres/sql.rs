//! The full probe query and its decoding. One round trip; `pg_monitor` is enough for all of it.

use super::answer::{Answer, PostmasterStart, ReceiverStatus, StartupWait, WalReceiver};
use crate::core::{Lsn, SystemId, Timeline};
use tokio_postgres::Row;
use tokio_postgres::types::PgLsn;

/// The full probe. Functions that raise an error on the wrong side of recovery stand in a CASE; a promotion in
/// between raises 55000, and the probe is repeated once. A role without `pg_read_all_settings` gets NULLs.
pub(super) const PROBE: &str = "\
SELECT s.system_identifier AS system_id, r.in_recovery, \
 CASE WHEN NOT r.in_recovery THEN pg_walfile_name(pg_current_wal_lsn()) END AS walfile, \
 CASE WHEN NOT r.in_recovery THEN pg_current_wal_lsn() END AS write_lsn, \
 CASE WHEN r.in_recovery THEN pg_last_wal_receive_lsn() END AS receive_lsn, \
 CASE WHEN r.in_recovery THEN pg_last_wal_replay_lsn() END AS replay_lsn, \
 CASE WHEN r.in_recovery THEN pg_is_wal_replay_paused() ELSE false END AS replay_paused, \
 c.timeline_id AS checkpoint_tli, m.min_recovery_end_timeline AS recovery_end_tli, \
 w.pid AS receiver_pid, w.status AS receiver_status, w.received_tli, w.sender_host, w.sender_port, \
 w.latest_end_lsn AS sender_lsn, a.pid AS startup_pid, a.wait_event AS startup_wait, \
 (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint AS postmaster_start, \
 CASE WHEN p.all_settings THEN current_setting('primary_conninfo') = '' END AS conninfo_empty, \
 CASE WHEN p.all_settings THEN current_setting('restore_command') = '' END AS restore_empty, \
 current_setting('synchronous_standby_names') AS sync_names, \
 (SELECT count(*) FROM pg_stat_replication) AS standbys \
FROM (SELECT pg_is_in_recovery() AS in_recovery OFFSET 0) r \
 CROSS JOIN pg_control_system() s CROSS JOIN pg_control_checkpoint() c CROSS JOIN pg_control_recovery() m \
 CROSS JOIN (SELECT pg_has_role('pg_read_all_settings', 'USAGE') AS all_settings OFFSET 0) p \
 LEFT JOIN pg_stat_wal_receiver w ON true \
 LEFT JOIN pg_stat_activity a ON a.backend_type = 'startup' \
LIMIT 1";

pub(super) fn lsn(row: &Row, column: &str) -> Result<Option<Lsn>, tokio_postgres::Error> {
    Ok(row.try_get::<_, Option<PgLsn>>(column)?.map(|l| Lsn(l.into())))
}

/// Returns the timeline in a signed column; none where it is NULL or zero.
pub(super) fn timeline(row: &Row, column: &str) -> Result<Option<Timeline>, tokio_postgres::Error> {
    let tli = row.try_get::<_, Option<i32>>(column)?;
    Ok(tli.and_then(|t| u32::try_from(t).ok()).filter(|t| *t > 0).map(Timeline))
}

/// Returns the timeline in the name of a WAL file, its first eight hexadecimal digits.
pub(super) fn timeline_of_file(name: &str) -> Option<Timeline> {
    u32::from_str_radix(name.get(..8)?, 16).ok().map(Timeline)
}

pub(super) fn startup_wait(row: &Row) -> Result<StartupWait, tokio_postgres::Error> {
    let event = row.try_get::<_, Option<&str>>("startup_wait")?;
    Ok(match row.try_get::<_, Option<i32>>("startup_pid")? {
        None => StartupWait::NotVisible,
        Some(_) => StartupWait::from_event(event),
    })
}

pub(super) fn receiver(row: &Row) -> Result<Option<WalReceiver>, tokio_postgres::Error> {
    let Some(pid) = row.try_get::<_, Option<i32>>("receiver_pid")? else { return Ok(None) };
    let port = row.try_get::<_, Option<i32>>("sender_port")?;
    Ok(Some(WalReceiver {
        status: match row.try_get::<_, Option<&str>>("receiver_status")? {
            Some("streaming") => ReceiverStatus::Streaming,
            Some("waiting") => ReceiverStatus::Waiting,
            _ => ReceiverStatus::Other,
        },
        received_tli: timeline(row, "received_tli")?,
        sender_host: row.try_get("sender_host")?,
        sender_port: port.and_then(|p| u16::try_from(p).ok()),
        sender_lsn: lsn(row, "sender_lsn")?,
        pid,
    }))
}

pub(super) fn answer(row: &Row) -> Result<Answer, tokio_postgres::Error> {
    let receiver = receiver(row)?;
    let walfile = row.try_get::<_, Option<&str>>("walfile")?;
    let written = walfile.and_then(timeline_of_file);
    Ok(Answer {
        // The identifier is unsigned; SQL shows it as bigint.
        system_id: SystemId(row.try_get::<_, i64>("system_id")?.cast_unsigned()),
        in_recovery: row.try_get("in_recovery")?,
        timeline: written.or_else(|| receiver.as_ref().and_then(|r| r.received_tli)),
        checkpoint_timeline: timeline(row, "checkpoint_tli")?.unwrap_or_default(),
        recovery_end_timeline: timeline(row, "recovery_end_tli")?,
        write_lsn: lsn(row, "write_lsn")?,
        receive_lsn: lsn(row, "receive_lsn")?,
        replay_lsn: lsn(row, "replay_lsn")?,
        replay_paused: row.try_get("replay_paused")?,
        receiver,
        startup_wait: startup_wait(row)?,
        postmaster_start: PostmasterStart(row.try_get("postmaster_start")?),
        primary_conninfo_empty: row.try_get("conninfo_empty")?,
        restore_command_empty: row.try_get("restore_empty")?,
        synchronous_standby_names: row.try_get("sync_names")?,
        standbys: u32::try_from(row.try_get::<_, i64>("standbys")?).unwrap_or(u32::MAX),
    })
}
