//! Loading of the ONNX Runtime library at `ORT_DYLIB_PATH`, with checks and a time limit.
//!
//! Loading a library runs its code. A wrong library can crash, wait for ever, or leave the process
//! half initialised. So the file is examined first (a shared library for this machine, with the one
//! symbol that ONNX Runtime exports), and then loaded on a thread of its own with a time limit. The
//! outcome is stored: a process loads one library once.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use ort::environment::Environment;

use super::error::EncodeError;

/// Oldest ONNX Runtime with the interface that the features of `ort` in `Cargo.toml` need.
const OLDEST_VERSION: &str = "1.20";
/// Longest time that loading may take. A sound library loads in a fraction of a second, from a cold
/// network disk in a few seconds.
const LOAD_TIMEOUT: Duration = Duration::from_secs(20);
/// Largest size of a library in bytes; the largest known builds, with GPU kernels, are below it.
const LIBRARY_LIMIT: u64 = 2 << 30;

static LOADED: Mutex<Option<Result<Environment, (PathBuf, String)>>> = Mutex::new(None);

/// The environment of the library at `ORT_DYLIB_PATH`, which the first call loads.
pub(super) fn environment() -> Result<Environment, EncodeError> {
    let path = std::env::var_os("ORT_DYLIB_PATH")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    let Some(path) = path else {
        return Err(refused("", "it is not set".into()));
    };
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    match &*loaded {
        Some(Ok(environment)) => return Ok(environment.clone()),
        // A process cannot load a library again after an attempt.
        Some(Err((path, reason))) => return Err(refused(path, reason.clone())),
        None => {}
    }
    // When this fails, nothing was loaded, and another path may be tried.
    examine(&path).map_err(|reason| refused(&path, reason))?;
    let result = load(path.clone(), LOAD_TIMEOUT).map_err(|reason| (path.clone(), reason));
    *loaded = Some(result.clone());
    result.map_err(|(path, reason)| refused(path, reason))
}

fn refused(path: impl AsRef<OsStr>, reason: String) -> EncodeError {
    EncodeError::Library {
        path: PathBuf::from(&path),
        reason,
        needed: OLDEST_VERSION,
    }
}

/// Loads the library on another thread, which is left behind when the time is over.
fn load(path: PathBuf, timeout: Duration) -> Result<Environment, String> {
    let (sender, receiver) = mpsc::channel();
    let work = move || {
        let made = ort::init_from(path)
            .map_err(|e| e.to_string())
            .and_then(|builder| {
                builder
                    .with_telemetry(false)
                    .build()
                    .map_err(|e| e.to_string())
            });
        // The receiver may have stopped waiting.
        let _ = sender.send(made);
    };
    let thread = std::thread::Builder::new().name("affinis-onnxruntime".into());
    thread
        .spawn(work)
        .map_err(|e| format!("no thread could be started to load it: {e}"))?;
    receiver
        .recv_timeout(timeout)
        .unwrap_or_else(|stopped| match stopped {
            mpsc::RecvTimeoutError::Timeout => Err(format!(
                "loading it took more than {} seconds",
                timeout.as_secs()
            )),
            mpsc::RecvTimeoutError::Disconnected => Err("its initialisation failed".into()),
        })
}

/// Checks that a file can be ONNX Runtime for this machine.
fn examine(path: &Path) -> Result<(), String> {
    // Checked before opening, because opening a pipe waits for its other end.
    let metadata = std::fs::metadata(path).map_err(|e| e.to_string())?;
    if !metadata.is_file() {
        return Err("it is not a file".into());
    }
    if metadata.len() > LIBRARY_LIMIT {
        return Err(format!(
            "it has {} bytes, more than any build of ONNX Runtime",
            metadata.len()
        ));
    }
    let file = File::open(path).map_err(|e| e.to_string())?;
    let mut reader = std::io::BufReader::with_capacity(1 << 20, file);
    let mut head = Vec::new();
    reader
        .by_ref()
        .take(64)
        .read_to_end(&mut head)
        .map_err(|e| e.to_string())?;
    shared_library(&head)?;
    if contains(&mut reader, b"OrtGetApiBase").map_err(|e| e.to_string())? {
        Ok(())
    } else {
        Err("it does not export OrtGetApiBase, so it is not ONNX Runtime".into())
    }
}

/// Checks the first bytes for the format, the machine and the kind of file.
fn shared_library(head: &[u8]) -> Result<(), String> {
    let half = |at: usize| {
        head.get(at..at + 2)
            .map(|b| u16::from_le_bytes([b[0], b[1]]))
    };
    if cfg!(target_os = "windows") {
        return if head.starts_with(b"MZ") {
            Ok(())
        } else {
            Err("it is not a DLL".into())
        };
    }
    if cfg!(target_vendor = "apple") {
        let magic = head.get(..4).unwrap_or_default();
        let known = [[0xcf, 0xfa, 0xed, 0xfe], [0xca, 0xfe, 0xba, 0xbe]]
            .iter()
            .any(|m| magic == m);
        return if known {
            Ok(())
        } else {
            Err("it is not a dynamic library".into())
        };
    }
    if !head.starts_with(b"\x7fELF") {
        return Err("it is not a shared library (no ELF header)".into());
    }
    // e_type: ET_DYN is 3; e_machine by the System V ABI supplements.
    if half(16) != Some(3) {
        return Err("it is an ELF file but not a shared library".into());
    }
    let machine = match std::env::consts::ARCH {
        "x86_64" => 62,
        "aarch64" => 183,
        "riscv64" => 243,
        // The loader decides.
        _ => return Ok(()),
    };
    if half(18) == Some(machine) {
        Ok(())
    } else {
        Err(format!(
            "it is a library for another machine than {}",
            std::env::consts::ARCH
        ))
    }
}

/// Whether the rest of a stream contains `needle`.
fn contains(reader: &mut impl Read, needle: &[u8]) -> std::io::Result<bool> {
    let mut window = Vec::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        let n = reader.read(&mut chunk)?;
        if n == 0 {
            return Ok(false);
        }
        window.extend_from_slice(&chunk[..n]);
        if window.windows(needle.len()).any(|w| w == needle) {
            return Ok(true);
        }
        // A match can lie across two chunks.
        window.drain(..window.len().saturating_sub(needle.len() - 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn what_is_no_library_is_refused_before_it_is_loaded() {
        assert!(examine(Path::new("/nowhere/libonnxruntime.so")).is_err());
        assert_eq!(
            examine(&std::env::temp_dir()).unwrap_err(),
            "it is not a file"
        );
        assert!(examine(file(b"").path()).is_err());
        assert!(examine(file(b"#!/bin/sh\nOrtGetApiBase\n").path()).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_library_of_another_kind_or_machine_is_refused() {
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(16, 0);
        elf.extend([3, 0, 0, 0]);
        elf.resize(64, 0);
        assert!(
            examine(file(&elf).path())
                .unwrap_err()
                .contains("another machine")
        );
        elf[16] = 2;
        assert!(
            examine(file(&elf).path())
                .unwrap_err()
                .contains("not a shared library")
        );
        // The test binary itself has the right machine and no such symbol in a table that a library
        // has.
        let machine: u16 = if cfg!(target_arch = "x86_64") {
            62
        } else {
            183
        };
        elf[16] = 3;
        elf[18..20].copy_from_slice(&machine.to_le_bytes());
        assert!(
            examine(file(&elf).path())
                .unwrap_err()
                .contains("OrtGetApiBase")
        );
        elf.extend(b"OrtGetApiBase");
        assert!(examine(file(&elf).path()).is_ok());
    }

    #[test]
    fn a_symbol_that_straddles_two_reads_is_found() {
        let mut bytes = vec![b'x'; (1 << 20) - 5];
        bytes.extend(b"OrtGetApiBase");
        assert!(contains(&mut bytes.as_slice(), b"OrtGetApiBase").unwrap());
        bytes.pop();
        assert!(!contains(&mut bytes.as_slice(), b"OrtGetApiBase").unwrap());
    }
}
