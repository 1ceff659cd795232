//! Output files that are written completely or not at all, and outputs that cannot be replaced:
//! devices, pipes, standard output.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Stdout, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::interrupt::{catch_interrupts, interrupted};
use crate::failure::Failure;

/// Largest number of symbolic links that are followed in a row, as on Linux.
const MAX_LINKS: usize = 40;

/// An output file, or standard output for `-`. The file is written under a temporary name beside
/// its own, and renamed when it is complete.
pub(crate) struct WholeFile {
    path: PathBuf,
    writer: Writer,
}

enum Writer {
    /// A file under a temporary name in the same directory.
    Beside {
        writer: BufWriter<NamedTempFile>,
        /// Its final name, with symbolic links followed: the target of a link is replaced, not the
        /// link.
        name: PathBuf,
        /// Metadata of the file that is replaced.
        replaced: Option<Box<Metadata>>,
    },
    /// A device or a pipe, which is written directly.
    Straight(BufWriter<File>),
    Stdout(BufWriter<Stdout>),
}

impl WholeFile {
    /// Creates a file; one of the same name stays unchanged until this one is finished.
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        let writer = if path.as_os_str() == "-" {
            Writer::Stdout(BufWriter::new(io::stdout()))
        } else {
            open(path).map_err(|e| unwritable(path, &e))?
        };
        Ok(Self {
            path: path.to_owned(),
            writer,
        })
    }

    /// Whether it is standard output, on which nothing else may be printed then.
    pub(crate) fn is_stdout(&self) -> bool {
        matches!(self.writer, Writer::Stdout(_))
    }

    /// Writer of the contents.
    pub(crate) fn writer(&mut self) -> &mut dyn Write {
        match &mut self.writer {
            Writer::Beside { writer, .. } => writer,
            Writer::Straight(writer) => writer,
            Writer::Stdout(writer) => writer,
        }
    }

    /// Whether the writing is to stop, because the program was asked to. What is written directly
    /// has no temporary file, and ends with the program.
    pub(crate) fn is_interrupted(&self) -> bool {
        matches!(self.writer, Writer::Beside { .. }) && interrupted()
    }

    /// Renames the file to its final name if `written` is no error and the program was not asked to
    /// stop.
    pub(crate) fn finish(self, written: io::Result<()>) -> Result<(), Failure> {
        if self.is_interrupted() {
            return Err(Failure::Interrupted(format!(
                "interrupted: {} was not written",
                self.path.display()
            )));
        }
        let path = self.path;
        let named = match self.writer {
            Writer::Stdout(mut writer) => return Ok(written.and_then(|()| writer.flush())?),
            Writer::Straight(mut writer) => written.and_then(|()| writer.flush()),
            Writer::Beside {
                writer,
                name,
                replaced,
            } => written.and_then(|()| {
                let file = writer
                    .into_inner()
                    .map_err(io::IntoInnerError::into_error)?;
                if let Some(replaced) = replaced {
                    take_over(file.as_file(), &replaced)?;
                }
                file.as_file().sync_all()?;
                file.persist(&name).map_err(|e| e.error)?;
                Ok(())
            }),
        };
        named.map_err(|e| unwritable(&path, &e))
    }
}

fn open(path: &Path) -> io::Result<Writer> {
    // Opened for writing, so that a file without write permission is not replaced; a pipe waits
    // here for its reader.
    let replaced = match OpenOptions::new().write(true).open(path) {
        Ok(file) => match file.metadata()? {
            of if is_stdout(&of) => return Ok(Writer::Stdout(BufWriter::new(io::stdout()))),
            // A name of an open file, such as /dev/fd/3: its holder would keep the replaced file.
            of if of.is_file() && is_of_the_system(path) => {
                let file = OpenOptions::new().append(true).open(path)?;
                return Ok(Writer::Straight(BufWriter::new(file)));
            }
            of if of.is_file() => Some(Box::new(of)),
            _ => return Ok(Writer::Straight(BufWriter::new(file))),
        },
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    let name = followed(path);
    catch_interrupts();
    let file = beside(folder_of(&name), replaced.is_some())?;
    Ok(Writer::Beside {
        writer: BufWriter::new(file),
        name,
        replaced,
    })
}

/// Whether a file is the target of standard output.
#[cfg(unix)]
fn is_stdout(file: &Metadata) -> bool {
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    let stdout = io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .map(File::from)
        .and_then(|stdout| stdout.metadata());
    stdout.is_ok_and(|stdout| (stdout.dev(), stdout.ino()) == (file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn is_stdout(_: &Metadata) -> bool {
    false
}

fn is_of_the_system(path: &Path) -> bool {
    path.starts_with("/dev") || path.starts_with("/proc")
}

/// A path with the symbolic links at its end followed, even if the last target does not exist.
fn followed(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = folder_of(&path).join(target),
            Err(_) => break,
        }
    }
    path
}

fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// A temporary file in a folder: readable by its owner only if it replaces a file, which may be
/// private, else with the permissions of any new file.
fn beside(folder: &Path, private: bool) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(if private {
            0o600
        } else {
            0o666
        }));
    }
    #[cfg(not(unix))]
    let _ = private;
    builder.tempfile_in(folder)
}

/// Copies the owner and the permissions of the replaced file.
fn take_over(file: &File, replaced: &Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        // Only the superuser may change the owner; for other users the file stays their own.
        let _ = fchown(file, Some(replaced.uid()), Some(replaced.gid()));
    }
    // After the owner, because changing it may clear permission bits.
    file.set_permissions(replaced.permissions())
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("{} cannot be written: {error}", path.display()))
}
