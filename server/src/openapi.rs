//! The description of the service for programs, `openapi.json`, made from its types.

use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, Header, HttpMethod, Object, ObjectBuilder, OpenApi, Ref, RefOr, Required,
    Response, ResponseBuilder, Type,
};
use utoipa::{Modify, OpenApi as _, ToSchema as _};

use crate::routes;
use crate::routes::transfer::IMPORTS;
use affinis_api::ProblemDocument;

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

/// Name of the answer to every request that fails.
const PROBLEM: &str = "Problem";
/// Name of the answer to a request that comes too fast.
const RATE_LIMITED: &str = "RateLimited";

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

/// The header that makes a POST be done once.
fn idempotency_key() -> Parameter {
    let key = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^[!-~]([ -~]*[!-~])?$"))
        .min_length(Some(1))
        .max_length(Some(255));
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .description(Some(
            "The same key with the same body gets the first answer again",
        ))
        .required(Required::False)
        .schema(Some(key))
        .build()
}

/// The statuses of the problems that a call may be answered with.
fn problems(method: &HttpMethod, operation: &Operation) -> Vec<u16> {
    // Whoever is refused, and what the service cannot do now, is the same everywhere.
    let mut statuses = vec![403, 500, 503];
    let tag = operation.tags.iter().flatten().next();
    let tag = tag.map(String::as_str).unwrap_or_default();
    let writes = *method != HttpMethod::Get;
    if tag != "health" || operation.operation_id.as_deref() == Some("metrics") {
        statuses.push(401);
    }
    if !matches!(tag, "health" | "session" | "jobs") {
        statuses.push(501);
    }
    if operation.parameters.is_some() || writes {
        statuses.push(400);
    }
    if operation.parameters.is_some() {
        statuses.push(404);
    }
    // A version that was withdrawn is not read either.
    if operation.parameters.is_some() || writes {
        statuses.push(409);
    }
    if operation.request_body.is_some() || *method == HttpMethod::Post {
        statuses.push(413);
    }
    if operation.request_body.is_some() {
        statuses.push(415);
    }
    if *method == HttpMethod::Post {
        statuses.push(422);
    }
    statuses
}

/// Gives every call a name of its own, from its noun and its verb, and says with which problems it
/// may be answered.
pub(crate) fn completed(mut openapi: OpenApi) -> OpenApi {
    let components = openapi.components.get_or_insert_default();
    components
        .responses
        .insert(PROBLEM.to_owned(), RefOr::T(problem()));
    components
        .responses
        .insert(RATE_LIMITED.to_owned(), RefOr::T(rate_limited()));
    for (path, item) in &mut openapi.paths.paths {
        let operations: [(HttpMethod, &mut Option<Operation>); 4] = [
            (HttpMethod::Get, &mut item.get),
            (HttpMethod::Put, &mut item.put),
            (HttpMethod::Post, &mut item.post),
            (HttpMethod::Delete, &mut item.delete),
        ];
        for (method, operation) in operations {
            let Some(operation) = operation else { continue };
            for status in problems(&method, operation) {
                let answers = &mut operation.responses.responses;
                let problem = RefOr::Ref(Ref::from_response_name(PROBLEM));
                answers.insert(status.to_string(), problem);
            }
            // An import takes no key.
            if method == HttpMethod::Post && !IMPORTS.contains(&path.as_str()) {
                let parameters = operation.parameters.get_or_insert_default();
                parameters.push(idempotency_key());
            }
            let noun = operation.tags.iter().flatten().next();
            let verb = operation.operation_id.take().unwrap_or_default();
            operation.operation_id = noun.map(|noun| format!("{noun}_{verb}"));
            if !matches!(path.as_str(), "/healthz" | "/readyz") {
                let answers = &mut operation.responses.responses;
                let limited = RefOr::Ref(Ref::from_response_name(RATE_LIMITED));
                answers.insert("429".to_owned(), limited);
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
