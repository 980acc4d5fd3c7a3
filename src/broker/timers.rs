//! What happens to a session later: its will, its end. Pure: the driver says what time it is.

use std::collections::BTreeMap;
use std::time::Instant;

/// Names a timer, to cancel it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerKey(Instant, u64);

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The Will Delay Interval has passed.
    Will,
    /// The Session Expiry Interval has passed.
    SessionExpiry,
}

/// Timers of sessions without a connection, which `C` stands for; each has at most one of each kind.
#[derive(Debug)]
pub struct Timers<C> {
    entries: BTreeMap<TimerKey, (Due, C)>,
    count: u64,
}

impl TimerKey {
    /// When it is due.
    pub fn at(self) -> Instant {
        self.0
    }
}

impl<C> Default for Timers<C> {
    fn default() -> Timers<C> {
        Timers { entries: BTreeMap::new(), count: 0 }
    }
}

impl<C> Timers<C> {
    /// Sets a timer.
    pub fn set(&mut self, at: Instant, due: Due, client: C) -> TimerKey {
        self.count += 1;
        let key = TimerKey(at, self.count);
        self.entries.insert(key, (due, client));
        key
    }

    /// Cancels a timer, if there is one.
    pub fn cancel(&mut self, key: Option<TimerKey>) {
        if let Some(key) = key {
            self.entries.remove(&key);
        }
    }

    /// Takes the next timer that is due at `now`.
    pub fn pop(&mut self, now: Instant) -> Option<(TimerKey, Due, C)> {
        let entry = self.entries.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        let (key, (due, client)) = entry.remove_entry();
        Some((key, due, client))
    }
}
