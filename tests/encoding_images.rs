//! Images are turned into pixels as Pillow and transformers do it, into vectors by their tower, and
//! are found by texts where the model has a tower for them.
#![cfg(feature = "images")]

use std::path::{Path, PathBuf};

use affinis::encode::{self, EncodeError, Encoder, ImageOnnx, Onnx, Wanted};
use affinis::{Error, ErrorKind, Item, Store};
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn image(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join("images").join(name)).unwrap()
}

fn clip() -> ImageOnnx {
    ImageOnnx::from_dir(fixtures().join("models/clip")).unwrap()
}

/// A model whose vectors are the pixels themselves, divided by their norm.
fn flat(settings: &Value) -> Result<ImageOnnx, EncodeError> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(
        fixtures().join("models/flat.onnx"),
        dir.path().join("vision_model.onnx"),
    )
    .unwrap();
    let path = dir.path().join("preprocessor_config.json");
    std::fs::write(path, settings.to_string()).unwrap();
    ImageOnnx::from_dir(dir.path())
}

fn vectors(encoder: &ImageOnnx, images: &[&[u8]]) -> Vec<Vec<f32>> {
    let encoded = encoder.encode_images(images).unwrap();
    encoded
        .vectors
        .outer_iter()
        .map(|row| row.to_vec())
        .collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn pixels_are_those_of_pillow() {
    let cases = [
        (
            "bicubic",
            json!({"size": {"shortest_edge": 24}, "resample": 3, "crop_size": 24}),
            (24, 24),
        ),
        (
            "bilinear",
            json!({"size": {"height": 20, "width": 28}, "resample": 2}),
            (20, 28),
        ),
        (
            "lanczos",
            // 60 x 40 x 3 numbers would be more than a vector may have.
            json!({"size": {"height": 60, "width": 40}, "resample": 1, "crop_size": {"height": 30, "width": 40}}),
            (30, 40),
        ),
    ];
    for (name, settings, (height, width)) in cases {
        let ours = flat(&settings).unwrap();
        let as_it_is = json!({"do_resize": false, "crop_size": {"height": height, "width": width}});
        let as_it_is = flat(&as_it_is).unwrap();
        assert_eq!(ours.dim(), height * width * 3);
        let expected = vectors(&as_it_is, &[&image(&format!("expected_{name}.png"))]).remove(0);
        let found = vectors(&ours, &[&image("picture.png")]).remove(0);
        let difference = expected.iter().zip(&found).map(|(a, b)| (a - b).abs());
        let largest = difference.fold(0.0, f32::max);
        // A level of 255 in a vector of this length; both sides round twice.
        let level = 1.0 / (255.0 * (expected.len() as f32).sqrt() * 0.5);
        assert!(largest < 3.0 * level, "{name}: {}", largest / level);
        // A photograph in another format is nearly the same picture.
        let photograph = vectors(&ours, &[&image("picture.jpg")]).remove(0);
        assert!(cosine(&expected, &photograph) > 0.995, "{name}");
    }
}

#[test]
fn colours_are_scaled_and_normalised() {
    // mean .5; deviations .25, .5, 1: red 250/255 -> 1.92, green and blue 5/255 -> -.96 and -.48.
    let options = Onnx::options().output("features");
    let colours = options
        .images_from_dir(fixtures().join("models/colours"))
        .unwrap();
    assert_eq!((colours.dim(), colours.output()), (3, Some("features")));
    assert!(!colours.has_texts());
    let red = [250.0_f32, 5.0, 5.0].map(|level| level / 255.0 - 0.5);
    let expected = [red[0] / 0.25, red[1] / 0.5, red[2]];
    let norm = cosine(&expected, &expected).sqrt();
    let [red, green, blue] = ["red.png", "green.png", "blue.png"].map(image);
    // The graph takes one image a run.
    let found = vectors(&colours, &[&red, &green, &blue]);
    for (found, expected) in found[0].iter().zip(expected) {
        assert!((found - expected / norm).abs() < 1e-5, "{found} {expected}");
    }
    assert!(cosine(&found[1], &found[2]) < 0.5);
    let of_text = colours.encode(&["red"]).unwrap_err();
    assert_eq!(
        of_text.to_string(),
        "the encoder colours takes images, and no texts"
    );
}

#[test]
fn images_are_found_by_texts_and_texts_by_images() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let things = store.collection("things").encoder(clip()).create().unwrap();
    let [red, green, blue] = ["red.png", "green.png", "blue.png"].map(image);
    let found = things.encode_images(&[&red, &green]).unwrap();
    let items = found.into_iter().zip(["a red image", "a green image"]);
    let items = items.map(|(vector, id)| Item::vector(id, vector.unwrap()));
    things.add(items).unwrap();
    things.add([Item::text("a blue text", "blue")]).unwrap();
    let first = |query: affinis::Query| things.search(query).k(1).run().unwrap()[0].id.clone();
    assert_eq!(first("red".into()), "a red image");
    assert_eq!(first("green apple".into()), "a green image");
    let blue = things.encode_images(&[&blue]).unwrap().remove(0).unwrap();
    assert_eq!(first(blue.into()), "a blue text");
}

#[test]
fn an_image_that_cannot_be_read_does_not_spoil_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let things = store.collection("things").encoder(clip()).create().unwrap();
    let red = image("red.png");
    let mut cut = image("picture.png");
    cut.truncate(300);
    let mut lying = image("picture.png");
    // Width and height of a png, which its header claims: 2^31 - 1 each.
    lying[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    // A gif of 65,535 x 65,535 pixels and a bmp of 30,000 x 30,000, in a few bytes.
    let gif = b"GIF89a\xff\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02\x02D\x01\x00;";
    let mut bmp = vec![0_u8; 58];
    bmp[..2].copy_from_slice(b"BM");
    bmp[10] = 54;
    bmp[14] = 40;
    bmp[18..22].copy_from_slice(&30_000_u32.to_le_bytes());
    bmp[22..26].copy_from_slice(&30_000_u32.to_le_bytes());
    bmp[26] = 1;
    bmp[28] = 24;
    let bad: [&[u8]; 7] = [
        b"",
        b"no image",
        &cut,
        &lying,
        gif,
        &bmp,
        b"\x89PNG\r\n\x1a\n",
    ];
    for bad in bad {
        let found = things.encode_images(&[&red, bad, &red]).unwrap();
        assert_eq!(found.len(), 3);
        assert!(found[0].is_ok() && found[0] == found[2]);
        let reason = found[1].as_ref().unwrap_err();
        assert!(reason.contains("image"), "{reason}");
    }
    let narrow = flat(&json!({"size": {"shortest_edge": 24}, "crop_size": 24})).unwrap();
    // A bmp of 1 x 1,000 pixels would be 24 x 24,000.
    let mut bmp = vec![0_u8; 54 + 4 * 1000];
    bmp[..2].copy_from_slice(b"BM");
    bmp[10] = 54;
    bmp[14] = 40;
    bmp[18] = 1;
    bmp[22..26].copy_from_slice(&1000_u32.to_le_bytes());
    bmp[26] = 1;
    bmp[28] = 24;
    let error = narrow.encode_images(&[&bmp]).unwrap_err();
    assert!(error.to_string().contains("too narrow"), "{error}");
}

#[test]
fn encoders_of_texts_take_no_images() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let texts = store
        .collection("texts")
        .encoder(Onnx::embedded().unwrap())
        .create()
        .unwrap();
    let error = texts.encode_images(&[&image("red.png")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        matches!(error, Error::Encode(EncodeError::Takes { .. })),
        "{error}"
    );
    assert!(
        error.to_string().contains("takes texts, and no images"),
        "{error}"
    );
}

#[test]
fn settings_that_cannot_be_followed_are_refused() {
    let cases = [
        (json!({"size": {"shortest_edge": 24}}), "stay different"),
        (json!({"size": 24, "resample": 5}), "resample is 5"),
        (json!({"size": 24, "do_pad": true}), "do_pad"),
        (json!({"size": 24, "crop_pct": 0.9}), "crop_pct"),
        (json!({"size": 100_000}), "2048 pixels"),
        (json!({"size": 0}), "2048 pixels"),
        (json!({"size": 24, "image_mean": [0, 0, 0]}), "image_std"),
        (
            json!({"size": 24, "image_mean": [0, 0, 0], "image_std": [1, 0, 1]}),
            "out of range",
        ),
        (json!({"do_resize": true, "crop_size": 24}), "without size"),
        (json!([]), "preprocessor_config.json"),
    ];
    for (settings, reason) in cases {
        let error = flat(&settings).unwrap_err().to_string();
        assert!(error.contains(reason), "{settings}: {error}");
    }
    // 64 x 64 x 3 numbers are more than a vector may have.
    assert!(matches!(
        flat(&json!({"size": 64})).unwrap_err(),
        EncodeError::OutputShape { .. }
    ));
    let colours = fixtures().join("models/colours");
    let error = ImageOnnx::from_dir(colours).unwrap_err();
    assert!(
        error.to_string().contains("features [1, 3, 1, 1]"),
        "{error}"
    );
}

#[test]
fn a_model_of_images_is_found_again_by_its_fingerprint() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().join("clip");
    std::fs::create_dir(&here).unwrap();
    for entry in std::fs::read_dir(fixtures().join("models/clip")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, here.join(path.file_name().unwrap())).unwrap();
    }
    let made = clip();
    let wanted = Wanted::new("clip", made.fingerprint()).source(Some("/nowhere"));
    let found = encode::find(&wanted, &[dir.path().to_path_buf()]).unwrap();
    assert_eq!(found.fingerprint(), made.fingerprint());
    let red = image("red.png");
    assert_eq!(
        found.encode_images(&[&red]).unwrap(),
        made.encode_images(&[&red]).unwrap()
    );
    // Other settings make other vectors.
    let path = here.join("preprocessor_config.json");
    let settings = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        settings.replace("\"resample\": 3", "\"resample\": 2"),
    )
    .unwrap();
    let other = encode::load(here.to_str().unwrap(), None).unwrap();
    assert_ne!(other.fingerprint(), made.fingerprint());
}
