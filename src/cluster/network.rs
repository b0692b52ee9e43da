//! The simulated network: who reaches whom, how long it takes, what is lost. It knows no message.

use super::draw::{Domain, Draws, Keyed};
use super::time::SimNanos;
use crate::core::{MemberId, Nanos};

/// One direction between two members: what every message on it needs, side by side.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    cuts: u32,
    sent: u64,
    clogged: SimNanos,
    /// The draws of its delays.
    delays: Keyed,
}

/// The network.
pub struct Network {
    links: Vec<Link>,
    members: usize,
    delay_us_max: u64,
    /// Share of messages lost, and until when.
    pub loss: (u64, SimNanos),
    /// Share of messages delivered twice, and until when.
    pub duplicate: (u64, SimNanos),
    /// Extra delay in milliseconds at most, and until when.
    pub delay: (u64, SimNanos),
    /// Extra delay of all that a member says, and until when.
    slow: Vec<(Nanos, SimNanos)>,
}

fn index(member: MemberId) -> usize {
    usize::from(member.0)
}

impl Network {
    /// Makes a whole network.
    #[must_use]
    pub fn new(members: usize, delay_us_max: u64, draws: &Draws) -> Self {
        let never = (0, SimNanos(0));
        let link = |from, to| Link { delays: draws.keyed(Domain::Delay, &[from, to]), ..Link::default() };
        let all = || 0..members as u64;
        Self {
            links: all().flat_map(|from| all().map(move |to| (from, to))).map(|(f, t)| link(f, t)).collect(),
            members,
            delay_us_max,
            loss: never,
            duplicate: never,
            delay: never,
            slow: vec![(Nanos(0), SimNanos(0)); members],
        }
    }

    fn link(&self, from: MemberId, to: MemberId) -> &Link {
        &self.links[index(from) * self.members + index(to)]
    }

    fn link_mut(&mut self, from: MemberId, to: MemberId) -> &mut Link {
        &mut self.links[index(from) * self.members + index(to)]
    }

    /// Cuts, or mends, one direction.
    pub fn cut(&mut self, from: MemberId, to: MemberId, cut: bool) {
        if from == to {
            return;
        }
        let count = &mut self.link_mut(from, to).cuts;
        *count = if cut { *count + 1 } else { count.saturating_sub(1) };
    }

    /// What leaves one for the other until then arrives then.
    pub fn clog(&mut self, from: MemberId, to: MemberId, until: SimNanos) {
        let clogged = &mut self.link_mut(from, to).clogged;
        *clogged = until.max(*clogged);
    }

    /// Makes all that a member says take longer, until then.
    pub fn slow(&mut self, member: MemberId, by: Nanos, until: SimNanos) {
        self.slow[index(member)] = (by, until);
    }

    /// Returns whether what leaves one reaches the other.
    #[must_use]
    pub fn reaches(&self, from: MemberId, to: MemberId) -> bool {
        self.link(from, to).cuts == 0
    }

    /// Returns whether both reach each other.
    #[must_use]
    pub fn both_ways(&self, one: MemberId, other: MemberId) -> bool {
        self.reaches(one, other) && self.reaches(other, one)
    }

    /// Returns the next number of a direction.
    pub fn number(&mut self, from: MemberId, to: MemberId) -> u64 {
        let n = &mut self.link_mut(from, to).sent;
        *n += 1;
        *n
    }

    /// Returns how long the message of a number takes.
    #[must_use]
    #[inline]
    pub fn latency(&self, now: SimNanos, from: MemberId, to: MemberId, number: u64) -> Nanos {
        let link = self.link(from, to);
        let draw = link.delays.draw(number);
        let usual = draw.between(self.delay_us_max / 4, self.delay_us_max) * 1_000;
        // One in a hundred takes ten times as long: the tail is what time-outs meet.
        let usual = if draw.again().happens(10) { usual * 10 } else { usual };
        let extra = if now < self.delay.1 { draw.again().again().below(self.delay.0 * 1_000_000) } else { 0 };
        let (by, until) = self.slow[index(from)];
        let slow = if now < until { by.0 } else { 0 };
        let clogged = link.clogged.since(now).0;
        Nanos(clogged + usual + extra + slow)
    }

    /// Returns how many copies of a message arrive.
    #[must_use]
    pub fn copies(&self, draws: &Draws, now: SimNanos, from: MemberId, to: MemberId, number: u64) -> u8 {
        if now >= self.loss.1 && now >= self.duplicate.1 {
            return 1;
        }
        let draw = draws.draw(Domain::Fate, &[u64::from(from.0), u64::from(to.0), number]);
        if now < self.loss.1 && draw.happens(self.loss.0) {
            0
        } else if now < self.duplicate.1 && draw.again().happens(self.duplicate.0) {
            2
        } else {
            1
        }
    }
}
