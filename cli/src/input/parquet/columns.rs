//! The use of the columns of a file, as its schema and the layout say.

use std::collections::HashSet;

use affinis::AddMode;
use parquet::schema::types::SchemaDescriptor;

use super::records::Column;
use super::schema::Shape;
use super::values::Meaning;
use crate::input::layout::Layout;
use affinis_api::input::error::listed;

/// The columns that are read, and the layout that says what they are.
///
/// # Errors
/// A column that is named and not there, two of one name, a column that has no form in JSON, and
/// columns that give no item.
pub(super) fn choose(
    schema: &SchemaDescriptor,
    layout: &Layout,
    dim: usize,
) -> Result<(Vec<Column>, Layout), String> {
    let fields = schema.root_schema().get_fields();
    let names: Vec<&str> = fields.iter().map(|field| field.name()).collect();
    let mut seen = HashSet::new();
    if let Some(twice) = names.iter().find(|name| !seen.insert(**name)) {
        return Err(format!("two columns are named {twice:?}; rename one"));
    }
    let mut layout = layout.clone();
    let columns = &layout.columns;
    let named = columns.id.iter().chain(&columns.text);
    let named = named
        .chain(&columns.vector)
        .chain(columns.meta.iter().flatten())
        .chain(&columns.image);
    for name in named {
        if !seen.contains(name.as_str()) {
            return Err(format!(
                "there is no column {name:?}; the columns are {}",
                listed(names.iter().copied())
            ));
        }
    }

    // The leaves of all columns are numbered, also of those that are not read.
    let mut leaves = 0;
    let mut found = Vec::with_capacity(fields.len());
    for (at, field) in fields.iter().enumerate() {
        let first = leaves;
        let column = Shape::of(field, &mut leaves).and_then(|shape| {
            let meanings =
                (first..leaves).map(|leaf| Ok((leaf, Meaning::of(&schema.column(leaf))?)));
            let leaves = meanings.collect::<Result<Vec<_>, String>>()?;
            Ok(Column {
                name: names[at].to_owned(),
                shape,
                leaves,
                of_vector: false,
            })
        });
        // Where it cannot be read, its leaves are still those that the schema counts.
        leaves = (first..schema.num_columns())
            .take_while(|leaf| schema.get_column_root_idx(*leaf) == at)
            .count()
            + first;
        found.push(column);
    }

    find_vector(&mut layout, &found, &names, dim)?;
    let columns = &layout.columns;
    let is_read = |name: &str| {
        let is = |chosen: &[String], default: &str| match chosen {
            [] => name == default,
            chosen => chosen.iter().any(|column| column == name),
        };
        is(columns.id.as_slice(), "id")
            || is(&columns.text, "text")
            || is(&columns.vector, "vector")
            || columns.image.as_deref() == Some(name)
            || columns
                .meta
                .as_ref()
                .is_none_or(|meta| meta.iter().any(|column| column == name))
    };
    let of_vector = |name: &str| match &columns.vector[..] {
        [] => name == "vector",
        chosen => chosen.iter().any(|column| column == name),
    };
    let read = names.iter().zip(found).filter(|(name, _)| is_read(name));
    let read = read.map(|(name, column)| match column {
        Ok(column) => Ok(Column {
            of_vector: of_vector(name),
            ..column
        }),
        Err(reason) => Err(format!(
            "column {name:?} {reason}; leave it out with --meta-column, or write it as another type"
        )),
    });
    Ok((read.collect::<Result<_, _>>()?, layout))
}

/// Where neither text nor vector is named, takes the columns of numbers for the vector, if they are
/// as many as the collection's dimension.
fn find_vector(
    layout: &mut Layout,
    found: &[Result<Column, String>],
    names: &[&str],
    dim: usize,
) -> Result<(), String> {
    let columns = &layout.columns;
    let is_there =
        |chosen: &[String], default: &str| !chosen.is_empty() || names.contains(&default);
    if is_there(&columns.text, "text")
        || is_there(&columns.vector, "vector")
        || columns.image.is_some()
        || layout.mode == AddMode::Update
    {
        return Ok(());
    }
    let is_used = |name: &str| {
        let mut meta = columns.meta.iter().flatten();
        name == columns.id.as_deref().unwrap_or("id") || meta.any(|column| column == name)
    };
    let numbers: Vec<&str> = found
        .iter()
        .flatten()
        .filter(|column| column.is_number() && !is_used(&column.name))
        .map(|column| column.name.as_str())
        .collect();
    if numbers.len() == dim {
        layout.columns.vector = numbers.into_iter().map(str::to_owned).collect();
        return Ok(());
    }
    let counted = match numbers[..] {
        [] => String::new(),
        _ => format!(
            " (the columns of numbers, {}, are {} and the collection's dimension is {dim})",
            listed(numbers.iter().copied()),
            numbers.len()
        ),
    };
    Err(format!(
        "no column gives a text or a vector{counted}; name the columns with --text-column or --vector-columns; the \
         columns are {}",
        listed(names.iter().copied())
    ))
}
