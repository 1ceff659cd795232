//! The encoding of records as bytes: a format number, a checksum and a payload.
//!
//! ```text
//! byte 0      format of this kind of record
//! bytes 1-4   CRC-32 (IEEE) of byte 0 and the payload, little-endian
//! bytes 5-    payload
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::error::{Error, Result};

/// Length of the header before the payload, in bytes.
const HEADER: usize = 5;

fn checksum(format: u8, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[format]);
    crc.update(payload);
    crc.finalize()
}

/// A payload with its header.
pub(crate) fn seal(format: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.push(format);
    bytes.extend_from_slice(&checksum(format, payload).to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The payload of a record whose format number must be `known`.
pub(crate) fn unseal<'a>(
    known: u8,
    bytes: &'a [u8],
    part: &dyn Fn() -> String,
) -> Result<&'a [u8]> {
    let Some((&[format, a, b, c, d], payload)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(Error::Damaged {
            part: part(),
            reason: format!("{} bytes are too few for a record", bytes.len()),
        });
    };
    if checksum(format, payload) != u32::from_le_bytes([a, b, c, d]) {
        return Err(Error::Damaged {
            part: part(),
            reason: "its checksum does not fit".into(),
        });
    }
    match format {
        0 => Err(Error::Damaged {
            part: part(),
            reason: "its format number is 0".into(),
        }),
        format if format < known => Err(Error::OlderFormat {
            part: part(),
            found: format.into(),
            known: known.into(),
        }),
        format if format > known => Err(Error::NewerFormat {
            part: part(),
            found: format.into(),
            known: known.into(),
        }),
        _ => Ok(payload),
    }
}

/// A value as a postcard payload with its header.
pub(crate) fn encode<T: Serialize>(format: u8, value: &T) -> Result<Vec<u8>> {
    let payload = postcard::to_stdvec(value).map_err(|error| Error::Storage {
        action: "serialise a record",
        source: error.into(),
    })?;
    Ok(seal(format, &payload))
}

/// The value of a record that [`encode`] wrote in the same format.
pub(crate) fn decode<T: DeserializeOwned>(
    format: u8,
    bytes: &[u8],
    part: &dyn Fn() -> String,
) -> Result<T> {
    let payload = unseal(format, bytes, part)?;
    postcard::from_bytes(payload).map_err(|e| Error::Damaged {
        part: part(),
        reason: format!("its payload cannot be read: {e}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_noticed() {
        let sealed = encode(1, &("name".to_owned(), 7_u32, vec![1.5_f32])).expect("serialisable");
        let part = || "record".to_owned();
        let read: (String, u32, Vec<f32>) = decode(1, &sealed, &part).expect("as written");
        assert_eq!(read, ("name".to_owned(), 7, vec![1.5]));
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(
                decode::<(String, u32, Vec<f32>)>(1, &bad, &part).is_err(),
                "bit {bit}"
            );
        }
        for len in 0..sealed.len() {
            assert!(
                decode::<(String, u32, Vec<f32>)>(1, &sealed[..len], &part).is_err(),
                "length {len}"
            );
        }
    }

    #[test]
    fn a_newer_and_an_older_format_are_named_as_such() {
        let sealed = seal(2, b"payload");
        assert!(matches!(
            unseal(1, &sealed, &String::new),
            Err(Error::NewerFormat {
                found: 2,
                known: 1,
                ..
            })
        ));
        assert!(matches!(
            unseal(3, &sealed, &String::new),
            Err(Error::OlderFormat {
                found: 2,
                known: 3,
                ..
            })
        ));
        assert!(matches!(
            unseal(1, &seal(0, b"payload"), &String::new),
            Err(Error::Damaged { .. })
        ));
    }
}
