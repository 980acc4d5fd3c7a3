//! Sessions in the form in which they go from node to node. What a version has added stands at the end of each part, where
//! those before it do not look.

use std::time::{Duration, Instant};

use rumormq_gossip::Stamp;
use serde::{Deserialize, Serialize};

use super::session_record::{Lineage, PendingWill, SessionRecord};
use crate::access::Identity;
use crate::cluster::host::MalformedSession;
use crate::message::PortableMessage;
use crate::router::Subscription;
use crate::session::portable::SessionState;
use crate::session::succession::SuccessionState;
use crate::topic::{SubscriptionFilter, TopicFilter};

/// What a session's new owner has to know before its state.
#[derive(Debug, Serialize, Deserialize)]
pub struct PortableRecord {
    pub subscriptions: PortableSubscriptions,
    /// Whose retained messages are still to be sent.
    pub owed_retained: Vec<TopicFilter>,
    pub expiry_ms: u64,
    /// Whose it is; nobody else gets it there, either.
    pub username: Option<String>,
    /// Whether it is a part of its node, such as a bridge.
    pub is_node: bool,
}

/// As texts, by which they are parsed again.
pub type PortableSubscriptions = Vec<(String, Subscription)>;

/// Since version 3.
#[derive(Debug, Serialize, Deserialize)]
struct PortableLineage {
    began: Option<u64>,
    unconfirmed: bool,
    unsubscribed: Vec<String>,
}

/// The protocol state of a session.
#[derive(Debug)]
pub struct PortableSession {
    pub state: SessionState,
    /// What it has to know of its former owners. Since version 3.
    pub succession: SuccessionState,
    /// For a node that has a newer session. Since version 3.
    pub rest: Option<PortableRest>,
    /// What is to be published unless the client connects in time. Since version 3.
    pub will: Option<PortableWill>,
}

/// What a newer session of the client may lack.
#[derive(Debug, Serialize, Deserialize)]
pub struct PortableRest {
    /// The stamp of the claim that this one was used with.
    pub claim: u64,
    /// Whose it is.
    pub username: Option<String>,
    /// Whether it is a part of its node, such as a bridge.
    pub is_node: bool,
    pub subscriptions: PortableSubscriptions,
}

/// A will that is to be published unless its client connects before its delay has passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortableWill {
    pub message: PortableMessage,
    /// Message Expiry Interval, which begins when it is published.
    pub expiry_secs: Option<u32>,
    /// Milliseconds of the delay that are left.
    pub delay_ms: u64,
}

impl PortableWill {
    /// What another node needs to publish it when so much of its delay has passed that this is left.
    pub fn of(will: &PendingWill, left: Duration, now: Instant) -> PortableWill {
        PortableWill {
            message: PortableMessage::of(&will.message, now),
            expiry_secs: will.expiry_secs,
            delay_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// The will that another node had. None where it is not one.
    pub fn into_pending(self, now: Instant) -> Option<PendingWill> {
        let message = self.message.into_message(now)?;
        // Without any delay left it is still one that a connect calls off.
        let delay = Duration::from_millis(self.delay_ms.max(1));
        Some(PendingWill { message, expiry_secs: self.expiry_secs, delay })
    }
}

impl PortableRecord {
    /// The record's bytes.
    pub fn write(record: &SessionRecord) -> postcard::Result<Vec<u8>> {
        let Lineage { began, unconfirmed, unsubscribed } = &record.lineage;
        let lineage = PortableLineage {
            began: *began,
            unconfirmed: *unconfirmed,
            unsubscribed: unsubscribed.iter().map(SubscriptionFilter::to_string).collect(),
        };
        let record = PortableRecord {
            subscriptions: texts(record),
            owed_retained: record.owed_retained.filters(),
            expiry_ms: u64::try_from(record.expiry.as_millis()).unwrap_or(u64::MAX),
            username: record.identity.username().map(str::to_owned),
            is_node: record.identity.is_node(),
        };
        postcard::to_extend(&lineage, postcard::to_stdvec(&record)?)
    }

    /// What such bytes say.
    pub fn read(bytes: &[u8]) -> Result<(PortableRecord, Lineage), MalformedSession> {
        let (record, rest) = postcard::take_from_bytes(bytes).map_err(|_| MalformedSession)?;
        if rest.is_empty() {
            return Ok((record, Lineage::default()));
        }
        let PortableLineage { began, unconfirmed, unsubscribed } =
            postcard::from_bytes(rest).map_err(|_| MalformedSession)?;
        let unsubscribed = unsubscribed.iter().take(Lineage::UNSUBSCRIBED_MAX);
        let unsubscribed = unsubscribed.map(|filter| SubscriptionFilter::parse(filter));
        let unsubscribed = unsubscribed.collect::<Result<_, _>>().map_err(|_| MalformedSession)?;
        Ok((record, Lineage { began, unconfirmed, unsubscribed }))
    }
}

impl PortableSession {
    /// The session's bytes.
    pub fn write(&self) -> postcard::Result<Vec<u8>> {
        let bytes = postcard::to_stdvec(&self.state)?;
        let bytes = postcard::to_extend(&self.succession, bytes)?;
        postcard::to_extend(&(&self.rest, &self.will), bytes)
    }

    /// What such bytes say.
    pub fn read(bytes: &[u8]) -> Result<PortableSession, MalformedSession> {
        let malformed = |_| MalformedSession;
        let (state, bytes) = postcard::take_from_bytes(bytes).map_err(malformed)?;
        let (succession, bytes) = match bytes {
            [] => (SuccessionState::default(), bytes),
            _ => postcard::take_from_bytes(bytes).map_err(malformed)?,
        };
        let (rest, will) = match bytes {
            [] => (None, None),
            _ => postcard::from_bytes(bytes).map_err(malformed)?,
        };
        Ok(PortableSession { state, succession, rest, will })
    }
}

impl PortableRest {
    /// Of a session that was used with that claim.
    pub fn of(record: &SessionRecord, claim: Stamp) -> PortableRest {
        PortableRest {
            claim: claim.0,
            username: record.identity.username().map(str::to_owned),
            is_node: record.identity.is_node(),
            subscriptions: texts(record),
        }
    }
}

/// Whose session it is, as the other node has written it.
pub fn identity(username: Option<String>, is_node: bool) -> Identity {
    match username {
        Some(name) => Identity::user(name.into()),
        None if is_node => Identity::NODE,
        None => Identity::ANONYMOUS,
    }
}

fn texts(record: &SessionRecord) -> PortableSubscriptions {
    record.subscriptions.iter().map(|(filter, with)| (filter.to_string(), *with)).collect()
}

/// The subscriptions again.
pub fn subscriptions(
    texts: PortableSubscriptions,
) -> Result<Vec<(SubscriptionFilter, Subscription)>, MalformedSession> {
    let parsed = texts.into_iter().map(|(text, with)| Ok((SubscriptionFilter::parse(&text)?, with)));
    parsed.collect::<Result<_, crate::topic::FilterError>>().map_err(|_| MalformedSession)
}
