//! From the bytes of an image file to the pixels that a model takes, as its
//! `preprocessor_config.json` says: decoded, resized, cut at the centre, scaled and normalised.

use std::io::Cursor;
use std::path::Path;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits, RgbImage};
use ndarray::{ArrayViewMut3, s};
use serde::Deserialize;

use crate::encode::EncodeError;
use crate::encode::config::config;

/// Largest image file, in bytes.
const MAX_FILE_BYTES: usize = 64 << 20;
/// Largest height and width of an image, in pixels.
const MAX_SIDE: u32 = 16_384;
/// Most memory that decoding an image may take, in bytes.
const MAX_DECODED_BYTES: u64 = 512 << 20;
/// Largest height and width that a model may ask for, in pixels.
const MAX_MODEL_SIDE: u32 = 2_048;

/// What is done to an image.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Preprocessor {
    resize: Option<(Size, Filter)>,
    /// Height and width that are cut out at the centre.
    crop: Option<(u32, u32)>,
    /// Factor of the values 0 to 255.
    scale: f32,
    /// Mean and standard deviation of each colour after scaling.
    mean: [f32; 3],
    deviation: [f32; 3],
}

/// A size in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    /// Height and width.
    Sides(u32, u32),
    /// The length of the shorter side; the longer one follows from the image.
    Shorter(u32),
}

/// How pixels between others are computed; the names are Pillow's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filter {
    Nearest,
    Lanczos,
    Bilinear,
    Bicubic,
}

/// The file `preprocessor_config.json`, as the image processors of transformers write it.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Config {
    do_resize: Option<bool>,
    size: Option<ConfigSize>,
    resample: Option<u8>,
    do_center_crop: Option<bool>,
    crop_size: Option<ConfigSize>,
    crop_pct: Option<f64>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f32>,
    do_normalize: Option<bool>,
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
    do_pad: Option<bool>,
    image_processor_type: Option<String>,
    feature_extractor_type: Option<String>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(untagged)]
enum ConfigSize {
    Edge(u32),
    Sides { height: u32, width: u32 },
    Shorter { shortest_edge: u32 },
}

impl Preprocessor {
    /// Reads the settings in a file.
    pub(super) fn read(path: &Path) -> Result<Self, EncodeError> {
        let wrong = |reason: String| EncodeError::Config {
            path: path.to_path_buf(),
            reason,
        };
        let config: Config = config(path)?.ok_or_else(|| EncodeError::Missing {
            dir: path.parent().unwrap_or(path).to_path_buf(),
            file: "preprocessor_config.json",
        })?;
        Self::of(&config).map_err(wrong)
    }

    fn of(config: &Config) -> Result<Self, String> {
        for (setting, is_set) in [
            ("do_pad", config.do_pad == Some(true)),
            ("crop_pct", config.crop_pct.is_some()),
        ] {
            if is_set {
                return Err(format!("{setting} is not supported"));
            }
        }
        let does = |flag: Option<bool>, is_said: bool| flag.unwrap_or(is_said);
        let crop = if does(config.do_center_crop, config.crop_size.is_some()) {
            let size = config.crop_size.or(config.size);
            match size.ok_or("do_center_crop without crop_size")? {
                ConfigSize::Edge(side) => Some((side, side)),
                ConfigSize::Sides { height, width } => Some((height, width)),
                ConfigSize::Shorter { .. } => return Err("crop_size has no height".into()),
            }
        } else {
            None
        };
        let resize = if does(config.do_resize, config.size.is_some()) {
            let size = match config.size.ok_or("do_resize without size")? {
                // A number is the shorter side where the rest is cut off, and both sides elsewhere.
                ConfigSize::Edge(side) if crop.is_some() => Size::Shorter(side),
                ConfigSize::Edge(side) => Size::Sides(side, side),
                ConfigSize::Sides { height, width } => Size::Sides(height, width),
                ConfigSize::Shorter { shortest_edge } => Size::Shorter(shortest_edge),
            };
            Some((size, config.filter()?))
        } else {
            None
        };
        let sides = match (resize, crop) {
            (Some((Size::Sides(height, width), _)), None) | (_, Some((height, width))) => {
                (height, width)
            }
            _ => {
                return Err(
                    "images of different sizes stay different; size has no height and width, and \
                            nothing is cut off"
                        .into(),
                );
            }
        };
        let shorter = match resize {
            Some((Size::Shorter(side), _)) => side,
            Some((Size::Sides(height, width), _)) => height.max(width),
            None => 1,
        };
        if [sides.0, sides.1, shorter]
            .iter()
            .any(|side| !(1..=MAX_MODEL_SIDE).contains(side))
        {
            return Err(format!("a side is not from 1 to {MAX_MODEL_SIDE} pixels"));
        }
        let scale = if does(config.do_rescale, true) {
            config.rescale_factor.unwrap_or(1.0 / 255.0)
        } else {
            1.0
        };
        let (mean, deviation) = if does(config.do_normalize, config.image_mean.is_some()) {
            let mean = config.image_mean.ok_or("do_normalize without image_mean")?;
            let deviation = config.image_std.ok_or("do_normalize without image_std")?;
            (mean, deviation)
        } else {
            ([0.0; 3], [1.0; 3])
        };
        let is_wrong = |x: &f32| !x.is_finite();
        if is_wrong(&scale)
            || mean.iter().any(is_wrong)
            || deviation.iter().any(|x| is_wrong(x) || *x <= 0.0)
        {
            return Err("image_mean, image_std or rescale_factor is out of range".into());
        }
        Ok(Self {
            resize,
            crop,
            scale,
            mean,
            deviation,
        })
    }

    /// Height and width of the pixels that a model gets.
    pub(super) fn size(&self) -> (usize, usize) {
        let (height, width) = match (self.crop, self.resize) {
            (Some(size), _) => size,
            (None, Some((Size::Sides(height, width), _))) => (height, width),
            // Refused when the settings are read.
            (None, _) => (0, 0),
        };
        (height as usize, width as usize)
    }

    /// Writes the pixels of an image file (`h x w x 3`). The error is for people.
    pub(super) fn pixels(
        &self,
        file: &[u8],
        mut pixels: ArrayViewMut3<'_, f32>,
    ) -> Result<(), String> {
        let image = self.resized(decoded(file)?)?;
        let (height, width) = self.size();
        // Positions of the cut within the image; an image that is smaller has a black border.
        let start = |whole: u32, part: usize| (i64::from(whole) - part as i64).div_euclid(2);
        let (top, left) = (start(image.height(), height), start(image.width(), width));
        let at = |y: usize, x: usize| {
            let y = u32::try_from(top + y as i64).ok()?;
            let x = u32::try_from(left + x as i64).ok()?;
            image.get_pixel_checked(x, y)
        };
        for y in 0..height {
            for x in 0..width {
                let colours = at(y, x).map_or([0; 3], |pixel| pixel.0);
                let mut pixel = pixels.slice_mut(s![y, x, ..]);
                for (colour, value) in colours.into_iter().enumerate() {
                    let scaled = f32::from(value) * self.scale;
                    pixel[colour] = (scaled - self.mean[colour]) / self.deviation[colour];
                }
            }
        }
        Ok(())
    }

    fn resized(&self, image: RgbImage) -> Result<RgbImage, String> {
        let Some((size, filter)) = self.resize else {
            return Ok(image);
        };
        let (height, width) = match size {
            Size::Sides(height, width) => (height, width),
            Size::Shorter(side) => {
                let (width, height) = image.dimensions();
                let longer =
                    u64::from(side) * u64::from(height.max(width)) / u64::from(height.min(width));
                let longer = u32::try_from(longer).ok().filter(|side| *side <= MAX_SIDE);
                let longer = longer.ok_or_else(|| {
                    format!("an image of {width} x {height} pixels is too narrow")
                })?;
                if height < width {
                    (side, longer)
                } else {
                    (longer, side)
                }
            }
        };
        if (width, height) == image.dimensions() {
            return Ok(image);
        }
        // The crate computes as Pillow does: row by row, then column by column, rounded in between.
        let from = ImageRef::new(
            image.width(),
            image.height(),
            image.as_raw(),
            PixelType::U8x3,
        )
        .map_err(|error| error.to_string())?;
        let mut to = Image::new(width, height, PixelType::U8x3);
        let options = ResizeOptions::new().resize_alg(filter.into());
        Resizer::new()
            .resize(&from, &mut to, &options)
            .map_err(|error| error.to_string())?;
        RgbImage::from_raw(width, height, to.into_vec())
            .ok_or_else(|| "the resized image has another size".to_owned())
    }
}

impl Config {
    fn filter(&self) -> Result<Filter, String> {
        match self.resample {
            Some(0) => Ok(Filter::Nearest),
            Some(1) => Ok(Filter::Lanczos),
            Some(2) => Ok(Filter::Bilinear),
            Some(3) => Ok(Filter::Bicubic),
            Some(other) => Err(format!(
                "resample is {other}; 0 to 3 (nearest, Lanczos, bilinear, bicubic) are supported"
            )),
            // The defaults of transformers.
            None => {
                let kinds = [&self.image_processor_type, &self.feature_extractor_type];
                let is_clip = kinds
                    .into_iter()
                    .flatten()
                    .any(|kind| kind.contains("CLIP"));
                Ok(if is_clip {
                    Filter::Bicubic
                } else {
                    Filter::Bilinear
                })
            }
        }
    }
}

impl From<Filter> for ResizeAlg {
    fn from(filter: Filter) -> Self {
        match filter {
            Filter::Nearest => Self::Nearest,
            Filter::Lanczos => Self::Convolution(FilterType::Lanczos3),
            Filter::Bilinear => Self::Convolution(FilterType::Bilinear),
            Filter::Bicubic => Self::Convolution(FilterType::CatmullRom),
        }
    }
}

/// The image in a file, the right way up. What a file claims of its size is checked before memory is
/// taken for it.
fn decoded(file: &[u8]) -> Result<RgbImage, String> {
    if file.len() > MAX_FILE_BYTES {
        return Err(format!(
            "{} bytes, more than the {MAX_FILE_BYTES} of the largest image that is read",
            file.len()
        ));
    }
    let unusable = |error: &dyn std::fmt::Display| format!("not a usable image: {error}");
    let mut reader = ImageReader::new(Cursor::new(file))
        .with_guessed_format()
        .map_err(|error| unusable(&error))?;
    if reader.format().is_none() {
        return Err("not an image; png, jpeg, webp, gif and bmp are read".into());
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| unusable(&error))?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| unusable(&error))?;
    if image.width() == 0 || image.height() == 0 {
        return Err("an image without pixels".into());
    }
    image.apply_orientation(orientation);
    Ok(image.into_rgb8())
}
