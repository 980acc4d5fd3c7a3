//! What linked peers tell each other. Any of it may be lost, repeated or late: everything is said again in time.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::delta::{Delta, Frontier, SetId};
use crate::head::Head;
use crate::replica::ReplicaId;

/// A message between linked peers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// A piece of a lane: pushed by its owner, passed on, or the answer to a [`Pull`].
    Delta(Delta),
    /// A lane has been applied.
    Ack(Ack),
    /// A request for a piece of a lane.
    Pull(Pull),
    /// What the sender knows, sent every so often.
    Digest(Arc<Digest>),
    /// In a large cluster, mostly instead of a digest. Since version 2 of the protocol.
    Beat(Beat),
    /// Asks for a digest. Since version 2 of the protocol.
    Ask(Ask),
}

/// `by` has applied `replica`'s lane up to `seq`. Goes to the lane's owner, through one peer in between if there is no
/// link, and to who passed the delta on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ack {
    /// Which set.
    pub set: SetId,
    /// Whose lane.
    pub replica: ReplicaId,
    /// Sequence number that was applied.
    pub seq: u64,
    /// Who applied it.
    pub by: ReplicaId,
    /// The sequence numbers of `by`'s own lanes at that time. The acknowledgement counts when these have arrived: whoever waits
    /// for it then has what `by` had written before, whatever was lost or overtaken on the way.
    pub heads: Vec<(SetId, u64)>,
}

/// Asks for the next piece of a lane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pull {
    /// Which set.
    pub set: SetId,
    /// Whose lane.
    pub replica: ReplicaId,
    /// Where the sender stands.
    pub from: Frontier,
    /// The sender has the elements of all live dots up to here.
    pub held: u64,
}

/// What a node has applied, whom it can reach, and who has gone. Complete in the greeting of a link; the periodic ones
/// leave out lanes that have not changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Digest {
    /// What was applied of each lane.
    pub applied: Vec<(ReplicaId, Vec<(SetId, Head)>)>,
    /// Peers that answered a ping within the last second.
    pub links: Vec<LinkReport>,
    /// Replicas that left for good.
    pub left: Vec<ReplicaId>,
    /// Replicas that some node has forgotten, and that are back, with the same incarnation or an earlier one: they must begin a new
    /// lane under a higher one.
    pub forgotten: Vec<ReplicaId>,
}

/// What both sides of a new link say first.
pub type Hello = Digest;

/// What has changed of the sender's [links](Digest::links), as a [`ReportHash`] of them was told last: usually nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    /// What they were before.
    pub before: ReportHash,
    /// Links that are new, or said by the other end, too, or not any more.
    pub changed: Vec<LinkReport>,
    /// Links that are gone.
    pub gone: Vec<ReplicaId>,
    /// What they are now.
    pub after: ReportHash,
    /// The sender has no use for the link on which this comes: it ends when both ends say so.
    pub spare: bool,
}

/// Asks for a digest with all links of its sender.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// It is to name all lanes.
    pub everything: bool,
}

/// A sum over reported links: who holds a report with this sum holds what was reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportHash(pub u64);

/// One end's word on a link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkReport {
    /// The peer that answered.
    pub peer: ReplicaId,
    /// Whether the peer reports the link, too.
    pub mutual: bool,
}

/// What is wrong with a message: the peer broke the protocol, and the link to it should be cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// There is no link to the sender: a greeting must come first.
    #[error("message of {0}, to which there is no link")]
    NotLinked(ReplicaId),
    /// The interval contradicts itself.
    #[error("delta of {0} is not well formed")]
    MalformedDelta(ReplicaId),
    /// The frontier contradicts itself.
    #[error("pull of {0} is not well formed")]
    MalformedPull(ReplicaId),
    /// More entries than a cluster of the greatest size has.
    #[error("digest of {0} entries")]
    OversizedDigest(usize),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::Interval;
    use crate::dots::DotList;
    use crate::hash::SetHash;
    use crate::replica::{Incarnation, NodeName};

    fn replica(name: &str) -> ReplicaId {
        ReplicaId { name: NodeName::parse(name).unwrap(), incarnation: Incarnation(300) }
    }

    /// What version 1 of the protocol writes. A node that speaks it is understood, and understands: whatever came later is
    /// behind what is here.
    #[test]
    fn messages_of_version_1_are_what_they_were() {
        let head = Head { seq: 7, count: 1, hash: SetHash(9) };
        let interval = Interval {
            from: Frontier::complete(5),
            to: Frontier::complete(7),
            held: 5,
            removed: DotList::new(vec![3]),
            kept: None,
            added: vec![(6, crate::element::Element::new(b"k", b"v"))],
            hash: Some(SetHash(9)),
        };
        let digest = Digest {
            applied: vec![(replica("a@h"), vec![(SetId(0), head)])],
            links: vec![LinkReport { peer: replica("b@h"), mutual: true }],
            left: vec![replica("c@h")],
            forgotten: vec![replica("d@h")],
        };
        let ack = Ack {
            set: SetId(1),
            replica: replica("a@h"),
            seq: 7,
            by: replica("b@h"),
            heads: vec![(SetId(0), 4)],
        };
        let pull = Pull { set: SetId(0), replica: replica("a@h"), from: Frontier::complete(5), held: 5 };
        for (message, written) in [
            (
                Message::Delta(Delta { set: SetId(0), replica: replica("a@h"), interval }),
                "000003614068ac0205050707050103000106016b01760109",
            ),
            (Message::Ack(ack), "010103614068ac020703624068ac02010004"),
            (Message::Pull(pull), "020003614068ac02050505"),
            (
                Message::Digest(Arc::new(digest)),
                "030103614068ac0201000701090103624068ac02010103634068ac020103644068ac02",
            ),
        ] {
            let bytes = postcard::to_stdvec(&message).unwrap();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(hex.starts_with(written), "{message:?} is written as {hex}");
            assert_eq!(postcard::from_bytes(&bytes[..written.len() / 2]), Ok(message));
        }
    }
}
