//! What happens to clients, as EMQX tells it: `$SYS/brokers/NODE/clients/CLIENTID/connected` and its like, in JSON.
//!
//! Costs one look at a counter where nobody in the cluster subscribes to anything below `$SYS`. A client whose identifier
//! cannot be part of a topic name (it has a `+` or `#`) has no such topics.

use std::net::SocketAddr;
use std::time::Instant;

use serde_json::{Value, json};

use crate::access::Identity;
use crate::broker::Broker;
use crate::broker::batch::Batch;
use crate::broker::client::Client;
use crate::cluster::wall_clock_ms;
use crate::codec::packet::{Connect, ProtocolVersion};
use crate::topic::SubscriptionFilter;

impl Broker {
    /// A client has connected.
    pub(in crate::broker) fn announce_connected(
        &self,
        client_id: &str,
        identity: &Identity,
        peer: Option<SocketAddr>,
        connect: &Connect<'_>,
        expiry_secs: u64,
        batch: &mut Batch,
    ) {
        self.announce(client_id, "connected", batch, || {
            let (name, version) = protocol(connect.version);
            json!({
                "clientid": client_id,
                "username": identity.username(),
                "ipaddress": peer.map(|peer| peer.ip().to_canonical().to_string()),
                "protocol": "mqtt",
                "proto_name": name,
                "proto_ver": version,
                "keepalive": connect.keep_alive_secs,
                "clean_start": connect.clean_start,
                "expiry_interval": expiry_secs,
                "connack": 0,
                "connected_at": wall_clock_ms(),
                "ts": wall_clock_ms(),
            })
        });
    }

    /// A client's connection has ended.
    pub(in crate::broker) fn announce_disconnected(
        &self,
        client_id: &str,
        identity: &Identity,
        reason: &str,
        batch: &mut Batch,
    ) {
        self.announce(client_id, "disconnected", batch, || {
            json!({
                "clientid": client_id,
                "username": identity.username(),
                "protocol": "mqtt",
                "reason": reason,
                "disconnected_at": wall_clock_ms(),
                "ts": wall_clock_ms(),
            })
        });
    }

    /// A client has subscribed to these, or unsubscribed from them.
    pub(in crate::broker) fn announce_subscriptions(
        &self,
        client: &Client,
        filters: &[SubscriptionFilter],
        now: Instant,
    ) {
        if self.system.interval.is_zero() || !self.router.has_system_filters() {
            return;
        }
        let mut batch = Batch::new(now);
        for filter in filters {
            let state = client.lock();
            let subscription = state.record.subscriptions.get(filter).copied();
            let identity = state.record.identity.clone();
            drop(state);
            let event = if subscription.is_some() { "subscribed" } else { "unsubscribed" };
            self.announce(client.id(), event, &mut batch, || {
                let mut payload = json!({
                    "clientid": client.id(),
                    "username": identity.username(),
                    "protocol": "mqtt",
                    "topic": filter.to_string(),
                    "ts": wall_clock_ms(),
                });
                if let Some(subscription) = subscription {
                    payload["subopts"] = json!({
                        "qos": subscription.qos as u8,
                        "nl": u8::from(subscription.no_local),
                        "rap": u8::from(subscription.retain_as_published),
                    });
                }
                payload
            });
        }
        batch.flush();
        batch.report(&self.metrics);
    }

    fn announce(&self, client_id: &str, event: &str, batch: &mut Batch, payload: impl FnOnce() -> Value) {
        if self.system.interval.is_zero() || !self.router.has_system_filters() {
            return;
        }
        let topic = format!("$SYS/brokers/{}/clients/{client_id}/{event}", self.node_name());
        self.say(&topic, &payload().to_string(), batch, |application, batch| {
            let matches = self.router.matches(application.topic, None);
            self.publish(application, &matches, None, None, None, batch);
        });
    }
}

fn protocol(version: ProtocolVersion) -> (&'static str, u8) {
    let name = if version == ProtocolVersion::V310 { "MQIsdp" } else { "MQTT" };
    (name, version as u8)
}
