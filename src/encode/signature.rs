//! The inputs and the output of a graph that embeds texts, read from the ONNX file itself, so that
//! every backend uses the same.

use std::path::Path;

use tract_onnx::pb::{
    GraphProto, ModelProto, TypeProto, ValueInfoProto, tensor_proto::DataType, type_proto,
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
    /// Whether the output is known to be pooled, with all modules that follow the transformer.
    pub(super) pooled: bool,
}

impl Signature {
    /// The signature of a model. `path` is for errors.
    pub(super) fn of(model: &ModelProto, path: &Path) -> Result<Self, EncodeError> {
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
        let output = output(graph).ok_or_else(|| damaged("the graph has no output"))?;
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
            pooled: output.name == "sentence_embedding",
            output: output.name.clone(),
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
    let weights: std::collections::HashSet<&str> =
        graph.initializer.iter().map(|t| t.name.as_str()).collect();
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

/// The output to read: the embedding of the sentence, otherwise token vectors, otherwise an output
/// of the rank of one of these.
fn output(graph: &GraphProto) -> Option<&ValueInfoProto> {
    let named = |name: &str| graph.output.iter().find(|output| output.name == name);
    let ranked = |n: usize| graph.output.iter().find(|output| rank(output) == Some(n));
    named("sentence_embedding")
        .or_else(|| named("last_hidden_state"))
        .or_else(|| named("token_embeddings"))
        .or_else(|| ranked(3))
        .or_else(|| ranked(2))
        .or_else(|| graph.output.first())
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

fn rank(value: &ValueInfoProto) -> Option<usize> {
    tensor(value)?.shape.as_ref().map(|shape| shape.dim.len())
}
