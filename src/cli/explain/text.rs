//! Owns what `pgfo explain` prints for people: one page an incident.

use super::gather::Gathered;
use super::loss::loss_words;
use super::page::{Kind, Line, Page, span};
use crate::cli::replay::text::{BAD, BOLD, DIM, GOOD, WARNING, missing, printable, time, verdict};
use crate::cli::replay::{Audit, Verdict, missing as missing_senders};
use comfy_table::{ContentArrangement, Table, presets};
use pgfo_replay::WallNanos;
use std::io::{self, Write};

/// Prints what is wrong with the logs, before anything is said about what they tell.
pub(crate) fn reservations(logs: &[Gathered], out: &mut impl Write) -> io::Result<()> {
    for log in logs.iter().filter(|log| log.audit().verdict() != Verdict::Identical) {
        let (path, style) = (log.log.path.display(), BAD);
        writeln!(out, "{style}Do not rely on {path}: what follows uses what could be read of it.{style:#}")?;
        verdict(&log.log, out)?;
        writeln!(out)?;
    }
    let audits: Vec<&Audit> = logs.iter().map(Gathered::audit).collect();
    missing(missing_senders(&audits), out)
}

/// Prints one line an incident.
pub(super) fn list(logs: &[Gathered], pages: &[Page], out: &mut impl Write) -> io::Result<()> {
    if pages.is_empty() && logs.iter().any(|log| log.audit().verdict() == Verdict::Unreadable) {
        return writeln!(out, "not known: no incident in what could be read of these logs");
    }
    if pages.is_empty() {
        return writeln!(out, "no incident: nobody held a primary down within these logs");
    }
    for page in pages {
        writeln!(
            out,
            "{:>3}  {}  {}",
            page.number,
            time(WallNanos(page.began_ns)),
            printable(&page.headline)
        )?;
    }
    Ok(())
}

/// Prints a page.
pub(super) fn page(page: &Page, out: &mut impl Write) -> io::Result<()> {
    let style = match page.kind {
        Kind::FailedOver | Kind::PrimaryStayed => GOOD,
        Kind::NobodyTookOver => BAD,
        Kind::FormerPrimaryRefused | Kind::LogsEnd => WARNING,
    };
    let (cluster, began) = (printable(&page.cluster), time(WallNanos(page.began_ns)));
    writeln!(out, "{BOLD}Incident {} of cluster {cluster}, {began}{BOLD:#}", page.number)?;
    writeln!(out, "{style}{}{style:#}", printable(&page.headline))?;
    if !page.missing_logs.is_empty() {
        let missing = printable(&page.missing_logs.join(", "));
        writeln!(out, "{DIM}without the log of {missing}: only what others heard is known of it{DIM:#}")?;
    }
    for clock in &page.clocks {
        writeln!(out, "{WARNING}{}{WARNING:#}", printable(clock))?;
    }
    lines("What was seen", &page.seen, out)?;
    lines("Who stood, who did not", &page.stood, out)?;
    words("Why nobody took over", &page.why_not, out)?;
    candidates(page, out)?;
    lines("Who voted how", &page.votes, out)?;
    lines("Taking over", &page.taken_over, out)?;
    phases(page, out)?;
    if let Some(loss) = &page.loss {
        words("Lost", &loss_words(loss, &page.primary), out)?;
    }
    lines("Afterwards", &page.afterwards, out)?;
    match &page.old_primary {
        None => Ok(()),
        Some(old) if page.afterwards.is_empty() => words("Afterwards", std::slice::from_ref(old), out),
        Some(old) => writeln!(out, "  {}", printable(old)),
    }
}

fn heading(title: &str, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\n{BOLD}{title}{BOLD:#}")
}

fn words(title: &str, said: &[String], out: &mut impl Write) -> io::Result<()> {
    if said.is_empty() {
        return Ok(());
    }
    heading(title, out)?;
    said.iter().try_for_each(|text| writeln!(out, "  {}", printable(text)))
}

fn lines(title: &str, lines: &[Line], out: &mut impl Write) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    heading(title, out)?;
    let place = |line: &Line| format!("{}#{}", printable(&line.member), line.record);
    let width = lines.iter().map(|line| place(line).chars().count()).max().unwrap_or(0);
    for line in lines {
        let again = match line.again {
            0 => String::new(),
            1 => " (said twice)".to_owned(),
            n => format!(" (said {} times)", n + 1),
        };
        let at = since(line.after_ns);
        let place = place(line);
        writeln!(out, "  {at:>11}  {DIM}{place:<width$}{DIM:#}  {}{again}", printable(&line.text))?;
    }
    Ok(())
}

/// A time since the first sign, or before it.
fn since(nanos: i64) -> String {
    if nanos < 0 { span(nanos) } else { format!("+{}", span(nanos)) }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    table
}

fn print(table: &Table, out: &mut impl Write) -> io::Result<()> {
    table.lines().try_for_each(|line| writeln!(out, "  {}", line.trim_end()))
}

fn candidates(page: &Page, out: &mut impl Write) -> io::Result<()> {
    if page.candidates.is_empty() {
        return Ok(());
    }
    heading("Why this member, and not another", out)?;
    let mut table = table(&["member", "position", "priority", "rank", "why"]);
    for c in &page.candidates {
        let position = match &c.position {
            Some(at) if c.frozen => format!("{at}, frozen"),
            Some(at) => at.clone(),
            None => "none".to_owned(),
        };
        let rank = c.rank.map_or("-".to_owned(), |rank| rank.to_string());
        table.add_row([printable(&c.member), position, c.priority.to_string(), rank, c.why.clone()]);
    }
    print(&table, out)
}

fn phases(page: &Page, out: &mut impl Write) -> io::Result<()> {
    if page.phases.is_empty() {
        return Ok(());
    }
    heading("How long it took", out)?;
    let mut table = table(&["phase", "from", "took", ""]);
    for phase in &page.phases {
        let begins = since(phase.begins_ns);
        table.add_row([phase.name.to_owned(), begins, span(phase.took_ns), phase.what.clone()]);
    }
    print(&table, out)
}
