//! Vectors of your own, as rows of an `ndarray` matrix, with answers compared with those of a scan.
//!
//! `cargo run --example own_vectors`

use affinis::{Distance, Item, Query, Store};
use ndarray::{Array2, Axis};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    let points = store
        .collection("points")
        .dim(3)
        .distance(Distance::Cosine)
        .create()?;

    // Points on a spiral on the unit sphere.
    let matrix = Array2::from_shape_fn((1_000, 3), |(i, axis)| {
        let t = i as f32 / 1_000.0;
        let (angle, z) = (t * 60.0, 2.0 * t - 1.0);
        let r = (1.0 - z * z).sqrt();
        [r * angle.cos(), r * angle.sin(), z][axis]
    });
    points.add(
        matrix
            .rows()
            .into_iter()
            .enumerate()
            .map(|(i, row)| Item::vector(i.to_string(), row.to_vec())),
    )?;

    let query = matrix.row(500);
    let hits = points.search(query).k(5).run()?;
    for hit in &hits {
        println!(
            "{}. point {:>4}   cosine {:.4}",
            hit.rank, hit.id, hit.score
        );
    }
    assert_eq!(
        hits[0].id, "500",
        "the nearest point to a point is the point itself"
    );

    // The answer of a scan: the points with the largest cosines.
    let cosines = matrix.dot(&query);
    let mut order: Vec<usize> = (0..matrix.len_of(Axis(0))).collect();
    order.sort_by(|a, b| cosines[*b].total_cmp(&cosines[*a]));
    let scanned: Vec<String> = order[..5].iter().map(ToString::to_string).collect();
    assert!(
        hits.iter().all(|hit| scanned.contains(&hit.id)),
        "{hits:?} against {scanned:?}"
    );

    let near = points.search(Query::like("10")).k(2).run()?;
    println!("nearest to point 10: {} and {}", near[0].id, near[1].id);
    Ok(())
}
