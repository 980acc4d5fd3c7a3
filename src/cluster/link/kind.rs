//! The types of frames.

/// Who speaks, and where its streams stand. The first frame.
pub const HELLO: u8 = 1;
/// Asks for [`PONG`] with the same body.
pub const PING: u8 = 2;
/// Answers [`PING`].
pub const PONG: u8 = 3;
/// A message of the replicated sets.
pub const GOSSIP: u8 = 4;
/// A publish.
pub const FORWARD: u8 = 5;
/// Acknowledges forwards.
pub const FORWARD_ACK: u8 = 6;
/// Forwards that will not come.
pub const FORWARD_SKIP: u8 = 7;
/// The peer stops, or leaves for good.
pub const GOODBYE: u8 = 8;
/// A word about a session that moves.
pub const TAKEOVER: u8 = 9;
/// Messages of shared subscriptions that are consumed, or returned to their origin.
pub const SETTLED: u8 = 16;
/// Confirms [`SETTLED`].
pub const SETTLED_ACK: u8 = 17;
/// Frames for a peer of the receiver, to be passed on.
pub const RELAY: u8 = 18;
/// Frames of another node, passed on.
pub const RELAYED: u8 = 19;
/// Asks how far the stream of forwards has come; answered by [`POSITION`].
pub const ASK_POSITION: u8 = 20;
/// Answers [`ASK_POSITION`].
pub const POSITION: u8 = 21;
/// Where members are reached whom gossip does not tell of. May be skipped.
pub const INTRODUCTIONS: u8 = 26;
/// Something that an operator wants to know of all nodes. May be skipped.
pub const QUESTION: u8 = 30;
/// Answers [`QUESTION`]. May be skipped.
pub const ANSWER: u8 = 31;
