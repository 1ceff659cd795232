//! The inputs and the output of a graph that embeds texts, read from the ONNX file itself, so that
//! every backend uses the same.

use std::collections::{HashMap, HashSet};

use super::engine::GraphFile;
use super::error::EncodeError;
use super::onnx_file::{Dimension, Graph, Shape, Value, element};

/// The data of an input of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Feed {
    /// Token ids: `input_ids`.
    Ids,
    /// Mask of tokens: `attention_mask`.
    Mask,
    /// Segment ids: `token_type_ids`.
    Types,
    /// Places of the tokens from 0 on: `position_ids`.
    Positions,
    /// Pixels of images.
    #[cfg(feature = "images")]
    Pixels,
}

/// An input of the graph, of shape `b x s`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Input {
    pub(super) name: String,
    pub(super) feed: Feed,
    /// Whether it takes numbers of 32 bits and not of 64.
    pub(super) is_narrow: bool,
}

/// The inputs and the output of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signature {
    /// Inputs in the order of the graph.
    pub(super) inputs: Vec<Input>,
    /// Name of the output: token vectors `b x s x d`, or pooled ones `b x d`.
    pub(super) output: String,
    /// Number of axes of the output: 3 for token vectors, 2 for pooled ones with all modules that
    /// follow the transformer. `None` for one that was chosen and whose shape the graph leaves open.
    pub(super) rank: Option<usize>,
    /// Whether the output is another than the one that is taken without a choice.
    pub(super) chosen: bool,
    /// Whether it rounds activations by their range over a whole batch, so that a text has another
    /// vector beside other texts.
    pub(super) quantises_batches: bool,
    /// Number of tokens in the table that token ids are looked up in, where the graph shows it.
    pub(super) tokens: Option<usize>,
}

/// Names of outputs that are embeddings in every graph that has them, with their numbers of axes.
/// The first of a graph is taken: a pooled one has gone through all modules of the model.
type Known = [(&'static str, usize)];
const OF_TEXTS: &Known = &[
    ("sentence_embedding", 2),
    ("text_embeds", 2),
    ("dense_vecs", 2),
    ("last_hidden_state", 3),
    ("token_embeddings", 3),
];
#[cfg(feature = "images")]
const OF_IMAGES: &Known = &[("image_embeds", 2)];

/// The shape of the pixels that a graph of images takes, as far as the graph says it.
#[cfg(feature = "images")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PixelShape {
    /// Whether the colours of a pixel lie beside each other (`b x h x w x 3`) and not those of an
    /// image in one plane each (`b x 3 x h x w`).
    pub(super) colours_last: bool,
    /// Number of images in a run, where the graph takes no other.
    pub(super) batch: Option<usize>,
    /// Height and width, where the graph takes no others.
    pub(super) size: (Option<usize>, Option<usize>),
}

impl Signature {
    /// The signature of a model of texts, with the output of this name, or else the one that is
    /// certain to be an embedding.
    pub(super) fn of(file: &GraphFile, output: Option<&str>) -> Result<Self, EncodeError> {
        let graph = graph_of(file)?;
        let unsupported = |what: String| EncodeError::Unsupported {
            path: file.path.clone(),
            what,
        };
        let inputs = inputs(graph).map_err(unsupported)?;
        if !inputs.iter().any(|input| input.feed == Feed::Ids) {
            return Err(unsupported(
                "no input is called input_ids; this is not a model of texts".into(),
            ));
        }
        let mut signature = Self::with(file, inputs, OF_TEXTS, output)?;
        signature.tokens = tokens(graph);
        Ok(signature)
    }

    /// The signature of a model of images, with the output of this name, or else the one that is
    /// certain to be an embedding.
    #[cfg(feature = "images")]
    pub(super) fn of_images(
        file: &GraphFile,
        output: Option<&str>,
    ) -> Result<(Self, PixelShape), EncodeError> {
        let unsupported = |what: &str| EncodeError::Unsupported {
            path: file.path.clone(),
            what: what.to_owned(),
        };
        let free = free_inputs(graph_of(file)?);
        let [input] = free[..] else {
            return Err(unsupported(
                "a model of images has one input, the pixels; of a model of texts and images, export the two towers \
                 apart, as text_model.onnx and vision_model.onnx",
            ));
        };
        let pixels = pixel_shape(input).ok_or_else(|| {
            unsupported(
                "its input is not of shape [images, 3, height, width] or [images, height, width, 3]; this is not a \
                 model of images",
            )
        })?;
        let inputs = vec![Input {
            name: input.name.clone(),
            feed: Feed::Pixels,
            is_narrow: false,
        }];
        Ok((Self::with(file, inputs, OF_IMAGES, output)?, pixels))
    }

    /// The signature of a graph with these inputs, whose embeddings may have these names.
    fn with(
        file: &GraphFile,
        inputs: Vec<Input>,
        known: &Known,
        output: Option<&str>,
    ) -> Result<Self, EncodeError> {
        let graph = graph_of(file)?;
        let certain = certain(graph, known);
        let output = match output {
            None => {
                certain.ok_or_else(|| "none of its outputs is known to be an embedding".to_owned())
            }
            Some(name) => chosen(graph, name),
        };
        let output = output.map_err(|fault| EncodeError::Output {
            path: file.path.clone(),
            fault,
            outputs: graph.output.iter().map(described).collect(),
        })?;
        let floats = [element::FLOAT, element::FLOAT16, element::BFLOAT16];
        if output.element().is_some_and(|kind| !floats.contains(&kind)) {
            let what = format!(
                "the output {} is not of floating-point numbers of 32 or 16 bits; export the model in float32",
                output.name
            );
            return Err(EncodeError::Unsupported {
                path: file.path.clone(),
                what,
            });
        }
        Ok(Self {
            inputs,
            output: output.name.clone(),
            rank: embedding_rank(output, known).or(rank(output)),
            chosen: certain.is_none_or(|certain| certain.name != output.name),
            quantises_batches: graph
                .node
                .iter()
                .any(|node| node.op_type == "DynamicQuantizeLinear"),
            tokens: None,
        })
    }
}

fn graph_of(file: &GraphFile) -> Result<&Graph, EncodeError> {
    file.model.graph.as_ref().ok_or_else(|| EncodeError::Model {
        path: file.path.clone(),
        reason: "it holds no graph".into(),
    })
}

/// The inputs without the weights, which old exporters list among the inputs.
fn free_inputs(graph: &Graph) -> Vec<&Value> {
    let weights: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let free = graph.input.iter();
    free.filter(|input| !weights.contains(input.name.as_str()))
        .collect()
}

/// The shape of pixels that an input takes; `None` if it takes none.
#[cfg(feature = "images")]
fn pixel_shape(input: &Value) -> Option<PixelShape> {
    let floats = [
        element::UNDEFINED,
        element::FLOAT,
        element::FLOAT16,
        element::BFLOAT16,
    ];
    let known = |dim: &Dimension| {
        dim.value
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| *n > 0)
    };
    let dims = &shape(input)?.dim;
    let [batch, a, b, c] = dims.iter().map(known).collect::<Vec<_>>()[..] else {
        return None;
    };
    let colours_last = match (a, c) {
        (Some(3), _) | (None, None) => false,
        (_, Some(3)) => true,
        _ => return None,
    };
    let size = if colours_last { (a, b) } else { (b, c) };
    let is_float = input.element().is_none_or(|kind| floats.contains(&kind));
    is_float.then_some(PixelShape {
        colours_last,
        batch,
        size,
    })
}

/// The inputs of a graph of texts with their data.
fn inputs(graph: &Graph) -> Result<Vec<Input>, String> {
    free_inputs(graph).into_iter().map(|input| {
        let feed = match input.name.as_str() {
            "input_ids" => Feed::Ids,
            "attention_mask" => Feed::Mask,
            "token_type_ids" => Feed::Types,
            "position_ids" => Feed::Positions,
            other => {
                return Err(format!(
                    "the model wants an input called {other}; input_ids, attention_mask, token_type_ids and position_ids are given"
                ));
            }
        };
        let kind = input.element().unwrap_or(element::INT64);
        if ![element::INT64, element::INT32].contains(&kind) {
            return Err(format!("the input {} is neither int64 nor int32; export the model with int64 inputs", input.name));
        }
        let sizes = shape(input).into_iter().flat_map(|shape| &shape.dim);
        let sizes: Vec<i64> = sizes.filter_map(|dim| dim.value).filter(|size| *size > 0).collect();
        if !sizes.is_empty() {
            return Err(format!(
                "the input {} takes only texts and tokens in these numbers: {sizes:?}; export the model with dynamic axes",
                input.name
            ));
        }
        Ok(Input { name: input.name.clone(), feed, is_narrow: kind == element::INT32 })
    })
    .collect()
}

/// Number of rows of the smallest table in which the graph looks token ids up. Ids and tables are
/// followed through nodes that keep their rows.
fn tokens(graph: &Graph) -> Option<usize> {
    let weights = graph.initializer.iter();
    let rows = weights.filter_map(|t| Some((t.name.as_str(), *t.dims.first()?)));
    let mut tables: HashMap<&str, i64> = rows.collect();
    let mut ids = HashSet::from(["input_ids"]);
    let mut found = Vec::new();
    for node in &graph.node {
        let input = |at: usize| node.input.get(at).map(String::as_str);
        let (Some(first), Some(output)) = (input(0), node.output.first()) else {
            continue;
        };
        match node.op_type.as_str() {
            "Cast" | "Identity" | "DequantizeLinear" => {
                if ids.contains(first) {
                    ids.insert(output);
                } else if let Some(rows) = tables.get(first).copied() {
                    tables.insert(output, rows);
                }
            }
            "Gather" if input(1).is_some_and(|name| ids.contains(name)) => {
                let axis = node.attribute.iter().find(|a| a.name == "axis");
                let rows = tables.get(first).filter(|_| axis.is_none_or(|a| a.i == 0));
                found.extend(rows.copied());
            }
            _ => {}
        }
    }
    found
        .into_iter()
        .min()
        .and_then(|rows| usize::try_from(rows).ok())
}

/// The output that is certain to be an embedding by its name and shape.
fn certain<'a>(graph: &'a Graph, known: &Known) -> Option<&'a Value> {
    known.iter().find_map(|(known, axes)| {
        let output = graph.output.iter().find(|output| output.name == *known)?;
        let fits = rank(output).is_none_or(|rank| rank == *axes) && !is_score(output);
        fits.then_some(output)
    })
}

/// The output of a name. The error says why it cannot be an embedding.
fn chosen<'a>(graph: &'a Graph, wanted: &str) -> Result<&'a Value, String> {
    let output = graph.output.iter().find(|output| output.name == wanted);
    let output = output.ok_or_else(|| format!("it has no output {wanted:?}"))?;
    if is_score(output) {
        return Err(format!(
            "its output {wanted} is one number, which is no embedding"
        ));
    }
    match rank(output) {
        None | Some(2..=4) => Ok(output),
        Some(_) => Err(format!(
            "its output {wanted} is neither a vector for each input nor one for each of its parts"
        )),
    }
}

/// The number of axes that an output of this name has wherever it is an embedding.
fn embedding_rank(output: &Value, known: &Known) -> Option<usize> {
    let known = known.iter().find(|(known, _)| output.name == *known);
    known
        .map(|(_, axes)| *axes)
        .filter(|axes| rank(output).is_none_or(|rank| rank == *axes))
}

/// Whether the last axis of an output is known to have one number: the score of a text or token. The
/// last axes of an image's output are places in the image, of which a pooling leaves one.
fn is_score(output: &Value) -> bool {
    let axes = shape(output).filter(|shape| shape.dim.len() <= 3);
    let last = axes.and_then(|shape| shape.dim.last());
    last.is_some_and(|dim| dim.value == Some(1))
}

/// The name of an output with its shape, such as `logits [batch, 1]`.
fn described(output: &Value) -> String {
    let axis = |dim: &Dimension| match (dim.value, &dim.name) {
        (Some(n), _) => n.to_string(),
        (None, Some(name)) if !name.is_empty() => name.clone(),
        _ => "?".to_owned(),
    };
    let name = &output.name;
    match shape(output) {
        Some(shape) => {
            let axes: Vec<String> = shape.dim.iter().map(axis).collect();
            format!("{name} [{}]", axes.join(", "))
        }
        None => format!("{name} of unknown shape"),
    }
}

fn shape(value: &Value) -> Option<&Shape> {
    value.kind.as_ref()?.tensor.as_ref()?.shape.as_ref()
}

fn rank(value: &Value) -> Option<usize> {
    shape(value).map(|shape| shape.dim.len())
}
