//! The images that items name, read and encoded batch by batch.

use std::path::{Path, PathBuf};

use affinis::{Collection, Item};

use crate::failure::Failure;
use crate::input::{Input, Layout, Parsed};
use crate::output;

/// Images that are in memory at once.
const BATCH: usize = 32;
/// Largest file that is read, in bytes; the encoder refuses smaller ones too.
const MAX_BYTES: u64 = 64 << 20;

/// Gives each item that names an image and has no vector that of the image. Items whose image cannot
/// be read or encoded are errors, or are left out with `skip_bad`.
pub(super) fn encode(
    mut parsed: Parsed,
    file: &Input,
    skip_bad: bool,
    layout: &Layout,
    collection: &Collection,
) -> Result<Parsed, Failure> {
    let columns = &layout.columns;
    let named = |item: &Item| {
        let name = columns.image_of(&item.meta)?;
        item.vector.is_none().then(|| beside(file, name))
    };
    let named: Vec<Option<PathBuf>> = parsed.items.iter().map(named).collect();
    let total = named.iter().flatten().count();
    if total == 0 {
        return Ok(parsed);
    }
    let bar = output::bar(total as u64, "encoding images");
    let mut encoded: Vec<Result<Item, String>> = Vec::with_capacity(named.len());
    let mut items = std::mem::take(&mut parsed.items);
    for (items, paths) in items.chunks_mut(BATCH).zip(named.chunks(BATCH)) {
        let vectors = vectors(paths, collection)?;
        for (item, vector) in items.iter_mut().zip(vectors) {
            let item = std::mem::take(item);
            encoded.push(match vector {
                None => Ok(item),
                Some(vector) => vector.map(|vector| item.with_vector(vector)),
            });
        }
        bar.inc(paths.iter().flatten().count() as u64);
    }
    bar.finish_and_clear();
    Ok(parsed.pass(&file.name(), skip_bad, encoded, |_| Ok(()))?)
}

/// The path of an image that a file names: beside the file, unless it is absolute.
fn beside(file: &Input, name: &str) -> PathBuf {
    match file {
        Input::File(path) => path.parent().unwrap_or(Path::new("")).join(name),
        Input::Stdin => PathBuf::from(name),
    }
}

/// The vector of an image, or why it has none; `None` where there is no image.
type Vector = Option<Result<Vec<f32>, String>>;

/// The vectors of images.
fn vectors(paths: &[Option<PathBuf>], collection: &Collection) -> Result<Vec<Vector>, Failure> {
    let wrong = |path: &Path, reason: String| format!("the image {}: {reason}", path.display());
    let read: Vec<Option<Result<Vec<u8>, String>>> = paths
        .iter()
        .map(|path| {
            let path = path.as_ref()?;
            Some(read(path).map_err(|reason| wrong(path, reason)))
        })
        .collect();
    let images: Vec<&[u8]> = read
        .iter()
        .filter_map(|file| Some(file.as_ref()?.as_ref().ok()?.as_slice()))
        .collect();
    let mut encoded = if images.is_empty() {
        Vec::new().into_iter()
    } else {
        collection.encode_images(&images)?.into_iter()
    };
    let vectors = read.iter().zip(paths).map(|(file, path)| {
        let path = path.as_ref()?;
        match file.as_ref()? {
            Err(reason) => Some(Err(reason.clone())),
            Ok(_) => Some(encoded.next()?.map_err(|reason| wrong(path, reason))),
        }
    });
    Ok(vectors.collect())
}

/// The bytes of the file of an image.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("not a regular file".to_owned());
    }
    if metadata.len() > MAX_BYTES {
        return Err(format!(
            "{} bytes, more than the {MAX_BYTES} that are read",
            metadata.len()
        ));
    }
    std::fs::read(path).map_err(|error| error.to_string())
}
