//! Frames that go through a third node: a head that names the other end, then whole frames, which the node in between does
//! not read. It is the one in between that says from whom they are, and it passes on only over links of its own: nothing
//! goes further than that.

use rumormq_gossip::ReplicaId;
use serde::{Deserialize, Serialize};

use crate::cluster::link::frame::{self, Frame, FrameError};
use crate::cluster::link::kind;

/// Frames are packed until they are that many bytes, so that one who passes them on need not wait for long ones.
const PACK: usize = 256 << 10;

/// What comes before the frames of a [`RELAY`](kind::RELAY) or a [`RELAYED`](kind::RELAYED).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayHead {
    /// To whom it goes, or from whom it came.
    pub other: ReplicaId,
    /// What may be dropped first.
    pub best_effort: bool,
}

/// Asks the destination of a stream how far it has received it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskPosition {
    /// Names the question.
    pub token: u64,
}

/// Everything of the stream that was sent by this way before the question has arrived, or is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Which question.
    pub token: u64,
    /// The last forward received without a gap.
    pub received: u64,
}

/// Appends `frames`, which are whole, in as many relay frames as they need.
pub fn append_packed(out: &mut Vec<u8>, head: &RelayHead, frames: &[u8]) {
    let mut rest = frames;
    while !rest.is_empty() {
        let (pack, others) = rest.split_at(pack_len(rest));
        // A single frame is within its limit, and so is that frame relayed.
        let _ = append(out, kind::RELAY, head, pack);
        rest = others;
    }
}

/// Appends one relay frame.
pub fn append(out: &mut Vec<u8>, kind: u8, head: &RelayHead, frames: &[u8]) -> Result<(), FrameError> {
    frame::append(out, kind, true, |out| {
        // Writing to memory does not fail.
        let bytes = postcard::to_stdvec(head).unwrap_or_default();
        out.reserve(bytes.len() + frames.len());
        out.extend_from_slice(&bytes);
        out.extend_from_slice(frames);
    })
}

/// The head of a relay frame and the frames behind it; none where it has no valid head.
pub fn read(body: &[u8]) -> Option<(RelayHead, &[u8])> {
    postcard::take_from_bytes(body).ok()
}

/// Bytes of the first whole frames that make one pack: at least one frame.
fn pack_len(frames: &[u8]) -> usize {
    let mut len = 0;
    while let Ok(Some((_, next))) = Frame::parse(&frames[len..]) {
        if len > 0 && len + next > PACK {
            return len;
        }
        len += next;
    }
    // What is no frame is nobody's to read: it goes as it is.
    if len == 0 { frames.len() } else { len }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use rumormq_gossip::{Incarnation, NodeName};

    use super::*;

    fn head(best_effort: bool) -> RelayHead {
        let name = NodeName::parse("a@h").expect("a name");
        RelayHead { other: ReplicaId { name, incarnation: Incarnation(7) }, best_effort }
    }

    /// All frames that come out, and how many relay frames they came in.
    fn unpack(mut out: &[u8], expected: &RelayHead) -> (Vec<(u8, Vec<u8>)>, usize) {
        let (mut frames, mut packs) = (Vec::new(), 0);
        while let Some((relay, used)) = Frame::parse(out).expect("valid") {
            assert!(relay.skip_if_unknown && relay.kind == kind::RELAY);
            let (head, mut inner) = read(relay.body).expect("a head");
            assert_eq!(head, *expected);
            while let Some((frame, used)) = Frame::parse(inner).expect("valid") {
                frames.push((frame.kind, frame.body.to_vec()));
                inner = &inner[used..];
            }
            assert!(inner.is_empty(), "whole frames");
            packs += 1;
            out = &out[used..];
        }
        assert!(out.is_empty());
        (frames, packs)
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(frames in vec((any::<u8>(), 0..100_000usize), 0..12), best_effort in any::<bool>()) {
            let frames: Vec<(u8, Vec<u8>)> = frames.into_iter().map(|(kind, len)| (kind, vec![kind; len])).collect();
            let mut plain = Vec::new();
            for (kind, body) in &frames {
                frame::append(&mut plain, *kind, false, |out| out.extend_from_slice(body)).expect("it fits");
            }
            let mut out = Vec::new();
            append_packed(&mut out, &head(best_effort), &plain);
            let (unpacked, packs) = unpack(&out, &head(best_effort));
            prop_assert_eq!(unpacked, frames);
            prop_assert!(packs <= 2 * plain.len() / PACK + 1);
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..100)) {
            let _ = read(&bytes);
            append_packed(&mut Vec::new(), &head(false), &bytes);
        }
    }

    #[test]
    fn the_largest_frame_can_be_relayed() {
        let mut frame = Vec::new();
        frame::append(&mut frame, kind::FORWARD, false, |out| {
            out.resize(out.len() + frame::MAX_BODY_LEN, 1);
        })
        .expect("the largest");
        let long = format!("{}@h", "a".repeat(NodeName::MAX_LEN - 2));
        let name = NodeName::parse(&long).expect("the longest name");
        let head =
            RelayHead { other: ReplicaId { name, incarnation: Incarnation(u64::MAX) }, best_effort: true };
        let mut out = Vec::new();
        append_packed(&mut out, &head, &frame);
        let (relay, _) = Frame::parse(&out).expect("within the limit").expect("whole");
        assert_eq!(read(relay.body), Some((head, &frame[..])));
    }
}
