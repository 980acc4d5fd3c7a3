//! Requests and answers.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use super::cursor::Cursor;
use super::view::{ClusterView, ErrorView, HealthView, MatchView, RoutesPage};
use super::{NodeView, Readiness, RoutesQuery};
use crate::topic::Topic;

type View = State<Arc<dyn NodeView>>;

/// All paths, answered by `view`.
pub fn router(view: Arc<dyn NodeView>) -> axum::Router {
    axum::Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/api/v1/cluster", get(cluster))
        .route("/api/v1/routes", get(routes))
        .route("/api/v1/match", get(matches))
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_path)
        .with_state(view)
}

async fn metrics(State(view): View) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], view.metrics())
}

async fn healthz() -> Json<HealthView> {
    Json(HealthView { status: "ok".to_owned(), reason: None })
}

async fn readyz(State(view): View) -> (StatusCode, Json<HealthView>) {
    let (status, text, reason) = match view.readiness() {
        Readiness::Ready => (StatusCode::OK, "ready", None),
        Readiness::NotReady(reason) => (StatusCode::SERVICE_UNAVAILABLE, "not ready", Some(reason)),
    };
    (status, Json(HealthView { status: text.to_owned(), reason }))
}

async fn cluster(State(view): View) -> Json<ClusterView> {
    Json(view.cluster())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoutesParameters {
    filter: Option<String>,
    node: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

async fn routes(
    State(view): View,
    given: Result<Query<RoutesParameters>, QueryRejection>,
) -> Result<Json<RoutesPage>, BadRequest> {
    let Query(given) = given?;
    let limit = match given.limit {
        None => RoutesQuery::DEFAULT_LIMIT,
        Some(limit @ 1..=RoutesQuery::MAX_LIMIT) => limit,
        Some(_) => return Err(BadRequest(format!("limit is from 1 to {}", RoutesQuery::MAX_LIMIT))),
    };
    let after = match given.cursor {
        None => None,
        Some(text) => {
            let unknown = || BadRequest("cursor is not one that an earlier answer gave as next".to_owned());
            Some(Cursor::decode(&text).ok_or_else(unknown)?.0)
        }
    };
    Ok(Json(view.routes(&RoutesQuery { filter: given.filter, node: given.node, after, limit })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MatchParameters {
    topic: String,
}

async fn matches(
    State(view): View,
    given: Result<Query<MatchParameters>, QueryRejection>,
) -> Result<Json<MatchView>, BadRequest> {
    let Query(given) = given?;
    let topic = Topic::new(&given.topic).map_err(|error| BadRequest(format!("topic: {error}")))?;
    Ok(Json(view.matches(topic)))
}

async fn unknown_path(uri: Uri) -> Response {
    refuse(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()))
}

async fn wrong_method() -> Response {
    refuse(StatusCode::METHOD_NOT_ALLOWED, "this path answers GET only".to_owned())
}

fn refuse(status: StatusCode, error: String) -> Response {
    (status, Json(ErrorView { error })).into_response()
}

/// A request that does not say what it has to.
struct BadRequest(String);

impl IntoResponse for BadRequest {
    fn into_response(self) -> Response {
        refuse(StatusCode::BAD_REQUEST, self.0)
    }
}

impl From<QueryRejection> for BadRequest {
    fn from(rejection: QueryRejection) -> BadRequest {
        BadRequest(rejection.body_text())
    }
}
