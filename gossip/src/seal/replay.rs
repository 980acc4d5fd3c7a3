//! Which counters of which senders were seen: a sliding window for each sender boot, and a bounded number of those.

use std::collections::HashMap;

/// Counters this far behind the highest one seen are still told apart; older ones count as replays.
pub(super) const WINDOW: u64 = 1024;
/// Senders remembered. A full cluster has 500 members; the rest is room for restarts.
pub(super) const MAX_SENDERS: usize = 1024;

/// What a sender draws anew at each start.
pub(super) type Boot = [u8; 16];

/// The windows of the senders heard lately. When a new one finds no room, the one that was idle longest is forgotten:
/// its old datagrams would then open once more, which gossip bears (its versions and heartbeats only grow).
#[derive(Default)]
pub(super) struct ReplayGuard {
    senders: HashMap<Boot, Sender>,
    clock: u64,
}

struct Sender {
    window: Window,
    last_heard: u64,
}

impl ReplayGuard {
    /// Whether the counter is new. Marks nothing, so that it may be asked before the datagram is known to be authentic.
    pub(super) fn is_fresh(&self, boot: &Boot, counter: u64) -> bool {
        self.senders.get(boot).is_none_or(|sender| sender.window.is_fresh(counter))
    }

    /// Marks the counter of an authentic datagram as seen.
    pub(super) fn mark(&mut self, boot: Boot, counter: u64) {
        self.clock += 1;
        let clock = self.clock;
        if let Some(sender) = self.senders.get_mut(&boot) {
            sender.window.mark(counter);
            sender.last_heard = clock;
            return;
        }
        if self.senders.len() >= MAX_SENDERS {
            let idle = self.senders.iter().min_by_key(|(_, sender)| sender.last_heard).map(|(boot, _)| *boot);
            idle.and_then(|boot| self.senders.remove(&boot));
        }
        self.senders.insert(boot, Sender { window: Window::starting_at(counter), last_heard: clock });
    }

    #[cfg(test)]
    pub(super) fn senders(&self) -> usize {
        self.senders.len()
    }
}

/// Bit `c % WINDOW` tells whether counter `c` was seen, for `highest - WINDOW < c <= highest`.
struct Window {
    highest: u64,
    seen: [u64; (WINDOW / 64) as usize],
}

impl Window {
    fn starting_at(counter: u64) -> Window {
        let mut window = Window { highest: counter, seen: [0; (WINDOW / 64) as usize] };
        window.set(counter, true);
        window
    }

    fn is_fresh(&self, counter: u64) -> bool {
        counter > self.highest || (self.highest - counter < WINDOW && !self.is_set(counter))
    }

    fn mark(&mut self, counter: u64) {
        if counter > self.highest {
            if counter - self.highest >= WINDOW {
                self.seen = [0; (WINDOW / 64) as usize];
            } else {
                (self.highest + 1..counter).for_each(|skipped| self.set(skipped, false));
            }
            self.highest = counter;
        }
        self.set(counter, true);
    }

    fn is_set(&self, counter: u64) -> bool {
        let (word, bit) = Window::position(counter);
        self.seen[word] & bit != 0
    }

    fn set(&mut self, counter: u64, seen: bool) {
        let (word, bit) = Window::position(counter);
        if seen {
            self.seen[word] |= bit;
        } else {
            self.seen[word] &= !bit;
        }
    }

    fn position(counter: u64) -> (usize, u64) {
        let index = counter % WINDOW;
        ((index / 64) as usize, 1 << (index % 64))
    }
}
