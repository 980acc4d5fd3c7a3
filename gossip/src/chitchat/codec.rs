//! From chitchat's messages to datagrams and back. One for each socket; it outlives restarts of chitchat, so that what
//! it knows of replays is kept.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::chitchat::{ChitchatMessage, Deserializable, Serializable};
use tokio::time::Instant;

use super::admission::{Admission, MAX_MEMBERS};
use super::counters::GossipCounters;
use super::fragment::{Fragmenter, Reassembly};
use crate::seal::{ClusterKeys, ClusterTag, Opener, Rejection, Sealer};

/// How often it is said that members are refused.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

pub(super) struct Codec {
    sealer: Sealer,
    opener: Opener,
    fragmenter: Fragmenter,
    reassembly: Reassembly,
    pub(super) admission: Admission,
    counters: Arc<GossipCounters>,
    message: Vec<u8>,
    datagram: Vec<u8>,
    complained: Option<Instant>,
}

impl Codec {
    /// `boot` must be random.
    pub(super) fn new(
        cluster: &str,
        keys: Option<&ClusterKeys>,
        boot: [u8; 16],
        counters: Arc<GossipCounters>,
    ) -> Codec {
        let tag = keys.map_or_else(|| ClusterTag::new(cluster), ClusterKeys::tag);
        let keys = keys.map(ClusterKeys::datagram_keys).unwrap_or_default();
        let [i0, i1, i2, i3, ..] = boot;
        Codec {
            sealer: Sealer::new(tag, keys.first(), boot),
            opener: Opener::new(tag, &keys),
            // So that pieces from before a restart of this node are not mixed up with those of now.
            fragmenter: Fragmenter::new(u32::from_le_bytes([i0, i1, i2, i3])),
            reassembly: Reassembly::new(),
            admission: Admission::new(cluster.to_owned()),
            counters,
            message: Vec::new(),
            datagram: Vec::new(),
            complained: None,
        }
    }

    /// Uses other keys of the same cluster from now on.
    pub(super) fn replace_keys(&mut self, keys: &ClusterKeys) {
        let keys = keys.datagram_keys();
        if let Some(first) = keys.first() {
            self.sealer.replace_key(first);
            self.opener.replace_keys(&keys);
        }
    }

    /// Gives the datagrams of a message to `send`.
    pub(super) fn encode(&mut self, message: &ChitchatMessage, mut send: impl FnMut(&[u8])) {
        self.message.clear();
        message.serialize(&mut self.message);
        let cut = self.fragmenter.cut(&self.message, |piece| {
            self.sealer.seal(piece, &mut self.datagram);
            send(&self.datagram);
        });
        if let Err(rejection) = cut {
            self.counters.rejected().count(rejection);
            tracing::error!(
                bytes = self.message.len(),
                "a gossip message is too long to be sent: remove nodes, or shorten their names"
            );
        }
    }

    /// The message that a datagram completes, if it does. What is refused is counted.
    pub(super) fn decode(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) -> Option<ChitchatMessage> {
        self.counters.received(datagram.len());
        self.try_decode(from, datagram, now).unwrap_or_else(|rejection| {
            self.counters.rejected().count(rejection);
            tracing::debug!(%from, reason = rejection.reason(), "refused a gossip datagram");
            None
        })
    }

    fn try_decode(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) -> Result<Option<ChitchatMessage>, Rejection> {
        let piece = self.opener.open(datagram)?;
        let Some(message) = self.reassembly.accept(from, &piece, now)? else { return Ok(None) };
        let admitted = self.admission.vet(&message)?;
        let message =
            ChitchatMessage::deserialize(&mut &*admitted.message).map_err(|_| Rejection::Malformed)?;
        let refused = admitted.refused;
        if refused > 0 {
            self.complain(from, refused, now);
        }
        Ok(Some(message))
    }

    fn complain(&mut self, from: SocketAddr, refused: usize, now: Instant) {
        self.counters.refused(refused as u64);
        if self.complained.is_none_or(|at| now.duration_since(at) >= COMPLAINT_INTERVAL) {
            self.complained = Some(now);
            tracing::error!(
                %from,
                refused,
                "members are refused: their names are not of the form name@host, or the cluster has more than \
                 {MAX_MEMBERS} members, counted with those that died lately: remove some, or wait until the dead are forgotten"
            );
        }
    }
}
