//! Which links there are to be: those of the [`Mesh`](crate::mesh::Mesh), and others for as long as somebody uses them.

use std::time::Instant;

use super::{Member, Node};
use crate::config::Config;
use crate::replica::{NodeName, ReplicaId};

/// Whether a link is of use to its ends.
#[derive(Debug, Default)]
pub(super) struct Need {
    /// The application uses it.
    in_use: bool,
    /// Since when this node has had no need of it.
    idle_since: Option<Instant>,
    /// The peer has said that it has none.
    spare_to_peer: bool,
}

impl Need {
    /// Whether this end could do without it.
    pub fn is_spare(&self, config: &Config, now: Instant) -> bool {
        let idle = self.idle_since.map(|since| now.saturating_duration_since(since));
        idle.is_some_and(|idle| idle >= config.spare_link_after)
    }

    pub fn peer_says(&mut self, spare: bool) {
        self.spare_to_peer = spare;
    }
}

impl Node {
    /// Whether there is to be a link to the node of this name, as far as the replicated sets need one.
    pub fn wants_link(&self, name: &NodeName) -> bool {
        self.mesh.wants(name)
    }

    /// Live members to which there is to be a link, and is none.
    pub fn missing_links(&self) -> Vec<ReplicaId> {
        let wanted: Vec<(&ReplicaId, &Member)> = match self.mesh.neighbours() {
            None => self.members.iter().collect(),
            Some(neighbours) => neighbours.iter().flat_map(|name| self.incarnations(name)).collect(),
        };
        let missing = wanted
            .into_iter()
            .filter(|(replica, member)| member.is_live() && !self.links.contains_key(*replica));
        missing.map(|(replica, _)| replica.clone()).collect()
    }

    /// Whether everybody is to link to everybody.
    pub fn is_full_mesh(&self) -> bool {
        self.mesh.is_full()
    }

    /// The application has use for the link to this peer, or has none any more.
    pub fn use_link(&mut self, peer: &ReplicaId, in_use: bool) {
        if let Some(link) = self.links.get_mut(peer) {
            link.need.in_use = in_use;
        }
    }

    /// Whether neither end needs the link to `peer`: then either may end it. Never the only way to somebody who lives.
    pub fn is_spare(&self, peer: &ReplicaId, now: Instant) -> bool {
        let Some(link) = self.links.get(peer) else { return false };
        let is_live = self.members.get(peer).is_some_and(Member::is_live);
        link.need.is_spare(&self.config, now)
            && link.need.spare_to_peer
            && (!is_live || self.graph.is_seen_by_others(peer, now))
    }

    /// Looks at whom to link to, and which links serve nobody. A node does that by itself now and then; to be called before
    /// links are dialled or ended.
    pub fn review_links(&mut self, now: Instant) {
        if std::mem::take(&mut self.mesh_stale) {
            let live = self.members.iter().filter(|(_, member)| member.is_live());
            self.mesh.handle_members(&self.me.name, live.map(|(replica, _)| &replica.name));
        }
        for (peer, link) in &mut self.links {
            if link.need.in_use || self.mesh.wants(&peer.name) {
                link.need.idle_since = None;
            } else {
                link.need.idle_since.get_or_insert(now);
            }
        }
    }
}
