//! How long what was cleared is remembered.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::{MAX_AT_ONCE, PAUSE, Registers, Sink};
use crate::set::ReplicatedSet;

/// Tombstones of the own lane, and when to remove them. Some of the dots may be gone by then.
#[derive(Debug, Default)]
pub(super) struct Tombstones {
    /// Those of what was cleared.
    cleared: VecDeque<(Instant, u64)>,
    /// Those of what was retired, and when at the latest; they wait for others to know.
    retired: VecDeque<Retired>,
    /// Those of what was retired that everybody knows. They stay for a while yet: somebody may hear of their end before he
    /// hears of the end of what they have beaten.
    known: VecDeque<(Instant, u64)>,
    live: usize,
}

#[derive(Clone, Copy, Debug)]
struct Retired {
    /// When to look.
    due: Instant,
    dot: u64,
    /// When to remove it in any case.
    at_most: Instant,
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
        let timed = [&self.cleared, &self.known].into_iter().filter_map(|queue| queue.front());
        timed.map(|(due, _)| *due).chain(self.retired.front().map(|retired| retired.due)).min()
    }

    pub fn renumber(&mut self, new: &BTreeMap<u64, u64>) {
        let renumber = |dot: &mut u64| new.get(dot).map(|new| *dot = *new).is_some();
        self.cleared.retain_mut(|(_, dot)| renumber(dot));
        self.known.retain_mut(|(_, dot)| renumber(dot));
        self.retired.retain_mut(|retired| renumber(&mut retired.dot));
    }

    /// Written over and cleared again and again, a key leaves many behind that are no more.
    fn compact(&mut self, set: &ReplicatedSet) {
        if self.cleared.len() + self.retired.len() + self.known.len() > 2 * self.live + MAX_AT_ONCE {
            let is_live = |dot: u64| set.own().element(dot).is_some();
            self.cleared.retain(|(_, dot)| is_live(*dot));
            self.known.retain(|(_, dot)| is_live(*dot));
            self.retired.retain(|retired| is_live(retired.dot));
        }
    }
}

/// What tells that a tombstone may go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expiry {
    /// What all known replicas have applied of the own lane.
    pub acknowledged: u64,
    /// How long what was retired stays after that.
    pub retired_ttl: Duration,
    /// More than this go before their time.
    pub max: usize,
}

impl Registers {
    /// A tombstone was written that stays until then.
    pub fn cleared(&mut self, set: &ReplicatedSet, dot: u64, until: Instant) {
        self.tombstones.cleared(dot, until);
        self.tombstones.compact(set);
    }

    /// A tombstone was written that stays at most until then, and goes when everybody knows.
    pub fn retired(&mut self, set: &ReplicatedSet, dot: u64, at_most: Instant, now: Instant) {
        let due = (now + 10 * PAUSE).min(at_most);
        self.tombstones.retired.push_back(Retired { due, dot, at_most });
        self.tombstones.compact(set);
    }

    /// Removes tombstones whose time is over, and the oldest that are too many. Returns how many went early.
    pub fn expire(&mut self, set: &mut ReplicatedSet, expiry: Expiry, now: Instant, sink: Sink<'_>) -> u64 {
        let mut early = 0;
        for _ in 0..MAX_AT_ONCE {
            let too_many = self.tombstones.live > expiry.max;
            let Some((due, dot)) = self.tombstones.known.front().copied() else { break };
            if due > now && !too_many {
                break;
            }
            self.tombstones.known.pop_front();
            self.erase(set, dot, sink);
        }
        for _ in 0..MAX_AT_ONCE {
            let too_many = self.tombstones.live > expiry.max;
            let Some((due, dot)) = self.tombstones.cleared.front().copied() else { break };
            if due > now && !too_many {
                break;
            }
            self.tombstones.cleared.pop_front();
            if !too_many && !self.is_alone(set, dot) {
                self.tombstones.cleared.push_front((now + 10 * PAUSE, dot));
                break;
            }
            early += u64::from(self.erase(set, dot, sink) && due > now);
        }
        for _ in 0..MAX_AT_ONCE {
            let too_many = self.tombstones.live > expiry.max;
            let Some(first) = self.tombstones.retired.front().copied() else { break };
            if first.due > now && !too_many {
                break;
            }
            self.tombstones.retired.pop_front();
            if too_many || first.at_most <= now {
                early += u64::from(self.erase(set, first.dot, sink) && first.at_most > now);
            } else if first.dot <= expiry.acknowledged && self.is_alone(set, first.dot) {
                self.tombstones.known.push_back((now + expiry.retired_ttl, first.dot));
            } else {
                let due = (now + 10 * PAUSE).min(first.at_most);
                self.tombstones.retired.push_front(Retired { due, ..first });
                break;
            }
        }
        early
    }

    /// Whether no other entry of the key of an own dot is left.
    fn is_alone(&self, set: &ReplicatedSet, dot: u64) -> bool {
        let Some(element) = set.own().element(dot) else { return true };
        self.versions(set, self.hash(element.key()), element.key()).count() < 2
    }
}
