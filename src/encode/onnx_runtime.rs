//! The backend on the ONNX Runtime library, through the crate `ort`.

use std::sync::{Mutex, PoisonError};

use ndarray::{ArrayD, IxDyn};
use ort::logging::LogLevel;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::Tensor;

use super::engine::{Engine, Feeds, GraphFile, Numbers};
use super::error::EncodeError;
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
        file: &GraphFile,
        signature: &Signature,
        threads: usize,
    ) -> Result<Self, EncodeError> {
        let environment = onnx_library::environment()?;
        let session =
            session(&environment, file, threads).map_err(|reason| EncodeError::Model {
                path: file.path.clone(),
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
    file: &GraphFile,
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
    let session = if file.external.is_empty() {
        builder.commit_from_memory(&file.bytes)
    } else {
        builder.commit_from_file(&file.path)
    };
    session.map_err(|e| e.to_string())
}

impl Engine for Runtime {
    fn run(&self, batch: &dyn Feeds) -> Result<ArrayD<f32>, String> {
        let inputs = self.inputs.iter();
        let inputs = inputs.map(|input| Ok((input.name.as_str(), value(input, batch)?)));
        let inputs = inputs.collect::<Result<Vec<_>, String>>()?;
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

/// What an input takes of a batch.
fn value(input: &Input, batch: &dyn Feeds) -> Result<SessionInputValue<'static>, String> {
    let tensor = match batch.of(input.feed) {
        #[cfg(feature = "images")]
        Numbers::Pixels(pixels) => {
            let (b, x, y, z) = pixels.dim();
            let pixels: Vec<f32> = pixels.iter().copied().collect();
            Tensor::from_array(([b, x, y, z], pixels)).map(Into::into)
        }
        Numbers::Tokens(tokens) => {
            let (b, s) = tokens.dim();
            if input.is_narrow {
                let narrow: Vec<i32> = tokens.iter().map(|token| *token as i32).collect();
                Tensor::from_array(([b, s], narrow)).map(Into::into)
            } else {
                let tokens: Vec<i64> = tokens.iter().copied().collect();
                Tensor::from_array(([b, s], tokens)).map(Into::into)
            }
        }
    };
    tensor.map_err(|e| e.to_string())
}
