//! The clients of a node, as its HTTP API shows them.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::roll::{Named, Roll};
use crate::admin::view::{ClientView, ClientsPage, SubscriptionView, SubscriptionsPage};
use crate::admin::{ClientsQuery, FirstEntries, Part, SubscriptionsQuery};
use crate::broker::client::Client;
use crate::broker::{Broker, ClientSummary};
use crate::codec::packet::ProtocolVersion;

/// The clients in order, as far as somebody looks at them page by page.
pub(super) type ClientRoll = Roll<ClientsQuery, Arc<Client>>;

impl Named for Arc<Client> {
    fn name(&self) -> &str {
        self.id()
    }
}

/// One page of the clients of `node`.
pub(super) fn list(broker: &Broker, roll: &ClientRoll, node: &str, query: &ClientsQuery) -> ClientsPage {
    let mut first = FirstEntries::of(&query.part);
    let whole = ClientsQuery { part: Part::default(), ..query.clone() };
    let (after, wanted) = (query.part.after.as_deref(), |client: &Arc<Client>| is_about(query, client, node));
    roll.walk(
        &whole,
        after,
        || broker.clients(),
        wanted,
        |client| {
            // It may have changed since, or have a new session.
            if let Some(view) = find(broker, node, client.id()).filter(|view| is_about_view(query, view)) {
                first.insert(view.client.clone(), view);
            }
            first.flow()
        },
    );
    first.into()
}

/// Whether a query may be about a client. A look at it is spared where its identifier says enough.
fn is_about(query: &ClientsQuery, client: &Client, node: &str) -> bool {
    let all_states = query.username.is_none() && query.connected.is_none();
    query.prefix.as_deref().is_none_or(|prefix| client.id().starts_with(prefix))
        && (all_states || view(client, node).is_some_and(|view| is_about_view(query, &view)))
}

fn is_about_view(query: &ClientsQuery, view: &ClientView) -> bool {
    query.username.as_ref().is_none_or(|name| view.username.as_ref() == Some(name))
        && query.connected.is_none_or(|connected| connected == view.connected)
}

/// One client of `node`.
pub(super) fn find(broker: &Broker, node: &str, id: &str) -> Option<ClientView> {
    broker.client(id).and_then(|client| view(&client, node))
}

/// One page of the subscriptions of these clients.
pub(super) fn subscriptions(
    broker: &Broker,
    roll: &ClientRoll,
    node: &str,
    query: &SubscriptionsQuery,
) -> SubscriptionsPage {
    let mut first = FirstEntries::of(&query.part);
    let mut take = |client: &Arc<Client>| {
        client.for_each_subscription(|filter, subscription| {
            let filter = filter.to_string();
            let key = SubscriptionsQuery::key(client.id(), &filter);
            if query.filter.as_ref().is_none_or(|wanted| *wanted == filter) && first.admits(&key) {
                let view = SubscriptionView {
                    client: client.id().to_owned(),
                    filter,
                    node: node.to_owned(),
                    qos: subscription.qos as u8,
                    no_local: subscription.no_local,
                    retain_as_published: subscription.retain_as_published,
                    identifier: subscription.identifier.map(Into::into),
                };
                first.insert(key, view);
            }
        });
        first.flow()
    };
    // The page before may have ended among the subscriptions of a client.
    let after = query.part.after.as_deref().and_then(SubscriptionsQuery::client_of);
    match query.client.as_deref().or(after).and_then(|id| broker.client(id)) {
        Some(client) if take(&client).is_break() => {}
        _ if query.client.is_some() => {}
        _ => roll.walk(
            &ClientsQuery::default(),
            after,
            || broker.clients(),
            |_| true,
            // It may have a new session by now.
            |client| match broker.client(client.id()) {
                Some(client) => take(&client),
                None => ControlFlow::Continue(()),
            },
        ),
    }
    first.into()
}

fn view(client: &Client, node: &str) -> Option<ClientView> {
    let summary = client.summary()?;
    let ClientSummary { id, username, connected, connection, .. } = summary;
    let peer = connection.as_ref().and_then(|connection| connection.peer);
    let listener = connection.as_ref().and_then(|connection| connection.listener);
    let since_ms = connection.as_ref().map(|connection| connection.since_ms);
    Some(ClientView {
        client: id,
        node: node.to_owned(),
        username,
        connected,
        address: peer.map(|peer| peer.to_string()),
        listener: listener.map(str::to_owned),
        protocol: connection.as_ref().map(|connection| protocol(connection.version).to_owned()),
        clean_start: connection.as_ref().map(|connection| connection.clean_start),
        keep_alive_secs: connection.as_ref().map(|connection| connection.keep_alive_secs),
        connected_ms: since_ms.filter(|_| connected),
        disconnected_ms: since_ms.filter(|_| !connected),
        session_expiry_secs: summary.expiry.as_secs(),
        subscriptions: summary.subscriptions as u64,
        inflight: summary.inflight as u64,
        queued: summary.queued as u64,
        unacknowledged: summary.unacknowledged as u64,
        will: summary.has_will,
    })
}

fn protocol(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::V310 => "3.1",
        ProtocolVersion::V311 => "3.1.1",
        ProtocolVersion::V500 => "5.0",
    }
}
