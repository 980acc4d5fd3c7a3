//! Clients, their subscriptions and the nodes' numbers: what each node knows of itself alone.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};

use super::NodeView;
use super::api::View;
use super::page::{ClientsQuery, SlowQuery, SubscriptionsQuery};
use super::parameters::{
    ClientsParameters, KickParameters, Scope, ScopeParameter, SlowParameters, SubscriptionsParameters, part,
};
use super::question::{Question, Replies};
use super::refusal::Refusal;
use super::view::{
    ClientView, ClientsPage, KickedView, Missing, SlowSubscribersPage, StatsView, SubscriptionsPage,
};

/// The answers of those whom the scope names.
pub(super) async fn ask(view: &Arc<dyn NodeView>, scope: Scope, question: Question) -> Replies {
    match scope {
        Scope::Node => {
            let reply = question.ask_node(view).await;
            Replies { replies: vec![(view.name(), reply)], missing: Vec::new() }
        }
        Scope::Cluster => question.ask_cluster(view).await,
    }
}

pub(super) async fn stats(view: &Arc<dyn NodeView>, scope: Scope) -> StatsView {
    ask(view, scope, Question::Stats {}).await.into_stats()
}

pub(super) async fn list(
    State(shared): View,
    given: ClientsParameters,
) -> Result<Json<ClientsPage>, Refusal> {
    let part = part(given.limit, given.cursor)?;
    let limit = part.limit;
    let ClientsParameters { prefix, username, connected, scope, .. } = given;
    let question = Question::Clients(ClientsQuery { prefix, username, connected, part });
    Ok(Json(ask(&shared.view, scope, question).await.into_clients(limit)))
}

pub(super) async fn subscriptions(
    State(shared): View,
    given: SubscriptionsParameters,
) -> Result<Json<SubscriptionsPage>, Refusal> {
    let part = part(given.limit, given.cursor)?;
    let limit = part.limit;
    let SubscriptionsParameters { client, filter, scope, .. } = given;
    let question = Question::Subscriptions(SubscriptionsQuery { client, filter, part });
    Ok(Json(ask(&shared.view, scope, question).await.into_subscriptions(limit)))
}

pub(super) async fn slow(
    State(shared): View,
    given: SlowParameters,
) -> Result<Json<SlowSubscribersPage>, Refusal> {
    let part = part(given.limit, given.cursor)?;
    let limit = part.limit;
    let question = Question::Slow(SlowQuery { threshold_ms: given.threshold_ms, part });
    Ok(Json(ask(&shared.view, given.scope, question).await.into_slow(limit)))
}

pub(super) async fn find(
    State(shared): View,
    id: Result<Path<String>, PathRejection>,
    given: ScopeParameter,
) -> Result<Json<ClientView>, Refusal> {
    let Path(id) = id?;
    let replies = ask(&shared.view, given.scope, Question::Client { id: id.clone() }).await;
    let (client, missing) = replies.into_client();
    client.map(Json).ok_or_else(|| nobody(&id, given.scope, &missing, "session"))
}

pub(super) async fn kick(
    State(shared): View,
    id: Result<Path<String>, PathRejection>,
    given: KickParameters,
) -> Result<Json<KickedView>, Refusal> {
    let Path(client) = id?;
    let question = Question::Kick { id: client.clone(), kick: given.session.into() };
    let (nodes, missing) = ask(&shared.view, given.scope, question).await.into_kicked();
    match nodes.is_empty() {
        true => Err(nobody(&client, given.scope, &missing, given.session.what_goes())),
        false => Ok(Json(KickedView { client, nodes, missing })),
    }
}

fn nobody(id: &str, scope: Scope, missing: &[Missing], what: &str) -> Refusal {
    let place = match scope {
        Scope::Node => "on this node (scope=cluster asks all)",
        Scope::Cluster => "on any node that has answered",
    };
    let silent: Vec<&str> = missing.iter().map(|missing| missing.node.as_str()).collect();
    let silent =
        if silent.is_empty() { String::new() } else { format!("; no answer from {}", silent.join(", ")) };
    Refusal::not_found(format!("client {id:?} has no {what} {place}{silent}"))
}
