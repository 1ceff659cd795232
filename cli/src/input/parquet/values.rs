//! The values of a leaf as JSON.

use half::f16;
use jiff::{Timestamp, ToSpan, civil};
use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type};
use parquet::data_type::Int96;
use parquet::schema::types::ColumnDescriptor;
use serde_json::{Number, Value};

/// What the numbers and bytes of a leaf mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Boolean,
    Integer,
    Unsigned,
    Float16,
    Float32,
    Float64,
    Text,
    Uuid,
    Date,
    /// Since midnight, in a part of a second.
    TimeOfDay(Unit),
    /// Since 1970, in a part of a second.
    Timestamp(Unit),
    /// Days and nanoseconds, of older writers.
    OldTimestamp,
    /// A number with that many digits after the point.
    Decimal(u32),
}

/// A part of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unit {
    per_second: i64,
    digits: usize,
}

impl Unit {
    const MILLIS: Self = Self::new(3);
    const MICROS: Self = Self::new(6);

    const fn new(digits: usize) -> Self {
        Self {
            per_second: 10_i64.pow(digits as u32),
            digits,
        }
    }

    fn of(unit: TimeUnit) -> Self {
        match unit {
            TimeUnit::MILLIS => Self::MILLIS,
            TimeUnit::MICROS => Self::MICROS,
            TimeUnit::NANOS => Self::new(9),
        }
    }
}

/// Most digits of a decimal, as Parquet has it for 16 bytes.
const MAX_DECIMAL_BYTES: usize = 16;
const SECONDS_OF_DAY: i64 = 86_400;
/// The day on which 1970 began, counted as older timestamps count days.
const JULIAN_1970: i64 = 2_440_588;

impl Meaning {
    /// The meaning of a leaf.
    ///
    /// # Errors
    /// What it is instead of something that JSON can hold.
    pub(super) fn of(leaf: &ColumnDescriptor) -> Result<Self, String> {
        let converted = leaf.converted_type();
        let Some(logical) = leaf.logical_type_ref() else {
            return Self::of_converted(leaf, converted);
        };
        let meaning = match (leaf.physical_type(), logical) {
            (Type::BYTE_ARRAY, LogicalType::String | LogicalType::Enum | LogicalType::Json) => {
                Self::Text
            }
            (Type::INT32 | Type::INT64, LogicalType::Integer(of)) if of.is_signed => Self::Integer,
            (Type::INT32 | Type::INT64, LogicalType::Integer(_)) => Self::Unsigned,
            (Type::INT32, LogicalType::Date) => Self::Date,
            (Type::INT32 | Type::INT64, LogicalType::Time(of)) => {
                Self::TimeOfDay(Unit::of(of.unit))
            }
            (Type::INT64, LogicalType::Timestamp(of)) => Self::Timestamp(Unit::of(of.unit)),
            (Type::FIXED_LEN_BYTE_ARRAY, LogicalType::Float16) => Self::Float16,
            (Type::FIXED_LEN_BYTE_ARRAY, LogicalType::Uuid) => Self::Uuid,
            (kind, LogicalType::Decimal(of)) if Self::holds_decimals(kind) => {
                Self::Decimal(u32::try_from(of.scale).map_err(|_| "has a scale below zero")?)
            }
            // A column of nulls only.
            (_, LogicalType::Unknown) => return Self::of_converted(leaf, ConvertedType::NONE),
            (_, other) => {
                return Err(format!(
                    "is of the type {other:?}, which has no form in JSON"
                ));
            }
        };
        Ok(meaning)
    }

    fn of_converted(leaf: &ColumnDescriptor, converted: ConvertedType) -> Result<Self, String> {
        use ConvertedType as C;
        let meaning = match (leaf.physical_type(), converted) {
            (Type::BOOLEAN, C::NONE) => Self::Boolean,
            (Type::FLOAT, C::NONE) => Self::Float32,
            (Type::DOUBLE, C::NONE) => Self::Float64,
            (Type::INT96, C::NONE) => Self::OldTimestamp,
            (Type::INT32 | Type::INT64, C::NONE | C::INT_8 | C::INT_16 | C::INT_32 | C::INT_64) => {
                Self::Integer
            }
            (Type::INT32 | Type::INT64, C::UINT_8 | C::UINT_16 | C::UINT_32 | C::UINT_64) => {
                Self::Unsigned
            }
            (Type::INT32, C::DATE) => Self::Date,
            (Type::INT32, C::TIME_MILLIS) => Self::TimeOfDay(Unit::MILLIS),
            (Type::INT64, C::TIME_MICROS) => Self::TimeOfDay(Unit::MICROS),
            (Type::INT64, C::TIMESTAMP_MILLIS) => Self::Timestamp(Unit::MILLIS),
            (Type::INT64, C::TIMESTAMP_MICROS) => Self::Timestamp(Unit::MICROS),
            (Type::BYTE_ARRAY, C::UTF8 | C::ENUM | C::JSON) => Self::Text,
            (kind, C::DECIMAL) if Self::holds_decimals(kind) => {
                Self::Decimal(u32::try_from(leaf.type_scale().max(0)).unwrap_or(0))
            }
            (Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY, C::NONE) => {
                return Err("holds bytes that are not said to be text".to_owned());
            }
            (_, other) => return Err(format!("is of the type {other}, which has no form in JSON")),
        };
        Ok(meaning)
    }

    fn holds_decimals(kind: Type) -> bool {
        matches!(
            kind,
            Type::INT32 | Type::INT64 | Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY
        )
    }

    /// Whether it is a number that may be one of a vector.
    pub(super) fn is_number(self) -> bool {
        matches!(
            self,
            Self::Integer | Self::Unsigned | Self::Float16 | Self::Float32 | Self::Float64
        )
    }

    /// The value of an integer of 32 bits.
    pub(super) fn of_i32(self, value: i32) -> Result<Value, String> {
        match self {
            Self::Unsigned => Ok(Value::from(value as u32)),
            _ => self.of_i64(i64::from(value)),
        }
    }

    /// The value of an integer of 64 bits.
    pub(super) fn of_i64(self, value: i64) -> Result<Value, String> {
        let text = match self {
            Self::Unsigned => return Ok(Value::from(value as u64)),
            Self::Date => date(value),
            Self::TimeOfDay(unit) => time_of_day(value, unit),
            Self::Timestamp(unit) => {
                let (seconds, part) = (
                    value.div_euclid(unit.per_second),
                    value.rem_euclid(unit.per_second),
                );
                timestamp(seconds, part * (1_000_000_000 / unit.per_second))
            }
            Self::Decimal(scale) => Some(decimal(i128::from(value), scale)),
            _ => return Ok(Value::from(value)),
        };
        text.map(Value::from)
            .ok_or_else(|| format!("{value}, which is no time in the years 0 to 9999 of RFC 3339"))
    }

    /// The value of a float of 32 bits: for metadata the shortest decimal that means it, for a
    /// vector, which holds 32 bits, itself.
    pub(super) fn of_f32(value: f32, of_vector: bool) -> Result<Value, String> {
        let wide = if of_vector || !value.is_finite() {
            f64::from(value)
        } else {
            value.to_string().parse().unwrap_or(f64::from(value))
        };
        Self::of_f64(wide)
    }

    /// The value of a float of 64 bits.
    pub(super) fn of_f64(value: f64) -> Result<Value, String> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| {
            format!("{value}; only finite numbers can be stored, and null stands for none")
        })
    }

    /// The value of bytes.
    pub(super) fn of_bytes(self, bytes: &[u8]) -> Result<Value, String> {
        match (self, bytes) {
            (Self::Text, bytes) => std::str::from_utf8(bytes)
                .map(Value::from)
                .map_err(|e| format!("not UTF-8 at byte {}", e.valid_up_to() + 1)),
            (Self::Float16, [low, high]) => {
                Self::of_f64(f64::from(f16::from_le_bytes([*low, *high])))
            }
            (Self::Uuid, bytes) if bytes.len() == 16 => Ok(Value::from(uuid(bytes))),
            (Self::Decimal(scale), bytes) => {
                let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
                let fill = if negative { 0xff } else { 0 };
                let mut wide = [fill; MAX_DECIMAL_BYTES];
                let fitting = bytes.len().min(MAX_DECIMAL_BYTES);
                let (more, low) = bytes.split_at(bytes.len() - fitting);
                wide[MAX_DECIMAL_BYTES - fitting..].copy_from_slice(low);
                let sign_fits = wide[0] & 0x80 == fill & 0x80;
                if more.iter().any(|byte| *byte != fill) || !sign_fits {
                    return Err("a decimal of more than 38 digits".to_owned());
                }
                Ok(Value::from(decimal(i128::from_be_bytes(wide), scale)))
            }
            (meaning, bytes) => Err(format!("{} bytes for a {meaning:?}", bytes.len())),
        }
    }

    /// The value of a timestamp of older writers.
    pub(super) fn of_int96(value: &Int96) -> Result<Value, String> {
        let [low, high, day] = value.data() else {
            return Err("a timestamp that is cut short".to_owned());
        };
        let nanos = u64::from(*low) | u64::from(*high) << 32;
        let seconds =
            (i64::from(*day) - JULIAN_1970) * SECONDS_OF_DAY + (nanos / 1_000_000_000) as i64;
        timestamp(seconds, (nanos % 1_000_000_000) as i64)
            .map(Value::from)
            .ok_or_else(|| "a time outside the years 0 to 9999".to_owned())
    }
}

/// A point in time as RFC 3339 has it. A time that is not said to be UTC is taken as such.
fn timestamp(seconds: i64, nanos: i64) -> Option<String> {
    let time = Timestamp::new(seconds, i32::try_from(nanos).ok()?).ok()?;
    year_fits(time.to_string())
}

fn date(days: i64) -> Option<String> {
    let days = i32::try_from(days).ok()?.days();
    let date = civil::date(1970, 1, 1).checked_add(days).ok()?;
    year_fits(date.to_string())
}

/// A date of a year of four digits.
fn year_fits(text: String) -> Option<String> {
    (!text.starts_with('-')).then_some(text)
}

fn time_of_day(value: i64, unit: Unit) -> Option<String> {
    let (seconds, part) = (value / unit.per_second, value % unit.per_second);
    if value < 0 || seconds >= SECONDS_OF_DAY {
        return None;
    }
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let time = format!("{hour:02}:{minute:02}:{second:02}");
    if part == 0 {
        return Some(time);
    }
    let fraction = format!("{part:0digits$}", digits = unit.digits);
    Some(format!("{time}.{}", fraction.trim_end_matches('0')))
}

fn decimal(value: i128, scale: u32) -> String {
    let scale = scale as usize;
    if scale == 0 {
        return value.to_string();
    }
    let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, part) = digits.split_at(digits.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{whole}.{part}")
}

fn uuid(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let groups = [0..4, 4..6, 6..8, 8..10, 10..16];
    let group =
        |at: std::ops::Range<usize>| digits.get(at).map_or_else(String::new, <[String]>::concat);
    groups.map(group).join("-")
}
