//! [`Files`]: the directory of tantivy's files of one part, in memory or in sections of a file.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use stable_deref_trait::StableDeref;
use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    AntiCallToken, Directory, DirectoryLock, FileHandle, FileSlice, Lock, OwnedBytes,
    TerminatingWrite, WatchCallback, WatchHandle, WritePtr,
};

/// A file of sections, as storage keeps it.
pub(crate) trait Sections: Send + Sync {
    /// The bytes of a section; empty where there is none. They stay where they are, and what they
    /// are, as long as the value lives, also when it is moved.
    fn section(&self, section: usize) -> &[u8];
}

/// One section of a file, which it keeps open.
struct Section {
    file: Arc<dyn Sections>,
    section: usize,
}

impl Deref for Section {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.file.section(self.section)
    }
}

// SAFETY: the bytes belong to what the `Arc` points to, which does not move with it, and stay as
// long as it lives, as `Sections` requires.
#[expect(unsafe_code, reason = "a promise about addresses: see above")]
unsafe impl StableDeref for Section {}

/// The files of a part by name.
#[derive(Clone, Default)]
pub(super) struct Files(Arc<RwLock<BTreeMap<PathBuf, OwnedBytes>>>);

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Files")
    }
}

impl Files {
    /// The files in a file of sections. The first section has the names of the others, a line each.
    pub(super) fn open(file: &Arc<dyn Sections>) -> Self {
        let names = String::from_utf8_lossy(file.section(0)).into_owned();
        let files = names.lines().zip(1..).map(|(name, section)| {
            let file = Arc::clone(file);
            let bytes = OwnedBytes::new(Section { file, section });
            (PathBuf::from(name), bytes)
        });
        Self(Arc::new(RwLock::new(files.collect())))
    }

    /// The sections from which [`Self::open`] makes the same files.
    pub(super) fn sections(&self) -> Vec<impl AsRef<[u8]> + use<>> {
        let files = self.read();
        let names: Vec<String> = files
            .keys()
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        let names = OwnedBytes::new(names.join("\n").into_bytes());
        let sections = std::iter::once(names).chain(files.values().cloned());
        sections.collect::<Vec<_>>()
    }

    /// Length of all files together, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.read().values().map(OwnedBytes::len).sum()
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<PathBuf, OwnedBytes>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<PathBuf, OwnedBytes>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, path: &Path, bytes: Vec<u8>) {
        self.write().insert(path.to_owned(), OwnedBytes::new(bytes));
    }

    fn get(&self, path: &Path) -> Result<OwnedBytes, OpenReadError> {
        let found = self.read().get(path).cloned();
        found.ok_or_else(|| OpenReadError::FileDoesNotExist(path.to_owned()))
    }
}

/// A file that is being written.
struct Writing {
    files: Files,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TerminatingWrite for Writing {
    fn terminate_ref(&mut self, _: AntiCallToken) -> io::Result<()> {
        self.files.put(&self.path, std::mem::take(&mut self.bytes));
        Ok(())
    }
}

impl Directory for Files {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        Ok(Arc::new(self.get(path)?))
    }

    fn open_read(&self, path: &Path) -> Result<FileSlice, OpenReadError> {
        Ok(FileSlice::new(self.get_file_handle(path)?))
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        let removed = self.write().remove(path);
        removed.map_or_else(
            || Err(DeleteError::FileDoesNotExist(path.to_owned())),
            |_| Ok(()),
        )
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        Ok(self.read().contains_key(path))
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        if self.read().contains_key(path) {
            return Err(OpenWriteError::FileAlreadyExists(path.to_owned()));
        }
        Ok(BufWriter::new(Box::new(Writing {
            files: self.clone(),
            path: path.to_owned(),
            bytes: Vec::new(),
        })))
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        Ok(self.get(path)?.as_slice().to_vec())
    }

    fn atomic_write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.put(path, bytes.to_vec());
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    /// One thread writes a part, and it is read once it is written: there is nothing to lock.
    fn acquire_lock(&self, _: &Lock) -> Result<DirectoryLock, LockError> {
        Ok(DirectoryLock::from(Box::new(())))
    }

    fn watch(&self, _: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty())
    }
}
