//! When a value was written, as far as clocks that differ can say: hybrid logical clocks (Kulkarni et al., 2014).

use serde::{Deserialize, Serialize};

/// Orders the writes of a key. Higher is later: above the stamps of all that its writer had seen, and near the time of
/// its writer's clock. The upper 48 bits are milliseconds since 1970, the lower 16 a counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp(pub u64);

impl Stamp {
    const COUNTER_BITS: u32 = 16;

    /// The first stamp of that millisecond.
    pub fn at_ms(wall_ms: u64) -> Stamp {
        Stamp(wall_ms.min(u64::MAX >> Stamp::COUNTER_BITS) << Stamp::COUNTER_BITS)
    }

    fn next(self) -> Stamp {
        Stamp(self.0.saturating_add(1))
    }

    /// The milliseconds since 1970 that it stands for: those of the clock that was ahead of all others.
    pub fn ms(self) -> u64 {
        self.0 >> Stamp::COUNTER_BITS
    }
}

/// How far ahead of this node's wall clock its stamps let themselves be pushed. A wrong time zone is less, and a clock that is
/// wrong by more is compared with, and not followed: one that says the end of time would bring everybody there.
const MAX_AHEAD_MS: u64 = 24 * 60 * 60 * 1000;

/// Makes stamps. A clock ahead of this one's is absorbed: then it stands still until the time comes, but for its counter. What
/// is more than a day ahead counts for what it was written to alone.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HybridClock {
    last: Stamp,
    /// The wall clock at the last look; none before.
    wall_ms: Option<u64>,
}

impl HybridClock {
    /// What the wall clock says now.
    pub fn look(&mut self, wall_ms: u64) {
        self.wall_ms = Some(wall_ms);
    }

    /// A stamp above all that were made or absorbed, and above the one that is replaced. (There is none above the highest: that
    /// one is then made again.)
    pub fn tick(&mut self, wall_ms: u64, replaced: Option<Stamp>) -> Stamp {
        self.look(wall_ms);
        self.last = Stamp::at_ms(wall_ms).max(self.last.next());
        replaced.map_or(self.last, |replaced| self.last.max(replaced.next()))
    }

    /// Somebody else has made this stamp.
    pub fn absorb(&mut self, stamp: Stamp) {
        if self.wall_ms.is_none_or(|wall_ms| stamp.ms() <= wall_ms.saturating_add(MAX_AHEAD_MS)) {
            self.last = self.last.max(stamp);
        }
    }

    /// How far stamps are ahead of the wall clock, in milliseconds.
    pub fn ahead_ms(&self, wall_ms: u64) -> u64 {
        self.last.ms().saturating_sub(wall_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_rise_whatever_the_clock_does() {
        let mut clock = HybridClock::default();
        let first = clock.tick(1000, None);
        assert_eq!(first, Stamp::at_ms(1000));
        assert_eq!(first.ms(), 1000);
        let second = clock.tick(1000, Some(first));
        assert!(second > first);
        assert!(clock.tick(400, None) > second, "the clock went back");
        assert_eq!(clock.ahead_ms(400), 600);
        clock.absorb(Stamp::at_ms(9000));
        assert!(clock.tick(1001, None) > Stamp::at_ms(9000));
        assert_eq!(clock.ahead_ms(1001), 7999);
        assert_eq!(clock.tick(9001, None), Stamp::at_ms(9001), "time has caught up");
        assert_eq!(clock.ahead_ms(9001), 0);
    }

    #[test]
    fn a_clock_far_ahead_is_outdone_where_it_wrote_and_not_followed() {
        let mut clock = HybridClock::default();
        clock.look(1000);
        let (far, end) = (Stamp::at_ms(1001 + MAX_AHEAD_MS), Stamp(u64::MAX));
        clock.absorb(far);
        clock.absorb(end);
        assert_eq!(clock.tick(1000, None), Stamp::at_ms(1000));
        let outdone = clock.tick(1000, Some(far));
        assert!(outdone > far);
        assert!(clock.tick(1000, Some(outdone)) > outdone, "again and again");
        assert_eq!(clock.tick(1000, Some(end)), end, "nothing is higher, and nothing breaks");
        assert_eq!((clock.tick(2000, None), clock.ahead_ms(2000)), (Stamp::at_ms(2000), 0));
        clock.absorb(Stamp::at_ms(2000 + MAX_AHEAD_MS));
        assert_eq!(clock.ahead_ms(2000), MAX_AHEAD_MS, "a day is borne");
    }
}
