//! The inputs and the output of a graph that embeds texts, read from the ONNX file itself, so that
//! every backend uses the same.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use tract_onnx::pb::tensor_shape_proto::{self, dimension::Value as Dimension};
use tract_onnx::pb::{
    GraphProto, ModelProto, TensorShapeProto, TypeProto, ValueInfoProto, tensor_proto::DataType,
    type_proto,
};

use super::error::EncodeError;

/// The data of an input of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Feed {
    /// Token ids: `input_ids`.
    Ids,
    /// Mask of tokens: `attention_mask`.
    Mask,
    /// Segment ids: `token_type_ids`.
    Types,
}

/// The inputs and the output of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signature {
    /// Inputs in the order of the graph, all int64 `b x s`.
    pub(super) inputs: Vec<(String, Feed)>,
    /// Name of the output: token vectors `b x s x d`, or pooled ones `b x d`.
    pub(super) output: String,
    /// Number of axes of the output: 3 for token vectors, 2 for pooled ones with all modules that
    /// follow the transformer. `None` for one that was chosen and whose shape the graph leaves open.
    pub(super) rank: Option<usize>,
    /// Whether the output is another than the one that is taken without a choice.
    pub(super) chosen: bool,
    /// Number of tokens in the table that token ids are looked up in, where the graph shows it.
    pub(super) tokens: Option<usize>,
}

/// Names of outputs that are embeddings in every graph that has them, with their numbers of axes.
/// The first of a graph is taken: a pooled one has gone through all modules of the model.
const EMBEDDINGS: [(&str, usize); 5] = [
    ("sentence_embedding", 2),
    ("text_embeds", 2),
    ("dense_vecs", 2),
    ("last_hidden_state", 3),
    ("token_embeddings", 3),
];

impl Signature {
    /// The signature of a model with the output of this name, or else the one that is certain to be
    /// an embedding. `path` is for errors.
    pub(super) fn of(
        model: &ModelProto,
        path: &Path,
        output: Option<&str>,
    ) -> Result<Self, EncodeError> {
        let damaged = |reason: &str| EncodeError::Model {
            path: path.to_path_buf(),
            reason: reason.into(),
        };
        let unsupported = |what: String| EncodeError::Unsupported {
            path: path.to_path_buf(),
            what,
        };
        let graph = model
            .graph
            .as_ref()
            .ok_or_else(|| damaged("it holds no graph"))?;
        sound_axes(graph).map_err(|reason| damaged(&reason))?;
        let inputs = inputs(graph).map_err(unsupported)?;
        if !inputs.iter().any(|(_, feed)| *feed == Feed::Ids) {
            return Err(unsupported(
                "no input is called input_ids; this is not a model of texts".into(),
            ));
        }
        let certain = certain(graph);
        let output = match output {
            None => {
                certain.ok_or_else(|| "none of its outputs is known to be an embedding".to_owned())
            }
            Some(name) => chosen(graph, name),
        };
        let output = output.map_err(|fault| EncodeError::Output {
            path: path.to_path_buf(),
            fault,
            outputs: graph.output.iter().map(described).collect(),
        })?;
        if let Some(kind) = element(output)
            && kind != DataType::Float as i32
            && kind != DataType::Undefined as i32
        {
            let what = format!(
                "the output {} is not float32; export the model in float32",
                output.name
            );
            return Err(unsupported(what));
        }
        Ok(Self {
            inputs,
            output: output.name.clone(),
            rank: embedding_rank(output).or(rank(output)),
            chosen: certain.is_none_or(|certain| certain.name != output.name),
            tokens: tokens(graph),
        })
    }
}

/// Number of axes that no tensor exceeds.
const MAX_AXES: i64 = 64;

/// Refuses invalid axes: tract counts up to an axis that is far off, and does not end on a
/// permutation that is none.
fn sound_axes(graph: &GraphProto) -> Result<(), String> {
    for node in &graph.node {
        for attribute in &node.attribute {
            let names_axes = ["axis", "axes", "perm"].contains(&attribute.name.as_str());
            let named = attribute.ints.iter().chain([&attribute.i]);
            if names_axes
                && named
                    .into_iter()
                    .any(|axis| !(-MAX_AXES..MAX_AXES).contains(axis))
            {
                return Err(format!(
                    "the node {} ({}) names an axis that no tensor has",
                    node.name, node.op_type
                ));
            }
            let mut axes = attribute.ints.clone();
            axes.sort_unstable();
            if attribute.name == "perm" && !axes.iter().copied().eq(0..axes.len() as i64) {
                return Err(format!(
                    "the node {} ({}) has axes that are no permutation",
                    node.name, node.op_type
                ));
            }
            for inner in attribute.graphs.iter().chain(&attribute.g) {
                sound_axes(inner)?;
            }
        }
    }
    Ok(())
}

/// The inputs of the graph with their data, without the weights, which old exporters list among the
/// inputs.
fn inputs(graph: &GraphProto) -> Result<Vec<(String, Feed)>, String> {
    let weights: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let free = graph
        .input
        .iter()
        .filter(|input| !weights.contains(input.name.as_str()));
    free.map(|input| {
        let feed = match input.name.as_str() {
            "input_ids" => Feed::Ids,
            "attention_mask" => Feed::Mask,
            "token_type_ids" => Feed::Types,
            other => {
                return Err(format!(
                    "the model wants an input called {other}; input_ids, attention_mask and token_type_ids are given"
                ));
            }
        };
        if element(input).is_some_and(|kind| kind != DataType::Int64 as i32) {
            return Err(format!("the input {} is not int64; export the model with int64 inputs", input.name));
        }
        Ok((input.name.clone(), feed))
    })
    .collect()
}

/// Number of rows of the smallest table in which the graph looks token ids up. Ids and tables are
/// followed through nodes that keep their rows.
fn tokens(graph: &GraphProto) -> Option<usize> {
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
                let is_axis = |a: &&tract_onnx::pb::AttributeProto| a.name == "axis";
                let axis = node.attribute.iter().find(is_axis).map_or(0, |a| a.i);
                found.extend(tables.get(first).filter(|_| axis == 0).copied());
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
fn certain(graph: &GraphProto) -> Option<&ValueInfoProto> {
    EMBEDDINGS.iter().find_map(|(name, axes)| {
        let output = graph.output.iter().find(|output| output.name == *name)?;
        let fits = rank(output).is_none_or(|rank| rank == *axes) && !is_score(output);
        fits.then_some(output)
    })
}

/// The output of a name. The error says why it cannot be an embedding.
fn chosen<'a>(graph: &'a GraphProto, name: &str) -> Result<&'a ValueInfoProto, String> {
    let output = graph.output.iter().find(|output| output.name == name);
    let output = output.ok_or_else(|| format!("it has no output {name:?}"))?;
    if is_score(output) {
        return Err(format!(
            "its output {name} is one number, which is no embedding"
        ));
    }
    match rank(output) {
        None | Some(2 | 3) => Ok(output),
        Some(_) => Err(format!(
            "its output {name} is neither a vector for each text nor one for each token"
        )),
    }
}

/// The number of axes that an output of this name has wherever it is an embedding.
fn embedding_rank(output: &ValueInfoProto) -> Option<usize> {
    let known = EMBEDDINGS.iter().find(|(name, _)| output.name == *name);
    known
        .map(|(_, axes)| *axes)
        .filter(|axes| rank(output).is_none_or(|rank| rank == *axes))
}

/// Whether the last axis of an output is known to have one number: the score of a text or token.
fn is_score(output: &ValueInfoProto) -> bool {
    let last = shape(output).and_then(|shape| shape.dim.last());
    last.is_some_and(|dim| matches!(dim.value, Some(Dimension::DimValue(1))))
}

/// The name of an output with its shape, such as `logits [batch, 1]`.
fn described(output: &ValueInfoProto) -> String {
    let axis = |dim: &tensor_shape_proto::Dimension| match &dim.value {
        Some(Dimension::DimValue(n)) => n.to_string(),
        Some(Dimension::DimParam(name)) if !name.is_empty() => name.clone(),
        _ => "?".to_owned(),
    };
    match shape(output) {
        Some(shape) => {
            let axes: Vec<String> = shape.dim.iter().map(axis).collect();
            format!("{} [{}]", output.name, axes.join(", "))
        }
        None => format!("{} of unknown shape", output.name),
    }
}

fn tensor(value: &ValueInfoProto) -> Option<&type_proto::Tensor> {
    match &value.r#type {
        Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..
        }) => Some(tensor),
        _ => None,
    }
}

fn element(value: &ValueInfoProto) -> Option<i32> {
    tensor(value).map(|tensor| tensor.elem_type)
}

fn shape(value: &ValueInfoProto) -> Option<&TensorShapeProto> {
    tensor(value)?.shape.as_ref()
}

fn rank(value: &ValueInfoProto) -> Option<usize> {
    shape(value).map(|shape| shape.dim.len())
}
