//! What must hold: at every event, and in the end.

use std::collections::BTreeMap;
use std::time::Duration;

use rumormq_gossip::{Head, ReplicaId, SetId, Status};

use super::World;
use crate::process::{Process, SETS, Seen, is_stamped, seen};

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
            // A start whose clock is behind is dropped by who knows a later one and hears nothing of it for a while.
            let knows_later =
                other.node.members(self.instant()).iter().any(|member| {
                    member.replica.name == me.name && member.replica.incarnation > me.incarnation
                });
            if knows_later {
                continue;
            }
            if is_live && !missed.contains(peer) && applied < seq {
                self.violations.push(format!("{me} calls {seq} settled, {peer} has {applied}"));
                return;
            }
            // What the peer wrote before it applied this is here.
            let when = self.when_applied.get(&(peer.clone(), me.clone(), set));
            let when = when.and_then(|when| when.iter().find(|(applied, _)| *applied >= seq));
            let Some((_, heads)) = when.filter(|_| is_live && !missed.contains(peer)) else { continue };
            for (set, head) in (0..).map(SetId).zip(heads) {
                let here = process.node.applied(set, peer).map_or(0, |head| head.seq);
                if here < *head {
                    self.violations
                        .push(format!("{me} has {here} of {set:?} of {peer}, which was at {head}"));
                    return;
                }
            }
        }
    }

    /// Notes how far a node had come with its own lanes when it applied others'.
    pub(super) fn record_applied(&mut self, host: usize) {
        let Some(process) = &self.hosts[host].process else { return };
        let me = process.node.me();
        let heads: Vec<u64> = process.node.heads().iter().map(|(_, head)| head.seq).collect();
        let mut noted = Vec::new();
        for (_, other) in self.running().filter(|(other, _)| *other != host) {
            for set in (0..SETS.len()).map(|set| SetId(set as u8)) {
                let applied = process.node.applied(set, other.node.me()).map_or(0, |head| head.seq);
                noted.push(((me.clone(), other.node.me().clone(), set), applied));
            }
        }
        for (lane, applied) in noted {
            let when = self.when_applied.entry(lane).or_default();
            if when.last().map_or(0, |(last, _)| *last) < applied {
                when.push((applied, heads.clone()));
            }
        }
    }

    /// Notes what counts for those who go on.
    pub(super) fn note_known(&mut self) {
        let mut known: BTreeMap<Vec<u8>, Seen> = BTreeMap::new();
        let retained = SetId((SETS.len() - 1) as u8);
        for (_, process) in self.running().filter(|(_, process)| process.status == Status::Running) {
            for key in (0..12).map(|key| format!("key{key}").into_bytes()) {
                let Some(latest) = process.node.latest(retained, &key) else { continue };
                let best = known.entry(key).or_insert_with(|| seen(&latest));
                *best = seen(&latest).max(best.clone());
            }
        }
        self.known = known;
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
                // Not all forget the dead at the same time.
                if process.winners != other.winners {
                    return Some(format!(
                        "for {me} win {:?}\nfor {peer} win {:?}",
                        process.winners, other.winners
                    ));
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
                // Of plain sets a late one need not know what the dead had.
                let counts = |set: SetId, applied: u64| applied > 0 || is_stamped(usize::from(set.0));
                for lane in
                    member.lanes.iter().filter(|lane| !is_running && counts(lane.set, lane.applied.seq))
                {
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
            for set in (0..SETS.len()).filter(|set| is_stamped(*set)).map(|set| SetId(set as u8)) {
                if process.node.orphan_count(set) > 0 {
                    return Some(format!("{me} has orphans"));
                }
                let mut keys: Vec<&[u8]> =
                    process.node.elements(set, false).map(|(_, element)| element.key()).collect();
                keys.sort_unstable();
                if let Some(twice) = keys.windows(2).find(|keys| keys[0] == keys[1]) {
                    return Some(format!("{me} has {} more than once", twice[0].escape_ascii()));
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
            if let Some(wrong) = self.wrong_winners(process) {
                return Some(wrong);
            }
            for set in (0..SETS.len()).filter(|set| !is_stamped(*set)).map(|set| SetId(set as u8)) {
                let mut held: Vec<(ReplicaId, Vec<u8>, Vec<u8>)> = process
                    .node
                    .elements(set, false)
                    .map(|(by, element)| (by.clone(), element.key().to_vec(), element.value().to_vec()))
                    .collect();
                let mut written = Vec::new();
                for (_, other) in self.running() {
                    let elements = other.truth[usize::from(set.0)].iter();
                    written.extend(elements.map(|(key, kept)| {
                        let value = kept.value.clone().unwrap_or_default();
                        (other.node.me().clone(), key.clone(), value)
                    }));
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

    /// Compares the winners with what was known when the trouble ended.
    fn wrong_winners(&self, process: &Process) -> Option<String> {
        let me = process.node.me();
        let retained = SetId((SETS.len() - 1) as u8);
        for (key, known) in &self.known {
            let latest = process.node.latest(retained, key).map(|latest| seen(&latest));
            if latest.as_ref().is_none_or(|latest| latest < known) {
                return Some(format!("{me} has {latest:?} of {}, known was {known:?}", key.escape_ascii()));
            }
        }
        None
    }
}
