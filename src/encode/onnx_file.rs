//! The parts of an ONNX file that say what a graph takes and gives.
//!
//! Field numbers are those of the format's schema, [onnx.proto3]. Weights are skipped, not read. The
//! parser checks every length against the bytes that are there, and the depth of the nesting, also
//! of what is not read here: parsers of the backends, which come after it, do not.
//!
//! [onnx.proto3]: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3

use std::collections::BTreeSet;

use prost::Message;

/// The number that stands for an element type.
pub(super) mod element {
    pub(in crate::encode) const UNDEFINED: i32 = 0;
    pub(in crate::encode) const FLOAT: i32 = 1;
    pub(in crate::encode) const INT32: i32 = 6;
    pub(in crate::encode) const INT64: i32 = 7;
    pub(in crate::encode) const FLOAT16: i32 = 10;
    pub(in crate::encode) const BFLOAT16: i32 = 16;
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Model {
    #[prost(message, optional, tag = "7")]
    pub(super) graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    pub(super) opset_import: Vec<Skipped>,
    #[prost(message, repeated, tag = "14")]
    pub(super) metadata_props: Vec<Skipped>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub(super) node: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    pub(super) initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    pub(super) input: Vec<Value>,
    #[prost(message, repeated, tag = "12")]
    pub(super) output: Vec<Value>,
    #[prost(message, repeated, tag = "13")]
    pub(super) value_info: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Node {
    #[prost(string, repeated, tag = "1")]
    pub(super) input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(super) output: Vec<String>,
    #[prost(string, tag = "4")]
    pub(super) op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub(super) attribute: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Attribute {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(int64, tag = "3")]
    pub(super) i: i64,
    #[prost(message, optional, tag = "5")]
    pub(super) t: Option<Tensor>,
    #[prost(message, optional, boxed, tag = "6")]
    pub(super) g: Option<Box<Graph>>,
}

/// A weight, without its numbers.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    pub(super) dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    pub(super) element: i32,
    #[prost(string, tag = "8")]
    pub(super) name: String,
    /// Where its numbers lie, if outside the file.
    #[prost(message, repeated, tag = "13")]
    pub(super) external_data: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(string, tag = "1")]
    pub(super) key: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

/// An input, an output or a value between nodes.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Value {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, optional, tag = "2")]
    pub(super) kind: Option<Type>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Type {
    #[prost(message, optional, tag = "1")]
    pub(super) tensor: Option<TensorType>,
    #[prost(message, optional, boxed, tag = "4")]
    pub(super) sequence: Option<Box<SequenceType>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TensorType {
    #[prost(int32, tag = "1")]
    pub(super) element: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SequenceType {
    #[prost(message, optional, boxed, tag = "1")]
    pub(super) element: Option<Box<Type>>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Shape {
    #[prost(message, repeated, tag = "1")]
    pub(super) dim: Vec<Dimension>,
}

/// A number, a name, or neither.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Dimension {
    #[prost(int64, optional, tag = "1")]
    pub(super) value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    pub(super) name: Option<String>,
}

/// A message whose fields are checked and not kept.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Skipped {}

impl Model {
    /// Reads the bytes of a file. The error says what is wrong with them.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        <Self as Message>::decode(bytes).map_err(|error| error.to_string())
    }

    /// Names of the files in which weights lie, each once.
    pub(super) fn external_files(&self) -> BTreeSet<String> {
        let graphs = self.graphs();
        let entries = graphs
            .iter()
            .flat_map(|graph| graph.tensors())
            .flat_map(|tensor| &tensor.external_data);
        let located = entries.filter(|entry| entry.key == "location");
        located.map(|entry| entry.value.clone()).collect()
    }

    /// Whether weights, values or casts have numbers of 16 bits.
    pub(super) fn has_halves(&self) -> bool {
        let is_half = |kind: i32| [element::FLOAT16, element::BFLOAT16].contains(&kind);
        self.graphs().iter().any(|graph| {
            let mut casts = graph.attributes().filter(|a| a.name == "to");
            let mut outputs = graph.output.iter().filter_map(Value::element);
            graph.tensors().any(|tensor| is_half(tensor.element))
                || outputs.any(is_half)
                || casts.any(|cast| i32::try_from(cast.i).is_ok_and(is_half))
        })
    }

    /// The graph and those inside of its nodes.
    fn graphs(&self) -> Vec<&Graph> {
        let mut graphs: Vec<&Graph> = self.graph.iter().collect();
        let mut at = 0;
        while let Some(graph) = graphs.get(at).copied() {
            let inner = graph.attributes().filter_map(|a| a.g.as_deref());
            graphs.extend(inner);
            at += 1;
        }
        graphs
    }
}

impl Graph {
    fn attributes(&self) -> impl Iterator<Item = &Attribute> {
        self.node.iter().flat_map(|node| &node.attribute)
    }

    /// Its weights and its constants.
    fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        let constants = self.attributes().filter_map(|a| a.t.as_ref());
        self.initializer.iter().chain(constants)
    }
}

impl Value {
    /// The type of the numbers of a tensor, where the graph says it.
    pub(super) fn element(&self) -> Option<i32> {
        let kind = self.kind.as_ref()?.tensor.as_ref()?.element;
        (kind != element::UNDEFINED).then_some(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_depths_that_no_sound_file_has_are_refused() {
        // A field of the graph that is skipped, with a length that is negative as a signed number.
        let mut bytes = vec![0x3a, 12, 0x52];
        bytes.extend([0xff; 9]);
        bytes.extend([1, 0]);
        assert!(Model::read(&bytes).is_err());
        // Graphs within graphs.
        let mut graph = Graph::default();
        for _ in 0..1_000 {
            let attribute = Attribute {
                g: Some(Box::new(graph)),
                ..Attribute::default()
            };
            let node = Node {
                attribute: vec![attribute],
                ..Node::default()
            };
            graph = Graph {
                node: vec![node],
                ..Graph::default()
            };
        }
        let model = Model {
            graph: Some(graph),
            ..Model::default()
        };
        let deep = Model::read(&model.encode_to_vec());
        assert!(deep.is_err_and(|why| why.contains("recursion")));
        // Dropped from within, which the stack of a test does not bear in one go.
        std::mem::forget(model);
    }
}
