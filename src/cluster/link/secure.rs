//! Sealing of a link: Noise NNpsk0, then records.
//!
//! Both ends prove that they hold an accepted cookie by the pre-shared key alone; the keys of the session come from a
//! fresh Diffie-Hellman exchange, so that a cookie that leaks later opens nothing recorded. The cluster's name is bound
//! in as the prologue. Within TLS the same handshake proves the cookie, bound to the TLS session, and its keys are not used. Somebody who replays an initiator's first message gets a reply and no further: a responder knows
//! its peer from the first record on that opens.
//!
//! A record is a length (2 bytes, little endian) and as many bytes of AES-256-GCM, whose nonce is the number of the
//! record. snow does the handshake; the records are written here, on the keys it yields, because its transport
//! copies each record and cannot be divided between a reading and a writing task.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rumormq_gossip::seal::LinkPsk;
use snow::{Builder, HandshakeState};
use zeroize::Zeroizing;

use super::preamble::Preamble;

/// Length of either message of the handshake: an ephemeral key and an authenticator.
pub const HANDSHAKE_LEN: usize = 32 + TAG_LEN;

/// Most plain bytes in one record.
pub const MAX_RECORD_PLAIN_LEN: usize = u16::MAX as usize - TAG_LEN;

const PATTERN: &str = "Noise_NNpsk0_25519_AESGCM_SHA256";
const TAG_LEN: usize = 16;
const LEN_LEN: usize = 2;
/// After so many records, at most 64 GiB, both ends replace their key as Noise does (its specification, 4.2): well
/// below the number of records that AES-GCM bears under one key.
const RECORDS_PER_KEY: u64 = 1 << 20;

/// Why a link cannot be, or no longer be, trusted. Each of them ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecureError {
    /// The peer holds none of the accepted cookies, belongs to another cluster, or somebody changed its message.
    #[error("the peer has no accepted cookie of this cluster")]
    Handshake,
    /// The peer closed the connection where it would have accepted the cookie.
    #[error("the peer does not accept this node's cookie, the first of its own")]
    Refused,
    /// A record does not open: it was changed, repeated or left out on the way.
    #[error("a record of the link was tampered with")]
    Record,
    /// The machine yields no randomness, or a cipher is missing from the build.
    #[error("the machine cannot do the handshake")]
    Machine,
    /// 2^64 records were sent. A new link begins anew.
    #[error("the link has used up its nonces")]
    Exhausted,
}

/// The dialling end of a handshake, waiting for the reply.
pub struct Initiator(HandshakeState);

/// The keys of an established link.
pub struct SecureChannel {
    /// For what this node sends.
    pub sealer: RecordSealer,
    /// For what the peer sends.
    pub opener: RecordOpener,
}

/// Seals what one end sends. Owned by the task that writes.
pub struct RecordSealer(RecordKey);

/// Opens what one end receives. Owned by the task that reads.
pub struct RecordOpener(RecordKey);

impl Initiator {
    /// Begins a handshake: the state, and the message to send.
    pub fn new(prologue: &[u8], psk: &LinkPsk) -> Result<(Initiator, [u8; HANDSHAKE_LEN]), SecureError> {
        let mut state = builder(prologue, psk)?.build_initiator().map_err(|_| SecureError::Machine)?;
        let message = write(&mut state)?;
        Ok((Initiator(state), message))
    }

    /// Takes the reply.
    pub fn finish(mut self, reply: &[u8; HANDSHAKE_LEN]) -> Result<SecureChannel, SecureError> {
        read(&mut self.0, reply)?;
        Ok(SecureChannel::new(self.0))
    }
}

/// Answers the first message of a handshake, whichever of the keys it was made with: the message to send, and the
/// channel.
pub fn respond(
    prologue: &[u8],
    psks: &[LinkPsk],
    message: &[u8; HANDSHAKE_LEN],
) -> Result<([u8; HANDSHAKE_LEN], SecureChannel), SecureError> {
    for psk in psks {
        let mut state = builder(prologue, psk)?.build_responder().map_err(|_| SecureError::Machine)?;
        if read(&mut state, message).is_ok() {
            let reply = write(&mut state)?;
            return Ok((reply, SecureChannel::new(state)));
        }
    }
    Err(SecureError::Handshake)
}

impl SecureChannel {
    fn new(mut state: HandshakeState) -> SecureChannel {
        let (to_responder, to_initiator) = state.dangerously_get_raw_split();
        let (to_responder, to_initiator) = (RecordKey::new(to_responder), RecordKey::new(to_initiator));
        if state.is_initiator() {
            SecureChannel { sealer: RecordSealer(to_responder), opener: RecordOpener(to_initiator) }
        } else {
            SecureChannel { sealer: RecordSealer(to_initiator), opener: RecordOpener(to_responder) }
        }
    }
}

impl RecordSealer {
    /// Appends to `out` the records that carry `plain`, of any length. One copy; sealed where it lands.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), SecureError> {
        let records = plain.len().div_ceil(MAX_RECORD_PLAIN_LEN);
        out.reserve(plain.len() + records * (LEN_LEN + TAG_LEN));
        for piece in plain.chunks(MAX_RECORD_PLAIN_LEN) {
            let nonce = self.0.next_nonce()?;
            out.extend_from_slice(&((piece.len() + TAG_LEN) as u16).to_le_bytes());
            let start = out.len();
            out.extend_from_slice(piece);
            let tag = self
                .0
                .key
                .seal_in_place_separate_tag(nonce, Aad::empty(), &mut out[start..])
                .map_err(|_| SecureError::Machine)?;
            out.extend_from_slice(tag.as_ref());
        }
        Ok(())
    }
}

impl RecordOpener {
    /// Opens the complete records at the start of `input` in place, appends what they carry to `out`, and tells how many
    /// bytes of `input` are done with. The rest is the beginning of a record: to be given again, with more behind it.
    pub fn open(&mut self, input: &mut [u8], out: &mut Vec<u8>) -> Result<usize, SecureError> {
        let mut done = 0;
        while let Some((len, rest)) = input[done..].split_first_chunk_mut::<LEN_LEN>() {
            let len = u16::from_le_bytes(*len) as usize;
            // No end writes an empty record, so one that comes is forged.
            if len <= TAG_LEN {
                return Err(SecureError::Record);
            }
            let Some(record) = rest.get_mut(..len) else { break };
            let nonce = self.0.next_nonce()?;
            let plain =
                self.0.key.open_in_place(nonce, Aad::empty(), record).map_err(|_| SecureError::Record)?;
            out.extend_from_slice(plain);
            done += LEN_LEN + len;
        }
        Ok(done)
    }
}

/// The key of one direction. Records arrive in order, so their number is never sent.
struct RecordKey {
    key: LessSafeKey,
    bytes: Zeroizing<[u8; 32]>,
    records: u64,
    records_per_key: u64,
}

impl RecordKey {
    fn new(bytes: [u8; 32]) -> RecordKey {
        RecordKey {
            key: less_safe(&bytes),
            bytes: Zeroizing::new(bytes),
            records: 0,
            records_per_key: RECORDS_PER_KEY,
        }
    }

    fn next_nonce(&mut self) -> Result<Nonce, SecureError> {
        // The last number is the one that replaces keys.
        if self.records == u64::MAX {
            return Err(SecureError::Exhausted);
        }
        if self.records > 0 && self.records.is_multiple_of(self.records_per_key) {
            self.replace_key()?;
        }
        let nonce = nonce(self.records);
        self.records += 1;
        Ok(nonce)
    }

    fn replace_key(&mut self) -> Result<(), SecureError> {
        let mut next = Zeroizing::new([0; 32]);
        let _tag = self
            .key
            .seal_in_place_separate_tag(nonce(u64::MAX), Aad::empty(), next.as_mut())
            .map_err(|_| SecureError::Machine)?;
        self.key = less_safe(&next);
        self.bytes = next;
        Ok(())
    }
}

fn less_safe(bytes: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).expect("AES-256 takes a key of 32 bytes"))
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// What both ends must agree on beside the key: how the link began, the cluster's name, and what stands for the TLS session
/// that the handshake is in, if there is one.
pub fn prologue(preamble: Preamble, cluster: &str, binding: &[u8]) -> Vec<u8> {
    [&preamble.bytes(), cluster.as_bytes(), binding].concat()
}

fn builder<'a>(prologue: &'a [u8], psk: &'a LinkPsk) -> Result<Builder<'a>, SecureError> {
    let params = PATTERN.parse().map_err(|_| SecureError::Machine)?;
    Builder::new(params)
        .prologue(prologue)
        .and_then(|builder| builder.psk(0, psk.as_bytes()))
        .map_err(|_| SecureError::Machine)
}

fn write(state: &mut HandshakeState) -> Result<[u8; HANDSHAKE_LEN], SecureError> {
    let mut message = [0; HANDSHAKE_LEN];
    match state.write_message(&[], &mut message) {
        Ok(HANDSHAKE_LEN) => Ok(message),
        _ => Err(SecureError::Machine),
    }
}

fn read(state: &mut HandshakeState, message: &[u8; HANDSHAKE_LEN]) -> Result<(), SecureError> {
    state.read_message(message, &mut []).map(|_| ()).map_err(|_| SecureError::Handshake)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn psk(byte: u8) -> LinkPsk {
        LinkPsk::from([byte; 32])
    }

    fn channels() -> (SecureChannel, SecureChannel) {
        let (initiator, first) = Initiator::new(b"blue", &psk(1)).unwrap();
        let (reply, responder) = respond(b"blue", &[psk(2), psk(1)], &first).unwrap();
        (initiator.finish(&reply).unwrap(), responder)
    }

    fn sealed(sealer: &mut RecordSealer, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        sealer.seal(plain, &mut out).unwrap();
        out
    }

    #[test]
    fn another_key_or_cluster_or_a_changed_message_is_refused() {
        let (initiator, first) = Initiator::new(b"blue", &psk(1)).unwrap();
        assert!(matches!(respond(b"blue", &[psk(2), psk(3)], &first), Err(SecureError::Handshake)));
        assert!(matches!(respond(b"blue", &[], &first), Err(SecureError::Handshake)));
        assert!(matches!(respond(b"green", &[psk(1)], &first), Err(SecureError::Handshake)));
        for position in 0..HANDSHAKE_LEN {
            let mut changed = first;
            changed[position] ^= 1;
            assert!(respond(b"blue", &[psk(1)], &changed).is_err(), "byte {position}");
        }
        let (mut reply, _) = respond(b"blue", &[psk(1)], &first).unwrap();
        reply[40] ^= 1;
        assert!(matches!(initiator.finish(&reply), Err(SecureError::Handshake)));
    }

    #[test]
    fn a_replayed_first_message_leads_to_other_keys() {
        let (initiator, first) = Initiator::new(b"blue", &psk(1)).unwrap();
        let (reply, _) = respond(b"blue", &[psk(1)], &first).unwrap();
        let mut recorded = sealed(&mut initiator.finish(&reply).unwrap().sealer, b"hello");
        let (_, mut again) = respond(b"blue", &[psk(1)], &first).unwrap();
        assert_eq!(again.opener.open(&mut recorded, &mut Vec::new()), Err(SecureError::Record));
    }

    #[test]
    fn repeated_reordered_and_reflected_records_are_refused() {
        let (mut a, mut b) = channels();
        let (one, two) = (sealed(&mut a.sealer, b"one"), sealed(&mut a.sealer, b"two"));
        assert_eq!(a.opener.open(&mut one.clone(), &mut Vec::new()), Err(SecureError::Record), "reflected");
        let mut out = Vec::new();
        b.opener.open(&mut one.clone(), &mut out).unwrap();
        assert_eq!(out, b"one");
        assert_eq!(b.opener.open(&mut one.clone(), &mut out), Err(SecureError::Record), "repeated");
        let (mut a, mut b) = channels();
        let _left_out = sealed(&mut a.sealer, b"one");
        assert_eq!(b.opener.open(&mut sealed(&mut a.sealer, b"two"), &mut out), Err(SecureError::Record));
        assert_ne!(two, one);
    }

    #[test]
    fn keys_are_replaced_in_step_and_nonces_do_not_wrap() {
        let (mut a, mut b) = channels();
        a.sealer.0.records_per_key = 3;
        b.opener.0.records_per_key = 3;
        let before = *a.sealer.0.bytes;
        let mut out = Vec::new();
        for number in 0..10_u8 {
            let mut record = sealed(&mut a.sealer, &[number]);
            assert_eq!(b.opener.open(&mut record, &mut out), Ok(record.len()));
        }
        assert_eq!(out, (0..10).collect::<Vec<u8>>());
        assert_ne!(*a.sealer.0.bytes, before);
        a.sealer.0.records = u64::MAX;
        assert_eq!(a.sealer.seal(b"x", &mut out), Err(SecureError::Exhausted));
    }

    #[test]
    fn an_empty_record_is_refused() {
        let (_, mut b) = channels();
        let mut record = [&16_u16.to_le_bytes()[..], &[0; 16]].concat();
        assert_eq!(b.opener.open(&mut record, &mut Vec::new()), Err(SecureError::Record));
    }

    #[test]
    fn batches_beyond_a_record_are_cut() {
        let (mut a, mut b) = channels();
        let plain: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        let mut records = sealed(&mut a.sealer, &plain);
        assert_eq!(records.len(), plain.len() + 4 * (LEN_LEN + TAG_LEN));
        let mut out = Vec::new();
        assert_eq!(b.opener.open(&mut records, &mut out), Ok(records.len()));
        assert!(out == plain);
    }

    proptest! {
        // Each case does a handshake, which is slow without optimisation.
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn bytes_come_through_however_they_are_cut(
            batches in vec(vec(any::<u8>(), 0..300), 0..8), cuts in vec(1_usize..100, 1..40),
        ) {
            let (mut a, mut b) = channels();
            let wire: Vec<u8> = batches.iter().flat_map(|batch| sealed(&mut a.sealer, batch)).collect();
            let (mut buffer, mut out, mut rest) = (Vec::new(), Vec::new(), &wire[..]);
            for cut in cuts.iter().cycle() {
                let (piece, behind) = rest.split_at((*cut).min(rest.len()));
                buffer.extend_from_slice(piece);
                rest = behind;
                let done = b.opener.open(&mut buffer, &mut out).unwrap();
                buffer.drain(..done);
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(out, batches.concat());
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn any_flipped_bit_is_refused(plain in vec(any::<u8>(), 1..100), position in any::<prop::sample::Index>(), bit in 0..8) {
            let (mut a, mut b) = channels();
            let mut record = sealed(&mut a.sealer, &plain);
            let position = position.index(record.len());
            record[position] ^= 1_u8 << bit;
            let mut out = Vec::new();
            // A longer length waits for bytes that do not come; everything else is noticed.
            prop_assert!(matches!(b.opener.open(&mut record, &mut out), Err(SecureError::Record) | Ok(0)));
            prop_assert!(out.is_empty());
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(mut noise in vec(any::<u8>(), 0..200)) {
            let (_, mut b) = channels();
            let mut out = Vec::new();
            let _ = b.opener.open(&mut noise, &mut out);
            prop_assert!(out.is_empty());
        }
    }

    #[test]
    #[ignore = "prints a throughput; run it in release"]
    fn throughput_of_sealing_and_opening() {
        for batch in [256, 4096, 60_000] {
            let (mut a, mut b) = channels();
            let plain = vec![7; batch];
            let (mut wire, mut out) = (Vec::new(), Vec::new());
            let rounds = (256 << 20) / batch;
            let (mut sealing, mut opening) = (Duration::ZERO, Duration::ZERO);
            for _ in 0..rounds {
                wire.clear();
                out.clear();
                let start = Instant::now();
                a.sealer.seal(&plain, &mut wire).unwrap();
                let sealed = Instant::now();
                b.opener.open(&mut wire, &mut out).unwrap();
                sealing += sealed - start;
                opening += sealed.elapsed();
            }
            let rate = |time: Duration| (rounds * batch) as f64 / time.as_secs_f64() / 1e9;
            println!(
                "batches of {batch} bytes: {:.2} GB/s sealed, {:.2} GB/s opened",
                rate(sealing),
                rate(opening)
            );
        }
    }
}
