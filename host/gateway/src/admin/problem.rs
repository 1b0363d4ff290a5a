//! What the admin API says when it does not do what was asked: RFC 9457 problem details with stable codes.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use portcullis_export::ExportError;
use portcullis_store::StoreError;
use portcullis_store::ledger::LedgerError;
use serde::Serialize;
use utoipa::ToSchema;

use super::wording;

pub const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Problem details, RFC 9457.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// `urn:portcullis:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// Stable, for programs.
    pub code: &'static str,
    /// What is wrong, for people.
    #[schema(value_type = String)]
    pub detail: Box<str>,
    /// Where in the body or the query, as a JSON pointer or a parameter's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Seconds after which it may be tried again.
    #[serde(skip)]
    #[schema(ignore)]
    pub retry_after: Option<u64>,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Problem {
            kind: format!("urn:portcullis:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code,
            detail: detail.into().into_boxed_str(),
            pointer: None,
            retry_after: None,
        }
    }

    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Problem {
            pointer: Some(pointer.into()).filter(|pointer| !pointer.is_empty()),
            ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
        }
    }

    /// A query parameter that says nothing that can be understood.
    pub fn parameter(name: &str, detail: impl Into<String>) -> Self {
        Problem { pointer: Some(name.to_owned()), ..Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", detail) }
    }

    /// Also for what is somebody else's: that it exists is theirs to know.
    pub fn not_found(what: &str) -> Self {
        Problem::new(StatusCode::NOT_FOUND, "not_found", format!("There is no such {what}."))
    }

    pub fn changed() -> Self {
        Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "changed",
            "It has changed since you read it: read it again and decide anew.",
        )
    }

    pub fn unavailable(what: &'static str) -> Self {
        Problem {
            retry_after: Some(1),
            ..Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                format!("{what} is not to be had at the moment."),
            )
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Forbidden { permission } => Problem::new(
                StatusCode::FORBIDDEN,
                "forbidden",
                format!("This takes the permission {permission}, which you do not have here."),
            ),
            StoreError::NotGiven { role } => Problem::new(
                StatusCode::FORBIDDEN,
                "not_given",
                format!("Only who has the role {role} there may give or take it."),
            ),
            StoreError::Ambiguous { what, found } => Problem::new(
                StatusCode::CONFLICT,
                "ambiguous",
                format!("{found} {what}s are called so: name one by its id."),
            ),
            StoreError::NotFound { what } => Problem::not_found(what),
            StoreError::NoSuchOwner => {
                Problem::invalid("/organisation", "There is no such organisation, team or member.")
            }
            StoreError::Taken { what } => {
                Problem::new(StatusCode::CONFLICT, "taken", format!("There is a {what} of this name already."))
            }
            StoreError::InUse { what, by } => Problem::new(
                StatusCode::CONFLICT,
                "in_use",
                format!("The {what} cannot be deleted: {by} still refer to it."),
            ),
            StoreError::Contended { what } => Problem {
                retry_after: Some(1),
                ..Problem::new(
                    StatusCode::CONFLICT,
                    "contended",
                    format!("The {what} is being changed by somebody else."),
                )
            },
            StoreError::Changed { .. } => Problem::changed(),
            StoreError::Invalid(said) => Problem::invalid("", wording::sentence(&said)),
            error => {
                tracing::error!(%error, "the admin API cannot use the database");
                Problem::unavailable("The database")
            }
        }
    }
}

impl From<ExportError> for Problem {
    fn from(error: ExportError) -> Self {
        tracing::error!(%error, "the admin API cannot write a file");
        Problem::unavailable("The file")
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        tracing::error!(%error, "the admin API cannot read the ledger");
        Problem::unavailable("The ledger")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after;
        let code = self.code;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // Whoever counts refusals need not read the body again.
        response.extensions_mut().insert(Refused(code));
        response
    }
}

/// Why a call was refused, on its answer.
#[derive(Clone, Copy)]
pub struct Refused(pub &'static str);
