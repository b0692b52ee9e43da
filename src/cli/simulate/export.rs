//! Writes the logs of a simulated cluster as the daemons of a real one would have: one directory a
//! member, in the store's own format. It must never write into a log that is there already.

use crate::cluster::World;
use crate::events::{AppendRefused, Condition, Durability, Event, EventLog, LogOptions, Receipt, Record};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};

/// Writes every member's log below `dir`, and returns where they are.
///
/// What a crash took is not in them, as it would not be on a disk: each holds its flushed records and what
/// was kept, restart after restart. A log that was lost begins anew, with the incarnation that came then.
pub(super) fn write_logs(world: &World, dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for node in &world.nodes {
        let log = dir.join(node.settings.name(node.id));
        write_log(&log, &node.log.records)
            .with_context(|| format!("the log of {} can't be written", node.settings.name(node.id)))?;
        written.push(log);
    }
    Ok(written)
}

fn write_log(dir: &Path, records: &[Record]) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let opened = EventLog::<Event>::open(dir, LogOptions::default())?;
    if opened.condition != Condition::Fresh {
        bail!("{} holds a log already: give --out a directory that is empty or new", dir.display());
    }
    let mut last = None;
    for batch in records.chunk_by(|_, next| next.cause.is_some()) {
        last = Some(append(&opened.log, batch.to_vec(), last)?);
    }
    if let Some(receipt) = last {
        receipt.wait()?;
    }
    opened.log.close()?;
    Ok(())
}

/// Appends a batch; while the log's queue is full, waits for the one before.
fn append(
    log: &EventLog<Event>,
    mut batch: Vec<Record>,
    mut before: Option<Receipt>,
) -> anyhow::Result<Receipt> {
    loop {
        match log.append(batch, Durability::Buffered) {
            Ok(receipt) => return Ok(receipt),
            Err(AppendRefused::Full(back)) => {
                batch = back;
                match before.take() {
                    Some(receipt) => receipt.wait()?,
                    None => bail!("the log's queue stays full"),
                };
            }
            Err(closed @ AppendRefused::Closed(_)) => bail!("{closed}"),
        }
    }
}
