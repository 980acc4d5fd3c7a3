//! What must hold: at every event, and in the end.

use std::collections::BTreeMap;
use std::time::Duration;

use rumormq_gossip::{Head, ReplicaId, SetId, Status};

use super::World;
use crate::process::SETS;

impl World {
    /// Settled means: every live member with a link, but those said to be late, has applied it. (Of who leaves or was
    /// forgotten they have applied it and dropped it again.)
    pub(super) fn check_settled(&mut self, host: usize, set: SetId, seq: u64, missed: &[ReplicaId]) {
        let Some(process) = &self.hosts[host].process else { return };
        if process.status == Status::Left || self.profile.config.forget_after < Duration::from_secs(60) {
            return;
        }
        let me = process.node.me();
        for connection in process.connections.values().filter(|connection| connection.since < self.now) {
            let peer = &connection.peer;
            let other = self.running().find(|(_, other)| other.node.me() == peer);
            let Some((_, other)) = other else { continue };
            let is_live = process.node.member_state(peer).is_some_and(|state| state.is_live());
            let applied = other.node.applied(set, me).map_or(0, |head| head.seq);
            if is_live && !missed.contains(peer) && applied < seq {
                self.violations.push(format!("{me} calls {seq} settled, {peer} has {applied}"));
                return;
            }
        }
    }

    /// What the running nodes do not agree in yet.
    pub(super) fn disagreement(&self) -> Option<String> {
        let mut gone: BTreeMap<(ReplicaId, SetId), (Head, &ReplicaId)> = BTreeMap::new();
        for (_, process) in self.running() {
            let me = process.node.me();
            if !process.node.converged() {
                return Some(format!("{me} knows that it is behind"));
            }
            for (_, other) in self.running().filter(|(_, other)| other.node.me() != me) {
                let peer = other.node.me();
                if !process.node.member_state(peer).is_some_and(|state| state.is_live()) {
                    return Some(format!("{me} does not see {peer}"));
                }
                for (set, head) in other.node.heads() {
                    let applied = process.node.applied(set, peer).unwrap_or_default();
                    if applied != head {
                        return Some(format!("{me} has {applied} of {set:?} of {peer}, which is at {head}"));
                    }
                }
            }
            for member in process.node.members(self.instant()) {
                let is_running = self.running().any(|(_, other)| *other.node.me() == member.replica);
                if member.visible && !is_running {
                    return Some(format!("{me} still shows {}", member.replica));
                }
                for lane in member.lanes.iter().filter(|lane| !is_running && lane.applied.seq > 0) {
                    let (first, by) =
                        *gone.entry((member.replica.clone(), lane.set)).or_insert((lane.applied, me));
                    if first != lane.applied {
                        let (replica, set, applied) = (&member.replica, lane.set, lane.applied);
                        return Some(format!(
                            "of {set:?} of {replica}, which is gone, {me} has {applied}, {by} {first}"
                        ));
                    }
                }
            }
            if process.settled != process.awaited {
                return Some(format!("{me} awaits {} changes still", process.awaited - process.settled));
            }
        }
        None
    }

    /// Compares everything that the nodes hold with what their applications wrote, not by hash.
    pub(super) fn wrong_content(&self) -> Option<String> {
        for (_, process) in self.running() {
            if let Some(wrong) = process.events_disagree() {
                return Some(wrong);
            }
            for set in (0..SETS.len()).map(|set| SetId(set as u8)) {
                let mut held: Vec<(ReplicaId, Vec<u8>, Vec<u8>)> = process
                    .node
                    .elements(set, false)
                    .map(|(by, element)| (by.clone(), element.key().to_vec(), element.value().to_vec()))
                    .collect();
                let mut written = Vec::new();
                for (_, other) in self.running() {
                    let elements = other.truth[usize::from(set.0)].iter();
                    written.extend(
                        elements.map(|(key, value)| (other.node.me().clone(), key.clone(), value.clone())),
                    );
                }
                held.sort();
                written.sort();
                if held != written {
                    return Some(format!(
                        "{} holds {held:?}
written was {written:?}",
                        process.node.me()
                    ));
                }
            }
        }
        None
    }
}
