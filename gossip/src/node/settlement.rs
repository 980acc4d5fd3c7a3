//! When a local change has reached everybody it must reach.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Node;
use super::members::Member;
use crate::delta::SetId;
use crate::event::Event;
use crate::replica::ReplicaId;

/// Local changes of one set whose way is followed.
#[derive(Debug, Default)]
pub(super) struct Settlement {
    awaited: VecDeque<Awaited>,
    checked: Option<Instant>,
    /// Somebody who had not acknowledged the first change in turn when that was looked for last.
    holdout: Option<ReplicaId>,
    /// Changes whose propagation is measured.
    samples: VecDeque<(u64, Instant)>,
}

#[derive(Debug)]
struct Awaited {
    seq: u64,
    since: Instant,
}

impl Settlement {
    /// Timeouts are looked for this often.
    const CHECK_EVERY: Duration = Duration::from_millis(50);
    /// Changes measured at a time, and the least time between two.
    const MAX_SAMPLES: usize = 256;
    const SAMPLE_EVERY: Duration = Duration::from_millis(1);

    /// True if it is the first in turn: then it may be settled already.
    ///
    /// They are kept in the order of sequence numbers. One that is put in front of another takes over since when that is
    /// awaited, if earlier: a peer that misses the one misses both.
    pub fn await_settled(&mut self, seq: u64, now: Instant) -> bool {
        let index = self.awaited.partition_point(|awaited| awaited.seq <= seq);
        let since = self.awaited.get(index).map_or(now, |next| next.since.min(now));
        self.awaited.insert(index, Awaited { seq, since });
        index == 0
    }

    pub fn awaited(self) -> impl Iterator<Item = u64> {
        self.awaited.into_iter().map(|awaited| awaited.seq)
    }

    /// Whether anything becomes due when a member has applied up to `seq`.
    pub fn concerns(&self, seq: u64) -> bool {
        let first = self.awaited.front().map(|awaited| awaited.seq);
        let sample = self.samples.front().map(|(sample, _)| *sample);
        first.into_iter().chain(sample).any(|waiting| waiting <= seq)
    }

    pub fn next_check(&self) -> Option<Instant> {
        let front = self.awaited.front()?;
        Some(self.checked.map_or(front.since, |at| at.max(front.since)) + Settlement::CHECK_EVERY)
    }

    fn is_check_due(&self, now: Instant) -> bool {
        self.next_check().is_some_and(|at| at <= now)
    }

    pub fn sample(&mut self, seq: u64, now: Instant) {
        let due =
            |(_, last): &(u64, Instant)| now.saturating_duration_since(*last) >= Settlement::SAMPLE_EVERY;
        if self.samples.len() < Settlement::MAX_SAMPLES && self.samples.back().is_none_or(due) {
            self.samples.push_back((seq, now));
        }
    }
}

impl Node {
    pub(super) fn settle_all(&mut self, now: Instant) {
        for set in self.set_ids() {
            let settlement = &self.settlement[usize::from(set.0)];
            if !settlement.awaited.is_empty() || !settlement.samples.is_empty() {
                self.settle(set, now);
            }
        }
    }

    /// Answers what has settled, in order.
    pub(super) fn settle(&mut self, set: SetId, now: Instant) {
        let index = usize::from(set.0);
        self.report_propagation(set, now);
        let Some(last) = self.settlement[index].awaited.back().map(|awaited| awaited.seq) else { return };
        if !self.settlement[index].is_check_due(now) && self.is_waited_for(set, now) {
            return;
        }
        self.settlement[index].checked = Some(now);
        let mut waited_for: Vec<(ReplicaId, u64)> = Vec::new();
        let mut lagging: Vec<(ReplicaId, u64)> = Vec::new();
        for (replica, member) in self.live_members() {
            if member.acked(set) >= last {
                continue;
            } else if member.is_lagging(set) {
                lagging.push((replica.clone(), member.acked(set)));
            } else if self.can_reach(replica, member, now) {
                waited_for.push((replica.clone(), member.acked(set)));
            }
        }
        while let Some(front) = self.settlement[index].awaited.front() {
            let (seq, since) = (front.seq, front.since);
            let late: Vec<ReplicaId> = waited_for
                .iter()
                .filter(|(replica, acked)| *acked < seq && self.has_missed(replica, since, now))
                .map(|(replica, _)| replica.clone())
                .collect();
            let until = self.sets[index].head().seq;
            for replica in late {
                self.counters.settle_timeouts += 1;
                if let Some(member) = self.members.get_mut(&replica) {
                    member.missed(set, until);
                    lagging.push((replica.clone(), member.acked(set)));
                }
                waited_for.retain(|(waited, _)| *waited != replica);
            }
            if waited_for.iter().any(|(_, acked)| *acked < seq) {
                break;
            }
            self.settlement[index].awaited.pop_front();
            let missed = lagging.iter().filter(|(_, acked)| *acked < seq);
            let missed = missed.map(|(replica, _)| replica.clone()).collect();
            self.events.push_back(Event::Settled { set, seq, missed });
        }
    }

    /// Whether somebody has not acknowledged the first change in turn, and may yet. In a large cluster most acknowledgements are not
    /// the last: as long as the one who was found last time is waited for, nobody else is looked at.
    fn is_waited_for(&mut self, set: SetId, now: Instant) -> bool {
        let settlement = &self.settlement[usize::from(set.0)];
        let first = settlement.awaited.front().map_or(0, |awaited| awaited.seq);
        let holds_out = |replica: &ReplicaId, member: &Member| {
            member.is_live()
                && !member.is_lagging(set)
                && member.acked(set) < first
                && self.can_reach(replica, member, now)
        };
        let known = settlement.holdout.as_ref().and_then(|replica| self.members.get_key_value(replica));
        if known.is_some_and(|(replica, member)| holds_out(replica, member)) {
            return true;
        }
        let holdout = self.members.iter().find(|(replica, member)| holds_out(replica, member));
        let holdout = holdout.map(|(replica, _)| replica.clone());
        let is_waited_for = holdout.is_some();
        self.settlement[usize::from(set.0)].holdout = holdout;
        is_waited_for
    }

    /// Over a link, or through one peer. A link that was just lost may be back in a moment; its peer is silent until
    /// then, and waited for no longer than a silent one.
    fn can_reach(&self, replica: &ReplicaId, member: &Member, now: Instant) -> bool {
        let lost = member.unlinked_at.map(|at| now.saturating_duration_since(at));
        self.links.contains_key(replica)
            || self.graph.next_hop(replica, now).is_some()
            || lost.is_some_and(|time| time <= self.config.evidence_window)
    }

    /// Whether a member has had its time for a change that is awaited since then.
    fn has_missed(&self, replica: &ReplicaId, since: Instant, now: Instant) -> bool {
        let waited = now.saturating_duration_since(since);
        let answers = self.vouches_for(replica, now);
        waited >= self.config.settle_timeout || (!answers && waited >= self.config.settle_timeout_silent)
    }

    /// Measures how long changes took to the last linked peer.
    fn report_propagation(&mut self, set: SetId, now: Instant) {
        let Some((first, _)) = self.settlement[usize::from(set.0)].samples.front() else { return };
        let linked = self.links.keys().filter_map(|peer| self.members.get(peer));
        let waited_for = linked.filter(|member| member.is_live() && !member.is_lagging(set));
        if waited_for.clone().any(|member| member.acked(set) < *first) {
            return;
        }
        let Some(everywhere) = waited_for.map(|member| member.acked(set)).min() else {
            self.settlement[usize::from(set.0)].samples.clear();
            return;
        };
        let samples = &mut self.settlement[usize::from(set.0)].samples;
        while let Some((_, since)) = samples.front().filter(|(seq, _)| *seq <= everywhere) {
            let elapsed = now.saturating_duration_since(*since);
            self.events.push_back(Event::Propagated { set, elapsed });
            samples.pop_front();
        }
    }
}
