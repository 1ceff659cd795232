//! Metrics for labelled tables: they tell classes apart where Euclid cannot, and refuse what cannot
//! be learned from.

use affinis::plugin::{LearnError, Metric};
use affinis_research::Labelled;
use affinis_testkit::Random;
use affinis_testkit::simulation::nearest;
use ndarray::Array2;

/// `n` rows of three classes, separated in the first two of `d` columns; the other columns are
/// noise, `wide` times as wide.
fn table(n: usize, d: usize, wide: f64, seed: u64) -> (Array2<f32>, Vec<usize>) {
    let mut random = Random(seed);
    let classes: Vec<usize> = (0..n).map(|i| i % 3).collect();
    let rows = Array2::from_shape_fn((n, d), |(i, k)| {
        let centre = match k {
            0 => classes[i] as f64 * 3.0,
            1 => f64::from(u8::from(classes[i] == 1)) * 3.0,
            _ => 0.0,
        };
        (centre + random.normal() * if k < 2 { 1.0 } else { wide }) as f32
    });
    (rows, classes)
}

/// The share of rows whose nearest other row is of another class.
fn error(metric: Option<&dyn Metric>, rows: &Array2<f32>, classes: &[usize]) -> f64 {
    let rows = metric.map_or_else(|| rows.clone(), |m| m.transform(rows.view()));
    let all: Vec<usize> = (0..classes.len()).collect();
    let near = nearest(&rows, &rows, &all, 1);
    near.iter()
        .zip(classes)
        .filter(|(n, c)| classes[n[0]] != **c)
        .count() as f64
        / classes.len() as f64
}

#[test]
fn classes_of_unseen_rows_are_separated_better() {
    let (rows, classes) = table(240, 8, 3.0, 1);
    let (unseen, truth) = table(300, 8, 3.0, 2);
    let before = error(None, &unseen, &truth);
    for learner in [Labelled::default(), Labelled::default().closed_form_only()] {
        let fit = learner.fit(rows.view(), &classes).unwrap();
        let after = error(Some(&fit.metric), &unseen, &truth);
        assert!(after < 0.6 * before, "{after} against {before}");
        assert!(fit.metric.matrix().unwrap().iter().all(|v| v.is_finite()));
        let again = learner.fit(rows.view(), &classes).unwrap();
        assert_eq!(
            again.metric.encode(),
            fit.metric.encode(),
            "the same rows give the same bits"
        );
    }
}

#[test]
fn degenerate_tables_give_a_sound_metric() {
    let (rows, classes) = table(60, 5, 1.0, 3);
    let with = |change: &dyn Fn(&mut Array2<f32>)| {
        let mut rows = rows.clone();
        change(&mut rows);
        rows
    };
    let cases = [
        ("a constant column", with(&|r| r.column_mut(2).fill(7.0))),
        (
            "equal columns",
            with(&|r| {
                let first = r.column(0).to_owned();
                (1..5).for_each(|k| r.column_mut(k).assign(&first));
            }),
        ),
        (
            "rows twice",
            with(&|r| {
                for i in 0..30 {
                    let row = r.row(i).to_owned();
                    r.row_mut(i + 30).assign(&row);
                }
            }),
        ),
    ];
    for (what, rows) in cases {
        let fit = Labelled::default()
            .fit(rows.view(), &classes)
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(
            fit.metric.matrix().unwrap().iter().all(|v| v.is_finite()),
            "{what}"
        );
    }
    let tiny = Labelled::default()
        .fit(rows.slice(ndarray::s![..4, ..]), &classes[..4])
        .unwrap();
    assert!(tiny.metric.condition().is_finite());
    let one_column = Labelled::default()
        .fit(rows.slice(ndarray::s![.., ..1]), &classes)
        .unwrap();
    assert_eq!(one_column.metric.condition(), 1.0);
}

#[test]
fn invalid_tables_are_refused() {
    let (rows, classes) = table(30, 4, 1.0, 4);
    let fit = |rows: &Array2<f32>, classes: &[usize]| Labelled::default().fit(rows.view(), classes);
    assert!(
        matches!(fit(&rows, &[0; 30]), Err(LearnError::NotEnough(_))),
        "one class"
    );
    let each_its_own: Vec<usize> = (0..30).collect();
    assert!(
        matches!(fit(&rows, &each_its_own), Err(LearnError::NotEnough(_))),
        "no class has two rows"
    );
    assert!(
        matches!(
            fit(&Array2::ones((30, 4)), &classes),
            Err(LearnError::NotEnough(_))
        ),
        "all rows are equal"
    );
    assert!(matches!(
        fit(&rows, &classes[..29]),
        Err(LearnError::Numerical(_))
    ));
    let mut broken = rows.clone();
    broken[[3, 1]] = f32::NAN;
    assert!(matches!(
        fit(&broken, &classes),
        Err(LearnError::Numerical(_))
    ));
    assert!(matches!(
        fit(&Array2::zeros((0, 4)), &[]),
        Err(LearnError::NotEnough(_))
    ));
}

#[test]
fn copies_of_every_row_are_learned_from_all_pairs() {
    // Each row occurs six times, so that no row differs from the nearest of its class.
    let rows = Array2::from_shape_fn((240, 4), |(i, j)| {
        let row = i / 6;
        (row % 2) as f32 * 3.0 * f32::from(j == 0) + ((row * 7 + j * 13) % 11) as f32 / 4.0
    });
    let classes: Vec<usize> = (0..240).map(|i| (i / 6) % 2).collect();
    let fit = Labelled::default()
        .fit(rows.view(), &classes)
        .expect("a metric");
    assert!(fit.all_pairs);
}
