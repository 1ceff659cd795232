//! The compact protocol of Thrift, in which Parquet writes its footer and the headers of its pages:
//! a walk that keeps nothing, so that what a file claims can be checked before anything is
//! allocated for it.
//!
//! Format: <https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>

use std::io::{self, ErrorKind, Read};

/// The type of a value, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind(u8);

impl Kind {
    const TRUE: u8 = 1;
    const FALSE: u8 = 2;
    pub(super) const LIST: Self = Self(9);
    pub(super) const STRUCT: Self = Self(12);

    /// Whether it is an integer of more than a byte.
    pub(super) fn is_int(self) -> bool {
        matches!(self.0, 4..=6)
    }

    /// The value of a field that is a boolean, which its type tells.
    pub(super) fn as_bool(self) -> Option<bool> {
        match self.0 {
            Self::TRUE => Some(true),
            Self::FALSE => Some(false),
            _ => None,
        }
    }
}

/// Most values inside each other; Parquet has no more than six.
const MAX_DEPTH: u8 = 20;

/// A walk over values, which reads no more than a number of bytes.
pub(super) struct Walk<R> {
    reader: io::Take<R>,
    limit: u64,
}

impl<R: Read> Walk<R> {
    /// A walk over at most `limit` bytes.
    pub(super) fn new(reader: R, limit: u64) -> Self {
        Self {
            reader: reader.take(limit),
            limit,
        }
    }

    /// The number of bytes read.
    pub(super) fn read(&self) -> u64 {
        self.limit - self.reader.limit()
    }

    /// Reads the fields of a struct. `field` gets the number and the type of each, and says whether
    /// it read the value; others are passed over.
    pub(super) fn fields(
        &mut self,
        mut field: impl FnMut(&mut Self, i16, Kind) -> io::Result<bool>,
    ) -> io::Result<()> {
        let mut id = 0_i16;
        while let Some(kind) = self.field(&mut id)? {
            if !field(self, id, kind)? {
                self.skip(kind, 0)?;
            }
        }
        Ok(())
    }

    /// The type of the next field of a struct, whose number follows from that of the one before;
    /// `None` at the end of the struct.
    fn field(&mut self, id: &mut i16) -> io::Result<Option<Kind>> {
        let head = self.byte()?;
        if head == 0 {
            return Ok(None);
        }
        *id = match head >> 4 {
            0 => i16::try_from(self.int()?).map_err(|_| broken())?,
            step => id.checked_add(i16::from(step)).ok_or_else(broken)?,
        };
        Ok(Some(Kind(head & 0x0f)))
    }

    /// Reads an integer of up to 64 bits.
    pub(super) fn int(&mut self) -> io::Result<i64> {
        let coded = self.varint()?;
        Ok((coded >> 1) as i64 ^ -((coded & 1) as i64))
    }

    /// Reads the number and the type of the elements of a list.
    pub(super) fn list(&mut self) -> io::Result<(u64, Kind)> {
        let head = self.byte()?;
        let count = match head >> 4 {
            15 => self.varint()?,
            count => u64::from(count),
        };
        Ok((count, Kind(head & 0x0f)))
    }

    fn skip(&mut self, kind: Kind, depth: u8) -> io::Result<()> {
        if depth > MAX_DEPTH {
            return Err(broken());
        }
        match kind.0 {
            Kind::TRUE | Kind::FALSE => Ok(()),
            3 => self.byte().map(drop),
            4..=6 => self.varint().map(drop),
            7 => self.pass(8),
            8 => {
                let length = self.varint()?;
                self.pass(length)
            }
            9 | 10 => {
                let (count, kind) = self.list()?;
                // Each element takes a byte at least, so that the bytes end a count that lies.
                (0..count).try_for_each(|_| self.skip_element(kind, depth + 1))
            }
            11 => {
                let count = self.varint()?;
                let kinds = if count == 0 { 0 } else { self.byte()? };
                (0..count).try_for_each(|_| {
                    self.skip_element(Kind(kinds >> 4), depth + 1)?;
                    self.skip_element(Kind(kinds & 0x0f), depth + 1)
                })
            }
            12 => {
                let mut id = 0;
                while let Some(kind) = self.field(&mut id)? {
                    self.skip(kind, depth + 1)?;
                }
                Ok(())
            }
            13 => self.pass(16),
            _ => Err(broken()),
        }
    }

    /// An element of a list or a map, where a boolean takes a byte.
    fn skip_element(&mut self, kind: Kind, depth: u8) -> io::Result<()> {
        match kind.0 {
            Kind::TRUE | Kind::FALSE => self.byte().map(drop),
            _ => self.skip(kind, depth),
        }
    }

    fn pass(&mut self, length: u64) -> io::Result<()> {
        let passed = io::copy(&mut self.reader.by_ref().take(length), &mut io::sink())?;
        if passed < length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(broken())
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.reader.read_exact(&mut byte)?;
        Ok(byte[0])
    }
}

fn broken() -> io::Error {
    ErrorKind::InvalidData.into()
}
