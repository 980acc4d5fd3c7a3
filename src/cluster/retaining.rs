//! Publishers that wait for other nodes to have their retained messages.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::host::Receipt;

/// Who waits, by the sequence number in the set of retained messages.
#[derive(Debug, Default)]
pub struct Retaining {
    waiting: BTreeMap<u64, (Instant, Receipt)>,
}

impl Retaining {
    /// A publisher waits for the message with this number.
    pub fn wait(&mut self, sequence: u64, receipt: Receipt, now: Instant) {
        self.waiting.insert(sequence, (now, receipt));
    }

    /// The message with this number is on all nodes that were waited for.
    pub fn settle(&mut self, sequence: u64) -> Option<Receipt> {
        self.waiting.remove(&sequence).map(|(_, receipt)| receipt)
    }

    /// Those who have waited for longer than `patience`.
    pub fn release(&mut self, now: Instant, patience: Duration) -> Vec<Receipt> {
        let mut released = Vec::new();
        while let Some(first) = self.waiting.first_entry()
            && now.saturating_duration_since(first.get().0) >= patience
        {
            released.push(first.remove().1);
        }
        released
    }
}
