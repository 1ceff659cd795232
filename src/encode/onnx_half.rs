//! Graphs in half precision, rewritten to single precision.
//!
//! Processors without arithmetic of 16 bits compute such a graph in 32 bits anyhow, and RTen has no
//! other numbers. So the weights are widened, which loses nothing, and what the graph says of types
//! (of values, casts and constants) follows. Everything else of the file stays byte by byte.
//!
//! Field numbers are those of [onnx.proto3]; see [`super::onnx_file`], which has checked the file's
//! lengths and depth before.
//!
//! [onnx.proto3]: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3

use half::{bf16, f16};
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
};

use super::onnx_file::element::{BFLOAT16, FLOAT, FLOAT16};

/// Messages within each other in a file: more than any exporter makes.
const MAX_DEPTH: usize = 100;

/// A message of the format of which fields are rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Message {
    Model,
    Graph,
    Function,
    Node,
    Attribute,
    SparseTensor,
    Tensor,
    Value,
    Type,
    /// A sequence, an optional value or a map, which hold a type.
    OfType,
    TensorType,
}

impl Message {
    /// The message that a field holds, if anything in it is rewritten.
    fn field(self, tag: u32) -> Option<Self> {
        Some(match (self, tag) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Node, 5) => Self::Attribute,
            (Self::Attribute, 22 | 23) | (Self::Graph, 15) => Self::SparseTensor,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1) => Self::Tensor,
            (Self::Graph, 11..=13) | (Self::Function, 12) => Self::Value,
            (Self::Value, 2) | (Self::OfType, 1 | 2) | (Self::Attribute, 14 | 15) => Self::Type,
            (Self::Type, 1 | 8) => Self::TensorType,
            (Self::Type, 4 | 5 | 9) => Self::OfType,
            _ => return None,
        })
    }
}

/// A field of a message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Numbers of fixed size, which are copied.
    Other,
}

/// A file with everything in half precision widened. The error says what cannot be.
pub(super) fn widen(file: &[u8]) -> Result<Vec<u8>, String> {
    let mut wide = Vec::with_capacity(2 * file.len());
    message(Message::Model, file, MAX_DEPTH, &mut wide)?;
    Ok(wide)
}

/// Appends a message, widened, within which so many others may lie.
fn message(kind: Message, bytes: &[u8], depth: usize, out: &mut Vec<u8>) -> Result<(), String> {
    let depth = depth
        .checked_sub(1)
        .ok_or_else(|| "its graphs lie too deep in each other".to_owned())?;
    if kind == Message::Tensor && is_half(element_of(bytes)?) {
        return tensor(bytes, out);
    }
    let names_type = kind == Message::Attribute && names_type(bytes)?;
    fields(bytes, |tag, field, whole| {
        let is_type = (kind, tag) == (Message::TensorType, 1) || (names_type && tag == 3);
        match (field, kind.field(tag)) {
            (Field::Bytes(inner), Some(kind)) => {
                let mut wide = Vec::with_capacity(inner.len());
                message(kind, inner, depth, &mut wide)?;
                put_bytes(tag, &wide, out);
            }
            (Field::Number(number), _) if is_type && is_half(number) => {
                put_number(tag, FLOAT as u64, out);
            }
            _ => out.extend_from_slice(whole),
        }
        Ok(())
    })
}

/// Whether an attribute is a type: that of a cast, or of what an operator makes.
fn names_type(attribute: &[u8]) -> Result<bool, String> {
    let mut found = false;
    fields(attribute, |tag, field, _| {
        if let (1, Field::Bytes(name)) = (tag, field) {
            found = [&b"to"[..], b"dtype", b"output_dtype"].contains(&name);
        }
        Ok(())
    })?;
    Ok(found)
}

/// The type of the numbers of a tensor.
fn element_of(tensor: &[u8]) -> Result<u64, String> {
    let mut element = 0;
    fields(tensor, |tag, field, _| {
        if let (2, Field::Number(number)) = (tag, field) {
            element = number;
        }
        Ok(())
    })?;
    Ok(element)
}

fn is_half(element: u64) -> bool {
    [FLOAT16 as u64, BFLOAT16 as u64].contains(&element)
}

/// Appends a tensor in half precision, widened.
fn tensor(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let is_brain = element_of(bytes)? == BFLOAT16 as u64;
    let mut numbers = Vec::new();
    let mut wide = |bits: u16| {
        let number = if is_brain {
            bf16::from_bits(bits).to_f32()
        } else {
            f16::from_bits(bits).to_f32()
        };
        numbers.extend_from_slice(&number.to_le_bytes());
    };
    fields(bytes, |tag, field, whole| {
        match (tag, field) {
            (2, _) => put_number(2, FLOAT as u64, out),
            // Whole numbers whose low bits are those of the number, one by one or packed.
            (5, Field::Number(bits)) => wide(bits as u16),
            (5, Field::Bytes(mut packed)) => {
                while !packed.is_empty() {
                    wide(decode_varint(&mut packed).map_err(|e| e.to_string())? as u16);
                }
            }
            (9, Field::Bytes(raw)) => {
                let (raw, rest) = raw.as_chunks::<2>();
                if !rest.is_empty() {
                    return Err("a weight in half precision ends inside a number".into());
                }
                for bits in raw {
                    wide(u16::from_le_bytes(*bits));
                }
            }
            (13, _) | (14, Field::Number(1)) => {
                return Err(
                    "weights in half precision lie outside the graph's file; save the model in one file or \
                     export it in float32"
                        .into(),
                );
            }
            _ => out.extend_from_slice(whole),
        }
        Ok(())
    })?;
    put_bytes(9, &numbers, out);
    Ok(())
}

/// Calls with each field of a message: its number, what it holds, and its bytes with the key.
fn fields(
    mut bytes: &[u8],
    mut each: impl FnMut(u32, Field<'_>, &[u8]) -> Result<(), String>,
) -> Result<(), String> {
    while !bytes.is_empty() {
        let whole = bytes;
        let damaged = |error: prost::DecodeError| error.to_string();
        let (tag, wire) = decode_key(&mut bytes).map_err(damaged)?;
        let field = match wire {
            WireType::Varint => Field::Number(decode_varint(&mut bytes).map_err(damaged)?),
            WireType::LengthDelimited => {
                let length = decode_varint(&mut bytes).map_err(damaged)?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let (inner, rest) = bytes
                    .split_at_checked(length)
                    .ok_or_else(|| "a length goes beyond the end".to_owned())?;
                bytes = rest;
                Field::Bytes(inner)
            }
            _ => {
                skip_field(wire, tag, &mut bytes, DecodeContext::default()).map_err(damaged)?;
                Field::Other
            }
        };
        each(tag, field, &whole[..whole.len() - bytes.len()])?;
    }
    Ok(())
}

fn put_number(tag: u32, number: u64, out: &mut Vec<u8>) {
    encode_key(tag, WireType::Varint, out);
    encode_varint(number, out);
}

fn put_bytes(tag: u32, bytes: &[u8], out: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}
