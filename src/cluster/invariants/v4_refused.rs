//! V4: no standby is refused whose data is on the primary's line of history, as far as its log can know that. It would be
//! rebuilt for nothing, and until then there is one copy less.

use super::{Fact, Hearing, Invariant, World};
use crate::cluster::fault::Fault;
use crate::cluster::postgres::{Fit, Process};
use crate::core::{Ledger, MemberId};
use crate::events::{Announcement, Decision};
use std::collections::BTreeSet;

/// The invariant.
#[derive(Default)]
pub(super) struct NobodyRefused {
    /// Whose log lost something, or every log: it does not know how its data got there.
    forgot: BTreeSet<MemberId>,
}

impl Invariant for NobodyRefused {
    fn id(&self) -> &'static str {
        "V4"
    }
    fn says(&self) -> &'static str {
        "no standby is refused that could follow"
    }
    fn hears(&self) -> &'static [Hearing] {
        &[Hearing::Rest]
    }
    fn look(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::LogLost { member, .. } => {
                self.forgot.insert(*member);
            }
            Fact::EveryLogLost => self.forgot.extend(world.nodes.iter().map(|n| n.id)),
            Fact::Decided { member, decision } if !self.forgot.contains(member) && !is_named(world) => {
                if let Decision::FollowRefused { term, .. } = **decision
                    && let Some(ledger) = world.node(*member).ledger().filter(|l| knows_its_line(world, l))
                    && streams(world, *member, ledger)
                {
                    return Err(format!(
                        "member {} refuses to follow the winner of term {}, but could",
                        member.0, term.0
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Who is promoted by name may not know what it forks off (E10).
fn is_named(world: &World) -> bool {
    let by_name = |f: &Fault| matches!(f, Fault::Adopt { .. } | Fault::AdoptVouched { .. });
    world.scenario.faults.iter().any(|f| by_name(&f.fault))
}

/// A promotion whose outcome is not known, a fence while it wrote, or winners of whom nobody tells, leave a doubt (E3).
fn knows_its_line(world: &World, l: &Ledger) -> bool {
    let whole =
        |m: MemberId| l.heartbeat(m).is_some() && world.node(m).ledger().is_some_and(|p| !p.misses_winners());
    l.lineage.is_some()
        && !l.strayed
        && l.promotion_ordered.is_none()
        && (!l.misses_winners() || l.settings.others().any(whole))
}

/// Whether PostgreSQL would stream from the announced primary, which accepts writes.
fn streams(world: &World, member: MemberId, ledger: &Ledger) -> bool {
    let Some(winner) = ledger.announced() else { return false };
    let of = |m: MemberId| world.node(m).postgres.as_ref();
    let Some((own, primary)) = of(member).zip(of(winner.primary)) else { return false };
    let writes = primary.process == Process::Up && !primary.in_recovery;
    let announced = world.histories.get(primary.branch).timeline == winner.lineage.timeline;
    // Whose line a newer number is on is told only by whom its receiver streams from, and if that one opened it (E3).
    let timeline = world.histories.get(own.branch).timeline;
    let opened = |a: &Announcement| a.lineage.timeline == timeline && ledger.sender() == Some(a.primary);
    let newer = ledger.lineage.is_some_and(|mine| mine.timeline < timeline);
    let told = !newer || ledger.history.iter().any(opened);
    writes
        && announced
        && told
        && world.histories.fit(own.branch, own.lsn, primary.branch, primary.lsn) == Fit::Streams
}
