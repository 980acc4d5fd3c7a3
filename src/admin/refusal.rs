//! Answers that are errors.

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::view::ErrorView;
use crate::broker::Unpublished;

/// Why a request is not answered as its sender wished.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) StatusCode, pub(super) String);

impl Refusal {
    /// The request does not say what it has to.
    pub(super) fn bad_request(why: impl Into<String>) -> Refusal {
        Refusal(StatusCode::BAD_REQUEST, why.into())
    }

    /// What it is about is not there.
    pub(super) fn not_found(why: impl Into<String>) -> Refusal {
        Refusal(StatusCode::NOT_FOUND, why.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(ErrorView { error: self.1 })).into_response()
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Refusal {
        Refusal::bad_request(rejection.body_text())
    }
}

impl From<PathRejection> for Refusal {
    fn from(rejection: PathRejection) -> Refusal {
        Refusal::bad_request(rejection.body_text())
    }
}

impl From<Unpublished> for Refusal {
    fn from(error: Unpublished) -> Refusal {
        let status = match error {
            Unpublished::QoS(_) | Unpublished::Retain | Unpublished::PayloadFormat | Unpublished::Topic => {
                StatusCode::BAD_REQUEST
            }
            Unpublished::SystemTopic => StatusCode::FORBIDDEN,
            Unpublished::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Unpublished::DelayedFull | Unpublished::ForwardFull => StatusCode::SERVICE_UNAVAILABLE,
        };
        Refusal(status, error.to_string())
    }
}
