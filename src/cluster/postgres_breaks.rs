//! How a PostgreSQL breaks and goes on: crash recovery under the same postmaster, a full disk, a promotion that is
//! half done. It decides nothing about failover.

use super::fact::Fact;
use super::postgres::Process;
use super::queue::{Event, Happening, Run};
use super::time::SimNanos;
use super::world::World;
use crate::core::{MemberId, Nanos};
use crate::events::PromotionOutcome;

impl World {
    /// A backend crashes. The postmaster ends all the others, the WAL receiver among them, and recovers; its start
    /// time and its process stay what they were.
    pub(super) fn backend_crashes(&mut self, id: MemberId) {
        let now = self.now();
        let run = self.fresh();
        let ready = self.takes_us(id, 50_000, 3_000_000);
        // A promotion is asked for by a file, which the startup process may find when it begins again.
        let found_again = self.takes_us(id, 0, 1_000).0 < 500_000;
        let node = self.node_mut(id);
        if node.guard.fencing {
            return;
        }
        let Some(p) = node.postgres.as_mut().filter(|p| p.process == Process::Up && now >= p.frozen.until)
        else {
            return;
        };
        let promoting = node.promoting.take();
        p.process = Process::Starting;
        p.run = run;
        p.replayed = false;
        p.received = false;
        // What was set in its configuration holds at once.
        p.held |= std::mem::take(&mut p.freezes);
        if p.receiver.take().is_some() {
            self.for_daemon(id, Nanos(200_000), Happening::ReceiverEnded);
        }
        self.fact(Fact::WritabilityChanged);
        self.tell(|_| format!("m{} PostgreSQL recovers from a crash", id.0));
        self.lose_streams(id);
        self.queue.after(ready, Event::PostgresReady(id, run));
        if let Some((term, _)) = promoting {
            let outcome = PromotionOutcome::Unknown { why: "the connection was lost".to_owned() };
            self.for_daemon(
                id,
                Nanos(10_000_000),
                Happening::PromotionEnded { term, outcome: Box::new(outcome) },
            );
            if found_again {
                self.queue.after(Nanos(ready.0 + 1_000_000), Event::PostgresPromoted(id, run));
            }
        }
    }

    /// The disk of PostgreSQL is full: a WAL receiver ends. Who writes finds out when it writes.
    pub(super) fn postgres_disk_full(&mut self, id: MemberId, until: SimNanos) {
        let Some(p) = self.node_mut(id).postgres.as_mut() else { return };
        p.full_until = until;
        if let Some(stream) = p.receiver.map(|r| r.run) {
            self.receiver_lost(id, stream);
        }
    }

    /// PostgreSQL dies where it would have to write, if its disk is full; returns whether it did.
    pub(super) fn dies_of_full_disk(&mut self, id: MemberId, run: Run) -> bool {
        let now = self.now();
        let full = |p: &super::postgres::Postgres| p.run == run && p.lives() && now < p.full_until;
        if !self.node(id).postgres.as_ref().is_some_and(full) {
            return false;
        }
        self.tell(|_| format!("m{} PostgreSQL finds its disk full", id.0));
        self.postgres_killed(id, run);
        true
    }

    /// A promotion has taken the seal off, and PostgreSQL dies before the new line of history exists.
    pub(super) fn half_promoted(&mut self, id: MemberId, run: Run) {
        let Some(p) = self.node_mut(id).postgres.as_mut().filter(|p| p.run == run) else { return };
        if p.process != Process::Up || !p.in_recovery {
            return;
        }
        p.signal = false;
        self.tell(|_| format!("m{} half promoted", id.0));
        self.postgres_killed(id, run);
    }
}
