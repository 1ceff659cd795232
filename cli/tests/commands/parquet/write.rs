//! Parquet files for tests, written with the crate that reads them.

use std::sync::Arc;

use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DoubleType, FixedLenByteArray, FixedLenByteArrayType,
    FloatType, Int32Type, Int64Type, Int96, Int96Type,
};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;

/// The values of a leaf that are there.
pub(super) enum Data {
    Bool(Vec<bool>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    I96(Vec<[u32; 3]>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bytes(Vec<Vec<u8>>),
    Fixed(Vec<Vec<u8>>),
}

/// A leaf: values, and levels of definition and repetition where the schema has them.
pub(super) struct Leaf {
    data: Data,
    defined: Vec<i16>,
    repeated: Vec<i16>,
}

impl Data {
    pub(super) fn with(self, defined: impl Into<Vec<i16>>, repeated: impl Into<Vec<i16>>) -> Leaf {
        Leaf {
            data: self,
            defined: defined.into(),
            repeated: repeated.into(),
        }
    }
}

/// A leaf that is always there, once a row.
pub(super) fn flat(data: Data) -> Leaf {
    data.with([], [])
}

pub(super) fn bytes<T: Into<String>>(values: impl IntoIterator<Item = T>) -> Data {
    let values = values.into_iter().map(|value| value.into().into_bytes());
    Data::Bytes(values.collect())
}

pub(super) fn texts<T: Into<String>>(values: impl IntoIterator<Item = T>) -> Leaf {
    flat(bytes(values))
}

/// A file of one row group, or of several if the properties limit their rows.
pub(super) fn parquet(schema: &str, leaves: &[Leaf], properties: WriterProperties) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut file = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut file, schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for leaf in leaves {
        let mut column = group.next_column().unwrap().unwrap();
        write(&mut column, leaf);
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    file
}

fn write(column: &mut SerializedColumnWriter<'_>, leaf: &Leaf) {
    let defined = (!leaf.defined.is_empty()).then_some(&leaf.defined[..]);
    let repeated = (!leaf.repeated.is_empty()).then_some(&leaf.repeated[..]);
    macro_rules! batch {
        ($type:ty, $values:expr) => {
            column
                .typed::<$type>()
                .write_batch($values, defined, repeated)
                .unwrap()
        };
    }
    match &leaf.data {
        Data::Bool(values) => batch!(BoolType, values),
        Data::I32(values) => batch!(Int32Type, values),
        Data::I64(values) => batch!(Int64Type, values),
        Data::F32(values) => batch!(FloatType, values),
        Data::F64(values) => batch!(DoubleType, values),
        Data::I96(values) => {
            let old = |value: &[u32; 3]| {
                let mut old = Int96::new();
                old.set_data(value[0], value[1], value[2]);
                old
            };
            batch!(Int96Type, &values.iter().map(old).collect::<Vec<_>>())
        }
        Data::Bytes(values) => {
            let values: Vec<ByteArray> = values.iter().cloned().map(ByteArray::from).collect();
            batch!(ByteArrayType, &values)
        }
        Data::Fixed(values) => {
            let values: Vec<FixedLenByteArray> = values
                .iter()
                .cloned()
                .map(|value| ByteArray::from(value).into())
                .collect();
            batch!(FixedLenByteArrayType, &values)
        }
    };
}

/// Two rows of all types: in the second one, everything that can be null is.
pub(super) fn full_schema() -> (String, Vec<Leaf>) {
    let schema = "message m {
        required int64 key (INTEGER(64, false));
        required float x;
        required double y;
        required int32 i8 (INTEGER(8, true));
        required int32 u32 (INTEGER(32, false));
        optional fixed_len_byte_array(2) f16 (FLOAT16);
        optional float f32;
        optional int32 day (DATE);
        optional int64 millis (TIMESTAMP(MILLIS, false));
        optional int64 nanos (TIMESTAMP(NANOS, true));
        optional int96 old;
        optional int32 clock (TIME(MILLIS, true));
        optional int32 price (DECIMAL(9, 2));
        optional fixed_len_byte_array(12) large (DECIMAL(28, 3));
        optional fixed_len_byte_array(16) uuid (UUID);
        required group lists (LIST) { repeated group list { required group element (LIST) { repeated group list { required int32 element; } } } }
        required group map (MAP) { repeated group key_value { required binary key (UTF8); optional int32 value; } }
        required group people (LIST) { repeated group list { optional group element { required binary name (UTF8); optional int32 age; } } }
    }";
    let optional = |data: Data| data.with([1, 0], []);
    let large = 12_345_678_901_234_567_890_i128.to_be_bytes()[4..].to_vec();
    let uuid = (0..16).map(|i| i * 0x11).collect();
    // 2000-01-01 is the day 2,451,545 of Julius Caesar; noon is 43,200 s.
    let noon = 43_200_000_000_000_u64;
    let leaves = vec![
        flat(Data::I64(vec![-1, 7])),
        flat(Data::F32(vec![0.5, 1.0])),
        flat(Data::F64(vec![-2.0, 1.0])),
        flat(Data::I32(vec![-5, 1])),
        flat(Data::I32(vec![4_000_000_000_u32 as i32, 2])),
        optional(Data::Fixed(vec![
            half::f16::from_f32(1.5).to_le_bytes().to_vec(),
        ])),
        optional(Data::F32(vec![0.1])),
        optional(Data::I32(vec![19_782])),
        optional(Data::I64(vec![1_709_210_096_789])),
        optional(Data::I64(vec![-1])),
        optional(Data::I96(vec![[
            noon as u32,
            (noon >> 32) as u32,
            2_451_545,
        ]])),
        optional(Data::I32(vec![86_399_500])),
        optional(Data::I32(vec![-5])),
        optional(Data::Fixed(vec![large])),
        optional(Data::Fixed(vec![uuid])),
        Data::I32(vec![1, 2, 3]).with([2, 2, 1, 2, 0], [0, 2, 1, 1, 0]),
        bytes(["a", "b"]).with([1, 1, 0], [0, 1, 0]),
        Data::I32(vec![1]).with([2, 1, 0], [0, 1, 0]),
        bytes(["ann", "bob"]).with([2, 2, 0], [0, 1, 0]),
        Data::I32(vec![7]).with([3, 2, 0], [0, 1, 0]),
    ];
    (schema.to_owned(), leaves)
}
