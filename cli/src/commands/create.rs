//! `create`: makes a collection.

use std::path::PathBuf;

use affinis::{Distance, MAX_DIM, Onnx, Precision};
use clap::ValueEnum;

use super::At;
use crate::failure::Failure;
use crate::output::{Out, plain};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  affinis create notes                              texts, by the encoder that is built in
  affinis create papers --encoder models/minilm     texts, by an ONNX model in a directory
  affinis create images --dim 512 --distance cosine vectors of your own

A model's directory has model.onnx or onnx/model.onnx, tokenizer.json and config.json, as
sentence-transformers and Hugging Face export them; `affinis model pull` gets one.")]
pub(crate) struct Args {
    /// The collection's name
    name: String,
    /// Directory of the ONNX model that encodes texts [default: the model that is built in]
    #[arg(long, value_name = "DIR", conflicts_with = "dim")]
    encoder: Option<PathBuf>,
    /// Hold vectors of N numbers, and no encoder
    #[arg(long, value_name = "N", value_parser = dim)]
    dim: Option<usize>,
    /// How vectors are compared
    #[arg(long, value_name = "DISTANCE", default_value = "l2")]
    distance: DistanceName,
    /// How vectors are stored
    #[arg(long, value_name = "PRECISION", default_value = "f32")]
    precision: PrecisionName,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DistanceName {
    /// Squared Euclidean distance
    L2,
    /// The angle alone counts
    Cosine,
    /// The dot product, larger is nearer
    Dot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PrecisionName {
    /// 32-bit floats
    F32,
    /// 16-bit floats, half the size
    F16,
    /// 8-bit codes with a scale, a quarter of the size
    I8,
}

fn dim(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(dim) if (1..=MAX_DIM).contains(&dim) => Ok(dim),
        _ => Err(format!("a dimension is a whole number from 1 to {MAX_DIM}")),
    }
}

pub(crate) fn run(args: &Args, at: &At, out: &mut Out) -> Result<(), Failure> {
    let encoder = match (&args.encoder, args.dim) {
        (_, Some(_)) => None,
        (Some(dir), None) => Some(Onnx::from_dir(dir).map_err(affinis::Error::from)?),
        (None, None) => Some(Onnx::embedded().map_err(affinis::Error::from)?),
    };
    let store = at.open_or_create()?;
    let distance = match args.distance {
        DistanceName::L2 => Distance::L2,
        DistanceName::Cosine => Distance::Cosine,
        DistanceName::Dot => Distance::Dot,
    };
    let precision = match args.precision {
        PrecisionName::F32 => Precision::F32,
        PrecisionName::F16 => Precision::F16,
        PrecisionName::I8 => Precision::I8,
    };
    let mut builder = store
        .collection(&args.name)
        .distance(distance)
        .precision(precision);
    if let Some(dim) = args.dim {
        builder = builder.dim(dim);
    }
    if let Some(encoder) = encoder {
        builder = builder.encoder(encoder);
    }
    let info = builder.create()?.info();
    if out.is_json() {
        return Ok(out.json(&info)?);
    }
    let encoder = info.encoder.map_or_else(
        || "no encoder".to_owned(),
        |e| format!("encoder {}", plain(&e.name)),
    );
    out.line(format_args!(
        "made {}: dimension {}, {} distance, {encoder}",
        plain(&info.name),
        info.dim,
        info.distance
    ))?;
    Ok(())
}
