//! How many publishes had been named when routes of peers became known: what a publish's name says of the routes that it
//! was matched with.

use std::collections::{BTreeMap, VecDeque};

use rumormq_gossip::ReplicaId;

/// Milestones that are remembered of each replica.
const MAX: usize = 4096;

/// For each replica the latest changes of its routes.
#[derive(Debug, Default)]
pub struct Milestones {
    lanes: BTreeMap<ReplicaId, Lane>,
}

#[derive(Debug, Default)]
struct Lane {
    /// Up to which sequence number its routes were known when how many publishes had been named.
    known: VecDeque<(u64, u64)>,
    /// Of what came up to here it is not known any more.
    forgotten: u64,
}

impl Milestones {
    /// The replica's routes up to `sequence` are about to be used; `publishes` have been named.
    pub fn note(&mut self, replica: &ReplicaId, sequence: u64, publishes: u64) {
        if !self.lanes.contains_key(replica) {
            self.lanes.insert(replica.clone(), Lane::default());
        }
        let Some(lane) = self.lanes.get_mut(replica) else { return };
        match lane.known.back_mut() {
            Some((known, count)) if *count == publishes => *known = sequence.max(*known),
            _ => lane.known.push_back((sequence, publishes)),
        }
        if lane.known.len() > MAX
            && let Some((sequence, _)) = lane.known.pop_front()
        {
            lane.forgotten = sequence;
        }
    }

    /// The first publish that may have been matched with the replica's route `sequence`, or an earlier one: not every route that
    /// becomes known is noted. 0 where it is not known any more.
    pub fn first_publish(&self, replica: &ReplicaId, sequence: u64) -> u64 {
        let Some(lane) = self.lanes.get(replica).filter(|lane| sequence > lane.forgotten) else { return 0 };
        let at = lane.known.partition_point(|(known, _)| *known < sequence);
        match lane.known.get(at) {
            Some((known, publishes)) if *known == sequence => *publishes,
            Some(_) => at.checked_sub(1).and_then(|at| lane.known.get(at)).map_or(0, |(_, before)| *before),
            None => 0,
        }
    }

    /// The replica has no routes any more.
    pub fn forget(&mut self, replica: &ReplicaId) {
        self.lanes.remove(replica);
    }
}

#[cfg(test)]
mod tests {
    use rumormq_gossip::{Incarnation, NodeName};

    use super::*;

    #[test]
    fn a_route_is_dated_by_the_publishes_before_it() {
        let replica =
            ReplicaId { name: NodeName::parse("a@h").expect("a name"), incarnation: Incarnation(1) };
        let mut milestones = Milestones::default();
        assert_eq!(milestones.first_publish(&replica, 1), 0);
        for (sequence, publishes) in [(3, 10), (5, 10), (6, 20)] {
            milestones.note(&replica, sequence, publishes);
        }
        let first = |milestones: &Milestones, sequence| milestones.first_publish(&replica, sequence);
        assert_eq!([5, 6].map(|sequence| first(&milestones, sequence)), [10, 20]);
        milestones.note(&replica, 9, 30);
        assert_eq!([4, 8, 9].map(|sequence| first(&milestones, sequence)), [0, 20, 30], "at the latest");
        assert_eq!(first(&milestones, 10), 0, "it is not known yet");
        let mut milestones = Milestones::default();
        milestones.note(&replica, 6, 20);
        assert_eq!(first(&milestones, 7), 0, "it is not known yet");
        for more in 0..MAX as u64 {
            milestones.note(&replica, 7 + more, 21 + more);
        }
        assert_eq!(first(&milestones, 5), 0, "too long ago");
        assert_eq!(first(&milestones, 8), 22);
        milestones.forget(&replica);
        assert_eq!(first(&milestones, 8), 0);
    }
}
