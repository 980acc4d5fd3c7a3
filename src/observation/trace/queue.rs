//! Events that wait for their reader.

use std::collections::VecDeque;

use super::event::{Happening, TraceEvent};

/// Events that wait, at most.
pub(super) const EVENTS_MAX: usize = 4096;
/// Bytes of those, at most.
pub(super) const BYTES_MAX: usize = 4 << 20;

/// A bounded first-in first-out queue. What does not fit is counted, and where it is missing there is an event that says so.
#[derive(Debug)]
pub(super) struct Queue {
    events: VecDeque<TraceEvent>,
    bytes: usize,
    /// The number of the next event.
    next: u64,
    /// Left out since the last event that was not.
    lost: u64,
}

impl Queue {
    /// An empty queue, whose first event has this number.
    pub fn new(first: u64) -> Queue {
        Queue { events: VecDeque::new(), bytes: 0, next: first, lost: 0 }
    }

    /// Appends the event that `make` makes, if there is room for one; whether there was.
    pub fn push(&mut self, at_ms: u64, make: impl FnOnce() -> TraceEvent) -> bool {
        // One place is for the word that some are missing.
        if self.events.len() + 1 >= EVENTS_MAX || self.bytes >= BYTES_MAX {
            self.lost += 1;
            return false;
        }
        self.own_up(at_ms);
        self.append(at_ms, make());
        true
    }

    /// The events after the one of this number, of at most so many bytes together but one at least. Those up to it are with
    /// the reader, and dropped.
    pub fn read(&mut self, after: u64, bytes_max: usize, at_ms: u64) -> Vec<TraceEvent> {
        while let Some(event) = self.events.pop_front_if(|event| event.number <= after) {
            self.bytes -= event.size();
        }
        if self.events.is_empty() {
            self.own_up(at_ms);
        }
        let mut bytes = 0;
        let fits = |event: &&TraceEvent| {
            let first = bytes == 0;
            bytes += event.size();
            first || bytes <= bytes_max
        };
        self.events.iter().take_while(fits).cloned().collect()
    }

    /// Says how many are missing, if some are.
    fn own_up(&mut self, at_ms: u64) {
        if self.lost > 0 {
            let lost = TraceEvent { event: Happening::Lost, ..TraceEvent::default() };
            let lost = lost.with("events", std::mem::take(&mut self.lost));
            self.append(at_ms, lost);
        }
    }

    fn append(&mut self, at_ms: u64, event: TraceEvent) {
        let event = TraceEvent { number: self.next, at_ms, ..event };
        self.next += 1;
        self.bytes += event.size();
        self.events.push_back(event);
    }
}
