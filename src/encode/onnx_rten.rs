//! The backend on RTen, in pure Rust: nothing to install, and equal numbers on machines of one
//! kind.
//!
//! A graph is prepared once and serves batches of every shape. Each run has one thread; batches run
//! beside each other.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use ndarray::{Array2, ArrayD, IxDyn};
use rten::{Model, ModelOptions, NodeId, RunOptions, ThreadPool, Value, ValueOrView};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;

use super::engine::{Engine, Feeds, Numbers};
use super::signature::{Feed, Signature};
use super::tokens::guard;
use crate::panics;

/// A prepared graph.
pub(super) struct Rten {
    model: Model,
    inputs: Vec<(NodeId, Feed)>,
    output: NodeId,
    /// The pools of one thread that no run has now.
    idle: Mutex<Vec<Arc<ThreadPool>>>,
}

impl Rten {
    /// Prepares the graph of a file with the weights outside of it, by name. The error is that of
    /// RTen.
    pub(super) fn new(
        file: Cow<'static, [u8]>,
        external: &[(String, Vec<u8>)],
        signature: &Signature,
    ) -> Result<Self, String> {
        let mut options = ModelOptions::with_all_ops();
        for (name, bytes) in external {
            options.external_data(name, bytes.clone());
        }
        // Two thirds more queries a second, for a copy of the weights that are multiplied.
        options.prepack_weights(true);
        let model = guard(|| match file {
            Cow::Borrowed(bytes) => options.load_static_slice(bytes),
            Cow::Owned(bytes) => options.load(bytes),
        })?;
        let node = |name: &str| model.node_id(name).map_err(|error| error.to_string());
        let inputs = signature.inputs.iter();
        let inputs = inputs.map(|input| Ok::<_, String>((node(&input.name)?, input.feed)));
        Ok(Self {
            inputs: inputs.collect::<Result<_, _>>()?,
            output: node(&signature.output)?,
            model,
            idle: Mutex::default(),
        })
    }

    /// A pool of one thread, which the caller gives back.
    fn pool(&self) -> Arc<ThreadPool> {
        // Nothing that can panic runs while the list is being changed.
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        idle.unwrap_or_else(|| {
            let pool = ThreadPool::with_num_threads(1);
            pool.run(panics::catch_from_now_on);
            Arc::new(pool)
        })
    }
}

impl Engine for Rten {
    fn run(&self, batch: &dyn Feeds) -> Result<ArrayD<f32>, String> {
        let inputs = self.inputs.iter().map(|(node, feed)| {
            let value = match batch.of(*feed) {
                Numbers::Tokens(tokens) => ValueOrView::from(narrow(&tokens)?),
                #[cfg(feature = "images")]
                Numbers::Pixels(pixels) => ValueOrView::from(dense(&pixels)),
            };
            Ok((*node, value))
        });
        let inputs = inputs.collect::<Result<Vec<_>, String>>()?;
        let pool = self.pool();
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&pool)));
        // A panic in an operator has no effect on later runs: each run has a state of its own.
        let outputs = guard(|| self.model.run(inputs, &[self.output], Some(options)));
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(pool);
        match outputs?.pop() {
            Some(Value::FloatTensor(output)) => {
                let shape = IxDyn(output.shape());
                ArrayD::from_shape_vec(shape, output.into_data()).map_err(|e| e.to_string())
            }
            Some(_) => Err("the output is not float32".into()),
            None => Err("the graph gave no output".into()),
        }
    }

    fn parallel(&self) -> bool {
        true
    }
}

/// Pixels as a tensor.
#[cfg(feature = "images")]
fn dense(pixels: &ndarray::ArrayView4<'_, f32>) -> NdTensor<f32, 4> {
    let numbers: Vec<f32> = pixels.iter().copied().collect();
    let (b, x, y, z) = pixels.dim();
    NdTensor::from_data([b, x, y, z], numbers)
}

/// Whole numbers of 32 bits: RTen has no others.
fn narrow(values: &Array2<i64>) -> Result<NdTensor<i32, 2>, String> {
    let small = values.iter().map(|value| i32::try_from(*value));
    let small = small
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| e.to_string())?;
    Ok(NdTensor::from_data(values.dim().into(), small))
}
