//! Requests and answers.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde::Deserialize;

use super::cursor::Cursor;
use super::guard::{self, Guard};
use super::view::{
    ClearedView, ClusterView, ErrorView, HealthView, LeavingView, MatchView, RetainedPage, RoutesPage,
};
use super::{NodeView, Readiness, RetainedQuery, RoutesQuery};
use crate::topic::{Topic, TopicFilter};

type View = State<Arc<dyn NodeView>>;

/// All paths, answered by `view`; those that change something only to whom `guard` lets pass.
pub fn router(view: Arc<dyn NodeView>, guard: Guard) -> axum::Router {
    let changing = axum::Router::new()
        .route("/api/v1/retained", delete(clear_retained))
        .route("/api/v1/leave", post(leave))
        .route_layer(from_fn_with_state(guard, guard::guard));
    axum::Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/api/v1/cluster", get(cluster))
        .route("/api/v1/routes", get(routes))
        .route("/api/v1/match", get(matches))
        .route("/api/v1/retained", get(retained))
        .merge(changing)
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
    let (limit, after) = (limit(given.limit)?, after(given.cursor)?);
    Ok(Json(view.routes(&RoutesQuery { filter: given.filter, node: given.node, after, limit })))
}

fn limit(given: Option<usize>) -> Result<usize, BadRequest> {
    match given {
        None => Ok(RoutesQuery::DEFAULT_LIMIT),
        Some(limit @ 1..=RoutesQuery::MAX_LIMIT) => Ok(limit),
        Some(_) => Err(BadRequest(format!("limit is from 1 to {}", RoutesQuery::MAX_LIMIT))),
    }
}

fn after(cursor: Option<String>) -> Result<Option<String>, BadRequest> {
    let unknown = || BadRequest("cursor is not one that an earlier answer gave as next".to_owned());
    cursor.map(|text| Cursor::decode(&text).map(|cursor| cursor.0).ok_or_else(unknown)).transpose()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetainedParameters {
    filter: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

async fn retained(
    State(view): View,
    given: Result<Query<RetainedParameters>, QueryRejection>,
) -> Result<Json<RetainedPage>, BadRequest> {
    let Query(given) = given?;
    let (limit, after) = (limit(given.limit)?, after(given.cursor)?);
    let filter = given.filter.map(|filter| TopicFilter::parse(&filter)).transpose();
    let filter = filter.map_err(|error| BadRequest(format!("filter: {error}")))?;
    let query = RetainedQuery { filter, after, limit };
    let page = tokio::task::spawn_blocking(move || view.retained(&query)).await;
    // It does not panic; should it, one answer is empty.
    Ok(Json(page.unwrap_or_default()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicParameter {
    topic: String,
}

async fn clear_retained(
    State(view): View,
    given: Result<Query<TopicParameter>, QueryRejection>,
) -> Result<Response, BadRequest> {
    let Query(TopicParameter { topic }) = given?;
    let name = Topic::new(&topic).map_err(|error| BadRequest(format!("topic: {error}")))?;
    Ok(match view.clear_retained(name) {
        true => Json(ClearedView { topic }).into_response(),
        false => refuse(StatusCode::NOT_FOUND, format!("{topic} has no retained message")),
    })
}

async fn leave(State(view): View) -> (StatusCode, Json<LeavingView>) {
    let node = view.cluster().node;
    view.leave();
    (StatusCode::ACCEPTED, Json(LeavingView { node }))
}

async fn matches(
    State(view): View,
    given: Result<Query<TopicParameter>, QueryRejection>,
) -> Result<Json<MatchView>, BadRequest> {
    let Query(given) = given?;
    let topic = Topic::new(&given.topic).map_err(|error| BadRequest(format!("topic: {error}")))?;
    Ok(Json(view.matches(topic)))
}

async fn unknown_path(uri: Uri) -> Response {
    refuse(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()))
}

async fn wrong_method() -> Response {
    refuse(StatusCode::METHOD_NOT_ALLOWED, "this path does not answer this method".to_owned())
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
