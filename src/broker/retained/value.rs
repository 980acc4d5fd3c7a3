//! A retained message as the value of its topic in the replicated set.
//!
//! The bytes are the same on all nodes, so they say how long the message lives, counted from the stamp of its entry, and not
//! how long is left.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rumormq_gossip::Entry;
use serde::{Deserialize, Serialize};

use crate::codec::packet::QoS;
use crate::message::{Application, CarriedProperties, SHARED_PAYLOAD_MIN, remaining_expiry_secs};
use crate::topic::Topic;

/// What comes before the payload, which is the rest.
#[derive(Debug, Serialize, Deserialize)]
struct Head<'a> {
    qos: u8,
    /// Message Expiry Interval of the publish.
    lifetime_secs: Option<u32>,
    #[serde(borrow)]
    properties: Option<CarriedProperties<'a>>,
}

/// The value that says so.
pub fn write(application: &Application<'_>, now: Instant) -> Vec<u8> {
    let head = Head {
        qos: application.qos as u8,
        lifetime_secs: remaining_expiry_secs(application.expires_at, now),
        properties: CarriedProperties::of(application.properties),
    };
    // Writing to memory what serde can express does not fail.
    let mut value = postcard::to_stdvec(&head).unwrap_or_default();
    value.extend_from_slice(application.payload);
    value
}

/// An entry whose value was looked at.
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a> {
    /// Where it was published.
    pub topic: Topic<'a>,
    /// QoS of the publish.
    pub qos: QoS,
    /// How long it lives, from its stamp on.
    pub lifetime: Option<Duration>,
    /// Bytes of the payload.
    pub payload_len: usize,
    /// When it was published, in milliseconds since 1970.
    pub published_ms: u64,
}

/// What the entry is about; none where its topic was cleared, or where a peer has sent what is no message.
pub fn summary(entry: &Entry) -> Option<Summary<'_>> {
    let (head, payload) = split(entry)?;
    Some(Summary {
        topic: topic(entry)?,
        qos: qos(head.qos)?,
        lifetime: head.lifetime_secs.map(|secs| Duration::from_secs(secs.into())),
        payload_len: payload.len(),
        published_ms: entry.stamp().ms(),
    })
}

/// Calls `deliver` with the message. Nothing is copied: a large payload shares the entry's bytes.
pub fn with_application<R>(
    entry: &Entry,
    expires_at: Option<Instant>,
    deliver: impl FnOnce(&Application<'_>) -> R,
) -> Option<R> {
    let (head, payload) = split(entry)?;
    let properties = CarriedProperties::read(head.properties).ok()?;
    let shared = (payload.len() >= SHARED_PAYLOAD_MIN).then(|| {
        let value = Bytes::from_owner(Value(entry.clone()));
        value.slice(value.len() - payload.len()..)
    });
    Some(deliver(&Application {
        topic: topic(entry)?,
        payload: shared.as_deref().unwrap_or(payload),
        backing: shared.as_ref(),
        qos: qos(head.qos)?,
        retain: true,
        properties: &properties,
        expires_at,
    }))
}

/// Keeps the entry's bytes for as long as a payload in them is needed.
struct Value(Entry);

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self.0.value().unwrap_or_default()
    }
}

/// The topic of an entry, be it cleared.
pub fn topic(entry: &Entry) -> Option<Topic<'_>> {
    Topic::new(std::str::from_utf8(entry.key()).ok()?).ok()
}

fn split(entry: &Entry) -> Option<(Head<'_>, &[u8])> {
    postcard::take_from_bytes(entry.value()?).ok()
}

fn qos(byte: u8) -> Option<QoS> {
    [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].into_iter().find(|qos| *qos as u8 == byte)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use rumormq_gossip::Stamp;

    use super::*;
    use crate::codec::packet::PropertySet;

    proptest! {
        #[test]
        fn a_message_comes_out_as_it_went_in(
            name in "[a-z/]{1,20}", len in prop_oneof![1..50usize, 2000..2100usize], byte in any::<u8>(),
            number in 0..3u8, lifetime in option::of(0..100_000u32), content_type in option::of("[a-z]{0,9}"),
            user in vec(("[a-z]{0,5}", "[a-z]{0,5}"), 0..3),
        ) {
            let now = Instant::now();
            let payload = vec![byte; len];
            let set = PropertySet {
                content_type: content_type.as_deref(),
                user_properties: user.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
                ..PropertySet::EMPTY
            };
            let lifetime = lifetime.map(|secs| Duration::from_secs(secs.into()));
            let application = Application {
                topic: Topic::new(&name).unwrap(),
                payload: &payload,
                backing: None,
                qos: qos(number).unwrap(),
                retain: true,
                properties: &set,
                expires_at: lifetime.map(|lifetime| now + lifetime),
            };
            let entry = Entry::new(name.as_bytes(), Some(&write(&application, now)), Stamp(1));
            let summary = summary(&entry).unwrap();
            prop_assert_eq!((summary.topic, summary.qos), (application.topic, application.qos));
            prop_assert_eq!((summary.lifetime, summary.payload_len), (lifetime, len));
            with_application(&entry, application.expires_at, |read| {
                assert_eq!((read.topic, read.payload, read.qos, read.retain), (application.topic, &payload[..], application.qos, true));
                assert_eq!((read.properties, read.expires_at), (&set, application.expires_at));
                assert_eq!(read.backing.is_some(), len >= SHARED_PAYLOAD_MIN, "large ones are shared");
            }).unwrap();
        }

        #[test]
        fn arbitrary_entries_are_no_panic(key in vec(any::<u8>(), 0..9), value in vec(any::<u8>(), 0..40)) {
            let entry = Entry::new(&key, Some(&value), Stamp(1));
            let _ = summary(&entry);
            let _ = with_application(&entry, None, |_| ());
        }
    }
}
