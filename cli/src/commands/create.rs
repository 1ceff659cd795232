//! `create`: creates a collection.

use std::path::{Path, PathBuf};

use affinis::{CollectionInfo, Distance, Language, Precision, encode::EMBEDDED, limits::MAX_DIM};
use clap::ValueEnum;

use super::At;
use crate::failure::Failure;
use crate::output::{Out, plain};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  affinis create notes                              texts, with the built-in encoder
  affinis create papers --encoder models/minilm     texts, with an ONNX model in a directory
  affinis create images --dim 512 --distance cosine your own vectors
  affinis create packages --keywords en             texts that are found by their words too

A model whose outputs are called otherwise than sentence_embedding, text_embeds, dense_vecs,
last_hidden_state or token_embeddings needs --output: the error lists what it has.

A model's directory has model.onnx or onnx/model.onnx, tokenizer.json and config.json, as
sentence-transformers and Hugging Face export them; `affinis model pull` downloads one.")]
pub(crate) struct Args {
    /// Name of the new collection
    name: String,
    /// Directory of the ONNX model that encodes texts [default: the built-in model]
    #[arg(long, value_name = "DIR", conflicts_with = "dim")]
    encoder: Option<PathBuf>,
    /// Output of the model that is the embedding of a text, or of its tokens [default: by its name]
    #[arg(
        long,
        value_name = "NAME",
        requires = "encoder",
        conflicts_with = "dim"
    )]
    output: Option<String>,
    /// Store vectors of N numbers, 1 to 4096, without an encoder
    #[arg(long, value_name = "N", value_parser = dim)]
    dim: Option<usize>,
    /// Built-in distance between vectors, used until a metric is learned [default: the one that the
    /// model's files ask for, else l2]
    #[arg(long, value_name = "DISTANCE")]
    distance: Option<DistanceName>,
    /// Number format in which vectors are stored
    #[arg(long, value_name = "PRECISION", default_value = "f32")]
    precision: PrecisionName,
    /// Turn on keyword search over the texts: `simple`, or the two letters of a language, such as en
    #[arg(long, value_name = "LANGUAGE")]
    keywords: Option<Language>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DistanceName {
    /// Squared Euclidean distance
    L2,
    /// Squared Euclidean distance between vectors of unit length
    Cosine,
    /// Minus the dot product
    Dot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PrecisionName {
    /// 32-bit floats
    F32,
    /// 16-bit floats, half the size of f32
    F16,
    /// 8-bit integers with a scale, a quarter of the size of f32
    I8,
}

impl From<DistanceName> for Distance {
    fn from(name: DistanceName) -> Self {
        match name {
            DistanceName::L2 => Self::L2,
            DistanceName::Cosine => Self::Cosine,
            DistanceName::Dot => Self::Dot,
        }
    }
}

fn dim(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(dim) if (1..=MAX_DIM).contains(&dim) => Ok(dim),
        _ => Err(format!("a dimension is a whole number from 1 to {MAX_DIM}")),
    }
}

pub(crate) fn run(args: &Args, at: &At, out: &mut Out) -> Result<(), Failure> {
    let precision = match args.precision {
        PrecisionName::F32 => Precision::F32,
        PrecisionName::F16 => Precision::F16,
        PrecisionName::I8 => Precision::I8,
    };
    #[cfg(feature = "client")]
    if let super::Engine::Service(service) = &at.engine {
        let info = create_there(args, precision, service)?;
        return print(info, out);
    }
    let encoder = match (&args.encoder, args.dim) {
        (_, Some(_)) => None,
        (Some(dir), None) => Some(super::encoder(dir, args.output.as_deref())?),
        (None, None) => Some(super::encoder(Path::new(EMBEDDED), None)?),
    };
    let store = at.open_or_create()?;
    let mut builder = store.collection(&args.name).precision(precision);
    if let Some(distance) = args.distance {
        builder = builder.distance(distance.into());
    }
    if let Some(dim) = args.dim {
        builder = builder.dim(dim);
    }
    if let Some(encoder) = encoder {
        builder = builder.encoder_arc(encoder);
    }
    if let Some(language) = args.keywords {
        builder = builder.keywords(language);
    }
    print(builder.create()?.info(), out)
}

/// Creates the collection in a service, whose encoders have names.
#[cfg(feature = "client")]
fn create_there(
    args: &Args,
    precision: Precision,
    service: &crate::target::Service,
) -> Result<CollectionInfo, Failure> {
    let mut create = service.client().create(&args.name).precision(precision);
    if args.output.is_some() {
        return Err(service.refuse("its encoders have their outputs"));
    }
    if let Some(encoder) = &args.encoder {
        create = create.encoder(encoder.display().to_string());
    }
    if let Some(dim) = args.dim {
        create = create.dim(dim);
    }
    if let Some(distance) = args.distance {
        create = create.distance(distance.into());
    }
    if let Some(language) = args.keywords {
        create = create.keywords(language);
    }
    Ok(create.create()?)
}

fn print(info: CollectionInfo, out: &mut Out) -> Result<(), Failure> {
    if out.is_json() {
        return Ok(out.json(&info)?);
    }
    let encoder = info.encoder.map_or_else(
        || "no encoder".to_owned(),
        |e| {
            let output = e
                .output
                .map_or_else(String::new, |o| format!(", output {o}"));
            format!("encoder {}", plain(&(e.name + &output)))
        },
    );
    let keywords = info
        .keywords
        .map_or_else(String::new, |l| format!(", keywords {l}"));
    out.line(format_args!(
        "created {}: dimension {}, {} distance, {encoder}{keywords}",
        plain(&info.name),
        info.dim,
        info.distance
    ))?;
    Ok(())
}
