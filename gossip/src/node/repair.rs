//! Repair: whoever is behind asks, the owner if there is a link to it, else anybody who has more.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Node, Outgoing};
use crate::delta::{Delta, Frontier, Interval, SetId};
use crate::message::{Message, Pull};
use crate::replica::ReplicaId;

/// A lane that is behind, or in doubt.
#[derive(Clone, Debug)]
pub(super) struct Repair {
    /// When to ask, or to ask again.
    pub due: Instant,
    asked: Option<ReplicaId>,
    attempts: usize,
    /// Who was asked has answered, with a snapshot or without.
    answered: Option<Answer>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Range,
    Snapshot,
}

impl Repair {
    pub fn forget_asked(&mut self, peer: &ReplicaId, now: Instant) {
        if self.asked.as_ref() == Some(peer) {
            self.asked = None;
            self.due = now;
        }
    }
}

/// Deltas that came before the one they follow.
#[derive(Debug)]
pub(super) struct Waiting {
    by_lane: BTreeMap<(SetId, ReplicaId), Vec<(ReplicaId, Delta)>>,
    bytes: usize,
    max_bytes: usize,
}

impl Waiting {
    /// More than this of one lane show that it is far behind; then a request costs less than keeping them.
    const MAX_PER_LANE: usize = 8;

    pub fn new(max_bytes: usize) -> Waiting {
        Waiting { by_lane: BTreeMap::new(), bytes: 0, max_bytes }
    }

    /// Keeps a delta with its sender. False if there is no room.
    pub fn hold(&mut self, from: ReplicaId, delta: Delta) -> bool {
        let weight = delta.interval.weight();
        let key = (delta.set, delta.replica.clone());
        let held = self.by_lane.get(&key).map_or(0, Vec::len);
        if held >= Waiting::MAX_PER_LANE || self.bytes + weight > self.max_bytes {
            return false;
        }
        self.bytes += weight;
        self.by_lane.entry(key).or_default().push((from, delta));
        true
    }

    fn is_empty(&self, set: SetId, replica: &ReplicaId) -> bool {
        !self.by_lane.contains_key(&(set, replica.clone()))
    }

    /// Takes out a delta that can be applied by one who stands at `frontier`.
    fn take_fitting(
        &mut self,
        set: SetId,
        replica: &ReplicaId,
        frontier: Frontier,
        held: u64,
    ) -> Option<(ReplicaId, Delta)> {
        let key = (set, replica.clone());
        let lane = self.by_lane.get_mut(&key)?;
        let fits = lane.iter().position(|(_, delta)| delta.interval.fits(frontier, held));
        let taken = fits.map(|index| lane.swap_remove(index));
        if let Some((_, delta)) = &taken {
            self.bytes -= delta.interval.weight();
        }
        if lane.is_empty() {
            self.by_lane.remove(&key);
        }
        taken
    }

    pub fn drop_lane(&mut self, set: SetId, replica: &ReplicaId) {
        for (_, delta) in self.by_lane.remove(&(set, replica.clone())).into_iter().flatten() {
            self.bytes -= delta.interval.weight();
        }
    }
}

impl Node {
    /// Asks for a lane at `due`, if it still has to be asked for then.
    pub(super) fn want(&mut self, set: SetId, replica: &ReplicaId, due: Instant) {
        let key = (set, replica.clone());
        let new = Repair { due, asked: None, attempts: 0, answered: None };
        let repair = self.repairs.entry(key).or_insert(new);
        if repair.asked.is_none() && repair.due > due {
            repair.due = due;
        }
    }

    /// Whether a lane is known to be behind or wrong.
    fn needs_repair(&self, set: SetId, replica: &ReplicaId) -> bool {
        let known = self.members.get(replica).map_or(0, |member| member.known_seq(set));
        match self.lane(set, replica) {
            None => known > 0,
            Some(lane) => {
                known > lane.head().seq
                    || lane.in_doubt()
                    || lane.is_staging()
                    || !self.waiting.is_empty(set, replica)
            }
        }
    }

    pub(super) fn run_repairs(&mut self, now: Instant) {
        let due: Vec<(SetId, ReplicaId)> = self
            .repairs
            .iter()
            .filter(|(_, repair)| repair.due <= now)
            .map(|(lane, _)| lane.clone())
            .collect();
        for (set, replica) in due {
            self.ask(set, &replica, now);
        }
    }

    /// Asks the next one who may have it.
    fn ask(&mut self, set: SetId, replica: &ReplicaId, now: Instant) {
        if !self.members.contains_key(replica) || !self.needs_repair(set, replica) {
            self.repairs.remove(&(set, replica.clone()));
            return;
        }
        let attempts = self.repairs.get(&(set, replica.clone())).map_or(0, |repair| repair.attempts);
        let mut source = self.source(set, replica, attempts);
        if source.is_none() && self.lane(set, replica).is_some_and(|lane| lane.is_staging()) {
            if let Some(lane) = self.sets[usize::from(set.0)].copy_mut(replica) {
                lane.abandon_staged();
            }
            source = self.source(set, replica, attempts);
        }
        let busy = |peer: &ReplicaId| {
            let asked = self.repairs.values().filter(|repair| repair.asked.as_ref() == Some(peer));
            asked.count() >= self.config.max_pulls_per_peer
        };
        let busy = source.as_ref().is_some_and(busy);
        let (from, held) = self.lane(set, replica).map_or((Frontier::START, 0), |lane| lane.wanted_from());
        let Some(repair) = self.repairs.get_mut(&(set, replica.clone())) else { return };
        match source {
            None => {
                repair.asked = None;
                repair.due = now + self.config.pull_timeout;
            }
            Some(_) if busy => {
                repair.asked = None;
                repair.due = now + Duration::from_millis(10);
            }
            Some(peer) => {
                repair.asked = Some(peer.clone());
                repair.attempts += 1;
                repair.due = now + self.config.pull_timeout;
                self.counters.pulls_sent += 1;
                let pull = Pull { set, replica: replica.clone(), from, held };
                self.outbox.push_back((peer, Outgoing::Message(Message::Pull(pull))));
            }
        }
    }

    /// Whom to ask: the owner first, and every other time; in between one of the others in turn.
    fn source(&self, set: SetId, replica: &ReplicaId, attempts: usize) -> Option<ReplicaId> {
        let wanted = self.lane(set, replica).map_or(1, |lane| lane.wanted_version());
        let slot = self.slot(replica)?;
        let owner_has = self.links.contains_key(replica)
            && self.members.get(replica).is_some_and(|member| member.known_seq(set) >= wanted);
        let others =
            self.links.iter().filter(|(peer, link)| *peer != replica && link.has(set, slot) >= wanted);
        let others: Vec<&ReplicaId> = others.map(|(peer, _)| peer).collect();
        if owner_has && (attempts.is_multiple_of(2) || others.is_empty()) {
            return Some(replica.clone());
        }
        others.get((attempts / 2) % others.len().max(1)).map(|peer| (*peer).clone())
    }

    /// Notes that a delta answers a request, and how.
    pub(super) fn note_answer(
        &mut self,
        set: SetId,
        replica: &ReplicaId,
        from: &ReplicaId,
        interval: &Interval,
    ) {
        if let Some(repair) = self.repairs.get_mut(&(set, replica.clone()))
            && repair.asked.as_ref() == Some(from)
        {
            let is_snapshot = interval.from == Frontier::START && interval.held > 0;
            if is_snapshot || repair.answered.is_none() {
                repair.answered = Some(if is_snapshot { Answer::Snapshot } else { Answer::Range });
            }
            repair.attempts = 0;
        }
    }

    /// A piece has come: asks its sender for the next one, unless somebody else is at it.
    pub(super) fn continue_repair(
        &mut self,
        set: SetId,
        replica: &ReplicaId,
        from: &ReplicaId,
        now: Instant,
    ) {
        self.want(set, replica, now);
        let Some(repair) = self.repairs.get(&(set, replica.clone())) else { return };
        if repair.asked.as_ref().is_some_and(|asked| asked != from) {
            return;
        }
        let (at, held) = self.lane(set, replica).map_or((Frontier::START, 0), |lane| lane.wanted_from());
        if let Some(repair) = self.repairs.get_mut(&(set, replica.clone())) {
            repair.asked = Some(from.clone());
            repair.due = now + self.config.pull_timeout;
        }
        self.counters.pulls_sent += 1;
        let pull = Pull { set, replica: replica.clone(), from: at, held };
        self.outbox.push_back((from.clone(), Outgoing::Message(Message::Pull(pull))));
    }

    /// A lane is at a new sequence number: ends its repair, or asks on at once if it is still behind.
    pub(super) fn finish_repair(&mut self, set: SetId, replica: &ReplicaId, from: &ReplicaId, now: Instant) {
        let Some(repair) = self.repairs.remove(&(set, replica.clone())) else { return };
        if let Some(answer) = repair.answered {
            let counter = match (answer, from == replica) {
                (Answer::Range, true) => &mut self.counters.repair_range_origin,
                (Answer::Range, false) => &mut self.counters.repair_range_peer,
                (Answer::Snapshot, true) => &mut self.counters.repair_snapshot_origin,
                (Answer::Snapshot, false) => &mut self.counters.repair_snapshot_peer,
            };
            *counter += 1;
        }
        if self.needs_repair(set, replica) {
            self.want(set, replica, self.expected_at(replica, now));
        }
        // A request less on its way makes room for another one.
        if repair.asked.is_some() && !self.repairs.is_empty() {
            self.run_repairs(now);
        }
    }

    /// When to ask for a lane that turned out to be behind: an owner that is linked pushes by itself, and in a large cluster
    /// somebody passes it on.
    pub(super) fn expected_at(&self, replica: &ReplicaId, now: Instant) -> Instant {
        let is_pushed = self.links.contains_key(replica) || !self.mesh.is_full();
        if is_pushed { now + self.config.push_grace } else { now }
    }

    /// A waiting delta of the lane whose time has come.
    pub(super) fn next_waiting(&mut self, set: SetId, replica: &ReplicaId) -> Option<(ReplicaId, Delta)> {
        let (frontier, held) = self.lane(set, replica)?.wanted_from();
        self.waiting.take_fitting(set, replica, frontier, held)
    }
}
