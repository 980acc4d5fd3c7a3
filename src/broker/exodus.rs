//! A node that is drained: its clients are told where to go, and its sessions are offered to other nodes.
//!
//! What is decided here is about one client at a time. The pace, and when it is over, is for whoever drains the node.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use super::Broker;
use super::client::{Client, Close};
use crate::cluster::takeover::{Refuge, refuge_of};
use crate::codec::packet::ReasonCode;

/// Where clients are sent while the node is drained.
#[derive(Debug, Default)]
pub struct Exodus {
    /// Whether it is.
    on: AtomicBool,
    /// Held for one look-up.
    refuges: RwLock<Arc<[Refuge]>>,
}

/// Where a client is that has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// It is connected.
    Here,
    /// It is not, and its session is here.
    Away,
    /// Its session has gone to another node.
    Moved,
    /// Its session is over.
    Over,
}

impl Broker {
    /// From now on clients that want to connect are sent to these nodes, as are those that have to go.
    pub fn send_elsewhere(&self, refuges: Vec<Refuge>) {
        *self.exodus.refuges.write() = refuges.into();
        self.exodus.on.store(true, Ordering::Release);
    }

    /// Whether clients are sent elsewhere.
    pub fn sends_elsewhere(&self) -> bool {
        self.exodus.on.load(Ordering::Acquire)
    }

    /// What a client is told that has to go elsewhere: `otherwise`, where there is nowhere to send it.
    pub fn reason_to_go(&self, otherwise: ReasonCode) -> ReasonCode {
        match self.sends_elsewhere() {
            true => ReasonCode::UseAnotherServer,
            false => self.limits().capabilities.reason_to_go(otherwise),
        }
    }

    /// The same where this server will not come back.
    pub fn reason_to_move(&self, otherwise: ReasonCode) -> ReasonCode {
        match self.sends_elsewhere() {
            true => ReasonCode::ServerMoved,
            false => self.limits().capabilities.reason_to_move(otherwise),
        }
    }

    /// The server that goes with a reason code, for a client, as far as it is known: the one that the operator names, or while the
    /// node is drained another node, for those who connect as its address says: by `plain` TCP.
    pub fn server_reference(&self, reason: ReasonCode, client: Option<&str>, plain: bool) -> Option<String> {
        if !matches!(reason, ReasonCode::UseAnotherServer | ReasonCode::ServerMoved) {
            return None;
        }
        match &self.limits().capabilities.server_reference {
            Some(reference) => Some(reference.to_string()),
            None => self.address_elsewhere(client).filter(|_| plain),
        }
    }

    /// Where plain TCP clients find the node that takes this one; of one that is not known yet, any of them.
    fn address_elsewhere(&self, client: Option<&str>) -> Option<String> {
        let refuges = self.exodus.refuges.read().clone();
        let random;
        let client = match client {
            Some(client) => client,
            None => {
                random = getrandom::u64().unwrap_or_default().to_string();
                &random
            }
        };
        refuge_of(&refuges, client)?.mqtt.clone()
    }

    /// Clients with a session here, connected or not, in no order. Those that are parts of the node stay with it.
    pub fn residents(&self) -> Vec<Arc<Client>> {
        let clients = self.registry.clients();
        clients.filter(|client| !client.lock().record.identity.is_node()).collect()
    }

    /// Where the client is.
    pub fn whereabouts(&self, client: &Client) -> Whereabouts {
        let state = client.lock();
        match (state.record.ended, state.record.shipped, &state.attachment) {
            (true, true, _) => Whereabouts::Moved,
            (true, false, _) => Whereabouts::Over,
            (false, _, Some(_)) => Whereabouts::Here,
            (false, _, None) => Whereabouts::Away,
        }
    }

    /// Has a client that is connected go elsewhere.
    pub fn send_off(&self, client: &Client) {
        if let Some(attachment) = &client.lock().attachment {
            attachment.signal.close(Close::Leaving);
        }
    }

    /// Offers the session of a client that is not connected to the node that takes it.
    pub fn offer_session(&self, client: &Client, refuges: &[Refuge]) {
        if let Some((cluster, refuge)) = self.cluster.get().zip(refuge_of(refuges, client.id())) {
            cluster.offer_session(refuge, client.id());
        }
    }
}
