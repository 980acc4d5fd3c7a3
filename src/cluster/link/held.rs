//! When late forwards are acknowledged: as their subscribers take them.
//!
//! What has waited for a node that was out of reach comes all at once, and not in the rhythm in which it was published.
//! The queues of clients are not made for that. So the acknowledgement, which lets the next few come, is held back while
//! messages wait for clients that are connected; never for long, as other forwards are behind them, and not at all for
//! clients that take nothing.

use std::time::{Duration, Instant};

/// Longest an acknowledgement is held back.
const HELD_MAX: Duration = Duration::from_millis(250);
/// Where that did not help, the next ones are not for so long.
const NOT_AGAIN_FOR: Duration = Duration::from_secs(5);

/// Whether the acknowledgement of one link's forwards is held back.
#[derive(Debug, Default)]
pub struct HeldAck {
    since: Option<Instant>,
    /// The most messages that waited since then.
    most: usize,
    useless_until: Option<Instant>,
}

impl HeldAck {
    /// Whether one is.
    pub fn is_held(&self) -> bool {
        self.since.is_some()
    }

    /// Whether to acknowledge now, when so many messages wait for clients; else ask again soon.
    pub fn may_send(&mut self, waiting: usize, now: Instant) -> bool {
        if waiting == 0 || self.useless_until.is_some_and(|until| now < until) {
            *self = HeldAck { useless_until: self.useless_until, ..HeldAck::default() };
            return true;
        }
        self.most = self.most.max(waiting);
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) < HELD_MAX {
            return false;
        }
        let useless = waiting == self.most;
        *self = HeldAck { useless_until: useless.then(|| now + NOT_AGAIN_FOR), ..HeldAck::default() };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_are_held_while_clients_take_what_waits() {
        let mut held = HeldAck::default();
        let began = Instant::now();
        let mut at = |ms: u64, waiting| held.may_send(waiting, began + Duration::from_millis(ms));
        assert!(at(0, 0));
        assert!(!at(1, 100) && !at(100, 120) && !at(200, 50));
        assert!(at(210, 0), "they have all");
        assert!(!at(211, 100) && !at(400, 90));
        assert!(at(461, 80), "not for longer, be they slow");
        assert!(!at(462, 80), "they go on");
        assert!(!at(600, 80));
        assert!(at(712, 80), "this one has taken nothing");
        assert!(at(713, 200) && at(5700, 200), "nobody waits for that again");
        assert!(!at(5713, 200), "for now");
    }
}
