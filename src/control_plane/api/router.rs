//! The addresses, and their description.
//!
//! Purpose: one list of handlers that makes both the router and `/openapi.json`; `/docs` shows it in a browser.
//! Promises: what is served is described; every operation names the problems it may answer with; the browser loads
//! nothing from elsewhere.
//! Never: holds logic.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use utoipa::openapi::path::{Operation, Parameter, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, InfoBuilder, License, OpenApi, Ref, RefOr, ResponseBuilder};
use utoipa::{PartialSchema as _, ToSchema as _};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::SwaggerUi;

use super::problem::{Failure, Kind, Problem};
use super::{
    Api, active, costs, events, explain, generator, guard, known, operate, policies, rollouts, samples, simulate,
    statistics, unsigned,
};

/// Problems any operation may answer with.
const PROBLEMS: [Kind; 12] = [
    Kind::BadRequest,
    Kind::Unauthenticated,
    Kind::Forbidden,
    Kind::NotFound,
    Kind::Timeout,
    Kind::Conflict,
    Kind::TooLarge,
    Kind::UnsupportedMediaType,
    Kind::InvalidBody,
    Kind::RateLimited,
    Kind::Internal,
    Kind::Unavailable,
];

fn guarded() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(policies::list, policies::create))
        .routes(routes!(active::active))
        .routes(routes!(policies::validate))
        .routes(routes!(policies::read, policies::update, policies::deactivate))
        .routes(routes!(policies::versions))
        .routes(routes!(policies::version))
        .routes(routes!(policies::history))
        .routes(routes!(policies::compare))
        .routes(routes!(policies::activate))
        .routes(routes!(policies::roll_back))
        .routes(routes!(rollouts::start, rollouts::status))
        .routes(routes!(rollouts::approve))
        .routes(routes!(rollouts::abort))
        .routes(routes!(statistics::ingest, statistics::series))
        .routes(routes!(statistics::patterns))
        .routes(routes!(known::known))
        .routes(routes!(statistics::pattern))
        .routes(routes!(statistics::services))
        .routes(routes!(operate::anomalies))
        .routes(routes!(costs::costs))
        .routes(routes!(simulate::simulate))
        .routes(routes!(costs::recommendations))
        .routes(routes!(explain::explain))
        .routes(routes!(events::events))
        .routes(routes!(generator::status))
        .routes(routes!(generator::runs, generator::ask))
        .routes(routes!(samples::take))
        .routes(routes!(operate::status))
        .routes(routes!(operate::tokens, operate::create_token))
        .routes(routes!(operate::revoke_token))
        .routes(routes!(operate::audit))
}

fn open() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(operate::live)).routes(routes!(operate::ready))
}

/// The description of the API.
pub fn openapi() -> OpenApi {
    describe(open().merge(guarded()).into_openapi())
}

fn describe(mut api: OpenApi) -> OpenApi {
    api.info = InfoBuilder::new()
        .title("LipService")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Sampling policies, pattern statistics and explanations. See docs/api.md."))
        .license(Some(License::new("Apache-2.0")))
        .build();
    let components = api.components.get_or_insert_default();
    components.schemas.insert(Problem::name().into_owned(), Problem::schema());
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    components.add_security_scheme("token", bearer);
    components.schemas.values_mut().for_each(unsigned::widen);
    for (path, item) in &mut api.paths.paths {
        for operation in operations(item) {
            operation.parameters.iter_mut().flatten().for_each(|parameter| {
                if let RefOr::T(Parameter { schema: Some(schema), .. }) = parameter {
                    unsigned::widen(schema);
                }
            });
            finish(operation, path.starts_with("/v1"));
        }
    }
    api
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().flatten()
}

/// Adds the problems, and the token where one is needed.
fn finish(operation: &mut Operation, needs_token: bool) {
    if needs_token {
        let scheme = utoipa::openapi::SecurityRequirement::new("token", Vec::<String>::new());
        operation.security = Some(vec![scheme]);
    }
    for kind in PROBLEMS {
        let status = kind.status();
        let content = Content::new(Some(RefOr::Ref(Ref::from_schema_name("Problem"))));
        let response = ResponseBuilder::new()
            .description(status.canonical_reason().unwrap_or_default())
            .content("application/problem+json", content);
        let responses = &mut operation.responses.responses;
        responses.entry(status.as_u16().to_string()).or_insert_with(|| RefOr::T(response.build()));
    }
}

/// Everything there is to serve.
pub fn router(api: &Arc<Api>) -> Router {
    let (guarded, _) = guarded().split_for_parts();
    let (open, _) = open().split_for_parts();
    let docs = SwaggerUi::new("/docs").url("/openapi.json", openapi());
    let not_found = || async { Failure::new(Kind::NotFound, "no such address; see /docs") };
    let not_allowed = || async { Failure::new(Kind::MethodNotAllowed, "see /docs") };
    guarded
        .route_layer(from_fn_with_state(Arc::clone(api), guard::admit))
        .merge(open)
        .merge(docs)
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(api.config.max_body_size.as_usize()))
        .layer(from_fn_with_state(Arc::clone(api), guard::identify))
        .with_state(Arc::clone(api))
}
