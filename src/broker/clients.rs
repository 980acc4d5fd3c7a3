//! What operators see of the clients, and how they get rid of one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Broker;
use super::batch::Batch;
use super::client::{Client, Close};
use super::session_record::ConnectionRecord;
use crate::router::Subscription;
use crate::topic::SubscriptionFilter;

/// A client's session at one moment.
#[derive(Clone, Debug)]
pub struct ClientSummary {
    /// The client identifier.
    pub id: String,
    /// The user name that it has proved.
    pub username: Option<String>,
    /// Whether a connection is open.
    pub connected: bool,
    /// That connection, or the last one; none where the session came from another node and has had none here.
    pub connection: Option<ConnectionRecord>,
    /// How long the session outlives its connection.
    pub expiry: Duration,
    /// How many it has.
    pub subscriptions: usize,
    /// Messages sent to it and not acknowledged.
    pub inflight: usize,
    /// Messages that wait for it.
    pub queued: usize,
    /// Its own publishes that are not acknowledged yet.
    pub unacknowledged: usize,
    /// Whether a will is published if the connection is lost.
    pub has_will: bool,
}

/// What becomes of the session of a client that is kicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kick {
    /// It ends.
    Session,
    /// It stays, as after any other loss of the connection.
    Connection,
}

impl Broker {
    /// All clients with a session here, in no order.
    pub fn clients(&self) -> impl Iterator<Item = Arc<Client>> {
        self.registry.clients()
    }

    /// The client of this identifier, if it has a session here.
    pub fn client(&self, id: &str) -> Option<Arc<Client>> {
        self.registry.find(id)
    }

    /// Ends the connection of a client, and its session too if it is to. Its will is published. False where there is no such
    /// session, or no connection to end.
    pub fn kick(&self, id: &str, kick: Kick) -> bool {
        let Some(client) = self.registry.find(id) else { return false };
        let mut state = client.lock();
        if state.record.ended || state.record.shipped {
            return false;
        }
        match kick {
            Kick::Connection => match &state.attachment {
                None => return false,
                Some(attachment) => attachment.signal.close(Close::Kicked { between_frames: true }),
            },
            Kick::Session => {
                let mut batch = Batch::new(Instant::now());
                state.kick();
                self.end_session(&client, state, &mut batch);
                batch.flush();
                batch.report(&self.metrics);
            }
        }
        tracing::info!(client = id, ?kick, "an operator has kicked a client");
        true
    }
}

impl Client {
    /// Its session now; none where that is over, or has moved to another node.
    pub fn summary(&self) -> Option<ClientSummary> {
        let state = self.lock();
        let record = &state.record;
        (!record.ended && !record.shipped).then(|| ClientSummary {
            id: self.id().to_owned(),
            username: record.identity.username().map(str::to_owned),
            connected: state.attachment.is_some(),
            connection: record.connection.as_deref().cloned(),
            expiry: record.expiry,
            subscriptions: record.subscriptions.len(),
            inflight: state.session.inflight(),
            queued: state.session.queued(),
            unacknowledged: state.session.unacknowledged(),
            has_will: record.will.is_some(),
        })
    }

    /// Calls `visit` with each of its subscriptions, in no order, under its lock: what is not wanted should not be copied.
    pub fn for_each_subscription(&self, mut visit: impl FnMut(&SubscriptionFilter, &Subscription)) {
        let state = self.lock();
        if !state.record.ended && !state.record.shipped {
            state.record.subscriptions.iter().for_each(|(filter, subscription)| visit(filter, subscription));
        }
    }
}
