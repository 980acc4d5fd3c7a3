//! What the broker keeps about a session beside its protocol state. Boxed: it is read when a client connects,
//! subscribes or leaves, not per message.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::owed_retained::OwedRetained;
use super::timers::TimerKey;
use crate::access::Identity;
use crate::codec::packet::{Connect, ProtocolVersion, QoS, ReasonCode, Will};
use crate::message::{Application, Message};
use crate::router::Subscription;
use crate::topic::SubscriptionFilter;

/// One session's subscriptions, will and lifetime.
#[derive(Debug, Default)]
pub struct SessionRecord {
    /// Who opened the present connection, or the last one.
    pub identity: Identity,
    /// By topic filter, and share group if it is a shared one.
    pub subscriptions: HashMap<SubscriptionFilter, Subscription>,
    /// Retained messages still to be sent to new subscriptions.
    pub owed_retained: OwedRetained,
    /// Published if the connection is lost.
    pub will: Option<Box<PendingWill>>,
    /// What operators are shown of the present connection, or the last one.
    pub connection: Option<Box<ConnectionRecord>>,
    /// How long the session outlives its connection.
    pub expiry: Duration,
    /// Ends the session.
    pub expiry_timer: Option<TimerKey>,
    /// Publishes the will.
    pub will_timer: Option<TimerKey>,
    /// When the will would be published that another node may have by now, with the session.
    pub will_due: Option<Instant>,
    /// The session is being handed over to another node.
    pub departs: bool,
    /// The session is being handed over to another node, and its state is on its way: what comes now for a group of which it
    /// is a member would be left behind.
    pub shipped: bool,
    /// What it holds has been sent to another node, which may have it.
    pub was_shipped: bool,
    /// The session is over; whoever still holds it must not use it.
    pub ended: bool,
    /// The client's other sessions.
    pub lineage: Lineage,
}

/// What tells a session from others of the client, that it has had on nodes which could not be reached.
#[derive(Clone, Debug, Default)]
pub struct Lineage {
    /// The stamp of the claim with which the client was last told that it has no session; none where that is not known.
    pub began: Option<u64>,
    /// The client may not have been told: it has not subscribed since.
    pub unconfirmed: bool,
    /// What it has unsubscribed from since it may have another one, in which it has not.
    pub unsubscribed: HashSet<SubscriptionFilter>,
}

/// A connection, as operators are shown it.
#[derive(Clone, Debug)]
pub struct ConnectionRecord {
    /// The client's address; of a part of the node, none.
    pub peer: Option<SocketAddr>,
    /// The setting that its listener is named by.
    pub listener: Option<&'static str>,
    /// The protocol version spoken.
    pub version: ProtocolVersion,
    /// Whether it began with a new session.
    pub clean_start: bool,
    /// What was granted; 0 is none.
    pub keep_alive_secs: u16,
    /// When it opened or, if it is over, ended: in milliseconds since 1970.
    pub since_ms: u64,
}

/// A will that waits for its occasion.
#[derive(Debug)]
pub struct PendingWill {
    /// What is published.
    pub message: Message,
    /// Message Expiry Interval, which begins when it is published.
    pub expiry_secs: Option<u32>,
    /// Will Delay Interval.
    pub delay: Duration,
}

impl PendingWill {
    /// The will of a CONNECT.
    pub fn of(will: &Will<'_>) -> PendingWill {
        let application = Application {
            topic: will.topic,
            payload: will.payload,
            backing: None,
            qos: will.qos,
            retain: will.retain,
            properties: &will.properties,
            expires_at: None,
        };
        PendingWill {
            message: application.to_message(),
            expiry_secs: will.properties.message_expiry_interval_secs,
            delay: Duration::from_secs(will.properties.will_delay_interval_secs.unwrap_or(0).into()),
        }
    }

    /// The message to publish at `now`, when its expiry begins to run.
    pub fn into_message(self, now: Instant) -> Message {
        let mut message = self.message;
        message.expires_at = self.expiry_secs.map(|secs| now + Duration::from_secs(secs.into()));
        message
    }
}

impl Lineage {
    /// So many unsubscriptions are noted.
    pub const UNSUBSCRIBED_MAX: usize = 1000;

    /// The client has unsubscribed.
    pub fn note_unsubscribed(&mut self, filter: &SubscriptionFilter) {
        if self.unsubscribed.len() < Lineage::UNSUBSCRIBED_MAX {
            self.unsubscribed.insert(filter.clone());
        }
    }

    /// Whether the client knew of no session older than this one when it last had that one, with the claim `other`: then it takes
    /// what it has asked for there for granted here.
    pub fn goes_on_from(&self, other: u64) -> bool {
        self.began.is_some_and(|began| other > began)
    }
}

impl SessionRecord {
    /// Whether the client, if it has not, can be told that it has no session: nothing of it would be missed.
    pub fn is_unconfirmed(&self) -> bool {
        self.lineage.unconfirmed
    }

    /// The record of a session that `connect` opens.
    pub fn handle_connect(&mut self, connect: &Connect<'_>, identity: Identity, expiry: Duration) {
        self.identity = identity;
        self.will = connect.will.as_ref().map(|will| Box::new(PendingWill::of(will)));
        self.expiry = expiry;
    }
}

/// The QoS granted where `requested` was asked for: all are.
pub fn granted(requested: QoS) -> ReasonCode {
    match requested {
        QoS::AtMostOnce => ReasonCode::Success,
        QoS::AtLeastOnce => ReasonCode::GrantedQoS1,
        QoS::ExactlyOnce => ReasonCode::GrantedQoS2,
    }
}
