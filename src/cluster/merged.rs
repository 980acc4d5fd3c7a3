//! A cluster's state without the cluster, for measurements.

use std::time::Instant;

use rumormq_gossip::{Config, Incarnation, Node, NodeName, ReplicaId};

use super::Cluster;
use super::interest::{ROUTES, SETS};

impl Cluster {
    /// Links a peer of this name, and merges what it says of its routes. The node is asked nothing, and answers nobody.
    pub fn merge_peer(&self, name: &str, routes: impl Iterator<Item = String>) {
        let now = Instant::now();
        let name = NodeName::parse(name).expect("a name");
        let replica = ReplicaId { name, incarnation: Incarnation(1) };
        let mut peer = Node::new(Config::default(), replica.clone(), &SETS, now);
        for route in routes {
            peer.insert(ROUTES, route.as_bytes(), b"", now);
        }
        self.peers.find_or_insert(&replica.name);
        let me = self.me();
        let hello = self.replication.lock().node.hello(now);
        peer.handle_link_up(me.clone(), hello, now);
        self.with_replication(now, |replication| {
            replication.node.handle_link_up(replica.clone(), peer.hello(now), now);
        });
        loop {
            let mut quiet = true;
            while let Some((_, message)) = peer.poll_transmit() {
                quiet = false;
                self.with_replication(now, |replication| {
                    replication.node.handle_message(&replica, message, now).expect("well formed");
                    while let Some((to, message)) = replication.node.poll_transmit() {
                        if to == replica {
                            peer.handle_message(&me, message, now).expect("well formed");
                        }
                    }
                });
            }
            if quiet {
                return;
            }
        }
    }
}
