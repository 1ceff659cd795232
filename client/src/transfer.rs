//! Collections as files: export and import.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read};

use affinis_api::archive::{Header, read_header};
use affinis_api::{BegunDocument, ImportedDocument};

use crate::client::Client;
use crate::collection::Collection;
use crate::error::Result;
use crate::http::encoded;
use crate::jobs::Job;

/// The most bytes of the first line of an exported collection, which names the users with a metric
/// of their own.
const MAX_HEADER: u64 = 256 << 20;

/// An exported collection on its way: its bytes are those of the file that `affinis export` writes.
/// Where the connection is cut off, reading fails.
#[must_use = "read it to its end"]
pub struct Export {
    header: Header,
    /// What is left of the first line.
    first: io::Cursor<Vec<u8>>,
    rest: BufReader<Box<dyn Read + Send>>,
}

impl fmt::Debug for Export {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Export").field(&self.header).finish()
    }
}

impl Export {
    /// The first line: the settings of the collection, and how many lines of each kind follow.
    pub fn header(&self) -> &Header {
        &self.header
    }
}

impl Read for Export {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self.first.read(bytes)? {
            0 => self.rest.read(bytes),
            read => Ok(read),
        }
    }
}

impl Collection {
    /// Gives the collection with its judgements and metrics as a file, a JSON object a line. Of what
    /// others write meanwhile, each item is there whole or not at all.
    ///
    /// # Errors
    /// Those of any call: see [`Error`](crate::Error).
    pub fn export(&self) -> Result<Export> {
        let http = self.http();
        let mut rest = BufReader::new(http.get_stream(&self.path("export"))?);
        let strange = |reason: String| http.strange(200, reason);
        let mut first = Vec::new();
        rest.by_ref()
            .take(MAX_HEADER)
            .read_until(b'\n', &mut first)
            .map_err(|error| strange(error.to_string()))?;
        let line = std::str::from_utf8(&first).map_err(|error| strange(error.to_string()))?;
        Ok(Export {
            header: read_header(line.trim_end()).map_err(strange)?,
            first: io::Cursor::new(first),
            rest,
        })
    }
}

impl Client {
    /// Makes a collection of an exported one, in the background, once its bytes have come; they may
    /// be packed with gzip or zstd. All of it is stored, or nothing. `length` is the number of bytes,
    /// where it is known, so that a service refuses ahead what is too large for it.
    ///
    /// # Errors
    /// A problem `already-exists` where there is a collection of this name, `too-large` beyond the
    /// limit of the service, and those of any call. The job fails with `invalid-input` for a file
    /// that cannot be used.
    pub fn import(
        &self,
        name: &str,
        file: impl Read,
        length: Option<u64>,
    ) -> Result<Job<ImportedDocument>> {
        let path = format!("/v1/collections/{}/import", encoded(name));
        let begun: BegunDocument = self.http.post_stream(&path, file, length)?;
        Ok(Job::new(self.clone(), begun.job))
    }
}
