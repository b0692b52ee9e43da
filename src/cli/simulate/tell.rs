//! Owns what one run says to people: who takes part, what happened, how it ended. It runs nothing.

use crate::cli::replay::text::{BAD, BOLD, DIM, WARNING};
use crate::cluster::{Outcome, Scenario, Told, named};
use crate::core::MemberId;
use crate::events::story::Level;
use anstyle::Style;
use std::io::{self, Write};
use std::time::Duration;

/// Lines shown before what broke an invariant.
const LAST_LINES: usize = 40;

/// Tells a run: all of it, or its end where an invariant broke.
pub(super) fn run(
    scenario: &Scenario,
    outcome: &Outcome,
    wall: Duration,
    all: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    let told = &outcome.told;
    if all || outcome.broken.is_some() {
        let from = if all { 0 } else { told.len().saturating_sub(LAST_LINES) };
        members(scenario, out)?;
        if from > 0 {
            writeln!(out, "{DIM}the last {LAST_LINES} of {} lines; --story tells all{DIM:#}", told.len())?;
        }
        for line in told.iter().skip(from) {
            tell(scenario, line, out)?;
        }
    }
    let end_s = outcome.end.0 as f64 / 1e9;
    match &outcome.broken {
        None => writeln!(
            out,
            "{}: all held; {} promotions in {end_s:.0} simulated s, {:.0} simulated s a second, trace {:016x}",
            scenario.name,
            outcome.promotions,
            end_s / wall.as_secs_f64(),
            outcome.trace
        ),
        Some(b) => {
            let how = named(&b.how, &scenario.settings(MemberId(0)));
            let at_s = b.at.0 as f64 / 1e9;
            writeln!(out, "{}: {BAD}{} broke at {at_s:.3} s{BAD:#}: {how}", scenario.name, b.id)?;
            writeln!(out, "{} says: {}", b.id, b.says)
        }
    }
}

/// `members: 0 is node1, the primary; 1 is node2; 2 is witness3`
fn members(scenario: &Scenario, out: &mut impl Write) -> io::Result<()> {
    let settings = scenario.settings(MemberId(0));
    let of = |id: MemberId| {
        let primary = if id == scenario.primary { ", the primary" } else { "" };
        format!("{} is {}{primary}", id.0, settings.name(id))
    };
    let members: Vec<String> = scenario.ids().map(of).collect();
    writeln!(out, "{DIM}members: {}; times in seconds{DIM:#}", members.join("; "))
}

fn tell(scenario: &Scenario, told: &Told, out: &mut impl Write) -> io::Result<()> {
    let settings = scenario.settings(MemberId(0));
    let (mark, style) = match (told.member, told.level) {
        (None, _) => ("--", BOLD),
        (_, Level::Critical) => ("!!", BAD),
        (_, Level::Warning) => ("! ", WARNING),
        (_, Level::Info) => ("  ", Style::new()),
        (_, Level::Debug) => (". ", DIM),
    };
    let at_s = told.at.0 as f64 / 1e9;
    let who = told.member.map_or("", |member| settings.name(member));
    let none = if told.member.is_some() { "-" } else { "" };
    let term = told.term.map_or(none.to_owned(), |term| format!("t{term}"));
    writeln!(out, "{at_s:>10.3} {mark} {who:<8} {term:<3} {style}{}{style:#}", told.text)
}
