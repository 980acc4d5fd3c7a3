//! Memory that is given to whoever comes, and so has to be bounded for all of them together.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of bytes, of which parts are held.
#[derive(Debug)]
pub struct Budget {
    held: AtomicUsize,
    max: usize,
}

impl Budget {
    /// Up to `max` bytes may be held.
    pub fn new(max: usize) -> Budget {
        Budget { held: AtomicUsize::new(0), max }
    }

    /// Whoever holds `from` bytes wants to hold `to` instead. False, and nothing changes, where that would be too much.
    #[must_use]
    pub fn change(&self, from: usize, to: usize) -> bool {
        if to <= from {
            self.held.fetch_sub(from - to, Ordering::Relaxed);
            return true;
        }
        let before = self.held.fetch_add(to - from, Ordering::Relaxed);
        let fits = before + (to - from) <= self.max;
        if !fits {
            self.held.fetch_sub(to - from, Ordering::Relaxed);
        }
        fits
    }

    /// Bytes held at the moment.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_stays_within_the_budget() {
        let budget = Budget::new(10);
        assert!(budget.change(0, 6) && budget.change(0, 4));
        assert!(!budget.change(4, 5) && budget.held() == 10);
        assert!(budget.change(6, 0) && budget.change(4, 10));
        assert!(budget.change(10, 0) && budget.held() == 0);
    }
}
