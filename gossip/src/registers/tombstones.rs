//! How long what was cleared is remembered.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::{MAX_AT_ONCE, PAUSE, Registers, Sink};
use crate::set::ReplicatedSet;

/// Tombstones of the own lane.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    /// When to remove which dot, in order. Some dots may be gone by then.
    cleared: VecDeque<(Instant, u64)>,
    /// The same of what was retired: when at the earliest, which, and when at the latest.
    retired: VecDeque<(Instant, u64, Instant)>,
    /// Somebody has not acknowledged the first of them: when to look again.
    blocked_until: Option<Instant>,
    live: usize,
}

impl Tombstones {
    pub fn live(&self) -> usize {
        self.live
    }

    pub fn added(&mut self, is_tombstone: bool) {
        self.live += usize::from(is_tombstone);
    }

    pub fn removed(&mut self, is_tombstone: bool) {
        self.live = self.live.saturating_sub(usize::from(is_tombstone));
    }

    pub fn cleared(&mut self, dot: u64, until: Instant) {
        self.cleared.push_back((until, dot));
    }

    pub fn next_due(&self) -> Option<Instant> {
        let cleared = self.cleared.front().map(|(due, _)| *due);
        let retired =
            self.retired.front().map(|(due, ..)| self.blocked_until.map_or(*due, |at| at.max(*due)));
        cleared.into_iter().chain(retired).min()
    }

    pub fn renumber(&mut self, new: &BTreeMap<u64, u64>) {
        let renumber = |dot: &mut u64| new.get(dot).map(|new| *dot = *new).is_some();
        self.cleared.retain_mut(|(_, dot)| renumber(dot));
        self.retired.retain_mut(|(_, dot, _)| renumber(dot));
    }

    /// Written over and cleared again and again, a key leaves many behind that are no more.
    fn compact(&mut self, set: &ReplicatedSet) {
        if self.cleared.len() + self.retired.len() > 2 * self.live + MAX_AT_ONCE {
            self.cleared.retain(|(_, dot)| set.own().element(*dot).is_some());
            self.retired.retain(|(_, dot, _)| set.own().element(*dot).is_some());
        }
    }
}

impl Registers {
    /// A tombstone was written that stays until then.
    pub fn cleared(&mut self, set: &ReplicatedSet, dot: u64, until: Instant) {
        self.tombstones.cleared(dot, until);
        self.tombstones.compact(set);
    }

    /// A tombstone was written that stays at least and at most until then.
    pub fn retired(&mut self, set: &ReplicatedSet, dot: u64, at_least: Instant, at_most: Instant) {
        self.tombstones.retired.push_back((at_least, dot, at_most));
        self.tombstones.compact(set);
    }

    /// Removes tombstones whose time is over, and the oldest that are too many. `acknowledged` is what all known replicas
    /// have applied of the own lane. Returns how many went early.
    pub fn expire(
        &mut self,
        set: &mut ReplicatedSet,
        acknowledged: u64,
        max: usize,
        now: Instant,
        sink: Sink<'_>,
    ) -> u64 {
        let mut early = 0;
        for _ in 0..MAX_AT_ONCE {
            let too_many = self.tombstones.live > max;
            let Some((due, dot)) = self.tombstones.cleared.front().copied() else { break };
            if due > now && !too_many {
                break;
            }
            self.tombstones.cleared.pop_front();
            early += u64::from(self.erase(set, dot, sink) && due > now);
        }
        self.tombstones.blocked_until = None;
        for _ in 0..MAX_AT_ONCE {
            let too_many = self.tombstones.live > max;
            let Some((at_least, dot, at_most)) = self.tombstones.retired.front().copied() else { break };
            if at_least > now && !too_many {
                break;
            }
            if dot > acknowledged && at_most > now && !too_many {
                self.tombstones.blocked_until = Some(now + 10 * PAUSE);
                break;
            }
            self.tombstones.retired.pop_front();
            early += u64::from(self.erase(set, dot, sink) && too_many);
        }
        early
    }
}
