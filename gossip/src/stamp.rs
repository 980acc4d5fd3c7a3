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

    /// The milliseconds since 1970 that it stands for: those of the clock that was ahead of all others.
    pub fn ms(self) -> u64 {
        self.0 >> Stamp::COUNTER_BITS
    }
}

/// Makes stamps. A clock ahead of this one's is absorbed, never refused: then it stands still until the
/// time comes, but for its counter.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HybridClock {
    last: Stamp,
}

impl HybridClock {
    /// A stamp above all that were made or absorbed.
    pub fn tick(&mut self, wall_ms: u64) -> Stamp {
        self.last = Stamp::at_ms(wall_ms).max(Stamp(self.last.0.saturating_add(1)));
        self.last
    }

    /// Somebody else has made this stamp.
    pub fn absorb(&mut self, stamp: Stamp) {
        self.last = self.last.max(stamp);
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
        let first = clock.tick(1000);
        assert_eq!(first, Stamp::at_ms(1000));
        assert_eq!(first.ms(), 1000);
        let second = clock.tick(1000);
        assert!(second > first);
        assert!(clock.tick(400) > second, "the clock went back");
        assert_eq!(clock.ahead_ms(400), 600);
        clock.absorb(Stamp::at_ms(9000));
        assert!(clock.tick(1001) > Stamp::at_ms(9000));
        assert_eq!(clock.ahead_ms(1001), 7999);
        assert_eq!(clock.tick(9001), Stamp::at_ms(9001), "time has caught up");
        assert_eq!(clock.ahead_ms(9001), 0);
        clock.absorb(Stamp(u64::MAX));
        assert_eq!(clock.tick(u64::MAX), Stamp(u64::MAX), "no stamp is higher, and nothing breaks");
    }
}
