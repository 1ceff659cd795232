//! `get` and `delete`: print and delete items by their ids, all of them or none.

use affinis::Item;
use serde::Serialize;
use serde_json::{Value, json};

use super::At;
use crate::failure::Failure;
use crate::output::{BOLD, DIM, Out, number, plain, plural};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  affinis get notes a1 a2
  affinis get notes a1 --json                       {\"id\", \"text\", \"vector\", \"meta\"}")]
pub(crate) struct GetArgs {
    /// The collection's name
    name: String,
    /// Ids of the items, which are printed in this order
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  affinis delete notes a1 a2                        deletes neither if one of them is unknown")]
pub(crate) struct DeleteArgs {
    /// The collection's name
    name: String,
    /// Ids of the items
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

/// An item as JSON. It borrows the item's fields, so numbers keep their shortest form.
#[derive(Serialize)]
struct Printed<'a> {
    id: &'a str,
    text: &'a Option<String>,
    vector: &'a Option<Vec<f32>>,
    meta: &'a Value,
}

pub(crate) fn get(args: &GetArgs, at: &At, out: &mut Out) -> Result<(), Failure> {
    for (place, item) in at
        .collection(&args.name)?
        .get_many(&args.ids)?
        .iter()
        .enumerate()
    {
        if out.is_json() {
            out.json(&Printed {
                id: &item.id,
                text: &item.text,
                vector: &item.vector,
                meta: &item.meta,
            })?;
            continue;
        }
        if place > 0 {
            out.line("")?;
        }
        print(item, out)?;
    }
    Ok(())
}

fn print(item: &Item, out: &mut Out) -> Result<(), Failure> {
    /// Largest number of numbers of a vector that are printed.
    const MAX_NUMBERS: usize = 6;
    out.line(format_args!("{BOLD}{}{BOLD:#}", plain(&item.id)))?;
    if let Some(text) = &item.text {
        let cut = if item.truncated {
            "  (longer than the encoder's limit: the vector covers only the beginning)"
        } else {
            ""
        };
        out.line(format_args!(
            "  {DIM}text{DIM:#}    {}{DIM}{cut}{DIM:#}",
            plain(text)
        ))?;
    }
    if !item.meta.is_null() {
        out.line(format_args!(
            "  {DIM}meta{DIM:#}    {}",
            plain(&item.meta.to_string())
        ))?;
    }
    if let Some(vector) = &item.vector {
        let first: Vec<_> = vector
            .iter()
            .take(MAX_NUMBERS)
            .map(|&v| number(f64::from(v)))
            .collect();
        let more = if vector.len() > MAX_NUMBERS {
            ", .."
        } else {
            ""
        };
        out.line(format_args!(
            "  {DIM}vector{DIM:#}  [{}{more}] of {} numbers",
            first.join(", "),
            vector.len()
        ))?;
    }
    Ok(())
}

pub(crate) fn delete(args: &DeleteArgs, at: &At, out: &mut Out) -> Result<(), Failure> {
    let deleted = at.collection(&args.name)?.delete(&args.ids)?;
    if out.is_json() {
        return Ok(out.json(&json!({"deleted": deleted}))?);
    }
    out.line(format_args!(
        "deleted {} from {}",
        plural(deleted as u64, "item", "items"),
        plain(&args.name)
    ))?;
    Ok(())
}
