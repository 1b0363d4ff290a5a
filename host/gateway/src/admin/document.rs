//! The OpenAPI 3.1 document, made from the handlers' own types; what holds for every route is put to each here.

use axum::extract::State;
use axum::response::Response;
use http::{HeaderValue, Method, header};
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Components, Content, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, Ref, RefOr, ResponseBuilder, schema::Schema,
};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::Api;
use super::access::{Reach, rule_of};
use super::problem::Problem;

const SCHEME: &str = "adminToken";

pub fn base() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Portcullis admin API")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Organisations, teams, keys, people, money and what happened. Times are milliseconds since the Unix epoch. \
             An amount of money is an integer of nano-USD (10⁻⁹ USD) in `…_nano_usd`, with the same as decimal USD, exact, in the text \
             `…_usd` beside it; a body says one of the two. Lists are pages: `next` of one is the `cursor` of the following. Edits are merge patches (RFC 7396): what is \
             absent stays, null takes away; send `If-Match` with the `ETag` you read to be told where somebody else was faster.",
        ))
        .build();
    let mut components = Components::new();
    let mut token = Http::new(HttpAuthScheme::Bearer);
    token.bearer_format = Some("pca_…".to_owned());
    components.add_security_scheme(SCHEME, SecurityScheme::Http(token));
    let mut schemas: Vec<(String, RefOr<Schema>)> = vec![(Problem::name().into_owned(), Problem::schema())];
    Problem::schemas(&mut schemas);
    components.schemas.extend(schemas);
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}

/// Says of every route what it takes and how it refuses.
pub fn complete(mut router: OpenApiRouter<Api>) -> OpenApiRouter<Api> {
    for (path, item) in &mut router.get_openapi_mut().paths.paths {
        for (method, operation) in operations(item) {
            let rule = rule_of(&method, path);
            let takes = match rule {
                Some(rule) if rule.reach == Reach::Oneself => "Takes a token.".to_owned(),
                Some(rule) => match rule.own {
                    Some(own) => format!("Takes the permission `{}`, or `{own}` for one's own.", rule.permission),
                    None => format!("Takes the permission `{}`.", rule.permission),
                },
                None => "Nobody may do this.".to_owned(),
            };
            let said = operation.description.take().map(|said| format!("{said}\n\n")).unwrap_or_default();
            operation.description = Some(format!("{said}{takes}"));
            operation.security = Some(vec![SecurityRequirement::new(SCHEME, Vec::<String>::new())]);
            for (status, response) in &mut operation.responses.responses {
                if let RefOr::T(response) = response {
                    response.description = described(status).to_owned();
                }
            }
            let problem = Content::new(Some(Ref::from_schema_name(Problem::name())));
            let refusal = ResponseBuilder::new()
                .description("What is wrong: RFC 9457 problem details with a stable `code`.")
                .content("application/problem+json", problem)
                .build();
            operation.responses.responses.insert("default".to_owned(), RefOr::T(refusal));
        }
    }
    router
}

/// What a status says here.
fn described(status: &str) -> &'static str {
    match status {
        "201" => "It was made.",
        "204" => "It is gone.",
        _ => "What was asked for, as it is then.",
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let all = [
        (Method::GET, &mut item.get),
        (Method::POST, &mut item.post),
        (Method::PUT, &mut item.put),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// `GET /admin/v1/openapi.json`
pub async fn show(State(api): State<Api>) -> Response {
    let mut answer = Response::new(axum::body::Body::from(api.document.clone()));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
