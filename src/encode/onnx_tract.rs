//! The backend on tract, in pure Rust: nothing to install, and equal numbers on machines of one
//! kind.
//!
//! The graph is optimised once with symbolic batch and sequence lengths, so that one plan and one
//! copy of the weights serve every shape and every thread. For a graph that tract can only prepare
//! for known lengths, there are plans for rounded shapes, of which the last few are cached.
//!
//! tract is used directly and not through `ort-tract`. There a panic inside tract, for example for
//! a token id beyond the embedding table, crosses an `extern` boundary and aborts the process, and
//! each thread needs a session with a copy of the weights.

use std::sync::{Arc, Mutex, PoisonError};

use ndarray::{Array2, ArrayD, IxDyn};
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{
    Datum, InferenceFact, InferenceModel, InferenceModelExt, IntoRunnable, IntoTValue, TVec,
    Tensor, ToDim, TractResult, TypedSimplePlan, tvec,
};

use super::batch::Batch;
use super::onnx::Engine;
use super::signature::{Feed, Signature};
use super::tokens::guard;

type Plan = Arc<TypedSimplePlan>;

/// Largest number of cached plans for one shape, each of which has its own packed weights.
const MAX_FIXED_PLANS: usize = 6;

/// A prepared graph.
pub(super) struct Tract {
    plans: Plans,
    feeds: Vec<Feed>,
    /// Number of positions of the model.
    positions: usize,
}

enum Plans {
    /// One plan for all shapes.
    Symbolic(Plan),
    /// One plan for each rounded shape, most recently used last.
    Fixed {
        graph: Box<InferenceModel>,
        recent: Mutex<Vec<((usize, usize), Plan)>>,
    },
}

impl Tract {
    /// Prepares the graph of a model with this number of positions, where it is known. The error is
    /// that of tract.
    pub(super) fn new(
        model: &ModelProto,
        signature: &Signature,
        positions: Option<usize>,
    ) -> Result<Self, String> {
        let feeds = signature.inputs.iter().map(|(_, feed)| *feed).collect();
        let graph = guard(|| parse(model, signature))?;
        let plans = match guard(|| symbolic(graph.clone())) {
            Ok(plan) => Plans::Symbolic(plan),
            Err(_) => Plans::Fixed {
                graph: Box::new(graph),
                recent: Mutex::default(),
            },
        };
        Ok(Self {
            plans,
            feeds,
            positions: positions.unwrap_or(usize::MAX),
        })
    }

    /// The plan for a batch of this shape, and the shape to pad the batch to.
    fn plan(&self, shape: (usize, usize)) -> Result<(Plan, (usize, usize)), String> {
        match &self.plans {
            Plans::Symbolic(plan) => Ok((plan.clone(), shape)),
            Plans::Fixed { graph, recent } => {
                // Never longer than the number of positions of the model.
                let length = shape.1.next_multiple_of(8).min(self.positions.max(shape.1));
                let shape = (shape.0.next_power_of_two(), length);
                // A poisoned list is still a list of plans: nothing that can panic runs while it is
                // being changed.
                let mut cache = recent.lock().unwrap_or_else(PoisonError::into_inner);
                let cached = cached_plan(&mut cache, shape);
                drop(cache);
                if let Some(plan) = cached {
                    return Ok((plan, shape));
                }
                let plan = guard(|| fixed((**graph).clone(), shape))?;
                let mut recent = recent.lock().unwrap_or_else(PoisonError::into_inner);
                if recent.len() >= MAX_FIXED_PLANS {
                    recent.remove(0);
                }
                recent.push((shape, plan.clone()));
                Ok((plan, shape))
            }
        }
    }
}

/// The cached plan for a shape, which becomes the most recently used one.
fn cached_plan(recent: &mut Vec<((usize, usize), Plan)>, shape: (usize, usize)) -> Option<Plan> {
    let at = recent.iter().position(|(known, _)| *known == shape)?;
    let entry = recent.remove(at);
    let plan = Arc::clone(&entry.1);
    recent.push(entry);
    Some(plan)
}

impl Engine for Tract {
    fn run(&self, batch: &Batch) -> Result<ArrayD<f32>, String> {
        let (plan, shape) = self.plan(batch.ids.dim())?;
        // A panic in a kernel has no effect on later runs: each run has a state of its own.
        let output = guard(|| {
            let inputs: TractResult<TVec<_>> = self
                .feeds
                .iter()
                .map(|feed| {
                    Ok(match feed {
                        Feed::Ids => tensor(&batch.ids, shape)?,
                        Feed::Mask => tensor(&batch.mask, shape)?,
                        Feed::Types => tensor(&batch.types, shape)?,
                    }
                    .into_tvalue())
                })
                .collect();
            plan.run(inputs?)
        })?;
        let output = output.first().ok_or("the graph gave no output")?;
        let view = guard(|| output.to_plain_array_view::<f32>())?;
        Ok(cut(view.into_owned(), batch.ids.dim(), shape))
    }

    fn parallel(&self) -> bool {
        true
    }
}

/// The graph of a model with the one output that is read.
fn parse(model: &ModelProto, signature: &Signature) -> TractResult<InferenceModel> {
    let parsed = tract_onnx::onnx().parse(model, None)?;
    let output = parsed.outlets_by_name.get(&signature.output).copied();
    let output = output.ok_or_else(|| {
        tract_onnx::prelude::TractError::msg("the output is not computed by any node")
    })?;
    let mut graph = parsed.model;
    graph.select_output_outlets(&[output])?;
    Ok(graph)
}

/// The plan for all shapes.
fn symbolic(mut graph: InferenceModel) -> TractResult<Plan> {
    let (batch, sequence) = (
        graph.symbols.sym("affinis_batch"),
        graph.symbols.sym("affinis_sequence"),
    );
    for input in 0..graph.inputs.len() {
        let shape = tvec![batch.to_dim(), sequence.to_dim()];
        graph.set_input_fact(input, InferenceFact::dt_shape(i64::datum_type(), shape))?;
    }
    graph.into_optimized()?.into_runnable()
}

/// The plan for one shape.
fn fixed(mut graph: InferenceModel, shape: (usize, usize)) -> TractResult<Plan> {
    for input in 0..graph.inputs.len() {
        graph.set_input_fact(
            input,
            InferenceFact::dt_shape(i64::datum_type(), tvec![shape.0, shape.1]),
        )?;
    }
    graph.into_optimized()?.into_runnable()
}

/// An input padded to `shape` with zeros, in rows and positions that the mask excludes.
fn tensor(values: &Array2<i64>, shape: (usize, usize)) -> TractResult<Tensor> {
    let (b, s) = values.dim();
    if (b, s) == shape
        && let Some(slice) = values.as_slice()
    {
        return Tensor::from_shape(&[b, s], slice);
    }
    let mut padded = Array2::zeros(shape);
    padded.slice_mut(ndarray::s![..b, ..s]).assign(values);
    Tensor::from_shape(&[shape.0, shape.1], padded.as_slice().unwrap_or_default())
}

/// An output without the padding of [`tensor`].
fn cut(output: ArrayD<f32>, wanted: (usize, usize), padded: (usize, usize)) -> ArrayD<f32> {
    if wanted == padded {
        return output;
    }
    let mut view = output.view();
    for (axis, (want, pad)) in [(wanted.0, padded.0), (wanted.1, padded.1)]
        .into_iter()
        .enumerate()
    {
        // A pooled output has no axis of positions.
        let positions = axis == 0 || output.ndim() == 3;
        if positions && output.shape().get(axis) == Some(&pad) {
            view.slice_axis_inplace(ndarray::Axis(axis), (0..want).into());
        }
    }
    view.to_owned()
        .into_shape_with_order(IxDyn(view.shape()))
        .unwrap_or_else(|_| view.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tract_onnx::prelude::Framework;

    use super::*;

    fn fixture(name: &str) -> (ModelProto, Signature) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/models")
            .join(name);
        let model = tract_onnx::onnx().proto_model_for_path(&path).unwrap();
        let output = (name == "pooler.onnx").then_some("pooler_output");
        let signature = Signature::of(&model, &path, output).unwrap();
        (model, signature)
    }

    fn batch(b: usize, s: usize) -> Batch {
        let mask = Array2::from_shape_fn((b, s), |(i, j)| i64::from(j < 1 + (i * 3 + s / 2) % s));
        let ids = Array2::from_shape_fn((b, s), |(i, j)| {
            mask[[i, j]] * ((i * 5 + j * 3) % 10) as i64
        });
        Batch {
            types: Array2::zeros((b, s)),
            ids,
            mask,
        }
    }

    #[test]
    fn exported_transformers_need_one_plan_for_all_shapes() {
        for name in ["bert.onnx", "traced.onnx"] {
            let (model, signature) = fixture(name);
            let engine = Tract::new(&model, &signature, None).unwrap();
            assert!(matches!(engine.plans, Plans::Symbolic(_)), "{name}");
        }
    }

    #[test]
    fn plans_of_rounded_shapes_give_the_same_and_are_few() {
        for name in ["bert.onnx", "traced.onnx", "pooler.onnx"] {
            let (model, signature) = fixture(name);
            let symbolic = Tract::new(&model, &signature, None).unwrap();
            let graph = Box::new(parse(&model, &signature).unwrap());
            let fixed = Tract {
                plans: Plans::Fixed {
                    graph,
                    recent: Mutex::default(),
                },
                feeds: symbolic.feeds.clone(),
                positions: 77,
            };
            for (b, s) in [
                (1, 1),
                (3, 5),
                (8, 8),
                (5, 17),
                (2, 31),
                (1, 9),
                (9, 3),
                (16, 1),
                (3, 5),
            ] {
                let batch = batch(b, s);
                let (one, other) = (symbolic.run(&batch).unwrap(), fixed.run(&batch).unwrap());
                assert_eq!(one.shape(), other.shape());
                // Values at padded positions may differ; no pooling reads them.
                for ((at, x), y) in one.indexed_iter().zip(&other) {
                    let read = one.ndim() == 2 || batch.mask[[at[0], at[1]]] == 1;
                    assert!(
                        !read || (x - y).abs() < 1e-5,
                        "{name} {b}x{s} {at:?}: {x} {y}"
                    );
                }
            }
            let Plans::Fixed { recent, .. } = &fixed.plans else {
                panic!("not fixed")
            };
            assert_eq!(recent.lock().unwrap().len(), MAX_FIXED_PLANS);
        }
    }
}
