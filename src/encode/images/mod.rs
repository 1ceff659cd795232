//! [`ImageOnnx`], the encoder of images: a tower that turns pixels into vectors, and beside it, where
//! the directory has one, a tower that turns texts into vectors of the same space.

mod preprocess;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ndarray::{Array2, Array4, ArrayD, Axis};

use self::preprocess::Preprocessor;
use super::engine::{Engine, Feeds, GraphFile, Numbers};
use super::error::EncodeError;
use super::find::{IMAGE_FILES, MODEL_FILES, TEXT_FILES};
use super::layout::{self, Layout};
use super::onnx::{MAX_DIM, Onnx, OnnxOptions};
use super::signature::{Feed, PixelShape, Signature};
use super::tokens::guard;
use super::{Encoded, Encoder, Similarity, workers};

/// Largest number of images in one run of the model.
const BATCH_IMAGES: usize = 8;
/// Largest number of images that a graph may ask for in one run.
const MAX_BATCH: usize = 64;

/// A model of images, and of texts where its directory has a tower for them, as for CLIP. Cheap to
/// clone; clones share the model.
///
/// The directory holds, as exports of transformers do, `vision_model.onnx` (or `model.onnx`; each of
/// them may lie in `onnx/`) with `preprocessor_config.json`, and for texts `text_model.onnx` with
/// `tokenizer.json` and the files of any [model of texts](Onnx::from_dir). The pixels are a graph's
/// only input; its output is `image_embeds` (`b x d`) unless another is
/// [chosen](OnnxOptions::output). Vectors have length 1.
#[derive(Clone)]
pub struct ImageOnnx(Arc<Towers>);

struct Towers {
    name: String,
    source: Option<String>,
    fingerprint: String,
    dim: usize,
    images: ImageTower,
    texts: Option<Onnx>,
}

struct ImageTower {
    preprocessor: Preprocessor,
    shape: PixelShape,
    output: String,
    chosen: bool,
    batch: usize,
    threads: usize,
    engine: Box<dyn Engine>,
}

impl ImageOnnx {
    /// Loads a directory.
    ///
    /// # Errors
    /// [`EncodeError`], with the file that is missing, damaged, too large or not supported;
    /// [`EncodeError::Output`] with the graph's outputs where one must be chosen.
    pub fn from_dir(dir: impl AsRef<Path>) -> Result<Self, EncodeError> {
        Onnx::options().images_from_dir(dir)
    }

    /// Whether it encodes texts too.
    pub fn has_texts(&self) -> bool {
        self.0.texts.is_some()
    }

    pub(super) fn new(dir: &Path, options: &OnnxOptions) -> Result<Self, EncodeError> {
        let Files {
            dir,
            file,
            preprocessor,
            texts,
        } = Files::read(dir)?;
        let (signature, shape) = Signature::of_images(&file, options.chosen_output())?;
        let fingerprint = fingerprint(&file, &preprocessor, &signature, texts.as_ref())?;
        let (height, width) = preprocessor.size();
        let high = shape.size.0.unwrap_or(height);
        let wide = shape.size.1.unwrap_or(width);
        if (high, wide) != (height, width) {
            return Err(EncodeError::Unsupported {
                path: file.path,
                what: format!(
                    "the graph takes images of {high} x {wide} pixels, and preprocessor_config.json makes them {height} x {width}"
                ),
            });
        }
        if let Some(images) = shape.batch.filter(|images| *images > MAX_BATCH) {
            return Err(EncodeError::Unsupported {
                path: file.path,
                what: format!(
                    "the graph takes {images} images at a time, more than {MAX_BATCH}; export the model with dynamic axes"
                ),
            });
        }
        let threads = options.thread_count();
        let tower = ImageTower {
            preprocessor,
            shape,
            output: signature.output.clone(),
            chosen: signature.chosen,
            batch: match shape.batch {
                Some(images) => images,
                None if signature.quantises_batches => 1,
                None => BATCH_IMAGES,
            },
            threads,
            engine: file.prepare(&signature, options.chosen_backend(), threads)?,
        };
        let name = layout::name_of(&dir);
        let dim = tower.probe(&name)?;
        let texts = texts.map(|layout| Onnx::new(layout, options)).transpose()?;
        if let Some(texts) = texts.as_ref().filter(|texts| texts.dim() != dim) {
            return Err(EncodeError::Unsupported {
                path: dir,
                what: format!(
                    "its images have {dim} numbers and its texts {}; the two towers do not belong together",
                    texts.dim()
                ),
            });
        }
        Ok(Self(Arc::new(Towers {
            source: dir.to_str().map(Into::into),
            name,
            fingerprint,
            dim,
            images: tower,
            texts,
        })))
    }
}

/// The files of a directory.
struct Files {
    dir: std::path::PathBuf,
    file: GraphFile,
    preprocessor: Preprocessor,
    texts: Option<Layout>,
}

impl Files {
    fn read(dir: &Path) -> Result<Self, EncodeError> {
        let dir = layout::directory(dir)?;
        let files: Vec<&'static str> = IMAGE_FILES.into_iter().chain(MODEL_FILES).collect();
        let has_texts = TEXT_FILES.iter().any(|file| dir.join(file).exists());
        Ok(Self {
            file: GraphFile::read(layout::first_of(&dir, &files)?)?,
            preprocessor: Preprocessor::read(&dir.join("preprocessor_config.json"))?,
            texts: has_texts
                .then(|| Layout::read(&dir, &TEXT_FILES))
                .transpose()?,
            dir,
        })
    }
}

/// Whether a directory holds a model of images.
pub(super) fn is_model_of_images(dir: &Path) -> bool {
    IMAGE_FILES.iter().any(|file| dir.join(file).is_file())
        || dir.join("preprocessor_config.json").is_file() && !dir.join("tokenizer.json").is_file()
}

/// The fingerprint that the model in a directory has with the default options.
pub(super) fn fingerprint_of_directory(
    dir: &Path,
    output: Option<&str>,
) -> Result<String, EncodeError> {
    let files = Files::read(dir)?;
    let (signature, _) = Signature::of_images(&files.file, output)?;
    fingerprint(
        &files.file,
        &files.preprocessor,
        &signature,
        files.texts.as_ref(),
    )
}

/// A hash of everything that determines the vectors, 32 hexadecimal digits.
fn fingerprint(
    file: &GraphFile,
    preprocessor: &Preprocessor,
    signature: &Signature,
    texts: Option<&Layout>,
) -> Result<String, EncodeError> {
    let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
    file.hash(&mut hasher);
    file.hash_external(&mut hasher);
    hasher.update(format!("{preprocessor:?}").as_bytes());
    hasher.update(signature.output.as_bytes());
    if let Some(layout) = texts {
        let signature = Signature::of(&layout.file, None)?;
        let of_texts = super::fingerprint::of(layout, layout.max_length, &signature);
        hasher.update(of_texts.as_bytes());
    }
    Ok(format!("{:032x}", hasher.digest128()))
}

/// The pixels of a batch.
struct Pixels(Array4<f32>);

impl Feeds for Pixels {
    fn of(&self, _: Feed) -> Numbers<'_> {
        Numbers::Pixels(self.0.view())
    }
}

impl ImageTower {
    /// Runs a black image, to find the dimension and to check that the files fit together.
    fn probe(&self, name: &str) -> Result<usize, EncodeError> {
        let (height, width) = self.preprocessor.size();
        let pixels = Array4::zeros((self.batch, height, width, 3));
        let output = self.run(pixels, name)?;
        let dim = output.ncols();
        if output.nrows() != self.batch || !(2..=MAX_DIM).contains(&dim) {
            return Err(self.wrong_shape(name, output.shape()));
        }
        Ok(dim)
    }

    /// The output for pixels (`b x h x w x 3`), `b x d`.
    fn run(&self, pixels: Array4<f32>, name: &str) -> Result<Array2<f32>, EncodeError> {
        let images = pixels.dim().0;
        let pixels = if self.shape.colours_last {
            pixels
        } else {
            pixels.permuted_axes([0, 3, 1, 2])
        };
        let output = self.engine.run(&Pixels(pixels));
        let output: ArrayD<f32> = output.map_err(|reason| EncodeError::Run {
            model: name.to_owned(),
            reason,
        })?;
        // Axes of one number, which a pooling over the image leaves, say nothing.
        let shape = output.shape().to_vec();
        let is_vector =
            shape.len() >= 2 && shape[0] == images && shape[2..].iter().all(|n| *n == 1);
        let rows = is_vector.then(|| output.into_shape_with_order((images, shape[1])));
        match rows {
            Some(Ok(rows)) => Ok(rows),
            _ => Err(self.wrong_shape(name, &shape)),
        }
    }

    fn wrong_shape(&self, name: &str, found: &[usize]) -> EncodeError {
        EncodeError::OutputShape {
            model: name.to_owned(),
            output: self.output.clone(),
            found: found.to_vec(),
            expected: format!("[{}, d], d from 2 to {MAX_DIM}", self.batch),
        }
    }

    /// The vectors of the images at `first` and after it, as many as a run takes.
    fn encode(
        &self,
        images: &[&[u8]],
        first: usize,
        name: &str,
    ) -> Result<Array2<f32>, EncodeError> {
        let (height, width) = self.preprocessor.size();
        // A graph that takes a fixed number of images gets black ones after the last.
        let rows = self.shape.batch.unwrap_or(images.len());
        let mut pixels = Array4::zeros((rows, height, width, 3));
        for (at, (image, pixels)) in images.iter().zip(pixels.outer_iter_mut()).enumerate() {
            guard(|| self.preprocessor.pixels(image, pixels)).map_err(|reason| {
                EncodeError::Image {
                    model: name.to_owned(),
                    index: first + at,
                    reason,
                }
            })?;
        }
        let mut vectors = self.run(pixels, name)?;
        for (at, mut row) in vectors.outer_iter_mut().take(images.len()).enumerate() {
            let norm = row.dot(&row).sqrt();
            if !norm.is_finite() {
                return Err(EncodeError::Image {
                    model: name.to_owned(),
                    index: first + at,
                    reason: "its vector is not finite; the model's weights are damaged or overflow"
                        .into(),
                });
            }
            if norm > 0.0 {
                row /= norm;
            }
        }
        Ok(vectors.slice_move(ndarray::s![..images.len(), ..]))
    }
}

impl Encoder for ImageOnnx {
    fn dim(&self) -> usize {
        self.0.dim
    }

    fn name(&self) -> &str {
        &self.0.name
    }

    fn fingerprint(&self) -> &str {
        &self.0.fingerprint
    }

    fn source(&self) -> Option<String> {
        self.0.source.clone()
    }

    fn output(&self) -> Option<&str> {
        let images = &self.0.images;
        images.chosen.then_some(&images.output)
    }

    fn similarity(&self) -> Option<Similarity> {
        self.0.texts.as_ref().and_then(Encoder::similarity)
    }

    fn token_count(&self, text: &str) -> Result<usize, EncodeError> {
        self.texts()?.token_count(text)
    }

    fn max_tokens(&self) -> Option<usize> {
        self.0.texts.as_ref().and_then(Encoder::max_tokens)
    }

    fn encode(&self, texts: &[&str]) -> Result<Encoded, EncodeError> {
        self.texts()?.encode(texts)
    }

    fn encode_queries(&self, texts: &[&str]) -> Result<Encoded, EncodeError> {
        self.texts()?.encode_queries(texts)
    }

    fn encode_images(&self, images: &[&[u8]]) -> Result<Encoded, EncodeError> {
        let Towers {
            images: tower,
            name,
            dim,
            ..
        } = &*self.0;
        let batches: Vec<&[&[u8]]> = images.chunks(tower.batch).collect();
        let threads = if tower.engine.parallel() {
            tower.threads
        } else {
            1
        };
        let rows = workers::map(batches.len(), threads, |i| {
            tower.encode(batches[i], i * tower.batch, name)
        })?;
        let mut vectors = Array2::zeros((images.len(), *dim));
        let all = rows.iter().flat_map(|rows| rows.axis_iter(Axis(0)));
        for (mut vector, row) in vectors.outer_iter_mut().zip(all) {
            vector.assign(&row);
        }
        Ok(Encoded::new(vectors))
    }
}

impl ImageOnnx {
    fn texts(&self) -> Result<&Onnx, EncodeError> {
        self.0.texts.as_ref().ok_or_else(|| EncodeError::Takes {
            encoder: self.0.name.clone(),
            what: "images, and no texts",
        })
    }
}

impl fmt::Debug for ImageOnnx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageOnnx")
            .field("name", &self.0.name)
            .field("dim", &self.0.dim)
            .field("texts", &self.0.texts)
            .field("fingerprint", &self.0.fingerprint)
            .finish_non_exhaustive()
    }
}
