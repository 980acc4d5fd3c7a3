//! Frames: how the messages of a link are cut.
//!
//! ```text
//! length of the body 4, little endian | type 1 | flags 1 | body
//! ```

use super::kind;

/// Longest body, in bytes. The largest packet a client may send fits with room for what a forward adds.
pub const MAX_BODY_LEN: usize = 16 * 1024 * 1024;

/// Bytes before the body.
pub const HEAD_LEN: usize = 6;

/// What a relay frame may have beyond that: its head, and the head of the frame in it.
const RELAY_ROOM: usize = 1024;

/// Set on frames that a peer may pass over when it does not know their type; without it such a frame ends the link.
/// Other bits are left to later versions and ignored.
const SKIP_IF_UNKNOWN: u8 = 1;
/// Set on forwards that have waited, and that no publisher waits for any more: they may be acknowledged as slowly as their
/// subscribers take them.
const LATE: u8 = 2;

/// One message, borrowed from the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What the body is.
    pub kind: u8,
    /// Whether a receiver that does not know `kind` is to pass over the frame.
    pub skip_if_unknown: bool,
    /// Whether it is a forward that comes late.
    pub late: bool,
    /// The message itself.
    pub body: &'a [u8],
}

/// The peer sent, or this node tried to send, no valid frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The body is longer than [`MAX_BODY_LEN`]; that of a relay frame, longer than such a frame needs around it.
    #[error("a frame of {0} bytes exceeds the limit of {MAX_BODY_LEN}")]
    TooLong(usize),
}

impl<'a> Frame<'a> {
    /// The first frame of `input` and the number of bytes it takes there, or `None` while it is incomplete. Its length
    /// is checked as soon as the head is there, before anybody waits for the rest.
    pub fn parse(input: &'a [u8]) -> Result<Option<(Frame<'a>, usize)>, FrameError> {
        let Some(([l0, l1, l2, l3, kind, flags], rest)) = input.split_first_chunk::<HEAD_LEN>() else {
            return Ok(None);
        };
        let len = u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize;
        if len > max_body_len(*kind) {
            return Err(FrameError::TooLong(len));
        }
        let frame = rest.get(..len).map(|body| {
            let skip_if_unknown = flags & SKIP_IF_UNKNOWN != 0;
            let frame = Frame { kind: *kind, skip_if_unknown, late: flags & LATE != 0, body };
            (frame, HEAD_LEN + len)
        });
        Ok(frame)
    }

    /// Bytes still missing until the first frame of `input` is complete, as far as its head tells; 0 if it is.
    pub fn missing(input: &[u8]) -> usize {
        match input.first_chunk::<4>() {
            Some(len) => (HEAD_LEN + u32::from_le_bytes(*len) as usize).saturating_sub(input.len()),
            None => HEAD_LEN - input.len(),
        }
    }
}

fn max_body_len(kind: u8) -> usize {
    match kind {
        kind::RELAY | kind::RELAYED => MAX_BODY_LEN + RELAY_ROOM,
        _ => MAX_BODY_LEN,
    }
}

/// Appends a frame to `out`, whose body is what `write_body` appends. A body that got too long is taken back.
pub fn append(
    out: &mut Vec<u8>,
    kind: u8,
    skip_if_unknown: bool,
    write_body: impl FnOnce(&mut Vec<u8>),
) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, kind, if skip_if_unknown { SKIP_IF_UNKNOWN } else { 0 }]);
    write_body(out);
    let len = out.len() - start - HEAD_LEN;
    if len > max_body_len(kind) {
        out.truncate(start);
        return Err(FrameError::TooLong(len));
    }
    // The limit is far below what four bytes hold.
    out[start..start + 4].copy_from_slice(&(len as u32).to_le_bytes());
    Ok(())
}

/// Marks the frame that `frame` begins with as a forward that comes late.
pub fn mark_late(frame: &mut [u8]) {
    if let Some(flags) = frame.get_mut(HEAD_LEN - 1) {
        *flags |= LATE;
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_come_back_one_by_one(frames in vec((any::<u8>(), any::<bool>(), vec(any::<u8>(), 0..50)), 0..10)) {
            let mut out = Vec::new();
            for (kind, skip, body) in &frames {
                append(&mut out, *kind, *skip, |out| out.extend_from_slice(body)).unwrap();
            }
            let mut rest = &out[..];
            for (kind, skip, body) in &frames {
                for cut in 0..HEAD_LEN + body.len() {
                    prop_assert_eq!(Frame::parse(&rest[..cut]), Ok(None));
                    prop_assert!(Frame::missing(&rest[..cut]) > 0);
                }
                let (frame, used) = Frame::parse(rest).unwrap().unwrap();
                prop_assert_eq!((frame.kind, frame.skip_if_unknown, frame.body), (*kind, *skip, &body[..]));
                prop_assert_eq!(Frame::missing(rest), 0);
                rest = &rest[used..];
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(input in vec(any::<u8>(), 0..200)) {
            if let Ok(Some((frame, used))) = Frame::parse(&input) {
                prop_assert!(used <= input.len() && frame.body.len() == used - HEAD_LEN);
            }
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_by_its_head_alone() {
        let mut head = [0; HEAD_LEN];
        head[..4].copy_from_slice(&(MAX_BODY_LEN as u32 + 1).to_le_bytes());
        assert_eq!(Frame::parse(&head), Err(FrameError::TooLong(MAX_BODY_LEN + 1)));
    }

    #[test]
    fn a_body_beyond_the_limit_leaves_what_was_there() {
        let mut out = vec![7];
        let result = append(&mut out, 1, false, |out| out.resize(out.len() + MAX_BODY_LEN + 1, 0));
        assert_eq!(result, Err(FrameError::TooLong(MAX_BODY_LEN + 1)));
        assert_eq!(out, [7]);
        append(&mut out, 1, false, |out| out.resize(out.len() + MAX_BODY_LEN, 0)).unwrap();
        assert_eq!(Frame::parse(&out[1..]).unwrap().unwrap().1, out.len() - 1);
    }
}
