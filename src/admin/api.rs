//! Requests and answers.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};

use super::endpoint::{Endpoint, document};
use super::guard::{self, Guard};
use super::parameters::{
    ClientsParameters, EventsParameters, KickParameters, MatchParameters, RetainedParameters,
    RoutesParameters, ScopeParameter, SlowParameters, SubscriptionsParameters, TopTopicsParameters,
    TopicParameter,
};
use super::refusal::Refusal;
use super::stream::Watchers;
use super::view::{
    ClearedView, ClientView, ClientsPage, ClusterView, EventsView, HealthView, KickedView, LeavingView,
    MatchView, PublishRequest, PublishedView, RetainedPage, RoutesPage, SlowSubscribersPage, StatsView,
    SubscriptionsPage, TargetGroup, TopTopicsView, TraceRequest,
};
use super::{
    LeaveRequest, NodeView, Readiness, clients, leaving, routes, status_page, stream, top_topics, trace,
};

/// What every handler has.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) view: Arc<dyn NodeView>,
    pub(super) watchers: Watchers,
    /// The description of the paths, as text.
    document: Arc<str>,
}

pub(super) type View = State<Shared>;

/// All paths, answered by `view` to whom `guard` lets pass.
pub fn router(view: Arc<dyn NodeView>, guard: Guard) -> axum::Router {
    let endpoints = endpoints();
    let document = document(&endpoints).to_string().into();
    let mut router = axum::Router::new();
    for Endpoint { path, changes, handler, .. } in endpoints {
        let handler = match changes {
            true => handler.route_layer(from_fn_with_state(guard.clone(), guard::guard_changing)),
            false => handler,
        };
        router = router.route(path, handler);
    }
    router
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_path)
        .layer(from_fn_with_state(guard, guard::guard_reading))
        .with_state(Shared { view, watchers: Watchers::default(), document })
}

/// The table of paths.
fn endpoints() -> Vec<Endpoint> {
    const OK: StatusCode = StatusCode::OK;
    const NOT_FOUND: StatusCode = StatusCode::NOT_FOUND;
    vec![
        Endpoint::get("/", "statusPage", "The status page, for people.", status_page::show)
            .answers_text("text/html", "The page; it asks for what it shows."),
        Endpoint::get("/metrics", "metrics", "All metrics, for Prometheus.", metrics)
            .answers_text("text/plain", "In the text format of Prometheus."),
        Endpoint::get("/healthz", "health", "Whether the process is up.", healthz)
            .answers::<HealthView>(OK, "It is."),
        Endpoint::get("/readyz", "readiness", "Whether clients should be sent to this node.", readyz)
            .answers::<HealthView>(OK, "They should.")
            .answers::<HealthView>(StatusCode::SERVICE_UNAVAILABLE, "They should not; the reason says why."),
        Endpoint::get("/api/v1/cluster", "cluster", "The members of the cluster, as this node sees them.", cluster)
            .answers::<ClusterView>(OK, "The members."),
        Endpoint::get("/api/v1/stats", "stats", "What the node does, in numbers, or all nodes.", stats)
            .query::<ScopeParameter>()
            .answers::<StatsView>(OK, "The numbers."),
        Endpoint::get("/api/v1/events", "events", "What has happened lately, as this node has seen it.", stream::events)
            .query::<EventsParameters>()
            .answers::<EventsView>(OK, "The events that are remembered."),
        Endpoint::get(
            "/api/v1/events/stream",
            "watch",
            "Server-sent events: `event` with each that happens, `cluster` with the members whenever that is so and every few \
             seconds, `end` when the node stops.",
            stream::watch,
        )
        .query::<EventsParameters>()
        .answers_text("text/event-stream", "It ends after some minutes: come back with the last event's number.")
        .refuses(StatusCode::SERVICE_UNAVAILABLE, "There are as many watchers as can be."),
        Endpoint::get("/api/v1/routes", "routes", "The route table: who wants which topic filter.", routes::routes)
            .query::<RoutesParameters>()
            .answers::<RoutesPage>(OK, "A page of it."),
        Endpoint::get("/api/v1/match", "match", "Who would get a publish to a topic.", routes::matches)
            .query::<MatchParameters>()
            .answers::<MatchView>(OK, "The filters that match."),
        Endpoint::get("/api/v1/clients", "clients", "The clients with a session.", clients::list)
            .query::<ClientsParameters>()
            .answers::<ClientsPage>(OK, "A page of them."),
        Endpoint::get("/api/v1/clients/{id}", "client", "One client.", clients::find)
            .in_path("id", "The client identifier, percent-encoded.")
            .query::<ScopeParameter>()
            .answers::<ClientView>(OK, "The client.")
            .refuses(NOT_FOUND, "There is no such client."),
        Endpoint::delete(
            "/api/v1/clients/{id}",
            "kick",
            "Disconnects a client (5.0: with 0x98) and ends its session, unless that is to stay. Its will is published.",
            clients::kick,
        )
        .in_path("id", "The client identifier, percent-encoded.")
        .query::<KickParameters>()
        .answers::<KickedView>(OK, "It is gone.")
        .refuses(NOT_FOUND, "There is no such client, or no connection to end."),
        Endpoint::get("/api/v1/subscriptions", "subscriptions", "The clients' subscriptions.", clients::subscriptions)
            .query::<SubscriptionsParameters>()
            .answers::<SubscriptionsPage>(OK, "A page of them."),
        Endpoint::get(
            "/api/v1/slow-subscribers",
            "slowSubscribers",
            "Clients that take long for what is published for them: now, and lately as far as that is noted.",
            clients::slow,
        )
        .query::<SlowParameters>()
        .answers::<SlowSubscribersPage>(OK, "A page of them."),
        Endpoint::get(
            "/api/v1/top-topics",
            "topTopics",
            "The topics that are published to most. It counts from the request on, and answers when the time is over.",
            top_topics::top_topics,
        )
        .query::<TopTopicsParameters>()
        .answers::<TopTopicsView>(OK, "The topics.")
        .refuses(StatusCode::SERVICE_UNAVAILABLE, "There are as many counts as can be."),
        Endpoint::get("/api/v1/retained", "retained", "The retained messages, which all nodes have.", routes::retained)
            .query::<RetainedParameters>()
            .answers::<RetainedPage>(OK, "A page of them."),
        Endpoint::delete("/api/v1/retained", "clearRetained", "Clears a topic's retained message.", routes::clear_retained)
            .query::<TopicParameter>()
            .answers::<ClearedView>(OK, "It is cleared, on all nodes.")
            .refuses(NOT_FOUND, "The topic has none."),
        Endpoint::post(
            "/api/v1/trace",
            "trace",
            "Traces a client or a topic. Server-sent events: `trace` with the trace's name, `event` with each that happens (a \
             TraceEvent and its `node`), `missing` with the nodes that tell nothing, `end` when the time is over.",
            trace::trace,
        )
        .query::<ScopeParameter>()
        .body::<TraceRequest>()
        .answers_text("text/event-stream", "It ends after some minutes: come back with the trace's name.")
        .refuses(StatusCode::SERVICE_UNAVAILABLE, "There are as many traces as can be."),
        Endpoint::post("/api/v1/publish", "publish", "Publishes a message, past all access rules.", routes::publish)
            .body::<PublishRequest>()
            .answers::<PublishedView>(OK, "It is published.")
            .refuses(StatusCode::PAYLOAD_TOO_LARGE, "It is larger than a packet, or a request, may be.")
            .refuses(StatusCode::SERVICE_UNAVAILABLE, "There is no room to keep it until it can be delivered."),
        Endpoint::get("/api/v1/leave", "leaving", "How far a node is that is drained.", leaving::leaving)
            .answers::<LeavingView>(OK, "How far."),
        Endpoint::post("/api/v1/leave", "leave", "Has the node leave its cluster for good, and end.", leaving::leave)
            .body::<LeaveRequest>()
            .answers::<LeavingView>(StatusCode::ACCEPTED, "It leaves, or is drained before that.")
            .refuses(StatusCode::CONFLICT, "There is no other node to take its clients and sessions."),
        Endpoint::get(
            "/api/v1/prometheus/targets",
            "prometheusTargets",
            "All members of the cluster, dead ones included, for Prometheus' http_sd.",
            targets,
        )
        .answers::<Vec<TargetGroup>>(OK, "The members that others reach over HTTP, sorted by name."),
        Endpoint::get("/api/v1/openapi.json", "openapi", "This description.", openapi)
            .answers::<serde_json::Map<String, serde_json::Value>>(OK, "OpenAPI 3.1."),
    ]
}

async fn metrics(State(shared): View) -> impl IntoResponse {
    let page = tokio::task::spawn_blocking(move || shared.view.metrics()).await;
    // It does not panic; should it, one answer is empty.
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page.unwrap_or_default())
}

async fn targets(State(shared): View) -> Json<Vec<TargetGroup>> {
    Json(shared.view.targets())
}

async fn healthz() -> Json<HealthView> {
    Json(HealthView { status: "ok".to_owned(), reason: None })
}

async fn readyz(State(shared): View) -> (StatusCode, Json<HealthView>) {
    let (status, text, reason) = match shared.view.readiness() {
        Readiness::Ready => (StatusCode::OK, "ready", None),
        Readiness::NotReady(reason) => (StatusCode::SERVICE_UNAVAILABLE, "not ready", Some(reason)),
    };
    (status, Json(HealthView { status: text.to_owned(), reason }))
}

async fn cluster(State(shared): View) -> Json<ClusterView> {
    Json(shared.view.cluster())
}

async fn stats(State(shared): View, given: ScopeParameter) -> Json<StatsView> {
    Json(clients::stats(&shared.view, given.scope).await)
}

async fn openapi(State(shared): View) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], shared.document.to_string()).into_response()
}

async fn unknown_path(uri: Uri) -> Refusal {
    Refusal::not_found(format!("there is nothing at {}", uri.path()))
}

async fn wrong_method() -> Refusal {
    Refusal(StatusCode::METHOD_NOT_ALLOWED, "this path does not answer this method".to_owned())
}
