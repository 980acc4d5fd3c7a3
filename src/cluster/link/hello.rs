//! HELLO: who a node is, what it speaks, and where its streams stand. The first frame in each direction.
//!
//! Its body outlives every protocol version: entries of tag (2 bytes), length (4 bytes) and value, all little endian, in
//! ascending order of tags. Unknown tags are passed over; the values of known ones are postcard.

use std::collections::BTreeMap;

use rumormq_gossip::ReplicaId;
use serde::{Deserialize, Serialize};

/// Longest HELLO, in bytes. Version vectors of 500 members take a tenth of it.
pub const MAX_LEN: usize = 1024 * 1024;

/// Most streams in a HELLO. Each live or buffered incarnation of a member has one.
pub const MAX_STREAMS: usize = 4096;

/// Longest `HOST:PORT`, in bytes.
const MAX_ADDRESS_LEN: usize = 261;
/// Longest cluster name, in bytes.
const MAX_CLUSTER_LEN: usize = 255;

/// What one node tells another when their link is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Name of the cluster.
    pub cluster: String,
    /// The protocol versions spoken.
    pub protocol: ProtocolRange,
    /// Who speaks.
    pub replica: ReplicaId,
    /// Where it is reached.
    pub addresses: Addresses,
    /// What the replicated sets say to their peers; opaque here.
    pub gossip: Vec<u8>,
    /// For each stream of forwards towards this node, by its origin: the sequence number of the last one received.
    pub forwards_received: BTreeMap<ReplicaId, u64>,
    /// Wall clock when it was sent, in milliseconds since 1970: shows skew, decides nothing.
    pub wall_clock_ms: u64,
}

/// The protocol versions that this node speaks. Raised with every change that a node of the version before would not
/// bear; what came later is then said only on links that negotiated its version.
pub const SPOKEN: ProtocolRange = ProtocolRange { min: 1, max: 3 };

/// The protocol versions that a node speaks, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolRange {
    /// The oldest.
    pub min: u16,
    /// The newest.
    pub max: u16,
}

/// What a node tells others about where it is reached, each as `HOST:PORT`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// By other nodes.
    pub cluster: String,
    /// By MQTT clients over TCP.
    pub mqtt: Option<String>,
    /// By Prometheus and administrators.
    pub http: Option<String>,
}

/// The peer's HELLO is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// Longer than [`MAX_LEN`].
    #[error("the peer's hello has {0} bytes, more than {MAX_LEN}")]
    TooLong(usize),
    /// It ends within an entry.
    #[error("the peer's hello is cut off")]
    Truncated,
    /// A tag comes twice, or behind a higher one.
    #[error("the peer's hello has tag {0} out of order")]
    OutOfOrder(u16),
    /// The value of a known tag cannot be read, or exceeds a limit.
    #[error("the peer's hello has no valid value for tag {0}")]
    Malformed(u16),
    /// An entry that every version has is not there.
    #[error("the peer's hello lacks tag {0}")]
    Missing(u16),
    /// The peer belongs elsewhere.
    #[error("the peer belongs to cluster {theirs:?}, this node to {mine:?}")]
    OtherCluster {
        /// This node's cluster.
        mine: String,
        /// The peer's.
        theirs: String,
    },
    /// One of the two is too old for the other.
    #[error("the peer speaks protocol {} to {}, this node {} to {}", theirs.min, theirs.max, mine.min, mine.max)]
    NoCommonProtocol {
        /// What this node speaks.
        mine: ProtocolRange,
        /// What the peer speaks.
        theirs: ProtocolRange,
    },
}

const CLUSTER: u16 = 1;
const PROTOCOL: u16 = 2;
const REPLICA: u16 = 3;
const ADDRESSES: u16 = 4;
const GOSSIP: u16 = 5;
const FORWARDS_RECEIVED: u16 = 6;
const WALL_CLOCK_MS: u16 = 7;

impl Hello {
    /// Appends the body of the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        entry(out, CLUSTER, &self.cluster);
        entry(out, PROTOCOL, &self.protocol);
        entry(out, REPLICA, &self.replica);
        entry(out, ADDRESSES, &self.addresses);
        raw_entry(out, GOSSIP, &self.gossip);
        entry(out, FORWARDS_RECEIVED, &self.forwards_received);
        entry(out, WALL_CLOCK_MS, &self.wall_clock_ms);
    }

    /// Reads the body of the frame.
    pub fn decode(body: &[u8]) -> Result<Hello, HelloError> {
        let entries = entries(body)?;
        let hello = Hello {
            cluster: required(&entries, CLUSTER)?,
            protocol: required(&entries, PROTOCOL)?,
            replica: required(&entries, REPLICA)?,
            addresses: required(&entries, ADDRESSES)?,
            gossip: entries.get(&GOSSIP).map_or_else(Vec::new, |value| value.to_vec()),
            forwards_received: optional(&entries, FORWARDS_RECEIVED)?,
            wall_clock_ms: optional(&entries, WALL_CLOCK_MS)?,
        };
        let bounds = [
            (CLUSTER, hello.cluster.len() <= MAX_CLUSTER_LEN),
            (PROTOCOL, hello.protocol.min <= hello.protocol.max),
            (ADDRESSES, hello.addresses.are_valid()),
            (FORWARDS_RECEIVED, hello.forwards_received.len() <= MAX_STREAMS),
        ];
        match bounds.iter().find(|(_, holds)| !holds) {
            Some((tag, _)) => Err(HelloError::Malformed(*tag)),
            None => Ok(hello),
        }
    }
}

/// The highest protocol version that both sides speak, or why there is no link between them.
pub fn negotiate(mine: &Hello, theirs: &Hello) -> Result<u16, HelloError> {
    if mine.cluster != theirs.cluster {
        return Err(HelloError::OtherCluster { mine: mine.cluster.clone(), theirs: theirs.cluster.clone() });
    }
    let highest = mine.protocol.max.min(theirs.protocol.max);
    if highest < mine.protocol.min.max(theirs.protocol.min) {
        return Err(HelloError::NoCommonProtocol { mine: mine.protocol, theirs: theirs.protocol });
    }
    Ok(highest)
}

impl Addresses {
    /// Whether each is a `HOST:PORT` of bounded length.
    pub fn are_valid(&self) -> bool {
        [Some(&self.cluster), self.mqtt.as_ref(), self.http.as_ref()].into_iter().flatten().all(|address| {
            let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
            address.len() <= MAX_ADDRESS_LEN
                && address.bytes().all(|byte| byte.is_ascii_graphic())
                && port.is_some_and(|port| port.parse::<u16>().is_ok())
        })
    }
}

fn entries(body: &[u8]) -> Result<BTreeMap<u16, &[u8]>, HelloError> {
    if body.len() > MAX_LEN {
        return Err(HelloError::TooLong(body.len()));
    }
    let mut entries = BTreeMap::new();
    let mut rest = body;
    while !rest.is_empty() {
        let ([t0, t1, l0, l1, l2, l3], behind) =
            rest.split_first_chunk::<6>().ok_or(HelloError::Truncated)?;
        let tag = u16::from_le_bytes([*t0, *t1]);
        if entries.last_key_value().is_some_and(|(last, _)| *last >= tag) {
            return Err(HelloError::OutOfOrder(tag));
        }
        let len = u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize;
        let (value, behind) = behind.split_at_checked(len).ok_or(HelloError::Truncated)?;
        entries.insert(tag, value);
        rest = behind;
    }
    Ok(entries)
}

fn required<'a, T: Deserialize<'a>>(entries: &BTreeMap<u16, &'a [u8]>, tag: u16) -> Result<T, HelloError> {
    let value = entries.get(&tag).ok_or(HelloError::Missing(tag))?;
    // What a newer version appends to a value is left unread.
    postcard::take_from_bytes(value).map(|(value, _)| value).map_err(|_| HelloError::Malformed(tag))
}

fn optional<'a, T: Deserialize<'a> + Default>(
    entries: &BTreeMap<u16, &'a [u8]>,
    tag: u16,
) -> Result<T, HelloError> {
    if entries.contains_key(&tag) { required(entries, tag) } else { Ok(T::default()) }
}

fn entry(out: &mut Vec<u8>, tag: u16, value: &impl Serialize) {
    let value =
        postcard::to_stdvec(value).expect("the fields of a hello are all of kinds that postcard writes");
    raw_entry(out, tag, &value);
}

fn raw_entry(out: &mut Vec<u8>, tag: u16, value: &[u8]) {
    out.extend_from_slice(&tag.to_le_bytes());
    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use rumormq_gossip::{Incarnation, NodeName};

    use super::*;

    fn replica(name: &str, incarnation: u64) -> ReplicaId {
        ReplicaId { name: NodeName::parse(name).unwrap(), incarnation: Incarnation(incarnation) }
    }

    fn hello() -> Hello {
        Hello {
            cluster: "blue".into(),
            protocol: ProtocolRange { min: 1, max: 3 },
            replica: replica("a@host", 7),
            addresses: Addresses { cluster: "host:7883".into(), mqtt: Some("[::1]:1883".into()), http: None },
            gossip: vec![1, 2, 3],
            forwards_received: BTreeMap::from([(replica("b@host", 1), 9)]),
            wall_clock_ms: 1234,
        }
    }

    fn encoded(hello: &Hello) -> Vec<u8> {
        let mut out = Vec::new();
        hello.encode(&mut out);
        out
    }

    #[test]
    fn unknown_tags_and_appended_fields_are_passed_over() {
        let mut body = encoded(&hello());
        raw_entry(&mut body, 900, b"of a later version");
        assert_eq!(Hello::decode(&body), Ok(hello()));

        let mut longer = Vec::new();
        let addresses = postcard::to_stdvec(&(hello().addresses, "more")).unwrap();
        entry(&mut longer, CLUSTER, &"blue");
        entry(&mut longer, PROTOCOL, &hello().protocol);
        entry(&mut longer, REPLICA, &hello().replica);
        raw_entry(&mut longer, ADDRESSES, &addresses);
        let read = Hello::decode(&longer).unwrap();
        assert_eq!(read.addresses, hello().addresses);
        assert_eq!((read.wall_clock_ms, read.gossip.len(), read.forwards_received.len()), (0, 0, 0));
    }

    #[test]
    fn duplicates_are_refused() {
        let mut body = encoded(&hello());
        entry(&mut body, WALL_CLOCK_MS, &5_u64);
        assert_eq!(Hello::decode(&body), Err(HelloError::OutOfOrder(WALL_CLOCK_MS)));
        body = encoded(&hello());
        entry(&mut body, CLUSTER, &"green");
        assert_eq!(Hello::decode(&body), Err(HelloError::OutOfOrder(CLUSTER)));
    }

    #[test]
    fn forged_values_are_refused() {
        let refused = |forge: &dyn Fn(&mut Hello), tag| {
            let mut hello = hello();
            forge(&mut hello);
            assert_eq!(Hello::decode(&encoded(&hello)), Err(HelloError::Malformed(tag)));
        };
        refused(&|h| h.protocol = ProtocolRange { min: 2, max: 1 }, PROTOCOL);
        refused(&|h| h.cluster = "x".repeat(256), CLUSTER);
        refused(&|h| h.addresses.cluster = "host".into(), ADDRESSES);
        refused(&|h| h.addresses.mqtt = Some("ho st:1".into()), ADDRESSES);
        refused(&|h| h.addresses.http = Some("host:70000".into()), ADDRESSES);
        let mut body = Vec::new();
        entry(&mut body, CLUSTER, &"blue");
        entry(&mut body, PROTOCOL, &hello().protocol);
        entry(&mut body, REPLICA, &("no name", 1_u64));
        assert_eq!(Hello::decode(&body), Err(HelloError::Malformed(REPLICA)));
        assert_eq!(Hello::decode(&[]), Err(HelloError::Missing(CLUSTER)));
        assert_eq!(Hello::decode(&vec![0; MAX_LEN + 1]), Err(HelloError::TooLong(MAX_LEN + 1)));
    }

    #[test]
    fn the_highest_common_protocol_is_spoken_within_one_cluster() {
        let with = |min, max| Hello { protocol: ProtocolRange { min, max }, ..hello() };
        assert_eq!(negotiate(&with(1, 3), &with(2, 5)), Ok(3));
        assert_eq!(negotiate(&with(2, 5), &with(1, 3)), Ok(3));
        assert!(matches!(negotiate(&with(1, 2), &with(3, 4)), Err(HelloError::NoCommonProtocol { .. })));
        let green = Hello { cluster: "green".into(), ..hello() };
        assert!(matches!(negotiate(&hello(), &green), Err(HelloError::OtherCluster { .. })));
    }

    proptest! {
        #[test]
        fn a_hello_comes_back(
            cluster in "[a-z]{0,20}", min in any::<u16>(), more in 0_u16..9, incarnation in any::<u64>(),
            gossip in vec(any::<u8>(), 0..100), streams in btree_map(("[a-z]{1,9}@h", any::<u64>()), any::<u64>(), 0..9),
        ) {
            let hello = Hello {
                cluster,
                protocol: ProtocolRange { min, max: min.saturating_add(more) },
                replica: replica("a@host", incarnation),
                gossip,
                forwards_received: streams.into_iter().map(|((name, n), seq)| (replica(&name, n), seq)).collect(),
                ..hello()
            };
            prop_assert_eq!(Hello::decode(&encoded(&hello)), Ok(hello));
        }

        #[test]
        fn a_cut_hello_is_never_taken_for_the_whole(cut in any::<prop::sample::Index>()) {
            let body = encoded(&hello());
            prop_assert_ne!(Hello::decode(&body[..cut.index(body.len())]), Ok(hello()));
        }

        #[test]
        fn arbitrary_and_damaged_bytes_do_no_harm(
            noise in vec(any::<u8>(), 0..300), position in any::<prop::sample::Index>(), byte in any::<u8>(),
        ) {
            let _ = Hello::decode(&noise);
            let mut body = encoded(&hello());
            let position = position.index(body.len());
            body[position] = byte;
            let _ = Hello::decode(&body);
        }
    }
}
