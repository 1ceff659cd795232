//! The source of an input: a file or standard input, with its name in messages. What is compressed
//! with gzip or zstd, by its first bytes, is unpacked.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::error::{InputError, Place};

/// Source of an input; made of a path or `-`, which is standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

/// An open input, with its name in messages.
pub struct Opened {
    /// The file's name, or `standard input`.
    pub name: String,
    /// The bytes, unpacked.
    pub reader: Box<dyn BufRead>,
}

/// Size of the buffer of unpacked bytes.
const BUFFER_BYTES: usize = 1 << 16;

impl Input {
    /// Its name in messages.
    pub fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// The extension of the file's name in lower case, without that of a compression; `None` for
    /// standard input.
    pub fn extension(&self) -> Option<String> {
        let Self::File(path) = self else {
            return None;
        };
        let extension = |path: &Path| Some(path.extension()?.to_str()?.to_lowercase());
        match extension(path)?.as_str() {
            "gz" | "zst" | "zstd" => extension(&path.with_extension("")),
            other => Some(other.to_owned()),
        }
    }

    /// Opens it for reading.
    ///
    /// # Errors
    /// [`InputError`] when the file cannot be opened, is a directory or a link to nothing, or when
    /// what it holds is compressed and cannot be unpacked.
    pub fn open(&self) -> Result<Opened, InputError> {
        let name = self.name();
        let unusable = |reason: String| InputError::new(&name, Place::File, reason);
        let wrong = |e: io::Error| unusable(format!("cannot be read: {e}"));
        let packed: Box<dyn BufRead> = match self {
            Self::Stdin => Box::new(io::stdin().lock()),
            Self::File(path) => {
                let file = File::open(path).map_err(|e| match dangling(path, &e) {
                    Some(target) => unusable(format!(
                        "is a symbolic link to {}, which does not exist",
                        target.display()
                    )),
                    None => wrong(e),
                })?;
                if file.metadata().map_err(wrong)?.is_dir() {
                    return Err(unusable("is a directory, not a file".to_owned()));
                }
                Box::new(BufReader::with_capacity(BUFFER_BYTES, file))
            }
        };
        let reader = unpacked(packed).map_err(wrong)?;
        Ok(Opened { name, reader })
    }
}

/// The target of a symbolic link that leads to nothing.
fn dangling(path: &Path, error: &io::Error) -> Option<PathBuf> {
    let missing = error.kind() == ErrorKind::NotFound;
    missing.then(|| std::fs::read_link(path).ok()).flatten()
}

/// Unpacks bytes that begin as gzip or zstd do; other bytes are read as they are. A text or an npy
/// file begins with none of these numbers.
fn unpacked(mut packed: Box<dyn BufRead>) -> io::Result<Box<dyn BufRead>> {
    const GZIP: &[u8] = b"\x1f\x8b";
    const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
    let mut head = Vec::with_capacity(ZSTD.len());
    packed
        .by_ref()
        .take(ZSTD.len() as u64)
        .read_to_end(&mut head)?;
    let (is_gzip, is_zstd) = (head.starts_with(GZIP), head.starts_with(ZSTD));
    let whole = Cursor::new(head).chain(packed);
    Ok(if is_gzip {
        Box::new(BufReader::with_capacity(
            BUFFER_BYTES,
            MultiGzDecoder::new(whole),
        ))
    } else if is_zstd {
        let decoder = zstd::Decoder::with_buffer(whole)?;
        Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
    } else {
        Box::new(whole)
    })
}

// Made of any name that the system allows, which need not be UTF-8.
impl From<OsString> for Input {
    fn from(name: OsString) -> Self {
        if name == "-" {
            Self::Stdin
        } else {
            Self::File(name.into())
        }
    }
}
