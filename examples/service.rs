//! A store behind an asynchronous HTTP service. Every call into a store blocks, so each runs on
//! tokio's threads for blocking work, and none of the threads that serve connections waits.
//!
//! ```text
//! cargo run --example service
//! curl -s localhost:7700/notes -d '["how to prune apple trees", "changing the oil of a car"]' -H 'content-type: application/json'
//! curl -s 'localhost:7700/search?q=fruit+trees'
//! ```

use std::net::SocketAddr;

use affinis::{Collection, Error, ErrorKind, Hits, Item, Store, encode::Onnx};
use axum::Router;
use axum::extract::{Json, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;

#[derive(Deserialize)]
struct Search {
    q: String,
    #[serde(default = "ten")]
    k: usize,
}

fn ten() -> usize {
    10
}

/// An error of the store as the status that its kind stands for, with its message as the body.
struct Failure(Error);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self.0.kind() {
            ErrorKind::InvalidInput => StatusCode::BAD_REQUEST,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::AlreadyExists | ErrorKind::Conflict => StatusCode::CONFLICT,
            ErrorKind::Locked | ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, self.0.to_string()).into_response()
    }
}

/// Runs a call into the store where it may block.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(call)
        .await
        .expect("the call does not panic and the runtime is not shutting down")
        .map_err(Failure)
}

async fn add(
    State(notes): State<Collection>,
    Json(texts): Json<Vec<String>>,
) -> Result<StatusCode, Failure> {
    blocking(move || {
        // The text is its own id, so adding it again replaces it.
        notes.add(texts.into_iter().map(|text| Item::text(text.clone(), text)))?;
        Ok(StatusCode::CREATED)
    })
    .await
}

async fn search(
    State(notes): State<Collection>,
    Query(search): Query<Search>,
) -> Result<Json<Hits>, Failure> {
    blocking(move || {
        let hits = notes.search(search.q).k(search.k).include_text().run()?;
        Ok(Json(hits))
    })
    .await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path().join("notes.affinis"))?;
    let notes = store
        .collection("notes")
        .encoder(Onnx::embedded()?)
        .open_or_create()?;
    let service = Router::new()
        .route("/notes", post(add))
        .route("/search", get(search))
        .with_state(notes);

    let address = SocketAddr::from(([127, 0, 0, 1], 7700));
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{address}; Ctrl-C ends");
    axum::serve(listener, service)
        .with_graceful_shutdown(async {
            // Without the signal's handler there is no way to end but a kill, which is safe too.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
        .await?;
    // The service has dropped its handles to the collection.
    tokio::task::spawn_blocking(move || store.close()).await??;
    Ok(())
}
