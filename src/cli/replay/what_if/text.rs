//! Owns what `pgfo replay --what-if` prints for people: the recorded part, the modelled part, the table.

use super::modelled::Outcomes;
use super::outcome::{Asked, Worse};
use super::recorded::Recorded;
use super::{Case, LeftOut};
use crate::cli::explain::span;
use crate::cli::replay::text::{BAD, BOLD, DIM, GOOD, printable, time};
use crate::events::story::grouped;
use comfy_table::{ContentArrangement, Table, presets};
use pgfo_replay::WallNanos;
use std::io::{self, Write};

pub(super) fn write(
    cases: &[Case],
    left_out: &[LeftOut],
    asked: &[String],
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(out, "{BOLD}What if {}{BOLD:#}", printable(&asked.join(", ")))?;
    if let [case] = cases {
        one(case, out)?;
    }
    for LeftOut { set, why } in left_out {
        writeln!(out, "{DIM}{set}: {}{DIM:#}", printable(why))?;
    }
    if cases.is_empty() {
        return Ok(());
    }
    table(cases, out)
}

fn one(case: &Case, out: &mut impl Write) -> io::Result<()> {
    let asked = &case.asked;
    writeln!(out, "{}, {}: {}", case.set, time(WallNanos(asked.began_ns)), printable(&asked.headline))?;
    writeln!(out, "\n{BOLD}Recorded{BOLD:#}: the same observations, up to the first decision that differs")?;
    for part in &asked.recorded {
        recorded(part, out)?;
    }
    writeln!(out, "\n{BOLD}Modelled{BOLD:#}: simulated to the end, with times and delays as measured")?;
    match (&asked.fault, &asked.not_modelled) {
        (Some(fault), _) => writeln!(out, "  the fault: {}", printable(fault)),
        (None, Some(why)) => writeln!(out, "  not modelled: {}", printable(why)),
        (None, None) => Ok(()),
    }?;
    if let Some(why) = &asked.not_reproduced {
        writeln!(out, "  {BAD}{}{BAD:#}", printable(why))?;
    }
    writeln!(out)
}

fn recorded(part: &Recorded, out: &mut impl Write) -> io::Result<()> {
    let member = printable(&part.member);
    let Some(at) = part.differs_at else {
        return writeln!(out, "  {member}: every decision would have been the same");
    };
    writeln!(out, "  {member}: the same up to record #{at}, which differs")?;
    for (name, side) in [("was", &part.recorded), ("what if", &part.what_if)] {
        match side {
            Some(side) => {
                let sign = if side.after_ns < 0 { "" } else { "+" };
                let at = format!("{sign}{}", span(side.after_ns));
                writeln!(out, "    {name:<8} {at:>10}  {}", printable(&side.text))?;
            }
            None if part.earlier_by_ns.is_some() => {
                writeln!(out, "    {name:<8} {:>10}  {DIM}not at that moment{DIM:#}", "")?;
            }
            None => writeln!(out, "    {name:<8} {:>10}  {DIM}nothing{DIM:#}", "")?,
        }
    }
    let margin = match part.earlier_by_ns {
        Some(by) if by > 0 => format!("it would have done so {} earlier", span(by)),
        Some(by) if by < 0 => format!("it would have done so {} later", span(-by)),
        Some(_) => "it would have done so at the same moment".to_owned(),
        None => "the record does not say when its counterpart would have come".to_owned(),
    };
    let assumed =
        if part.assumed && part.earlier_by_ns.is_some() { ", had all it saw stayed the same" } else { "" };
    writeln!(out, "    {margin}{assumed}")
}

fn table(cases: &[Case], out: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["incident", "", "took over", "who", "after", "bytes at risk", "outcome"]);
    for case in cases {
        let asked = &case.asked;
        let name = match cases.len() {
            1 => format!("{}", asked.number),
            _ => format!("{} {}", case.set, asked.number),
        };
        let happened = &asked.happened;
        table.add_row([
            name,
            "recorded".to_owned(),
            if happened.promoted.is_some() { "yes" } else { "no" }.to_owned(),
            happened.promoted.clone().unwrap_or_else(|| "-".to_owned()),
            happened.after_ns.map_or("-".to_owned(), span),
            match (happened.lost_bytes_max, happened.lost_bytes_min) {
                (Some(bytes), _) => grouped(bytes),
                (None, Some(bytes)) => format!("at least {}", grouped(bytes)),
                (None, None) => "-".to_owned(),
            },
            String::new(),
        ]);
        let rows = [
            ("modelled, as it was", &asked.modelled_as_recorded),
            ("modelled, what if", &asked.modelled_what_if),
        ];
        for (what, outcomes) in rows {
            let outcome = if what.ends_with("what if") { verdict(asked) } else { String::new() };
            table.add_row(row(what, outcomes.as_ref(), outcome));
        }
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    let worse = cases.iter().filter(|c| !c.asked.worse.is_empty()).count();
    let unknown = cases.iter().filter(|c| c.asked.is_unknown()).count();
    match (worse, unknown) {
        (0, 0) => writeln!(out, "{GOOD}no outcome is worse{GOOD:#}"),
        (worse, 0) => writeln!(out, "{BAD}{worse} of {} outcomes worse{BAD:#}", cases.len()),
        (worse, unknown) => {
            writeln!(out, "{BAD}{worse} of {} outcomes worse, {unknown} not known{BAD:#}", cases.len())
        }
    }
}

fn row(what: &str, outcomes: Option<&Outcomes>, outcome: String) -> [String; 7] {
    let dash = || "-".to_owned();
    let Some(o) = outcomes else {
        return [String::new(), what.to_owned(), dash(), dash(), dash(), dash(), outcome];
    };
    let length = |ns: u64| span(i64::try_from(ns).unwrap_or(i64::MAX));
    let after = o.median_ns.zip(o.longest_ns);
    let lost = o.lost_median_bytes.zip(o.lost_most_bytes);
    [
        String::new(),
        what.to_owned(),
        format!("{} of {}", o.promoted, o.runs),
        o.who.clone().unwrap_or_else(dash),
        after.map_or_else(dash, |(median, longest)| {
            format!("{}, at most {}", length(median), length(longest))
        }),
        lost.map_or_else(dash, |(median, most)| format!("{}, at most {}", grouped(median), grouped(most))),
        outcome,
    ]
}

fn verdict(asked: &Asked) -> String {
    if asked.is_unknown() {
        return "not known".to_owned();
    }
    let words: Vec<&str> = asked
        .worse
        .iter()
        .map(|w| match w {
            Worse::NoTakeOver => "worse: nobody takes over, or not always",
            Worse::FalseFailover => "worse: a primary that had stayed is replaced",
            Worse::Later => "worse: later",
            Worse::MoreLost => "worse: more lost",
        })
        .collect();
    if words.is_empty() { "not worse".to_owned() } else { words.join("; ") }
}
