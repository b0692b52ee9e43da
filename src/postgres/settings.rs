//! The settings that a freeze changes, as they were before. It must never show a password that they hold.

use super::freeze::RETRY_INTERVAL;
use super::outcome::{Outcome, Stop};
use super::session::{Session, alter_reset, alter_set, broken};
use super::sql;
use crate::core::Timeline;
use std::fmt;
use tokio::time::Instant;

/// Reads the three settings, and where they come from.
pub(super) const READ: &str = "SELECT s.name, current_setting(s.name) AS value, \
     coalesce(s.sourcefile LIKE '%/postgresql.auto.conf', false) AS automatic, w.received_tli \
     FROM pg_settings s LEFT JOIN pg_stat_wal_receiver w ON true WHERE s.name IN \
     ('primary_conninfo', 'restore_command', 'wal_retrieve_retry_interval')";

/// One setting.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Setting {
    /// The value in effect, as `SHOW` prints it.
    pub value: String,
    /// Whether it comes from `postgresql.auto.conf`, so that it is restored by a SET; else by a RESET.
    pub set_by_alter_system: bool,
}

impl Setting {
    pub(super) fn restoring(&self, name: &str) -> String {
        if self.set_by_alter_system { alter_set(name, &self.value) } else { alter_reset(name) }
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A primary_conninfo or a restore_command can hold a password.
        write!(f, "Setting({} bytes, by ALTER SYSTEM: {})", self.value.len(), self.set_by_alter_system)
    }
}

/// What ties a standby to its upstream, read before a freeze unties it. The values can hold a password: whoever
/// keeps them keeps them like one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// `primary_conninfo`.
    pub primary_conninfo: Setting,
    /// `restore_command`.
    pub restore_command: Setting,
    /// `wal_retrieve_retry_interval`.
    pub wal_retrieve_retry_interval: Setting,
    /// The timeline of the WAL receiver, if one is displayed: after the freeze nothing else tells it.
    pub received_timeline: Option<Timeline>,
}

impl UpstreamSettings {
    /// Returns whether these are the settings of a frozen standby: what was before must be known from elsewhere.
    #[must_use]
    pub fn are_untied(&self) -> bool {
        self.primary_conninfo.value.is_empty()
            && self.restore_command.value.is_empty()
            && self.wal_retrieve_retry_interval.value == RETRY_INTERVAL
    }

    /// Takes from `saved` each setting that is as a freeze leaves it.
    pub fn keep_where_untied(&mut self, saved: &Self) {
        let pairs = [
            (&mut self.primary_conninfo, &saved.primary_conninfo, ""),
            (&mut self.restore_command, &saved.restore_command, ""),
            (&mut self.wal_retrieve_retry_interval, &saved.wal_retrieve_retry_interval, RETRY_INTERVAL),
        ];
        for (now, before, untied) in pairs {
            if now.value == untied {
                *now = before.clone();
            }
        }
    }
}

impl Session {
    /// Reads the settings that [`Session::freeze`] changes, and changes nothing.
    pub async fn read_upstream_settings(&mut self, deadline: Instant) -> Outcome<UpstreamSettings> {
        self.read_settings(deadline).await.into()
    }

    async fn read_settings(&mut self, deadline: Instant) -> Result<UpstreamSettings, Stop> {
        self.open(deadline).await?;
        let mut out = UpstreamSettings::default();
        let mut found = 0;
        for row in self.rows(READ, deadline).await? {
            let setting = Setting {
                value: row.try_get("value").map_err(|e| broken(&e))?,
                set_by_alter_system: row.try_get("automatic").map_err(|e| broken(&e))?,
            };
            out.received_timeline = sql::timeline(&row, "received_tli").map_err(|e| broken(&e))?;
            match row.try_get::<_, &str>("name").map_err(|e| broken(&e))? {
                "primary_conninfo" => out.primary_conninfo = setting,
                "restore_command" => out.restore_command = setting,
                _ => out.wal_retrieve_retry_interval = setting,
            }
            found += 1;
        }
        match found {
            3 => Ok(out),
            _ => Err(Stop::Failed("this role may not see primary_conninfo; grant it pg_monitor".to_owned())),
        }
    }

    /// Puts `restore_command` and `wal_retrieve_retry_interval` back to what they were, and reloads: on a primary
    /// that was promoted out of a freeze. `primary_conninfo` stays as it is.
    pub async fn restore_recovery_settings(
        &mut self,
        old: &UpstreamSettings,
        deadline: Instant,
    ) -> Outcome<()> {
        async {
            self.open(deadline).await?;
            self.alter(&restoring(old), deadline).await
        }
        .await
        .into()
    }
}

pub(super) fn restoring(old: &UpstreamSettings) -> [String; 2] {
    [
        old.restore_command.restoring("restore_command"),
        old.wal_retrieve_retry_interval.restoring("wal_retrieve_retry_interval"),
    ]
}
