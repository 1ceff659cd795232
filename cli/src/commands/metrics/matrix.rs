//! `metrics export` and `metrics import`: the matrix of a version, as npy or JSON.

use std::io;
use std::path::Path;

use affinis::VersionId;
use ndarray::Array2;
use serde::Deserialize;
use serde_json::json;

use crate::commands::metric_name;
use crate::failure::Failure;
use crate::input::{self, Input, InputError, Opened, Place};
use crate::output::{self, Out, WholeFile, plain};
use crate::target::Target;

pub(super) fn export(
    collection: &Target,
    version: VersionId,
    file: &Path,
    out: &mut Out,
) -> Result<(), Failure> {
    let document = collection.matrix(version)?;
    let dim = document.matrix.len();
    let mut whole = WholeFile::create(file)?;
    let to_stdout = whole.is_stdout();
    let writer = whole.writer();
    let written = if file
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("npy"))
    {
        let matrix = rows(document.matrix).map_err(Failure::Failed)?;
        input::write_npy_f64(writer, &matrix.view())
    } else {
        serde_json::to_writer(&mut *writer, &document)
            .map_err(io::Error::from)
            .and_then(|()| writer.write_all(b"\n"))
    };
    whole.finish(written)?;
    let name = file.display().to_string();
    let summary = format!(
        "wrote {}, {1} x {1}, to {2}",
        metric_name(version),
        dim,
        plain(&name)
    );
    match (to_stdout, out.is_json()) {
        (true, _) => output::note(summary),
        (false, true) => {
            out.json(&json!({"version": version, "file": name, "dim": dim}))?;
        }
        (false, false) => out.line(summary)?,
    }
    Ok(())
}

/// The JSON file that `export` writes; its other fields are not read.
#[derive(Deserialize)]
struct MatrixFile {
    matrix: Vec<Vec<f64>>,
}

pub(super) fn import(collection: &Target, file: &Input, out: &mut Out) -> Result<(), Failure> {
    let Opened {
        name, mut reader, ..
    } = file.open()?;
    let npy = reader.fill_buf().map(|start| start.first() == Some(&0x93));
    let wrong = |reason: String| InputError::new(&name, Place::File, reason);
    let matrix = if npy.map_err(|e| wrong(format!("cannot be read: {e}")))? {
        input::npy_f64(reader, &name)?
    } else {
        json_matrix(reader).map_err(wrong)?
    };
    let dim = collection.dim();
    if matrix.dim() != (dim, dim) {
        let reason = format!(
            "holds {} x {} numbers; a metric of this collection has {dim} x {dim}",
            matrix.nrows(),
            matrix.ncols()
        );
        return Err(wrong(reason).into());
    }
    let version = collection
        .import_matrix(&matrix)
        .map_err(|error| match error {
            Failure::Store(
                error @ (affinis::Error::Learn(_) | affinis::Error::MatrixShape { .. }),
            ) => wrong(error.to_string()).into(),
            #[cfg(feature = "client")]
            Failure::Service(error) if error.is("invalid-input") => wrong(error.to_string()).into(),
            other => other,
        })?;
    if out.is_json() {
        return Ok(out.json(&json!({"version": version}))?);
    }
    out.line(format_args!(
        "made {} of {}; `affinis metrics {} promote {version}` makes it active",
        metric_name(version),
        plain(&name),
        plain(collection.name())
    ))?;
    Ok(())
}

fn json_matrix(reader: impl io::Read) -> Result<Array2<f64>, String> {
    let file: MatrixFile = serde_json::from_reader(reader)
        .map_err(|e| format!("is neither npy nor JSON with a \"matrix\" of rows: {e}"))?;
    rows(file.matrix)
}

/// Rows as a matrix.
fn rows(matrix: Vec<Vec<f64>>) -> Result<Array2<f64>, String> {
    let columns = matrix.first().map_or(0, Vec::len);
    if let Some(row) = matrix.iter().position(|row| row.len() != columns) {
        return Err(format!(
            "row {row} of \"matrix\" has {} numbers, the first has {columns}",
            matrix[row].len()
        ));
    }
    let rows = matrix.len();
    Array2::from_shape_vec((rows, columns), matrix.into_iter().flatten().collect())
        .map_err(|e| e.to_string())
}
