//! The source of an input: a file or standard input, with its name in messages. What is compressed
//! with gzip or zstd, by its first bytes, is unpacked.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use affinis_api::input::{InputError, Place, unpacked};

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
    /// The file itself, where its bytes are not packed and can be read in any order.
    file: Option<File>,
}

impl Opened {
    /// Whether the bytes are those of a Parquet file, by the first of them.
    ///
    /// # Errors
    /// [`InputError`] when they cannot be read.
    pub fn is_parquet(&mut self) -> Result<bool, InputError> {
        match self.reader.fill_buf() {
            Ok(head) => Ok(head.starts_with(PARQUET)),
            Err(error) => Err(unreadable(&self.name, &error)),
        }
    }

    /// The bytes as a file, which is a temporary one where they come from a pipe or were packed.
    ///
    /// # Errors
    /// [`InputError`] when they cannot be read, or when the temporary file cannot be written.
    pub fn into_file(mut self) -> Result<File, InputError> {
        if let Some(file) = self.file {
            return Ok(file);
        }
        let mut file = temporary(&self.name)?;
        keep(&mut self.reader, &mut file, &self.name)?;
        Ok(file)
    }
}

fn unwritable(name: &str, error: &io::Error) -> InputError {
    let reason =
        format!("cannot be kept in a temporary file: {error}; TMPDIR names a directory for it");
    InputError::new(name, Place::File, reason)
}

/// A temporary file for what is read of an input.
fn temporary(name: &str) -> Result<File, InputError> {
    tempfile::tempfile().map_err(|e| unwritable(name, &e))
}

/// Writes all that is left of an input to a file.
fn keep(reader: &mut dyn BufRead, file: &mut File, name: &str) -> Result<(), InputError> {
    loop {
        let bytes = match reader.fill_buf() {
            Ok([]) => return Ok(()),
            Ok(bytes) => bytes,
            Err(e) => return Err(unreadable(name, &e)),
        };
        file.write_all(bytes).map_err(|e| unwritable(name, &e))?;
        let length = bytes.len();
        reader.consume(length);
    }
}

/// Standard input, once it was read to its end.
enum ReadAhead {
    Memory(Vec<u8>),
    File(File),
}

/// Bytes of standard input that are kept in memory; more go to a temporary file.
const IN_MEMORY: u64 = 64 << 20;

/// What was read of standard input and not opened yet.
static READ_AHEAD: Mutex<Option<ReadAhead>> = Mutex::new(None);

/// Reads standard input to its end, so that it is opened once more without waiting: the program that
/// writes it may hold the store that the command is about to lock.
///
/// # Errors
/// [`InputError`] when it cannot be read or kept.
pub fn read_ahead() -> Result<(), InputError> {
    let name = Input::Stdin.name();
    let mut reader = io::stdin().lock();
    let mut start = Vec::new();
    io::Read::take(&mut reader, IN_MEMORY)
        .read_to_end(&mut start)
        .map_err(|e| unreadable(&name, &e))?;
    let read = if (start.len() as u64) < IN_MEMORY {
        ReadAhead::Memory(start)
    } else {
        let mut file = temporary(&name)?;
        file.write_all(&start).map_err(|e| unwritable(&name, &e))?;
        drop(start);
        keep(&mut reader, &mut file, &name)?;
        file.rewind().map_err(|e| unwritable(&name, &e))?;
        ReadAhead::File(file)
    };
    *READ_AHEAD.lock().unwrap_or_else(PoisonError::into_inner) = Some(read);
    Ok(())
}

/// Bytes to be read, and their number where it is known.
#[cfg(feature = "client")]
type Bytes = (Box<dyn std::io::Read>, Option<u64>);

#[cfg(feature = "client")]
impl Opened {
    /// The unpacked bytes, with their number where they are those of a file.
    ///
    /// # Errors
    /// [`InputError`] when they cannot be read.
    pub(crate) fn into_bytes(self) -> Result<Bytes, InputError> {
        let Some(mut file) = self.file else {
            return Ok((Box::new(self.reader), None));
        };
        let at_begin = file
            .rewind()
            .and_then(|()| file.metadata().map(|metadata| metadata.len()));
        let length = at_begin.map_err(|error| unreadable(&self.name, &error))?;
        // One that grows meanwhile is sent as it was.
        Ok((Box::new(file.take(length)), Some(length)))
    }
}

fn unreadable(name: &str, error: &io::Error) -> InputError {
    InputError::new(name, Place::File, format!("cannot be read: {error}"))
}

/// The bytes that a Parquet file begins with.
const PARQUET: &[u8] = b"PAR1";

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
        let wrong = |e: io::Error| unreadable(&name, &e);
        let mut seekable = None;
        let packed: Box<dyn BufRead> = match self {
            Self::Stdin => {
                let ahead = READ_AHEAD
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take();
                match ahead {
                    Some(ReadAhead::Memory(bytes)) => Box::new(Cursor::new(bytes)),
                    Some(ReadAhead::File(file)) => {
                        seekable = file.try_clone().ok();
                        Box::new(BufReader::with_capacity(BUFFER_BYTES, file))
                    }
                    None => Box::new(io::stdin().lock()),
                }
            }
            Self::File(path) => {
                let file = File::open(path).map_err(|e| match dangling(path, &e) {
                    Some(target) => unusable(format!(
                        "is a symbolic link to {}, which does not exist",
                        target.display()
                    )),
                    None => wrong(e),
                })?;
                let metadata = file.metadata().map_err(wrong)?;
                if metadata.is_dir() {
                    return Err(unusable("is a directory, not a file".to_owned()));
                }
                if metadata.is_file() {
                    seekable = file.try_clone().ok();
                }
                Box::new(BufReader::with_capacity(BUFFER_BYTES, file))
            }
        };
        let (reader, is_packed) = unpacked(packed).map_err(wrong)?;
        Ok(Opened {
            name,
            reader,
            file: seekable.filter(|_| !is_packed),
        })
    }
}

/// The target of a symbolic link that leads to nothing.
fn dangling(path: &Path, error: &io::Error) -> Option<PathBuf> {
    let missing = error.kind() == ErrorKind::NotFound;
    missing.then(|| std::fs::read_link(path).ok()).flatten()
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
