//! The description of the service for programs, `openapi.json`, made from its types.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, Header, Object, OpenApi, Ref, RefOr, Response, ResponseBuilder, Type,
    path::Operation,
};
use utoipa::{Modify, OpenApi as _, ToSchema as _};

use crate::problem::ProblemDocument;
use crate::routes;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "affinis",
        description = "A vector store that learns what \"similar\" means from feedback.",
        license(name = "MIT OR Apache-2.0")
    ),
    components(schemas(ProblemDocument)),
    modifiers(&Bearer),
    security((), ("token" = []))
)]
pub(crate) struct Description;

/// The token in the header of a request.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let components = openapi.components.get_or_insert_default();
        components
            .security_schemes
            .insert("token".to_owned(), scheme);
    }
}

/// The answer to every request that fails.
fn problem() -> Response {
    let document = Ref::from_schema_name(ProblemDocument::name());
    let content = ContentBuilder::new().schema(Some(document)).build();
    ResponseBuilder::new()
        .description("What is wrong")
        .content("application/problem+json", content)
        .build()
}

/// The answer to a request that comes too fast.
fn rate_limited() -> Response {
    let mut response = problem();
    response.description =
        "More requests a second than the service was started with (--rate)".into();
    let mut seconds = Header::new(Object::with_type(Type::Integer));
    seconds.description = Some("Seconds after which it may be asked again".to_owned());
    response.headers.insert("retry-after".to_owned(), seconds);
    response
}

/// Gives every call a name of its own, from its noun and its verb, and says that it may be answered
/// with a problem.
pub(crate) fn completed(mut openapi: OpenApi) -> OpenApi {
    for (path, item) in &mut openapi.paths.paths {
        let operations: [&mut Option<Operation>; 4] = [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            let noun = operation.tags.iter().flatten().next();
            let verb = operation.operation_id.take().unwrap_or_default();
            operation.operation_id = noun.map(|noun| format!("{noun}_{verb}"));
            let answers = &mut operation.responses.responses;
            answers.insert("default".to_owned(), RefOr::T(problem()));
            if !matches!(path.as_str(), "/healthz" | "/readyz") {
                answers.insert("429".to_owned(), RefOr::T(rate_limited()));
            }
        }
    }
    openapi
}

/// The description of the service as JSON, as `/openapi.json` gives it.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn openapi_json() -> serde_json::Result<String> {
    let (_, openapi) = routes::described().split_for_parts();
    let mut text = serde_json::to_string_pretty(&completed(openapi))?;
    text.push('\n');
    Ok(text)
}

/// The description before any call is in it.
pub(crate) fn base() -> OpenApi {
    Description::openapi()
}
