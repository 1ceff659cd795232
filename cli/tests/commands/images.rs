//! `add --image-column` and `search --image`.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::home::Home;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

/// A home with three pictures in a directory of their own, and a collection that takes images.
fn photos() -> Home {
    let home = Home::new();
    std::fs::create_dir(home.path("pictures")).unwrap();
    for name in ["red.png", "green.png", "blue.png"] {
        let from = fixtures().join("images").join(name);
        std::fs::copy(from, home.path("pictures").join(name)).unwrap();
    }
    let clip = fixtures().join("models/clip");
    home.ok(["create", "photos", "--encoder", clip.to_str().unwrap()]);
    home
}

#[test]
fn images_that_a_file_names_are_added_and_found() {
    let home = photos();
    // Names of images are relative to the file that names them.
    home.write(
        "pictures/photos.csv",
        "id,file,year\nr,red.png,2020\ng,green.png,2021\nb,blue.png,2022\n",
    );
    let added = home.json([
        "add",
        "photos",
        "pictures/photos.csv",
        "--image-column",
        "file",
    ]);
    assert_eq!(added["added"], 3);
    assert_eq!(
        home.json(["get", "photos", "g"])["meta"],
        json!({"file": "green.png", "year": 2021})
    );
    for (word, id) in [("red", "r"), ("green", "g"), ("blue", "b")] {
        let found = home.json(["search", "photos", word, "-k", "1"]);
        assert_eq!(found["hits"][0]["id"], id);
        let image = format!("pictures/{word}.png");
        let found = home.json(["search", "photos", "--image", &image, "-k", "1"]);
        assert_eq!(found["hits"][0]["id"], id);
        assert_eq!(found["query"], image);
        assert!(found["hits"][0]["distance"].as_f64().unwrap() < 1e-6);
    }
    // JSON names images in a field; a text beside an image is kept, and the vector is the image's.
    home.write(
        "more.jsonl",
        "{\"id\": \"m\", \"photo\": \"pictures/blue.png\", \"text\": \"red\"}\n{\"id\": \"t\", \"text\": \"red\"}\n",
    );
    home.ok(["add", "photos", "more.jsonl", "--image-column", "photo"]);
    let vector = |id: &str| home.json(["get", "photos", id])["vector"].clone();
    assert_eq!(vector("m"), vector("b"));
    assert_ne!(vector("t"), vector("m"));
    assert_eq!(home.json(["get", "photos", "m"])["text"], "red");
}

#[test]
fn an_image_that_cannot_be_used_is_named_with_its_line() {
    let home = photos();
    home.write("pictures/broken.png", "no image");
    home.write(
        "photos.csv",
        "id,file\nr,pictures/red.png\nx,pictures/broken.png\ny,nowhere.png\nz,pictures\ng,pictures/green.png\n",
    );
    let add = ["add", "photos", "photos.csv", "--image-column", "file"];
    home.fails(
        add,
        1,
        &["photos.csv", "line 3", "broken.png", "not an image"],
    );
    assert_eq!(home.json(["count", "photos"])["count"], 0);
    let added = home.json([
        "add",
        "photos",
        "photos.csv",
        "--image-column",
        "file",
        "--skip-bad",
    ]);
    assert_eq!(added["added"], 2);
    let skipped: Vec<&str> = added["skipped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|skipped| skipped["place"].as_str().unwrap())
        .collect();
    assert_eq!(skipped, ["line 3", "line 4", "line 5"]);
    home.fails(
        ["search", "photos", "--image", "nowhere.png"],
        1,
        &["nowhere.png"],
    );
    home.fails(
        ["search", "photos", "--image", "pictures/broken.png"],
        1,
        &["broken.png", "not an image"],
    );
    home.fails(
        ["add", "photos", "photos.csv", "--image-column", "picture"],
        1,
        &["no column \"picture\""],
    );
    home.ok(["create", "notes"]);
    home.fails(
        ["add", "notes", "photos.csv", "--image-column", "file"],
        1,
        &["takes texts, and no images"],
    );
}
