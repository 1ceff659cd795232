//! A plugin that breaks its promises: refits and imports refuse its metrics, and the store goes on.

use std::path::Path;
use std::sync::{Arc, Mutex};

use affinis::plugin::conformance::{Check, NonConformance, check_encoding, check_metric};
use affinis::{
    Collection, Error, MetricChoice, Query, Store, VersionId,
    learning::Forget,
    plugin::{
        Comparison, Examples, FitReport, Fitted, Influences, LearnError, Metric, MetricLearner,
        Rewritten, Task,
    },
};
use affinis_mahalanobis::Mahalanobis;
use affinis_testkit::kinds::{judge_answers, kinds};
use ndarray::{Array2, ArrayView2};

/// What is wrong with the plugin or its metrics.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    Nothing,
    Dimension,
    NanBiases,
    WrongBiases,
    BiasesOfBatches,
    WrongDirection,
    DistanceToItself,
    NegativeDistance,
    RowsOfTransform,
    DecodeFails,
    DecodeDiffers,
    /// The method of this name panics.
    Panics(&'static str),
}

use Fault::{Nothing, Panics};

/// The Mahalanobis plugin with a fault, which can be changed.
#[derive(Debug, Clone)]
struct Faulty {
    plugin: Mahalanobis,
    fault: Arc<Mutex<Fault>>,
}

#[derive(Debug)]
struct FaultyMetric {
    metric: Arc<dyn Metric>,
    fault: Fault,
}

impl Faulty {
    fn new(fault: Fault) -> Self {
        Self {
            plugin: Mahalanobis::default(),
            fault: Arc::new(Mutex::new(fault)),
        }
    }

    fn set(&self, fault: Fault) {
        *self.fault.lock().expect("a lock") = fault;
    }

    /// The fault; panics where it is that this method does.
    fn enter(&self, method: &str) -> Fault {
        let fault = *self.fault.lock().expect("a lock");
        panic_in(fault, method);
        fault
    }

    fn wrap(metric: Arc<dyn Metric>, fault: Fault) -> Arc<dyn Metric> {
        Arc::new(FaultyMetric { metric, fault })
    }
}

impl FaultyMetric {
    fn enter(&self, method: &str) {
        panic_in(self.fault, method);
    }
}

fn panic_in(fault: Fault, method: &str) {
    let panics = matches!(fault, Panics(name) if name == method);
    assert!(!panics, "on purpose");
}

impl Metric for FaultyMetric {
    fn dim(&self) -> usize {
        self.enter("dim");
        self.metric.dim() + usize::from(self.fault == Fault::Dimension)
    }

    fn rewrite(&self, query: &[f32]) -> Rewritten {
        self.enter("rewrite");
        let mut rewritten = self.metric.rewrite(query);
        if self.fault == Fault::WrongDirection {
            rewritten.direction[0] *= 1.01;
        }
        rewritten
    }

    fn biases(&self, items: ArrayView2<'_, f32>, out: &mut [f32]) {
        self.enter("biases");
        self.metric.biases(items, out);
        match self.fault {
            Fault::NanBiases => out[0] = f32::NAN,
            Fault::WrongBiases => out.iter_mut().for_each(|bias| *bias *= 1.001),
            Fault::BiasesOfBatches if out.len() > 1 => out[1] = out[1].next_up(),
            _ => {}
        }
    }

    fn distance(&self, x: &[f32], y: &[f32]) -> f64 {
        self.enter("distance");
        let distance = self.metric.distance(x, y);
        match self.fault {
            Fault::NegativeDistance => distance - 1e-9,
            Fault::DistanceToItself => distance + 1e-9,
            _ => distance,
        }
    }

    fn transform(&self, items: ArrayView2<'_, f32>) -> Array2<f32> {
        self.enter("transform");
        let items = self.metric.transform(items);
        let missing = usize::from(self.fault == Fault::RowsOfTransform);
        items.slice(ndarray::s![missing.., ..]).to_owned()
    }

    fn distortion(&self) -> f64 {
        self.enter("distortion");
        self.metric.distortion()
    }

    fn matrix(&self) -> Option<Array2<f64>> {
        self.metric.matrix()
    }

    fn encode(&self) -> Vec<u8> {
        self.enter("encode");
        self.metric.encode()
    }
}

impl MetricLearner for Faulty {
    fn name(&self) -> &'static str {
        self.plugin.name()
    }

    fn learners(&self) -> &'static [&'static str] {
        self.plugin.learners()
    }

    fn fit(&self, task: &Task<'_>) -> Result<Fitted, LearnError> {
        let fault = self.enter("fit");
        let mut fitted = self.plugin.fit(task)?;
        fitted.metric = Self::wrap(fitted.metric, fault);
        Ok(fitted)
    }

    fn fit_personal(&self, task: &Task<'_>, others: &Examples) -> Result<Fitted, LearnError> {
        let fault = self.enter("fit_personal");
        let mut fitted = self.plugin.fit_personal(task, others)?;
        fitted.metric = Self::wrap(fitted.metric, fault);
        Ok(fitted)
    }

    fn decode(
        &self,
        bytes: &[u8],
        base: Option<&Arc<dyn Metric>>,
    ) -> Result<Arc<dyn Metric>, LearnError> {
        let fault = self.enter("decode");
        let metric = self.plugin.decode(bytes, base)?;
        match fault {
            Fault::DecodeFails => Err(LearnError::Damaged("on purpose".to_owned())),
            Fault::DecodeDiffers => Ok(Self::wrap(metric, Fault::WrongBiases)),
            fault => Ok(Self::wrap(metric, fault)),
        }
    }

    fn from_matrix(&self, matrix: ArrayView2<'_, f64>) -> Result<Arc<dyn Metric>, LearnError> {
        let fault = self.enter("from_matrix");
        Ok(Self::wrap(self.plugin.from_matrix(matrix)?, fault))
    }

    fn compare(&self, a: &dyn Metric, b: &dyn Metric) -> Result<Comparison, LearnError> {
        self.enter("compare");
        self.plugin.compare(a, b)
    }

    fn influences(
        &self,
        task: &Task<'_>,
        others: Option<&Examples>,
        report: &FitReport,
        between: (&[f32], &[f32]),
    ) -> Result<Option<Influences>, LearnError> {
        self.enter("influences");
        self.plugin.influences(task, others, report, between)
    }
}

/// Every fault of a metric, with the check that finds it.
const FAULTS: [(Fault, Check); 16] = [
    (Fault::Dimension, Check::Dimension),
    (Fault::NanBiases, Check::Finite),
    (Fault::WrongBiases, Check::Rewriting),
    (Fault::BiasesOfBatches, Check::Batches),
    (Fault::WrongDirection, Check::Rewriting),
    (Fault::DistanceToItself, Check::Distance),
    (Fault::NegativeDistance, Check::Distance),
    (Fault::RowsOfTransform, Check::Finite),
    (Fault::DecodeFails, Check::Encoding),
    (Fault::DecodeDiffers, Check::Encoding),
    (Panics("dim"), Check::Panic),
    (Panics("rewrite"), Check::Panic),
    (Panics("biases"), Check::Panic),
    (Panics("distance"), Check::Panic),
    (Panics("transform"), Check::Panic),
    (Panics("encode"), Check::Panic),
];

fn open(path: &Path, plugin: &Faulty) -> (Store, Collection) {
    let builder = Store::builder().plugin(plugin.clone());
    let store = builder.open(path).expect("a store");
    let points = store.collection("points").dim(8).open_or_create();
    (store, points.expect("points"))
}

/// A store with judged points.
fn judged(path: &Path, plugin: &Faulty) -> (Store, Collection) {
    let (store, points) = open(path, plugin);
    points.add(kinds(300)).expect("added");
    judge_answers(&points, 0..30, None);
    (store, points)
}

/// Asserts that nothing was stored, and that searches are answered.
fn assert_unharmed(store: &Store, points: &Collection) {
    assert_eq!(points.metrics().expect("versions").len(), 1);
    let hits = points.search(Query::like("3")).k(5).run().expect("hits");
    assert_eq!((hits.len(), hits.metric), (5, VersionId(0)));
    let report = store.verify().expect("a report");
    assert_eq!(report.problems, []);
}

fn refused(error: Error) -> NonConformance {
    match error {
        Error::Learn(LearnError::NonConforming(found)) => found,
        other => panic!("{other}"),
    }
}

#[test]
fn a_refit_and_an_import_refuse_a_metric_that_breaks_a_promise() {
    let dir = tempfile::tempdir().expect("a directory");
    let plugin = Faulty::new(Nothing);
    let (store, points) = judged(dir.path(), &plugin);
    let matrix = Array2::from_diag(&ndarray::Array1::linspace(0.5, 1.5, 8));
    for (fault, check) in FAULTS {
        plugin.set(fault);
        let refit = points.refit().force(true).run();
        let found = refused(refit.expect_err("a refusal"));
        assert_eq!(found.check, check, "{fault:?}: {found}");
        let import = points.import_metric(matrix.view());
        let found = refused(import.expect_err("a refusal"));
        assert_eq!(found.check, check, "{fault:?}: {found}");
        assert_unharmed(&store, &points);
    }
    plugin.set(Nothing);
    points.refit().force(true).run().expect("a sound metric");
    points.import_metric(matrix.view()).expect("a sound metric");
    assert_eq!(points.metrics().expect("versions").len(), 3);
}

#[test]
fn a_panic_in_a_method_of_the_plugin_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let plugin = Faulty::new(Nothing);
    let (store, points) = judged(dir.path(), &plugin);
    judge_answers(&points, 30..40, Some("ann"));
    let panicked = |error: Error, expected: &str| match error {
        Error::Learn(LearnError::Panicked { method, message }) => {
            assert_eq!((method, message.as_str()), (expected, "on purpose"));
        }
        other => panic!("{other}"),
    };
    plugin.set(Panics("fit"));
    panicked(points.refit().run().expect_err("a panic"), "fit");
    plugin.set(Panics("fit_personal"));
    let refit = points.refit().user("ann").run();
    panicked(refit.expect_err("a panic"), "fit_personal");
    plugin.set(Panics("from_matrix"));
    let matrix = Array2::eye(8);
    let import = points.import_metric(matrix.view());
    panicked(import.expect_err("a panic"), "from_matrix");
    assert_unharmed(&store, &points);

    plugin.set(Panics("compare"));
    let report = points.refit().force(true).run().expect("a refit");
    let version = report.version.expect("a version");
    assert_eq!(points.metric(version).expect("the version").moved, None);
    let diff = points.diff(VersionId(0), version);
    panicked(diff.expect_err("a panic"), "compare");
    plugin.set(Panics("influences"));
    let why = points.explain(Query::like("1"), "2").run();
    panicked(why.expect_err("a panic"), "influences");
    plugin.set(Nothing);
    points.explain(Query::like("1"), "2").run().expect("why");
    points
        .forget(&Forget::User("ann".to_owned()))
        .expect("forgotten");
}

#[test]
fn a_stored_metric_that_breaks_a_promise_is_not_used_and_verify_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let plugin = Faulty::new(Nothing);
    let (store, points) = judged(dir.path(), &plugin);
    points.refit().force(true).run().expect("a refit");
    let history = points.history().expect("a history");
    drop((store, points));
    let stored = FAULTS.iter().map(|(fault, _)| *fault);
    for fault in stored.chain([Panics("decode")]) {
        plugin.set(fault);
        let (store, points) = open(dir.path(), &plugin);
        assert_eq!(points.active_metric(None), 1);
        let active = points.search(Query::like("3")).run();
        assert!(
            matches!(active, Err(Error::Damaged { .. })),
            "{fault:?}: {active:?}"
        );
        let built_in = points
            .search(Query::like("3"))
            .metric(MetricChoice::BuiltIn);
        assert_eq!(built_in.run().expect("hits").metric, 0);
        let problems = store.verify().expect("a report").problems;
        // A version that cannot be used cannot be active either.
        let (named, follows): (Vec<_>, Vec<_>) = problems
            .iter()
            .partition(|problem| problem.part == "points: metric version 1");
        assert_eq!(named.len(), 1, "{fault:?}: {problems:?}");
        assert!(
            follows
                .iter()
                .all(|problem| problem.part == "points: which metric is active"),
            "{fault:?}: {problems:?}"
        );
        let empty = store.collection("other").dim(8).create().expect("created");
        let restored = empty.restore(&history);
        assert!(
            matches!(restored, Err(Error::InvalidVersion { .. })),
            "{fault:?}"
        );
        drop(empty);
        store.drop_collection("other").expect("dropped");
        assert_eq!(points.rollback(None).expect("rolled back"), 0);
        plugin.set(Nothing);
        points.promote(VersionId(1)).expect("promoted");
    }
}

#[test]
fn a_failed_check_names_the_vectors_and_a_sound_metric_passes_cheaply() {
    let plugin = Mahalanobis::default();
    let dim = 384;
    let spread = ndarray::Array1::linspace(0.1, 1.9, dim);
    let mut matrix = Array2::from_diag(&spread);
    matrix.mapv_inplace(|value| value + 1e-3);
    let metric = plugin.from_matrix(matrix.view()).expect("a metric");
    let vectors = Array2::from_shape_fn((64, dim), |(i, k)| ((i * 31 + k * 17) % 97) as f32 / 97.0);
    let started = std::time::Instant::now();
    assert_eq!(check_metric(&*metric, vectors.view()), Ok(()));
    assert_eq!(
        check_encoding(&*metric, &plugin, None, vectors.view()),
        Ok(())
    );
    println!("the checks of d = {dim}: {:?}", started.elapsed());
    let faulty = Faulty::wrap(metric, Fault::NanBiases);
    let found = check_metric(&*faulty, vectors.view()).expect_err("a failure");
    assert_eq!((found.check, found.rows), (Check::Finite, vec![0]));
    let wrong = Faulty::wrap(
        plugin.from_matrix(matrix.view()).expect("one"),
        Fault::WrongBiases,
    );
    let found = check_metric(&*wrong, vectors.view()).expect_err("a failure");
    assert!(found.to_string().contains("vectors 0 and 0"), "{found}");
}

/// The Mahalanobis plugin under another name, which takes diagonal matrices only.
#[derive(Debug)]
struct DiagonalOnly(Mahalanobis);

impl MetricLearner for DiagonalOnly {
    fn name(&self) -> &'static str {
        "diagonal-only"
    }

    fn learners(&self) -> &'static [&'static str] {
        &[]
    }

    fn fit(&self, task: &Task<'_>) -> Result<Fitted, LearnError> {
        self.0.fit(task)
    }

    fn decode(
        &self,
        bytes: &[u8],
        base: Option<&Arc<dyn Metric>>,
    ) -> Result<Arc<dyn Metric>, LearnError> {
        self.0.decode(bytes, base)
    }

    fn from_matrix(&self, matrix: ArrayView2<'_, f64>) -> Result<Arc<dyn Metric>, LearnError> {
        if matrix.indexed_iter().any(|((i, j), x)| i != j && *x != 0.0) {
            return Err(LearnError::NotAMetric("it is no diagonal".to_owned()));
        }
        self.0.from_matrix(matrix)
    }

    fn compare(&self, a: &dyn Metric, b: &dyn Metric) -> Result<Comparison, LearnError> {
        self.0.compare(a, b)
    }
}

#[test]
fn a_matrix_goes_to_the_first_plugin_that_takes_it_or_to_the_named_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let builder = || {
        Store::builder()
            .plugin(DiagonalOnly(Mahalanobis::default()))
            .plugin(Mahalanobis::default())
    };
    let store = builder().open(dir.path()).expect("opened");
    let points = store.collection("points").dim(8).create().expect("created");
    points.add(kinds(50)).expect("added");
    let diagonal = Array2::from_diag(&ndarray::Array1::linspace(1.0, 2.0, 8));
    let mut full = diagonal.clone();
    (full[(0, 1)], full[(1, 0)]) = (0.25, 0.25);
    let plugin = |version: VersionId| points.metric(version).expect("a version").plugin;
    let import = |matrix: &Array2<f64>| points.import_metric(matrix.view());
    assert_eq!(plugin(import(&full).expect("taken")), "mahalanobis");
    assert_eq!(plugin(import(&diagonal).expect("taken")), "diagonal-only");
    let named = points.import_metric_for("mahalanobis", diagonal.view());
    assert_eq!(plugin(named.expect("taken")), "mahalanobis");
    let refused = points.import_metric_for("diagonal-only", full.view());
    assert!(matches!(
        refused,
        Err(Error::Learn(LearnError::NotAMetric(_)))
    ));
    full[(0, 1)] = 9.0;
    let refused = import(&full).expect_err("no metric").to_string();
    assert!(refused.contains("no diagonal"), "{refused}");
    let nobody = points.import_metric_for("nobody", diagonal.view());
    assert!(matches!(nobody, Err(Error::NoPlugin(_))));
    // Full matrices answer, and are read back by the plugin that took them.
    points.promote(VersionId(1)).expect("promoted");
    drop((points, store));
    let store = builder().open(dir.path()).expect("opened");
    let points = store.collection("points").open().expect("opened");
    let hits = points.search(Query::like("0")).run().expect("answered");
    assert_eq!((hits.metric, hits.len()), (VersionId(1), 10));
    assert_eq!(store.verify().expect("verified").problems, []);
}
