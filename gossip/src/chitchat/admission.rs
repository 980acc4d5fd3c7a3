//! What is let through to chitchat. Its state grows with every id that a digest mentions, its messages must fit 64 KiB,
//! and a delta may unpack to more than any honest one: so messages are looked through first, ids that are not
//! let in are taken out of their digests, and the rest goes on.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ::chitchat::{ChitchatId, Deserializable, Serializable};

use super::generation;
use crate::seal::Rejection;

/// Most members of a cluster. Each knows all others and is linked to them; beyond this, another shape is needed.
pub const MAX_MEMBERS: usize = 500;

/// Most bytes of a digest. The rest of a message of 64 KiB is left to the delta; chitchat panics when there is none.
const MAX_DIGEST_LEN: usize = 48 * 1024;
/// Heartbeat and two versions.
const NODE_DIGEST_LEN: usize = 24;
/// chitchat cuts its deltas, of 64 KiB at most before compression, into blocks of 16 KiB.
const MAX_DELTA_BLOCKS: usize = 8;

const HEAD_LEN: usize = 4;
const SYN: u8 = 0;
const SYN_ACK: u8 = 1;
const ACK: u8 = 2;

/// The ids that chitchat knows, and whether more may join them.
pub(super) struct Admission {
    cluster: String,
    known: HashSet<ChitchatId>,
    names: HashMap<Arc<str>, usize>,
    digest_len: usize,
}

/// A message as far as chitchat may see it.
pub(super) struct Admitted<'a> {
    /// Its bytes.
    pub message: Cow<'a, [u8]>,
    /// How many ids were taken out of it.
    pub refused: usize,
}

impl Admission {
    pub(super) fn new(cluster: String) -> Admission {
        Admission { cluster, known: HashSet::new(), names: HashMap::new(), digest_len: 0 }
    }

    /// Forgets the ids that chitchat has forgotten.
    pub(super) fn retain_known<'a>(&mut self, ids: impl ExactSizeIterator<Item = &'a ChitchatId> + Clone) {
        if ids.len() == self.known.len() && ids.clone().all(|id| self.known.contains(id)) {
            return;
        }
        self.known.clear();
        self.names.clear();
        self.digest_len = 0;
        ids.for_each(|id| self.admit(id));
    }

    /// Looks through a message.
    pub(super) fn vet<'a>(&mut self, message: &'a [u8]) -> Result<Admitted<'a>, Rejection> {
        let (head, body) = message.split_at_checked(HEAD_LEN).ok_or(Rejection::Malformed)?;
        match head[HEAD_LEN - 1] {
            kind @ (SYN | SYN_ACK) => {
                let (entries, rest) = digest(body)?;
                self.vet_rest(kind, rest)?;
                Ok(self.vet_digest(message, &entries, rest))
            }
            ACK => {
                self.vet_rest(ACK, body)?;
                Ok(Admitted { message: Cow::Borrowed(message), refused: 0 })
            }
            _ => Err(Rejection::Malformed),
        }
    }

    fn vet_rest(&self, kind: u8, mut rest: &[u8]) -> Result<(), Rejection> {
        if kind != SYN {
            return vet_delta(rest);
        }
        let cluster = String::deserialize(&mut rest).map_err(|_| Rejection::Malformed)?;
        if cluster == self.cluster { Ok(()) } else { Err(Rejection::OtherCluster) }
    }

    fn vet_digest<'a>(&mut self, message: &'a [u8], entries: &[Entry<'a>], rest: &[u8]) -> Admitted<'a> {
        let kept: Vec<&Entry> = entries.iter().filter(|entry| self.lets_in(&entry.id)).collect();
        let refused = entries.len() - kept.len();
        if refused == 0 {
            return Admitted { message: Cow::Borrowed(message), refused };
        }
        let mut rewritten = message[..HEAD_LEN].to_vec();
        // There are no more than came in, and their number came in two bytes.
        rewritten.extend_from_slice(&(kept.len() as u16).to_le_bytes());
        kept.iter().for_each(|entry| rewritten.extend_from_slice(entry.bytes));
        rewritten.extend_from_slice(rest);
        Admitted { message: Cow::Owned(rewritten), refused }
    }

    fn lets_in(&mut self, id: &ChitchatId) -> bool {
        if self.known.contains(id) {
            return true;
        }
        let room = self.digest_len + entry_len(id) <= MAX_DIGEST_LEN
            && (self.names.len() < MAX_MEMBERS || self.names.contains_key(&id.node_id));
        let admitted = room && generation::replica(id).is_some();
        if admitted {
            self.admit(id);
        }
        admitted
    }

    fn admit(&mut self, id: &ChitchatId) {
        if self.known.insert(id.clone()) {
            *self.names.entry(id.node_id.clone()).or_default() += 1;
            self.digest_len += entry_len(id);
        }
    }
}

struct Entry<'a> {
    id: ChitchatId,
    bytes: &'a [u8],
}

fn entry_len(id: &ChitchatId) -> usize {
    id.serialized_len() + NODE_DIGEST_LEN
}

/// The entries of a digest, and what follows it.
fn digest(body: &[u8]) -> Result<(Vec<Entry<'_>>, &[u8]), Rejection> {
    let (count, mut rest) = body.split_first_chunk::<2>().ok_or(Rejection::Malformed)?;
    let mut entries = Vec::new();
    for _ in 0..u16::from_le_bytes(*count) {
        let before = rest;
        let id = ChitchatId::deserialize(&mut rest).map_err(|_| Rejection::Malformed)?;
        rest = rest.get(NODE_DIGEST_LEN..).ok_or(Rejection::Malformed)?;
        entries.push(Entry { id, bytes: &before[..before.len() - rest.len()] });
    }
    Ok((entries, rest))
}

/// A delta is blocks of kind (1 byte), length (2 bytes) and bytes, up to a kind of zero.
fn vet_delta(mut rest: &[u8]) -> Result<(), Rejection> {
    for _ in 0..=MAX_DELTA_BLOCKS {
        rest = match rest {
            [0, ..] => return Ok(()),
            [_, l0, l1, block @ ..] => {
                block.get(usize::from(u16::from_le_bytes([*l0, *l1]))..).ok_or(Rejection::Malformed)?
            }
            _ => return Err(Rejection::Malformed),
        };
    }
    Err(Rejection::TooLarge)
}

#[cfg(test)]
mod tests {
    use ::chitchat::ChitchatMessage;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn id(name: &str, generation: u64) -> ChitchatId {
        ChitchatId::new(name, generation, ([127, 0, 0, 1], 1).into())
    }

    fn syn(cluster: &str, ids: &[ChitchatId]) -> Vec<u8> {
        let mut message = vec![0x53, 0xb0, 0, SYN];
        message.extend_from_slice(&(ids.len() as u16).to_le_bytes());
        for id in ids {
            id.serialize(&mut message);
            message.extend_from_slice(&[1; NODE_DIGEST_LEN]);
        }
        cluster.to_owned().serialize(&mut message);
        message
    }

    fn members(numbers: std::ops::Range<usize>) -> Vec<ChitchatId> {
        numbers.map(|number| id(&format!("n{number}@h"), 1)).collect()
    }

    fn admission() -> Admission {
        Admission::new("c".into())
    }

    #[test]
    fn the_messages_built_here_are_those_of_chitchat() {
        ChitchatMessage::deserialize(&mut &syn("c", &members(0..3))[..]).unwrap();
    }

    #[test]
    fn members_beyond_the_limit_are_taken_out_and_the_known_ones_stay() {
        let mut admission = admission();
        assert_eq!(admission.vet(&syn("c", &members(0..MAX_MEMBERS))).unwrap().refused, 0);
        let message = syn("c", &members(MAX_MEMBERS - 1..MAX_MEMBERS + 2));
        let admitted = admission.vet(&message).unwrap();
        assert_eq!(admitted.refused, 2);
        assert_eq!(admitted.message, syn("c", &members(MAX_MEMBERS - 1..MAX_MEMBERS)));
        // A restarted member is no additional one.
        assert_eq!(admission.vet(&syn("c", &[id("n0@h", 2)])).unwrap().refused, 0);
        let left = members(1..MAX_MEMBERS);
        admission.retain_known(left.iter());
        assert_eq!(admission.vet(&syn("c", &members(600..601))).unwrap().refused, 0);
    }

    #[test]
    fn long_names_are_refused_before_a_digest_gets_too_long() {
        let mut admission = admission();
        let long: Vec<ChitchatId> = (0..300).map(|n| id(&format!("{n}@{}", "h".repeat(240)), 1)).collect();
        let message = syn("c", &long[..200]);
        assert!(admission.vet(&message).unwrap().refused > 0);
        assert!(admission.digest_len <= MAX_DIGEST_LEN);
    }

    #[test]
    fn names_that_are_none_and_other_clusters_are_refused() {
        let mut admission = admission();
        assert_eq!(admission.vet(&syn("c", &[id("nobody", 1)])).unwrap().refused, 1);
        assert_eq!(admission.vet(&syn("d", &[])).err(), Some(Rejection::OtherCluster));
        assert_eq!(admission.vet(&[0x53, 0xb0, 0, 3]).err(), Some(Rejection::Malformed), "BadCluster");
    }

    #[test]
    fn a_delta_of_too_many_blocks_is_refused() {
        let ack = |blocks: usize| {
            let mut message = vec![0x53, 0xb0, 0, ACK];
            (0..blocks).for_each(|_| message.extend_from_slice(&[2, 1, 0, 0xff]));
            message.push(0);
            message
        };
        assert!(admission().vet(&ack(MAX_DELTA_BLOCKS)).is_ok());
        assert_eq!(admission().vet(&ack(MAX_DELTA_BLOCKS + 1)).err(), Some(Rejection::TooLarge));
        assert_eq!(admission().vet(&[0x53, 0xb0, 0, ACK, 2, 9, 0, 1]).err(), Some(Rejection::Malformed));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_no_harm(kind in 0_u8..5, bytes in vec(any::<u8>(), 0..200)) {
            let message = [&[0x53, 0xb0, 0, kind], &bytes[..]].concat();
            let _ = admission().vet(&message);
            let _ = admission().vet(&bytes);
        }
    }
}
