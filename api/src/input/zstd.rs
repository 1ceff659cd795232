//! Reading of zstd files (RFC 8878): frames one after the other, each with its checksum where it has
//! one.

use std::io::{self, BufRead, ErrorKind, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Largest window, in bytes, that a file may ask for: that of the program `zstd` without `--long`.
const MAX_WINDOW_BYTES: u64 = 128 << 20;

/// The unpacked bytes of a zstd file.
pub(super) struct Decoder<R> {
    packed: R,
    frame: FrameDecoder,
    within_frame: bool,
}

impl<R: BufRead> Decoder<R> {
    pub(super) fn new(packed: R) -> Self {
        let mut frame = FrameDecoder::new();
        frame.set_max_window_size(MAX_WINDOW_BYTES);
        Self {
            packed,
            frame,
            within_frame: false,
        }
    }

    /// Reads the header of the next frame, and passes over frames that hold no content. Returns
    /// false at the end of the file.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.packed.fill_buf()?.is_empty() {
            match self.frame.reset(&mut self.packed) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    let mut skipped = self.packed.by_ref().take(length);
                    if io::copy(&mut skipped, &mut io::sink())? < length {
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(damaged(error)),
            }
        }
        Ok(false)
    }

    fn check_sum(&self) -> io::Result<()> {
        match self.frame.get_checksum_from_data() {
            Some(sum) if Some(sum) != self.frame.get_calculated_checksum() => {
                Err(damaged("the checksum does not match"))
            }
            _ => Ok(()),
        }
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.within_frame {
                if !self.next_frame()? {
                    return Ok(0);
                }
                self.within_frame = true;
            }
            while self.frame.can_collect() == 0 && !self.frame.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.frame
                    .decode_blocks(&mut self.packed, one)
                    .map_err(damaged)?;
            }
            let read = self.frame.read(bytes)?;
            if read > 0 {
                return Ok(read);
            }
            self.check_sum()?;
            self.within_frame = false;
        }
    }
}

fn damaged(reason: impl std::fmt::Display) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("zstd: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpack(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut found = Vec::new();
        Decoder::new(packed).read_to_end(&mut found)?;
        Ok(found)
    }

    /// A frame with a checksum, as the program `zstd` writes it.
    fn pack(bytes: &[u8], level: i32) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), level).unwrap();
        encoder.include_checksum(true).unwrap();
        io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn texts() -> Vec<u8> {
        (0..40_000)
            .flat_map(|i| format!("{} is the number {i}\n", i * 7919 % 10_007).into_bytes())
            .collect()
    }

    #[test]
    fn frames_of_every_level_and_those_without_content_are_read() {
        let texts = texts();
        let mut packed = Vec::new();
        let mut expected: Vec<u8> = Vec::new();
        for level in [1, 3, 9, 19, 22] {
            packed.extend(pack(&texts, level));
            // A frame that is skipped: its magic number, its length, its bytes.
            packed.extend(b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc");
            packed.extend(pack(b"", level));
            expected.extend(&texts);
        }
        assert!(unpack(&packed).unwrap() == expected);
    }

    #[test]
    fn a_file_that_is_cut_or_changed_is_refused() {
        let packed = pack(&texts(), 3);
        for end in [5, packed.len() / 2, packed.len() - 5, packed.len() - 1] {
            assert!(unpack(&packed[..end]).is_err(), "cut at {end}");
        }
        let mut changed = packed.clone();
        *changed.last_mut().unwrap() ^= 1;
        let error = unpack(&changed).unwrap_err();
        assert_eq!(error.to_string(), "zstd: the checksum does not match");
        let mut skipped = packed;
        skipped.extend(b"\x50\x2a\x4d\x18\x09\x00\x00\x00abc");
        assert!(unpack(&skipped).is_err());
    }
}
