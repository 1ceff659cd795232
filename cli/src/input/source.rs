//! The source of an input: a file or standard input, with its name in messages.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::str::FromStr;

use super::error::{InputError, Place};

/// Source of an input; parses from a path or `-`, which is standard input.
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
    /// The bytes.
    pub reader: Box<dyn BufRead>,
}

impl Input {
    /// Its name in messages.
    pub fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// The extension of the file's name in lower case; `None` for standard input.
    pub fn extension(&self) -> Option<String> {
        match self {
            Self::Stdin => None,
            Self::File(path) => Some(path.extension()?.to_str()?.to_lowercase()),
        }
    }

    /// Opens it for reading.
    ///
    /// # Errors
    /// [`InputError`] when the file cannot be opened or is a directory.
    pub fn open(&self) -> Result<Opened, InputError> {
        let name = self.name();
        let wrong =
            |e: io::Error| InputError::new(&name, Place::File, format!("cannot be read: {e}"));
        let reader: Box<dyn BufRead> = match self {
            Self::Stdin => Box::new(io::stdin().lock()),
            Self::File(path) => {
                let file = File::open(path).map_err(wrong)?;
                if file.metadata().map_err(wrong)?.is_dir() {
                    return Err(InputError::new(
                        &name,
                        Place::File,
                        "is a directory, not a file",
                    ));
                }
                Box::new(BufReader::with_capacity(1 << 16, file))
            }
        };
        Ok(Opened { name, reader })
    }
}

impl FromStr for Input {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "-" {
            Self::Stdin
        } else {
            Self::File(text.into())
        })
    }
}
