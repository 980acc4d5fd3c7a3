//! Messages longer than a datagram should be: compressed, cut into pieces, and put together again.
//!
//! ```text
//! piece = message id 4, little endian | index 1 | count 1 | bytes
//! the bytes of all pieces in order = 0 | message, or 1 | zstd(message)
//! ```

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;
use zstd::bulk::{Compressor, Decompressor};

use crate::seal::{MAX_DATAGRAM_LEN, Rejection, SEALED_OVERHEAD};

/// Most bytes in a datagram we send: with the heads of IP and UDP it stays below what tunnels and overlays leave of an
/// Ethernet frame.
pub(super) const MAX_SENT_DATAGRAM_LEN: usize = 1400;
/// Longest message: what chitchat, which knows of no fragments, holds for the most a datagram carries.
pub(super) const MAX_MESSAGE_LEN: usize = MAX_DATAGRAM_LEN;

const HEAD_LEN: usize = 6;
const PIECE_LEN: usize = MAX_SENT_DATAGRAM_LEN - SEALED_OVERHEAD - HEAD_LEN;
const MAX_PIECES: usize = (MAX_MESSAGE_LEN + 1).div_ceil(PIECE_LEN);
const _: () = assert!(MAX_PIECES <= u8::MAX as usize);

/// Incomplete messages kept. With the limits above that is at most 4 MiB; the oldest makes room for a new one.
const MAX_PARTIALS: usize = 64;
/// How long the rest of a message may take: its pieces leave together.
const PATIENCE: Duration = Duration::from_secs(1);

const RAW: u8 = 0;
const ZSTD: u8 = 1;

/// Cuts messages.
pub(super) struct Fragmenter {
    compressor: Compressor<'static>,
    next_id: u32,
    packed: Vec<u8>,
}

/// Puts messages together.
pub(super) struct Reassembly {
    decompressor: Decompressor<'static>,
    partials: HashMap<(SocketAddr, u32), Partial>,
}

struct Partial {
    since: Instant,
    pieces: Vec<Option<Vec<u8>>>,
}

impl Fragmenter {
    pub(super) fn new(first_id: u32) -> Fragmenter {
        // Level 1: a few KiB, five times a second and peer.
        let compressor = Compressor::new(1).expect("level 1 exists");
        Fragmenter { compressor, next_id: first_id, packed: Vec::new() }
    }

    /// Gives the pieces of a message to `send`, one after the other.
    pub(super) fn cut(&mut self, message: &[u8], mut send: impl FnMut(&[u8])) -> Result<(), Rejection> {
        if message.len() > MAX_MESSAGE_LEN {
            return Err(Rejection::TooLarge);
        }
        self.pack(message);
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        let pieces = self.packed.chunks(PIECE_LEN);
        let count = pieces.len() as u8;
        let mut piece = Vec::with_capacity(HEAD_LEN + PIECE_LEN);
        for (index, bytes) in pieces.enumerate() {
            piece.clear();
            piece.extend_from_slice(&id.to_le_bytes());
            piece.extend_from_slice(&[index as u8, count]);
            piece.extend_from_slice(bytes);
            send(&piece);
        }
        Ok(())
    }

    fn pack(&mut self, message: &[u8]) {
        self.packed.clear();
        match self.compressor.compress(message) {
            Ok(compressed) if compressed.len() < message.len() => {
                self.packed.push(ZSTD);
                self.packed.extend_from_slice(&compressed);
            }
            _ => {
                self.packed.push(RAW);
                self.packed.extend_from_slice(message);
            }
        }
    }
}

impl Reassembly {
    pub(super) fn new() -> Reassembly {
        let decompressor =
            Decompressor::new().expect("a decompressor without a dictionary needs memory only");
        Reassembly { decompressor, partials: HashMap::new() }
    }

    /// Takes a piece, and gives the message it completes.
    pub(super) fn accept(
        &mut self,
        from: SocketAddr,
        piece: &[u8],
        now: Instant,
    ) -> Result<Option<Vec<u8>>, Rejection> {
        let ([i0, i1, i2, i3, index, count], bytes) =
            piece.split_first_chunk::<HEAD_LEN>().ok_or(Rejection::Malformed)?;
        let (id, index, count) =
            (u32::from_le_bytes([*i0, *i1, *i2, *i3]), usize::from(*index), usize::from(*count));
        if index >= count || count > MAX_PIECES || bytes.len() > PIECE_LEN {
            return Err(Rejection::Malformed);
        }
        if count == 1 {
            return self.unpack(bytes).map(Some);
        }
        self.partials.retain(|_, partial| now.duration_since(partial.since) < PATIENCE);
        let key = (from, id);
        if !self.partials.contains_key(&key) {
            self.make_room();
        }
        let partial =
            self.partials.entry(key).or_insert_with(|| Partial { since: now, pieces: vec![None; count] });
        match partial.pieces.get_mut(index) {
            Some(slot @ None) => *slot = Some(bytes.to_vec()),
            _ => return Err(Rejection::Fragment),
        }
        if partial.pieces.contains(&None) {
            return Ok(None);
        }
        let pieces = self.partials.remove(&key).map(|partial| partial.pieces).unwrap_or_default();
        let packed: Vec<u8> = pieces.into_iter().flatten().flatten().collect();
        self.unpack(&packed).map(Some)
    }

    fn make_room(&mut self) {
        if self.partials.len() >= MAX_PARTIALS {
            let oldest = self.partials.iter().min_by_key(|(_, partial)| partial.since).map(|(key, _)| *key);
            oldest.and_then(|key| self.partials.remove(&key));
        }
    }

    fn unpack(&mut self, packed: &[u8]) -> Result<Vec<u8>, Rejection> {
        match packed.split_first() {
            Some((&RAW, message)) if message.len() <= MAX_MESSAGE_LEN => Ok(message.to_vec()),
            Some((&ZSTD, compressed)) => {
                self.decompressor.decompress(compressed, MAX_MESSAGE_LEN).map_err(|_| Rejection::Malformed)
            }
            _ => Err(Rejection::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn pieces(fragmenter: &mut Fragmenter, message: &[u8]) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        fragmenter.cut(message, |piece| pieces.push(piece.to_vec())).unwrap();
        pieces
    }

    /// Does not compress.
    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1_u64;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(len)
        .collect()
    }

    proptest! {
        #[test]
        fn messages_come_back_in_any_order_of_pieces(
            len in 0..MAX_MESSAGE_LEN, compressible in any::<bool>(), order in any::<u64>(),
        ) {
            let message = if compressible { vec![7; len] } else { noise(len) };
            let mut pieces = pieces(&mut Fragmenter::new(u32::MAX), &message);
            prop_assert!(pieces.iter().all(|piece| piece.len() + SEALED_OVERHEAD <= MAX_SENT_DATAGRAM_LEN));
            pieces.sort_by_key(|piece| (u64::from(piece[4]) + 1).wrapping_mul(order | 1));
            let mut reassembly = Reassembly::new();
            let (last, rest) = pieces.split_last().unwrap();
            for piece in rest {
                prop_assert_eq!(reassembly.accept(address(1), piece, Instant::now()), Ok(None));
            }
            prop_assert_eq!(reassembly.accept(address(1), last, Instant::now()), Ok(Some(message)));
            prop_assert!(reassembly.partials.is_empty());
        }

        #[test]
        fn arbitrary_pieces_do_no_harm(pieces in vec(vec(any::<u8>(), 0..60), 0..20)) {
            let mut reassembly = Reassembly::new();
            for piece in pieces {
                let _ = reassembly.accept(address(1), &piece, Instant::now());
            }
        }
    }

    #[test]
    fn partial_messages_are_bounded_in_number_and_time() {
        let (mut fragmenter, mut reassembly) = (Fragmenter::new(0), Reassembly::new());
        let now = Instant::now();
        let message = noise(2 * PIECE_LEN);
        let mut first = None;
        for age in 0..=MAX_PARTIALS {
            let pieces = pieces(&mut fragmenter, &message);
            let at = now + Duration::from_millis(age as u64);
            assert_eq!(reassembly.accept(address(1), &pieces[0], at), Ok(None));
            first.get_or_insert(pieces);
        }
        assert_eq!(reassembly.partials.len(), MAX_PARTIALS);
        let first = first.unwrap();
        assert_eq!(reassembly.accept(address(1), &first[1], now), Ok(None), "its beginning made room");
        let later = now + Duration::from_millis(MAX_PARTIALS as u64) + PATIENCE;
        assert_eq!(reassembly.accept(address(1), &first[2], later), Ok(None));
        assert_eq!(reassembly.partials.len(), 1);
    }

    #[test]
    fn pieces_that_do_not_fit_are_refused() {
        let mut reassembly = Reassembly::new();
        let pieces = pieces(&mut Fragmenter::new(0), &noise(2 * PIECE_LEN));
        let now = Instant::now();
        reassembly.accept(address(1), &pieces[0], now).unwrap();
        assert_eq!(reassembly.accept(address(1), &pieces[0], now), Err(Rejection::Fragment), "twice");
        assert_eq!(reassembly.accept(address(2), &pieces[1], now), Ok(None), "of another sender");
        let mut beyond = pieces[1].clone();
        (beyond[4], beyond[5]) = (40, 41);
        assert_eq!(reassembly.accept(address(1), &beyond, now), Err(Rejection::Fragment), "beyond the end");
        assert_eq!(Fragmenter::new(0).cut(&noise(MAX_MESSAGE_LEN + 1), |_| ()), Err(Rejection::TooLarge));
    }

    #[test]
    fn a_compressed_message_cannot_grow_beyond_the_limit() {
        let bomb = zstd::bulk::compress(&vec![0; 10 * MAX_MESSAGE_LEN], 1).unwrap();
        let piece = [&[0, 0, 0, 0, 0, 1, ZSTD], &bomb[..]].concat();
        assert_eq!(Reassembly::new().accept(address(1), &piece, Instant::now()), Err(Rejection::Malformed));
    }
}
