//! `backup`, `restore` and `compact`: copies the store, replaces it, and rewrites it.

use std::path::PathBuf;

use serde_json::json;

use super::{At, builder};
use crate::failure::Failure;
use crate::output::{self, GOOD, Out, bytes, plain, plural};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The directory must be empty or absent. A backup is itself a store: --store DIR opens it.

Examples:
  affinis backup backups/monday")]
pub(crate) struct BackupArgs {
    /// Directory of the new backup
    dir: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The backup is copied and verified first; a damaged one is refused and leaves the store unchanged.

Examples:
  affinis restore backups/monday
  affinis restore backups/monday --store other.store")]
pub(crate) struct RestoreArgs {
    /// Directory of the backup
    dir: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Afterwards, forgotten and deleted data are gone from the files too. A store whose database is or
holds a symbolic link is refused, because what the link points to would keep them; the store's
directory itself may be a link.

Examples:
  affinis compact")]
pub(crate) struct CompactArgs {}

pub(crate) fn backup(args: &BackupArgs, at: &At, out: &mut Out) -> Result<(), Failure> {
    let store = at.open()?;
    let working = output::spinner("writing the backup");
    output::catch_interrupts();
    store
        .backup_with(&args.dir, output::interrupted)
        .map_err(|error| match error {
            affinis::Error::Cancelled => Failure::Interrupted(format!(
                "interrupted: {} was not written",
                args.dir.display()
            )),
            other => other.into(),
        })?;
    drop(working);
    let collections = store.collections()?;
    let items: u64 = collections.iter().map(|info| info.items).sum();
    let dir = args.dir.display().to_string();
    if out.is_json() {
        return Ok(
            out.json(&json!({"backup": dir, "collections": collections.len(), "items": items}))?
        );
    }
    out.line(format_args!(
        "backed up {} with {} to {}",
        plural(collections.len() as u64, "collection", "collections"),
        plural(items, "item", "items"),
        plain(&dir)
    ))?;
    Ok(())
}

pub(crate) fn restore(args: &RestoreArgs, at: &At, out: &mut Out) -> Result<(), Failure> {
    let working = output::spinner("copying and verifying the backup");
    let report = builder().restore(&args.dir, at.path()?)?;
    drop(working);
    let (dir, store) = (
        args.dir.display().to_string(),
        at.path()?.display().to_string(),
    );
    if out.is_json() {
        return Ok(out.json(&json!({"restored": dir, "store": store, "checked": report.checked}))?);
    }
    let checked = plural(report.checked, "part", "parts");
    out.line(format_args!(
        "restored {} from {}; {GOOD}sound{GOOD:#}: {checked} checked",
        plain(&store),
        plain(&dir)
    ))?;
    Ok(())
}

pub(crate) fn compact(_: &CompactArgs, at: &At, out: &mut Out) -> Result<(), Failure> {
    let working = output::spinner("rewriting the store");
    let sizes = builder().compact(at.existing()?)?;
    drop(working);
    if out.is_json() {
        return Ok(out.json(&sizes)?);
    }
    out.line(format_args!(
        "compacted from {} to {}",
        bytes(sizes.before),
        bytes(sizes.after)
    ))?;
    Ok(())
}
