//! The backend on the ONNX Runtime library, through the crate `ort`.

use std::sync::{Mutex, PoisonError};

use ndarray::{ArrayD, IxDyn};
use ort::logging::LogLevel;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::Tensor;

use super::batch::Batch;
use super::error::EncodeError;
use super::layout::Layout;
use super::onnx::Engine;
use super::onnx_library;
use super::signature::{Input, Signature};

/// A prepared graph. `ort` allows one run of a session at a time, which ONNX Runtime spreads over
/// its own threads.
pub(super) struct Runtime {
    session: Mutex<Session>,
    inputs: Vec<Input>,
    output: String,
}

impl Runtime {
    /// Prepares a graph to run on `threads` threads.
    pub(super) fn new(
        layout: &Layout,
        signature: &Signature,
        threads: usize,
    ) -> Result<Self, EncodeError> {
        let environment = onnx_library::environment()?;
        let session =
            session(&environment, layout, threads).map_err(|reason| EncodeError::Model {
                path: layout.model_path.clone(),
                reason,
            })?;
        Ok(Self {
            session: Mutex::new(session),
            inputs: signature.inputs.clone(),
            output: signature.output.clone(),
        })
    }
}

fn session(
    environment: &ort::environment::Environment,
    layout: &Layout,
    threads: usize,
) -> Result<Session, String> {
    let builder = Session::builder(environment)
        .map_err(|e| e.to_string())?
        .with_optimization_level(GraphOptimizationLevel::Level3)
        .map_err(|e| e.to_string())?
        .with_intra_threads(threads)
        .map_err(|e| e.to_string())?
        // Errors are returned; a library does not print.
        .with_log_level(LogLevel::Fatal)
        .map_err(|e| e.to_string())?;
    let mut builder = builder;
    // Weights outside the file are found beside it.
    let session = if layout.external.is_empty() {
        builder.commit_from_memory(&layout.model)
    } else {
        builder.commit_from_file(&layout.model_path)
    };
    session.map_err(|e| e.to_string())
}

impl Engine for Runtime {
    fn run(&self, batch: &Batch) -> Result<ArrayD<f32>, String> {
        let (b, s) = batch.ids.dim();
        let mut inputs: Vec<(&str, SessionInputValue<'_>)> = Vec::with_capacity(self.inputs.len());
        for input in &self.inputs {
            let values = batch.of(input.feed).iter().copied().collect::<Vec<i64>>();
            let value: SessionInputValue<'_> = if input.is_narrow {
                let narrow: Vec<i32> = values.iter().map(|value| *value as i32).collect();
                let tensor = Tensor::from_array(([b, s], narrow));
                tensor.map_err(|e| e.to_string())?.into()
            } else {
                let tensor = Tensor::from_array(([b, s], values));
                tensor.map_err(|e| e.to_string())?.into()
            };
            inputs.push((&input.name, value));
        }
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let outputs = session.run(inputs).map_err(|e| e.to_string())?;
        let output = outputs
            .get(self.output.as_str())
            .ok_or("the graph did not give its output")?;
        let (shape, values) = output
            .try_extract_tensor::<f32>()
            .map_err(|e| e.to_string())?;
        let shape: Option<Vec<usize>> = shape.iter().map(|&n| usize::try_from(n).ok()).collect();
        let shape = shape.ok_or("an output dimension is negative")?;
        ArrayD::from_shape_vec(IxDyn(&shape), values.to_vec()).map_err(|e| e.to_string())
    }

    fn parallel(&self) -> bool {
        false
    }
}
