//! The frames that carry forwards and their acknowledgements.

use std::sync::Arc;
use std::time::Instant;

use rumormq_gossip::Stamp;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::cluster::link::frame::{self, FrameError};
use crate::cluster::link::kind;
use crate::codec::packet::QoS;
use crate::message::{Application, CarriedProperties, Message, remaining_expiry_secs};
use crate::topic::{SubscriptionFilter, Topic};

/// What comes before the payload in a forward. The payload is the rest of the frame.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Head<'a> {
    /// Place in the stream; 0 for QoS 0, which has none.
    sequence: u64,
    publication: Publication,
    qos: u8,
    retain: bool,
    expiry_secs: Option<u32>,
    topic: &'a str,
    #[serde(borrow)]
    properties: Option<CarriedProperties<'a>>,
    /// It is for `shares` alone: plain subscribers had it before.
    only_shares: bool,
    /// The shared subscriptions for each of which the receiver chooses a member.
    #[serde(borrow)]
    shares: Vec<ForwardedShare<'a>>,
}

/// One message for one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardedShare<'a> {
    /// The group's name.
    pub name: &'a str,
    /// Its topic filter.
    pub filter: &'a str,
    /// See [`Choice::key`](crate::router::Choice::key).
    pub key: u64,
    /// The origin's number for its copy; 0 where it keeps none.
    pub claim: u64,
}

/// What a forward is for besides plain subscribers.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    /// It is for these alone.
    pub only: bool,
    /// The shared subscriptions.
    pub list: SmallVec<[Share; 1]>,
    /// One client.
    pub stray: Option<StrayAddress>,
}

/// The client that a publish of another replica is for, passed on by the node that its session has moved from.
#[derive(Clone, Debug)]
pub struct StrayAddress {
    /// The client identifier.
    pub client: Box<str>,
    /// See [`PublishId::origin`](crate::message::PublishId::origin); the number is the publication's.
    pub origin: u64,
    /// The former owner that it was for, as [`origin_of`](crate::cluster::origin_of) names it.
    pub former: u64,
}

/// The same as a [`ForwardedShare`], to be kept.
#[derive(Clone, Debug)]
pub struct Share {
    /// The group.
    pub share: Arc<SubscriptionFilter>,
    /// See [`ForwardedShare::key`].
    pub key: u64,
    /// See [`ForwardedShare::claim`].
    pub claim: u64,
}

/// What a forward's receiver is to do with it.
#[derive(Clone, Copy, Debug)]
pub struct Addressees<'a> {
    /// Its plain subscribers get it.
    pub plain: bool,
    /// So does one member of each of these.
    pub shares: &'a [ForwardedShare<'a>],
    /// Or it is a publish of another origin, for one client alone.
    pub stray: Option<AddressedStray<'a>>,
}

/// The same as a [`StrayAddress`], as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressedStray<'a> {
    /// See [`StrayAddress::client`].
    pub client: &'a str,
    /// See [`StrayAddress::origin`].
    pub origin: u64,
    /// See [`StrayAddress::former`].
    pub former: u64,
}

/// Acknowledges every forward of the stream up to `sequence`: the destination's sessions have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardAck {
    /// The last one received without a gap.
    pub sequence: u64,
}

/// Forwards of the stream up to `to` will not come: the origin has dropped them, or was told that they arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardSkip {
    /// The last one that will not come.
    pub to: u64,
}

/// The peer sent a forward that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer sent a malformed forward")]
pub struct MalformedForward;

/// A publish in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// Counts the publishes of the origin replica: with it, the name of this publish.
    pub number: u64,
    /// What a retained message got where it was published.
    pub retained: Option<Stamp>,
}

/// A publish within a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Place in the stream; 0 for QoS 0.
    pub sequence: u64,
    /// Which publish.
    pub publication: Publication,
}

impl Shares {
    /// A client stands there as a group without a name, of which version 1 knows no members.
    fn forwarded(&self) -> Vec<ForwardedShare<'_>> {
        let stray = self.stray.iter().map(|stray| ForwardedShare {
            name: "",
            filter: &stray.client,
            key: stray.origin,
            claim: stray.former,
        });
        self.list.iter().filter_map(Share::forwarded).chain(stray).collect()
    }
}

impl Share {
    fn forwarded(&self) -> Option<ForwardedShare<'_>> {
        let name = self.share.share.as_ref()?.as_str();
        Some(ForwardedShare { name, filter: self.share.filter.as_str(), key: self.key, claim: self.claim })
    }
}

/// Appends a forward.
pub fn append(
    out: &mut Vec<u8>,
    place: Place,
    application: &Application<'_>,
    shares: Option<&Shares>,
    now: Instant,
) -> Result<(), FrameError> {
    let head = Head {
        only_shares: shares.is_some_and(|shares| shares.only),
        shares: shares.map_or(Vec::new(), Shares::forwarded),
        sequence: place.sequence,
        publication: place.publication,
        qos: application.qos as u8,
        retain: application.retain,
        expiry_secs: remaining_expiry_secs(application.expires_at, now),
        topic: application.topic.as_str(),
        properties: CarriedProperties::of(application.properties),
    };
    frame::append(out, kind::FORWARD, false, |out| {
        append_postcard(out, &head);
        out.extend_from_slice(application.payload);
    })
}

/// Appends a message that is kept in a stream.
pub fn append_message(
    out: &mut Vec<u8>,
    place: Place,
    message: &Message,
    shares: Option<&Shares>,
    now: Instant,
) -> Result<(), FrameError> {
    message.with_application(|application| append(out, place, application, shares, now)).unwrap_or(Ok(()))
}

/// Appends a small frame.
pub fn append_small(out: &mut Vec<u8>, kind: u8, body: &impl Serialize) {
    // It cannot exceed the limit of a frame.
    let _ = frame::append(out, kind, false, |out| append_postcard(out, body));
}

/// The same with a frame that peers pass over if they do not know its type.
pub fn append_skippable(out: &mut Vec<u8>, kind: u8, body: &impl Serialize) {
    let _ = frame::append(out, kind, true, |out| append_postcard(out, body));
}

fn append_postcard(out: &mut Vec<u8>, value: &impl Serialize) {
    // Writing to memory what serde can express does not fail.
    let _ = postcard::to_extend(value, Tail(out));
}

/// The end of a buffer.
struct Tail<'a>(&'a mut Vec<u8>);

impl Extend<u8> for Tail<'_> {
    fn extend<T: IntoIterator<Item = u8>>(&mut self, bytes: T) {
        self.0.extend(bytes);
    }
}

/// Calls `deliver` with the forward that `body` is.
pub fn read<R>(
    body: &[u8],
    now: Instant,
    deliver: impl FnOnce(Place, &Application<'_>, Addressees<'_>) -> R,
) -> Result<R, MalformedForward> {
    let (head, payload) = postcard::take_from_bytes::<Head<'_>>(body).map_err(|_| MalformedForward)?;
    let qos = match head.qos {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        2 => QoS::ExactlyOnce,
        _ => return Err(MalformedForward),
    };
    if (qos == QoS::AtMostOnce) != (head.sequence == 0) {
        return Err(MalformedForward);
    }
    let properties = CarriedProperties::read(head.properties).map_err(|_| MalformedForward)?;
    let application = Application {
        topic: Topic::new(head.topic).map_err(|_| MalformedForward)?,
        payload,
        backing: None,
        qos,
        retain: head.retain,
        properties: &properties,
        expires_at: head.expiry_secs.map(|secs| now + std::time::Duration::from_secs(secs.into())),
    };
    let stray = head.shares.last().filter(|share| share.name.is_empty());
    let shares = &head.shares[..head.shares.len() - usize::from(stray.is_some())];
    let stray =
        stray.map(|stray| AddressedStray { client: stray.filter, origin: stray.key, former: stray.claim });
    let addressees = Addressees { plain: !head.only_shares, shares, stray };
    Ok(deliver(Place { sequence: head.sequence, publication: head.publication }, &application, addressees))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::cluster::link::frame::Frame;
    use crate::codec::packet::PropertySet;

    /// What version 1 of the protocol writes. The payload is behind the head, which therefore never gets another field.
    #[test]
    fn a_forward_of_version_1_is_what_it_was() {
        let publication = Publication { number: 300, retained: Some(Stamp(9)) };
        let set = PropertySet { content_type: Some("t"), ..PropertySet::EMPTY };
        let now = Instant::now();
        let application = Application {
            topic: Topic::new("a/b").unwrap(),
            payload: b"xyz",
            backing: None,
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: &set,
            expires_at: None,
        };
        let share = Arc::new(SubscriptionFilter::parse("$share/g/a/+").unwrap());
        let list = [Share { share, key: 4, claim: 5 }].into_iter().collect();
        let shares = Shares { only: true, list, stray: None };
        let mut out = Vec::new();
        append(&mut out, Place { sequence: 2, publication }, &application, Some(&shares), now).unwrap();
        let head = *b"!\0\0\0\x05\0\x02\xac\x02\x01\x09\x01\x01\0\x03a/b\x01\0\x01\x01t\0\0\0\x01\x01\x01g\x03a/+\x04\x05";
        assert_eq!(out, [&head[..], b"xyz"].concat());
    }

    proptest! {
        #[test]
        fn a_forward_comes_out_as_it_went_in(
            topic in "[a-z/]{1,20}", payload in vec(any::<u8>(), 0..100), qos in 0..3u8, retain in any::<bool>(),
            sequence in 1..u64::MAX, number in any::<u64>(), retained in option::of(any::<u64>().prop_map(Stamp)), expiry_secs in option::of(1..100_000u32),
            content_type in option::of("[a-z]{0,9}"), correlation in option::of(vec(any::<u8>(), 0..9)),
            stray in option::of(("[a-z]{0,5}", any::<u64>(), any::<u64>())),
            groups in vec(("[a-z]{1,5}", any::<u64>(), any::<u64>()), 0..4),
            user in vec(("[a-z]{0,5}", "[a-z]{0,5}"), 0..4),
        ) {
            let now = Instant::now();
            let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(qos)];
            let set = PropertySet {
                content_type: content_type.as_deref(),
                correlation_data: correlation.as_deref(),
                user_properties: user.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
                ..PropertySet::EMPTY
            };
            let application = Application {
                topic: Topic::new(&topic).expect("a valid topic"),
                payload: &payload,
                backing: None,
                qos,
                retain,
                properties: &set,
                expires_at: expiry_secs.map(|secs| now + std::time::Duration::from_secs(secs.into())),
            };
            let publication = Publication { number, retained };
            let sequence = if qos == QoS::AtMostOnce { 0 } else { sequence };
            let mut out = Vec::new();
            let shares: Option<Shares> = (!groups.is_empty()).then(|| Shares {
                stray: stray.clone().map(|(client, origin, former)| StrayAddress { client: client.into(), origin, former }),
                only: retain,
                list: groups.iter().map(|(name, key, claim)| Share {
                    share: Arc::new(SubscriptionFilter::parse(&format!("$share/{name}/a/+")).expect("a filter")),
                    key: *key,
                    claim: *claim,
                }).collect(),
            });
            append(&mut out, Place { sequence, publication }, &application, shares.as_ref(), now).expect("it fits");
            let (frame, _) = Frame::parse(&out).expect("a frame").expect("a whole one");
            read(frame.body, now, |place, read, addressees| {
                assert_eq!(place, Place { sequence, publication });
                assert_eq!((read.topic, read.payload, read.qos, read.retain), (application.topic, &payload[..], qos, retain));
                let read_groups: Vec<_> = addressees.shares.iter().map(|share| {
                    assert_eq!(share.filter, "a/+");
                    (share.name.to_owned(), share.key, share.claim)
                }).collect();
                assert_eq!((addressees.plain, &read_groups), (groups.is_empty() || !retain, &groups));
                let sent = stray.as_ref().filter(|_| !groups.is_empty());
                assert_eq!(addressees.stray, sent.map(|(client, origin, former)| AddressedStray { client, origin: *origin, former: *former }));
                assert_eq!((read.properties, read.expires_at), (&set, application.expires_at));
            }).expect("it is read back");
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_read_but_never_panic(body in vec(any::<u8>(), 0..60)) {
            let _ = read(&body, Instant::now(), |_, _, _| ());
        }
    }
}
