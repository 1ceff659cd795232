//! `export` and `import`: a collection as a file of JSON lines, and a collection of such a file.
//!
//! The first line is `{"collection": {..}}`: the format's name and version, the settings, and how many lines of each kind
//! follow. Then come, in this order, `{"item": {"id", "text", "vector", "meta"}}`; `{"text": {"text", "vector"}}`, the
//! numbers of the texts that judgements ask; `{"judgement": {"sequence", ..}}`, otherwise as `judge` reads them; and
//! `{"metric": {"version", .., "bytes"}}`, a version as `metrics show --json` prints it with what its plugin keeps of it,
//! in base64. Numbers are written so that they are read back bit for bit.

use std::io::{BufRead, BufWriter, Write};
use std::path::{Path, PathBuf};

use affinis::{Collection, CollectionInfo, Encoder, EncoderInfo, History, Onnx, StoredVersion};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::At;
use super::metrics::WholeFile;
use crate::failure::Failure;
use crate::input::{Archive, Input, InputError, Opened, Place, archive};
use crate::output::{self, Out, count, plain, plural};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file holds all there is: settings, items with their vectors, judgements, and every version of the metric. It is text,
a JSON object a line, and can be compressed well.

Examples:
  affinis export notes notes.affinis.jsonl
  affinis export notes - | gzip > notes.affinis.jsonl.gz")]
pub(crate) struct ExportArgs {
    /// The collection's name
    name: String,
    /// The file, or - for standard output
    file: PathBuf,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The collection must not exist yet; it answers exactly as the exported one did.

Examples:
  affinis import notes notes.affinis.jsonl
  zcat notes.affinis.jsonl.gz | affinis import notes2 -
  affinis import notes notes.affinis.jsonl --encoder models/minilm     where the model lies on this machine")]
pub(crate) struct ImportArgs {
    /// The new collection's name
    name: String,
    /// The exported file, or - for standard input
    file: Input,
    /// Directory of the collection's encoder, where it is another than on the exporting machine
    #[arg(long, value_name = "DIR")]
    encoder: Option<PathBuf>,
}
