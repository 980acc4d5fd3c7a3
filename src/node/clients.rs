//! The clients of a node, as its HTTP API shows them.

use crate::admin::view::{ClientView, ClientsPage, SubscriptionView, SubscriptionsPage};
use crate::admin::{ClientsQuery, FirstEntries, SubscriptionsQuery};
use crate::broker::client::Client;
use crate::broker::{Broker, ClientSummary};
use crate::codec::packet::ProtocolVersion;

/// One page of the clients of `node`. It looks at each of their names.
pub(super) fn list(broker: &Broker, node: &str, query: &ClientsQuery) -> ClientsPage {
    let mut first = FirstEntries::of(&query.part);
    for client in broker.clients() {
        let id = client.id();
        let wanted = query.prefix.as_deref().is_none_or(|prefix| id.starts_with(prefix));
        if !wanted || !first.admits(id) {
            continue;
        }
        let Some(view) = view(&client, node) else { continue };
        let is_users = query.username.as_ref().is_none_or(|name| view.username.as_ref() == Some(name));
        if is_users && query.connected.is_none_or(|connected| connected == view.connected) {
            first.insert(view.client.clone(), view);
        }
    }
    first.into()
}

/// One client of `node`.
pub(super) fn find(broker: &Broker, node: &str, id: &str) -> Option<ClientView> {
    broker.client(id).and_then(|client| view(&client, node))
}

/// One page of the subscriptions of these clients.
pub(super) fn subscriptions(broker: &Broker, node: &str, query: &SubscriptionsQuery) -> SubscriptionsPage {
    let mut first = FirstEntries::of(&query.part);
    let clients = match &query.client {
        Some(id) => broker.client(id).into_iter().collect(),
        None => broker.clients(),
    };
    for client in clients {
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
