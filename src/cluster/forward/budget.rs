//! What all forward buffers of a node may take together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Buffers report what they hold in steps of so many bytes, so that a message costs nothing.
const STEP: usize = 64 << 10;

/// The bytes that all streams hold, to within two steps each. A message that waits for several nodes counts for each.
#[derive(Debug)]
pub struct ForwardBudget {
    used: AtomicUsize,
    max: usize,
}

impl ForwardBudget {
    /// Room for so many bytes.
    pub fn new(max: usize) -> ForwardBudget {
        ForwardBudget { used: AtomicUsize::new(0), max }
    }

    /// Bytes held.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether the buffers hold more than they may.
    pub fn is_over(&self) -> bool {
        self.used() > self.max
    }

    /// Whether they hold twice that: slowing publishers down was not enough.
    pub fn is_far_over(&self) -> bool {
        self.used() > self.max.saturating_mul(2)
    }
}

/// One stream's part of it.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<ForwardBudget>,
    charged: usize,
}

impl Charge {
    /// Nothing is held yet.
    pub fn new(budget: Arc<ForwardBudget>) -> Charge {
        Charge { budget, charged: 0 }
    }

    /// What it is part of.
    pub fn budget(&self) -> &ForwardBudget {
        &self.budget
    }

    /// The stream holds so many bytes now.
    #[inline]
    pub fn set(&mut self, bytes: usize) {
        if bytes >= self.charged + 2 * STEP || bytes < self.charged {
            self.settle(bytes - bytes % STEP);
        }
    }

    #[cold]
    fn settle(&mut self, bytes: usize) {
        // What others read is a sum at some time or other; nothing else is ordered by it.
        if bytes >= self.charged {
            self.budget.used.fetch_add(bytes - self.charged, Ordering::Relaxed);
        } else {
            self.budget.used.fetch_sub(self.charged - bytes, Ordering::Relaxed);
        }
        self.charged = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.settle(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_streams_hold_is_known_to_within_two_steps_each() {
        let budget = Arc::new(ForwardBudget::new(10 * STEP));
        let mut charges = [0; 3].map(|_| Charge::new(budget.clone()));
        let mut held = [0usize; 3];
        let mut random = 1u64;
        for _ in 0..10_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (random >> 60) as usize % 3;
            held[at] = (random >> 33) as usize % (8 * STEP);
            charges[at].set(held[at]);
            let sum: usize = held.iter().sum();
            assert!(budget.used() <= sum && sum < budget.used() + 6 * STEP);
        }
        drop(charges);
        assert_eq!(budget.used(), 0);
    }
}
