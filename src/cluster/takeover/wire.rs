//! What nodes say to each other while a session moves.

use rumormq_gossip::{ReplicaId, Stamp};
use serde::{Deserialize, Serialize};

use crate::message::PortableMessage;

/// A message about one session, or about the streams between two nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TakeoverMessage {
    /// The sender has the session that the receiver has claimed, and keeps it for the receiver. Sent before the claim is
    /// acknowledged.
    Holding {
        /// The client identifier.
        id: Box<str>,
        /// Names this offer; all that follows from it repeats the number.
        offer: u64,
        /// The sender's own claim. Of several holders the one with the highest has the session, the others have what is
        /// left of it.
        claim: Stamp,
    },
    /// From a claimer to the owner before: the offer is waited for, whatever else has acknowledged the claim, unless the
    /// answer is [`TakeoverMessage::Nothing`].
    Ask {
        /// The client identifier.
        id: Box<str>,
    },
    /// There is no such session.
    Nothing {
        /// The client identifier.
        id: Box<str>,
    },
    /// About one offer.
    Session {
        /// The client identifier.
        id: Box<str>,
        /// Which offer.
        offer: u64,
        /// What about it.
        step: Step,
    },
    /// Asks for [`TakeoverMessage::Fenced`] once every publish that the receiver matched with earlier routes has been
    /// entered.
    Fence {
        /// Names the question.
        token: u64,
    },
    /// The answer to [`TakeoverMessage::Fence`].
    Fenced {
        /// Which question.
        token: u64,
        /// The last forward that was in the stream towards the asker.
        sequence: u64,
    },
    /// The sender is about to leave and has this session, whose client is not connected: the receiver is to take it. Since
    /// version 3.
    Adopt {
        /// The client identifier.
        id: Box<str>,
    },
    /// A publish that waits for its delay to pass, of a node that is about to leave. Since version 3.
    Delayed {
        /// Milliseconds that it has to wait yet.
        due_ms: u64,
        /// The message.
        message: PortableMessage,
    },
    /// Asks for [`TakeoverMessage::FencedAfter`] once the receiver knows these routes of `owner`, and every publish that it
    /// matched before has been entered. Since version 3.
    FenceAfter {
        /// Names the question.
        token: u64,
        /// The node that sessions have moved to.
        owner: ReplicaId,
        /// Its sequence numbers in the set of routes by which they were routed there, at most [`ROUTES_MAX`].
        routes: Vec<u64>,
    },
    /// The answer to [`TakeoverMessage::FenceAfter`].
    FencedAfter {
        /// Which question.
        token: u64,
        /// The last forward in the stream towards the asker.
        sequence: u64,
        /// How many publishes the sender had named when it knew them: all of these are in the stream by now, if they are for the
        /// asker.
        publishes: u64,
        /// For each of the routes the sender's first publish that may have been matched with it.
        next_from: Vec<u64>,
    },
    /// Asks a former owner of sessions whether it has passed on everything that came there from these origins. Since
    /// version 3.
    AskPassedOn {
        /// At most [`STAYS_MAX`].
        stays: Vec<Stay>,
    },
    /// The answer: of which of them it has.
    PassedOn {
        /// As many.
        stays: Vec<PassedOn>,
        /// The last forward in the stream towards the asker, with which all is passed on.
        sequence: u64,
    },
}

/// The first protocol version that knows [`TakeoverMessage::FenceAfter`], [`TakeoverMessage::AskPassedOn`], their answers and
/// [`Step::ShipAfter`].
pub const SUCCESSION_SINCE: u16 = 3;

/// A time that a node has had a session, as far as publishes of one origin go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stay {
    /// The client identifier.
    pub client: Box<str>,
    /// As in [`PublishId::origin`](crate::message::PublishId::origin).
    pub origin: u64,
    /// The stamp of the claim that the node had it with.
    pub claim: u64,
}

/// Everything has been passed on that the origin had sent there for the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOn {
    /// Of which time.
    pub stay: Stay,
    /// The origin's first publish that was not for this former owner alone.
    pub next_from: u64,
}

/// Routes in one question.
pub const ROUTES_MAX: usize = 1000;
/// Stays in one question.
pub const STAYS_MAX: usize = 1000;
/// Bytes of the client identifiers in one question, but for the last one.
pub const STAYS_BYTES_MAX: usize = 128 << 10;

/// The steps of a handover, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// From the new owner: give me the session; or if not `whole`, what was never sent of it.
    Take {
        /// Whether its subscriptions are wanted, too.
        whole: bool,
    },
    /// From the holder: a piece of the record, then of the state.
    Piece {
        /// Bytes of it.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
        /// The last one.
        last: bool,
    },
    /// From the new owner: every reachable node has its routes; freeze the session and ship it.
    Ship {
        /// The last forward in the new owner's own stream towards the holder.
        sequence: u64,
    },
    /// From the new owner: it is safe here; delete the copy.
    Kept,
    /// From the holder: there is no such session, or not for the one who asks.
    Gone,
    /// From the new owner: there is no use for it at the moment.
    Declined,
    /// What [`Step::Piece`] is, by a way on which pieces may be lost. Since version 2.
    NumberedPiece {
        /// Counts the pieces of the record, and then those of the state, from 0 on.
        number: u32,
        /// Bytes of it.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
        /// The last one.
        last: bool,
    },
    /// What [`Step::Ship`] is. Since version 3.
    ShipAfter {
        /// The last forward in the new owner's own stream towards the holder.
        sequence: u64,
        /// Its sequence number in the set of routes by which the session is routed there.
        routes: u64,
        /// Its first publish that may have been matched with these routes.
        next_from: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What version 1 of the protocol writes; later steps and messages stand behind these.
    #[test]
    fn messages_of_version_1_are_what_they_were() {
        let id: Box<str> = "c".into();
        let session = |step| TakeoverMessage::Session { id: "c".into(), offer: 300, step };
        for (message, written) in [
            (TakeoverMessage::Holding { id: id.clone(), offer: 300, claim: Stamp(5) }, "000163ac0205"),
            (TakeoverMessage::Ask { id: id.clone() }, "010163"),
            (TakeoverMessage::Nothing { id }, "020163"),
            (session(Step::Take { whole: true }), "030163ac020001"),
            (session(Step::Piece { bytes: vec![1, 2], last: false }), "030163ac020102010200"),
            (session(Step::Ship { sequence: 4 }), "030163ac020204"),
            (session(Step::Kept), "030163ac0203"),
            (session(Step::Gone), "030163ac0204"),
            (session(Step::Declined), "030163ac0205"),
            (TakeoverMessage::Fence { token: 6 }, "0406"),
            (TakeoverMessage::Fenced { token: 6, sequence: 7 }, "050607"),
        ] {
            let bytes = postcard::to_stdvec(&message).unwrap();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(hex.starts_with(written), "{message:?} is written as {hex}");
            assert_eq!(postcard::from_bytes(&bytes[..written.len() / 2]), Ok(message));
        }
    }
}
