//! `model bench`: the rate of a model on each backend, and how far their vectors agree.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use affinis::encode::{Backend, EMBEDDED, Encoder, Onnx};
use ndarray::{Array2, ArrayView1};
use serde::Serialize;
use serde_json::json;

use crate::demo::definitions;
use crate::failure::Failure;
use crate::output::{Align, Out, Table, count, number, plain};

/// Runs over all texts, of which the median counts.
const ROUNDS: usize = 3;
/// Texts that are encoded one by one.
const ALONE: usize = 50;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
RTen is part of every build. ONNX Runtime is measured beside it where the build has the feature
onnxruntime and ORT_DYLIB_PATH names its library. Without --texts the texts are 500 definitions of
WordNet, which are part of the program.

Examples:
  affinis model bench models/minilm
  ORT_DYLIB_PATH=/usr/lib/libonnxruntime.so affinis model bench models/minilm --texts lines.txt --json")]
pub(super) struct Args {
    /// Directory of the model, or `embedded` for the one in the program
    model: PathBuf,
    /// Output of the graph that is the embedding
    #[arg(long, value_name = "NAME")]
    output: Option<String>,
    /// File of texts, one a line
    #[arg(long, value_name = "FILE")]
    texts: Option<PathBuf>,
    /// Number of threads [default: as many as the machine has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// What was measured of a backend.
#[derive(Debug, Serialize)]
struct Measured {
    backend: &'static str,
    texts_per_second: f64,
    /// Median time of one text alone.
    one_text_ms: f64,
    load_ms: f64,
    #[serde(skip)]
    vectors: Array2<f32>,
}

pub(super) fn run(args: &Args, out: &mut Out) -> Result<(), Failure> {
    let file = args.texts.as_ref().map(std::fs::read_to_string);
    let file = file.transpose().map_err(|error| {
        let path = args.texts.as_ref().map(|path| path.display().to_string());
        Failure::Failed(format!("{}: {error}", path.unwrap_or_default()))
    })?;
    let texts: Vec<&str> = match &file {
        Some(file) => file
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect(),
        None => definitions().take(500).collect(),
    };
    if texts.is_empty() {
        return Err(Failure::Usage("the file of --texts has no text".into()));
    }
    let first = load(args, Backend::Rten)?;
    let mut measured = vec![measure("rten", &first, &texts)?];
    let has_runtime = cfg!(feature = "onnxruntime")
        && std::env::var_os("ORT_DYLIB_PATH").is_some_and(|path| !path.is_empty());
    if has_runtime {
        let loaded = load(args, Backend::OnnxRuntime)?;
        measured.push(measure("onnxruntime", &loaded, &texts)?);
    }
    let agreement = measured.get(1).map(|other| {
        let pairs = measured[0]
            .vectors
            .outer_iter()
            .zip(other.vectors.outer_iter());
        pairs.map(|(a, b)| cosine(a, b)).fold(1.0, f64::min)
    });
    let onnx = &first.0;
    if out.is_json() {
        return Ok(out.json(&json!({
            "model": onnx.name(), "fingerprint": onnx.fingerprint(), "dim": onnx.dim(),
            "max_tokens": onnx.max_length(), "texts": texts.len(), "backends": measured,
            "least_cosine": agreement,
        }))?);
    }
    out.line(format_args!(
        "{}: {} numbers a text, cut at {} tokens; {} texts",
        plain(onnx.name()),
        onnx.dim(),
        onnx.max_length(),
        count(texts.len() as u64)
    ))?;
    let mut table = Table::new([
        ("backend", Align::Left),
        ("texts/s", Align::Right),
        ("one text, ms", Align::Right),
        ("load, ms", Align::Right),
    ])
    .indent(2);
    for of in &measured {
        table.row([
            of.backend.to_owned(),
            number(of.texts_per_second),
            number(of.one_text_ms),
            number(of.load_ms),
        ]);
    }
    out.line(table)?;
    match agreement {
        Some(cosine) => out.line(format_args!(
            "the least cosine between the vectors of both backends of a text is {cosine:.6}"
        ))?,
        None => out.line(
            "one backend only: set ORT_DYLIB_PATH, in a build with the feature onnxruntime, to compare",
        )?,
    }
    Ok(())
}

/// Loads the model; gives the time that it took.
fn load(args: &Args, backend: Backend) -> Result<(Onnx, Duration), Failure> {
    let mut options = Onnx::options().backend(backend);
    if let Some(output) = &args.output {
        options = options.output(output);
    }
    if let Some(threads) = args.threads {
        options = options.threads(threads.into());
    }
    let began = Instant::now();
    let onnx = if args.model.to_str() == Some(EMBEDDED) {
        options.embedded()
    } else {
        options.from_dir(&args.model)
    };
    Ok((onnx.map_err(affinis::Error::from)?, began.elapsed()))
}

fn measure(
    backend: &'static str,
    (onnx, loaded): &(Onnx, Duration),
    texts: &[&str],
) -> Result<Measured, Failure> {
    let encode = |texts: &[&str]| {
        let began = Instant::now();
        let encoded = onnx.encode(texts).map_err(affinis::Error::from)?;
        Ok::<_, Failure>((encoded.vectors, began.elapsed().as_secs_f64()))
    };
    // The first run allocates what later ones use again.
    encode(&texts[..texts.len().min(ALONE)])?;
    let rounds = (0..ROUNDS).map(|_| encode(texts));
    let (mut vectors, mut seconds) = (Array2::default((0, 0)), Vec::new());
    for round in rounds {
        let (found, took) = round?;
        vectors = found;
        seconds.push(took);
    }
    let alone = texts.iter().take(ALONE).map(|text| encode(&[text]));
    let alone = alone.map(|ran| ran.map(|(_, took)| took));
    let mut alone = alone.collect::<Result<Vec<f64>, Failure>>()?;
    Ok(Measured {
        backend,
        texts_per_second: texts.len() as f64 / median(&mut seconds),
        one_text_ms: 1e3 * median(&mut alone),
        load_ms: 1e3 * loaded.as_secs_f64(),
        vectors,
    })
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn cosine(a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f64 {
    let product = |a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>| {
        let products = a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y));
        products.sum::<f64>()
    };
    product(a, b) / (product(a, a) * product(b, b)).sqrt()
}
