//! The receiving end: frames of other nodes that a linked peer has passed on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use rumormq_gossip::ReplicaId;

use super::wire::{self, RelayHead};
use crate::cluster::Cluster;
use crate::cluster::link::driver::LinkError;
use crate::cluster::link::frame::Frame;
use crate::cluster::link::kind;
use crate::cluster::peer::{Link, Peer};
use crate::cluster::source::Source;

/// Those whose frames come over one link, passed on by its peer. Bounded by the members of the cluster.
#[derive(Default)]
pub struct Relayed {
    sources: BTreeMap<ReplicaId, Source>,
}

impl Relayed {
    /// Handles a relay frame. An error is the fault of the link's peer; what is wrong with the frames that it passed on is that of
    /// their sender: they are dropped.
    pub fn handle(
        &mut self,
        cluster: &Arc<Cluster>,
        through: (&Peer, &Link),
        body: &[u8],
        now: Instant,
    ) -> Result<(), LinkError> {
        let (head, mut frames) = wire::read(body).ok_or(LinkError::MalformedFrame(kind::RELAYED))?;
        let Some(source) = self.source(cluster, &head.other) else {
            // A new start of a node, perhaps, of which its peer has heard first.
            cluster.counters.relay_unroutable.inc();
            return Ok(());
        };
        source.begin(now);
        let fault = loop {
            match Frame::parse(frames) {
                Ok(Some((frame, length))) => {
                    frames = &frames[length..];
                    match source.handle_frame(cluster, frame, now) {
                        Ok(true) => {}
                        Ok(false) if frame.skip_if_unknown => {}
                        Ok(false) => break Some(LinkError::UnknownFrame(frame.kind)),
                        Err(error) => break Some(error),
                    }
                }
                Ok(None) if frames.is_empty() => break None,
                Ok(None) => break Some(LinkError::MalformedFrame(kind::RELAYED)),
                Err(error) => break Some(error.into()),
            }
        };
        let answers = source.finish(now);
        if let Some(error) = fault {
            cluster.counters.rejected.with_label_values(&["relay_protocol"]).inc();
            tracing::warn!(from = %head.other, via = %through.1.replica, %error, "relayed frames dropped: check that both nodes run a current version");
        }
        if !answers.is_empty() {
            answer(through, head.other, &answers);
        }
        Ok(())
    }

    /// Whether an acknowledgement is held back.
    pub fn is_held(&self) -> bool {
        self.sources.values().any(Source::is_held)
    }

    /// Acknowledges what was received, where that was held back long enough.
    pub fn acknowledge_held(&mut self, through: (&Peer, &Link), now: Instant) {
        for (origin, source) in &mut self.sources {
            if let Some(held) = source.held_answer(now) {
                answer(through, origin.clone(), &held);
            }
        }
    }

    /// Where the frames of `origin` go; none where it is not a member.
    fn source(&mut self, cluster: &Cluster, origin: &ReplicaId) -> Option<&mut Source> {
        let received = match cluster.inbound.find(origin) {
            Some(received) => received,
            None if cluster.is_member(origin) => cluster.inbound.stream(origin),
            None => {
                self.sources.remove(origin);
                return None;
            }
        };
        if self.sources.get(origin).is_none_or(|source| !source.counts_in(&received)) {
            // Those of its starts before are over.
            self.sources.retain(|other, _| other.name != origin.name);
            let peer = cluster.peers.find_or_insert(&origin.name);
            let source = Source::new(cluster, peer, origin.clone(), received, true);
            self.sources.insert(origin.clone(), source);
        }
        self.sources.get_mut(origin)
    }
}

/// Answers go back the way they were asked for.
fn answer(through: (&Peer, &Link), origin: ReplicaId, frames: &[u8]) {
    let (peer, link) = through;
    let to = RelayHead { other: origin, best_effort: false };
    peer.send_on_link(&link.replica, |out| wire::append_packed(out, &to, frames));
}
