//! This member's certificate, by which the others know it: loaded again on SIGHUP, complained of before it expires. It must
//! never take half of a renewal, nor let an expiry be a surprise.

use crate::actors::Envelope;
use crate::os;
use crate::peer::PeerHandle;
use slog::{Logger, info, warn};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long before its expiry a certificate is complained of.
const COMPLAIN_BEFORE_DAYS: i64 = 30;

/// The links to the other members, which hold the certificate that is in use.
pub(super) type Peers = PeerHandle<Envelope>;

/// Complains once a day, for as long as there is a reason.
pub(super) async fn watch(peers: Peers, logger: Logger) {
    loop {
        if let Some(why) = complaint(&peers) {
            warn!(logger, "{}", why);
        }
        tokio::time::sleep(DAY).await;
    }
}

/// Loads all files again, or none; says which.
pub(super) fn reload(peers: &Peers, logger: &Logger) {
    match peers.reload_tls() {
        Err(why) => warn!(logger, "the certificates were not reloaded: {}", why),
        Ok(()) => {
            if let Some(left) = days_left(peers) {
                info!(logger, "the certificates were loaded again"; "days_left" => left);
            }
        }
    }
}

/// Returns what to say of the certificate, if something is to be said.
pub(super) fn complaint(peers: &Peers) -> Option<String> {
    days_left(peers).and_then(complaint_of)
}

/// Returns how many whole days are left, negative once it has expired; `None` without certificates.
fn days_left(peers: &Peers) -> Option<i64> {
    let now = os::wall_now().0.div_euclid(1_000_000_000);
    let day = i64::try_from(DAY.as_secs()).unwrap_or(i64::MAX);
    Some((peers.certificate_expires_unix_s()? - now).div_euclid(day))
}

fn complaint_of(days_left: i64) -> Option<String> {
    let when = match days_left {
        ..0 => "has expired: no new connection stands".to_owned(),
        0 => "expires within a day".to_owned(),
        1..COMPLAIN_BEFORE_DAYS => format!("expires in less than {} days", days_left + 1),
        _ => return None,
    };
    Some(format!("this member's certificate {when}; make a new one (pgfo cert member) and send SIGHUP"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_complained_of_from_thirty_days_before_on() {
        assert_eq!(complaint_of(30), None);
        assert!(complaint_of(29).unwrap().contains("in less than 30 days"));
        assert!(complaint_of(0).unwrap().contains("within a day"));
        assert!(complaint_of(-1).unwrap().contains("has expired"));
    }
}
