//! `backup`, `restore` and `compact`: copies the store, replaces it, and rewrites it.

use std::path::PathBuf;

use affinis_api::BackupDocument;
use serde_json::json;

use super::At;
use crate::failure::Failure;
use crate::output::{self, GOOD, Out, bytes, plain, plural};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The directory must be empty or absent, or hold an earlier backup of this store, which is replaced: of
its vectors and graphs only what is new is copied. A backup is itself a store: --store DIR opens it. In a service
(--store http://..) DIR is a name below the directory that `serve --backups` was given.

Examples:
  affinis backup backups/monday")]
pub(crate) struct BackupArgs {
    /// Directory of the backup
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
    let working = output::spinner("writing the backup");
    let written = write(args, at)?;
    drop(working);
    if out.is_json() {
        return Ok(out.json(&written)?);
    }
    out.line(format_args!(
        "backed up {} with {} to {}",
        plural(written.collections as u64, "collection", "collections"),
        plural(written.items, "item", "items"),
        plain(&written.backup)
    ))?;
    Ok(())
}

fn write(args: &BackupArgs, at: &At) -> Result<BackupDocument, Failure> {
    #[cfg(feature = "client")]
    if let super::Engine::Service(service) = &at.engine {
        let job = service.client().back_up(&args.dir.display().to_string())?;
        return crate::target::wait(&job, |_| {});
    }
    let store = at.open()?;
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
    let collections = store.collections()?;
    Ok(BackupDocument {
        backup: args.dir.display().to_string(),
        collections: collections.len(),
        items: collections.iter().map(|info| info.items).sum(),
    })
}

pub(crate) fn restore(args: &RestoreArgs, at: &At, out: &mut Out) -> Result<(), Failure> {
    let working = output::spinner("copying and verifying the backup");
    let report = at.builder().restore(&args.dir, at.path()?)?;
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
    let sizes = at.builder().compact(at.existing()?)?;
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
