//! The shape of a column: how its values are put together from the leaves of its schema.
//!
//! Format: <https://github.com/apache/parquet-format/blob/master/LogicalTypes.md>, with its rules
//! for lists and maps of older writers.

use parquet::basic::{ConvertedType, LogicalType, Repetition};
use parquet::schema::types::Type;

/// How a value is put together. A level is that of a definition at which something is there, or of
/// a repetition at which a list goes on.
#[derive(Debug)]
pub(super) enum Shape {
    /// A value of a leaf, by its number in the file.
    Leaf(usize),
    /// A value that need not be there.
    Optional { defined: i16, inner: Box<Shape> },
    /// A struct.
    Group(Vec<(String, Shape)>),
    /// A list.
    List {
        defined: i16,
        repeated: i16,
        element: Box<Shape>,
    },
    /// A map, whose keys become the keys of an object.
    Map {
        defined: i16,
        repeated: i16,
        key: Box<Shape>,
        value: Box<Shape>,
    },
}

/// The levels at a place in a schema.
#[derive(Debug, Clone, Copy, Default)]
struct Levels {
    defined: i16,
    repeated: i16,
}

impl Levels {
    fn optional(self) -> Self {
        Self {
            defined: self.defined + 1,
            ..self
        }
    }

    fn repeated(self) -> Self {
        Self {
            defined: self.defined + 1,
            repeated: self.repeated + 1,
        }
    }
}

impl Shape {
    /// The shape of a column. `leaves` is the number of leaves before it, and is raised by its own.
    ///
    /// # Errors
    /// What cannot be read as JSON.
    pub(super) fn of(column: &Type, leaves: &mut usize) -> Result<Self, String> {
        shape(column, Levels::default(), leaves)
    }

    /// The first of its leaves, whose levels say whether and how often the value is there.
    pub(super) fn first_leaf(&self) -> Option<usize> {
        match self {
            Self::Leaf(leaf) => Some(*leaf),
            Self::Optional { inner, .. } => inner.first_leaf(),
            Self::Group(fields) => fields.first()?.1.first_leaf(),
            Self::List { element, .. } => element.first_leaf(),
            Self::Map { key, .. } => key.first_leaf(),
        }
    }

    /// All of its leaves.
    pub(super) fn leaves(&self, found: &mut Vec<usize>) {
        match self {
            Self::Leaf(leaf) => found.push(*leaf),
            Self::Optional { inner, .. } => inner.leaves(found),
            Self::Group(fields) => fields.iter().for_each(|(_, field)| field.leaves(found)),
            Self::List { element, .. } => element.leaves(found),
            Self::Map { key, value, .. } => {
                key.leaves(found);
                value.leaves(found);
            }
        }
    }
}

fn shape(field: &Type, levels: Levels, leaves: &mut usize) -> Result<Shape, String> {
    let info = field.get_basic_info();
    let repetition = if info.has_repetition() {
        info.repetition()
    } else {
        Repetition::REQUIRED
    };
    match repetition {
        Repetition::REQUIRED => body(field, levels, leaves),
        Repetition::OPTIONAL => {
            let levels = levels.optional();
            Ok(Shape::Optional {
                defined: levels.defined,
                inner: Box::new(body(field, levels, leaves)?),
            })
        }
        // A repeated field without the frame of a list is a list of what it holds.
        Repetition::REPEATED => list(levels.repeated(), |levels| body(field, levels, leaves)),
    }
}

fn list(
    levels: Levels,
    element: impl FnOnce(Levels) -> Result<Shape, String>,
) -> Result<Shape, String> {
    Ok(Shape::List {
        defined: levels.defined,
        repeated: levels.repeated,
        element: Box::new(element(levels)?),
    })
}

/// The shape of a field that is there.
fn body(field: &Type, levels: Levels, leaves: &mut usize) -> Result<Shape, String> {
    if field.is_primitive() {
        let leaf = *leaves;
        *leaves += 1;
        return Ok(Shape::Leaf(leaf));
    }
    let info = field.get_basic_info();
    match (info.logical_type_ref(), info.converted_type()) {
        (Some(LogicalType::List), _) | (_, ConvertedType::LIST) => list_of(field, levels, leaves),
        (Some(LogicalType::Map), _) | (_, ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE) => {
            map_of(field, levels, leaves)
        }
        (None, ConvertedType::NONE) => group(field.get_fields(), levels, leaves),
        (other, _) => Err(format!(
            "is of the type {}, which has no form in JSON",
            other.map_or_else(|| "of a group".to_owned(), |kind| format!("{kind:?}"))
        )),
    }
}

fn group(
    fields: &[parquet::schema::types::TypePtr],
    levels: Levels,
    leaves: &mut usize,
) -> Result<Shape, String> {
    if fields.is_empty() {
        return Err("has a struct without fields".to_owned());
    }
    let named = fields
        .iter()
        .map(|field| Ok((field.name().to_owned(), shape(field, levels, leaves)?)));
    Ok(Shape::Group(named.collect::<Result<_, String>>()?))
}

fn list_of(field: &Type, levels: Levels, leaves: &mut usize) -> Result<Shape, String> {
    let repeated = only_repeated(field).ok_or("has a list that is not built as one")?;
    let older_name = |name: &str| name == "array" || name == format!("{}_tuple", field.name());
    let is_element = repeated.is_primitive()
        || repeated.get_fields().len() != 1
        || older_name(repeated.name())
        || repeated.get_fields()[0].get_basic_info().has_repetition()
            && repeated.get_fields()[0].get_basic_info().repetition() == Repetition::REPEATED;
    if is_element {
        return shape(repeated, levels, leaves);
    }
    list(levels.repeated(), |levels| {
        shape(&repeated.get_fields()[0], levels, leaves)
    })
}

fn map_of(field: &Type, levels: Levels, leaves: &mut usize) -> Result<Shape, String> {
    let entry = only_repeated(field).filter(|entry| entry.is_group());
    let Some([key, value]) = entry.map(Type::get_fields) else {
        return Err("has a map that is not built of keys and values".to_owned());
    };
    let levels = levels.repeated();
    Ok(Shape::Map {
        defined: levels.defined,
        repeated: levels.repeated,
        key: Box::new(shape(key, levels, leaves)?),
        value: Box::new(shape(value, levels, leaves)?),
    })
}

/// The only field of a group, which is repeated.
fn only_repeated(group: &Type) -> Option<&Type> {
    let [field] = group.get_fields() else {
        return None;
    };
    let info = field.get_basic_info();
    (info.has_repetition() && info.repetition() == Repetition::REPEATED).then_some(field)
}
