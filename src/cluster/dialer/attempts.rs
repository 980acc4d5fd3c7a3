//! When to dial somebody again: pure, `now` and what is random are passed in.

use std::time::{Duration, Instant};

/// Rest after a failure: the first, doubled each time.
const FIRST_REST: Duration = Duration::from_millis(100);
/// A link that has held for so long was no failure.
const GOOD_LIFE: Duration = Duration::from_secs(5);

/// What speaks for an attempt. It bounds how long the rest after failures may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Nothing says that anybody is there. But heartbeats may be blocked where links are not.
    Dead,
    /// An address that an operator gave to a node which has no link at all.
    Seed,
    /// It takes part, and there is no link to it, or one that may be gone at its other end.
    Live,
}

impl Urgency {
    /// Rest between two attempts, at most. Short for the living: a cut that heals must not wait for anybody's patience.
    fn longest_rest(self) -> Duration {
        Duration::from_millis(match self {
            Urgency::Dead => 5000,
            Urgency::Seed => 2000,
            Urgency::Live => 1000,
        })
    }
}

/// The attempts at one target.
#[derive(Debug)]
pub struct Attempts {
    not_before: Instant,
    ended: Option<Instant>,
    failures: u32,
    /// Spreads the rests of those who failed together: a factor of the rest.
    jitter: f64,
    urgency: Urgency,
    /// Whether datagrams came from there at the last look.
    heard: bool,
    /// Attempts under way, with a link that came of one.
    running: u32,
    /// All that were begun.
    count: usize,
    /// The last attempt led to this node itself.
    itself: bool,
}

/// What there is to know when a target is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// What speaks for dialling it.
    pub urgency: Urgency,
    /// Whether datagrams come from there.
    pub heard: bool,
    /// There is a link, and this node has dialled it: that attempt goes on as long as the link.
    pub held: bool,
    /// Wait before a first attempt, where the other end should have its chance.
    pub courtesy: Duration,
}

impl Attempts {
    /// None yet.
    pub fn new(look: Look, now: Instant) -> Attempts {
        Attempts {
            not_before: now + look.courtesy,
            ended: None,
            failures: 0,
            jitter: 1.0,
            urgency: look.urgency,
            heard: look.heard,
            running: 0,
            count: 0,
            itself: false,
        }
    }

    /// Begins an attempt if it is time for one; says how many there were before. `limit` is how long it may take.
    pub fn begin(&mut self, look: Look, limit: Duration, now: Instant) -> Option<usize> {
        // What has changed for the better makes former failures worthless.
        if look.urgency > self.urgency || (look.heard && !self.heard) {
            self.failures = 0;
            self.ended = None;
            self.not_before = now + look.courtesy;
        }
        (self.urgency, self.heard) = (look.urgency, look.heard);
        let rested = self.ended.is_none_or(|at| now >= at + self.rest());
        if self.running > u32::from(look.held) || now < self.not_before || !rested {
            return None;
        }
        self.running += 1;
        self.count += 1;
        self.not_before = now + limit;
        Some(self.count - 1)
    }

    /// An attempt has failed, or the link that came of it has ended, `lasted` after it began. `jitter` is drawn anew
    /// from 0.75 to 1.25.
    pub fn end(&mut self, lasted: Duration, itself: bool, jitter: f64, now: Instant) {
        self.running = self.running.saturating_sub(1);
        self.itself = itself;
        self.failures = if lasted > GOOD_LIFE { 0 } else { self.failures.saturating_add(1) };
        self.jitter = jitter;
        self.ended = Some(now);
        self.not_before = now;
    }

    /// Whether the last attempt led to this node itself.
    pub fn is_itself(&self) -> bool {
        self.itself
    }

    /// Whether one is under way, or its link is up.
    pub fn is_running(&self) -> bool {
        self.running > 0
    }

    fn rest(&self) -> Duration {
        let doubled = FIRST_REST * (1 << self.failures.saturating_sub(1).min(10));
        doubled.min(self.urgency.longest_rest()).mul_f64(self.jitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(2);

    fn look(urgency: Urgency, heard: bool) -> Look {
        Look { urgency, heard, held: false, courtesy: Duration::ZERO }
    }

    /// Looks every 100 ms; attempts fail at once. Gives the times of the attempts, in milliseconds.
    fn attempts(
        attempts: &mut Attempts,
        start: Instant,
        look: impl Fn(u64) -> Look,
        until_ms: u64,
    ) -> Vec<u64> {
        let mut begun = Vec::new();
        for ms in (0..=until_ms).step_by(100) {
            let now = start + Duration::from_millis(ms);
            if attempts.begin(look(ms), LIMIT, now).is_some() {
                begun.push(ms);
                attempts.end(Duration::ZERO, false, 1.0, now);
            }
        }
        begun
    }

    #[test]
    fn rests_grow_to_a_second_for_the_living_and_to_five_for_the_dead() {
        let start = Instant::now();
        let live = |_| look(Urgency::Live, false);
        let begun = attempts(&mut Attempts::new(live(0), start), start, live, 5000);
        assert_eq!(begun, [0, 100, 300, 700, 1500, 2500, 3500, 4500]);
        let dead = |_| look(Urgency::Dead, false);
        let begun = attempts(&mut Attempts::new(dead(0), start), start, dead, 20_000);
        assert_eq!(begun, [0, 100, 300, 700, 1500, 3100, 6300, 11_300, 16_300]);
    }

    #[test]
    fn what_changes_for_the_better_ends_the_rest() {
        let start = Instant::now();
        let back = |ms| look(if ms < 9000 { Urgency::Dead } else { Urgency::Live }, ms >= 8000);
        let begun = attempts(&mut Attempts::new(back(0), start), start, back, 9000);
        assert_eq!(begun, [0, 100, 300, 700, 1500, 3100, 6300, 8000, 8100, 8300, 8700, 9000]);
    }

    #[test]
    fn one_at_a_time_and_one_more_beside_a_link() {
        let start = Instant::now();
        let (free, held) = (look(Urgency::Live, true), Look { held: true, ..look(Urgency::Live, true) });
        let mut attempts = Attempts::new(free, start);
        assert!(attempts.begin(free, LIMIT, start).is_some());
        assert_eq!(attempts.begin(free, LIMIT, start + LIMIT), None, "it is under way");
        assert!(attempts.begin(held, LIMIT, start + LIMIT).is_some(), "it is a link");
        assert_eq!(attempts.begin(held, LIMIT, start + 2 * LIMIT), None);
        attempts.end(GOOD_LIFE * 2, false, 1.0, start + 2 * LIMIT);
        attempts.end(Duration::ZERO, false, 1.25, start + 2 * LIMIT);
        assert!(!attempts.is_running());
        assert_eq!(attempts.begin(free, LIMIT, start + 2 * LIMIT + Duration::from_millis(124)), None);
        assert!(attempts.begin(free, LIMIT, start + 2 * LIMIT + Duration::from_millis(125)).is_some());
    }

    #[test]
    fn the_other_end_has_its_chance_first() {
        let start = Instant::now();
        let courteous = |heard| Look { courtesy: Duration::from_millis(500), ..look(Urgency::Live, heard) };
        let mut attempts = Attempts::new(courteous(false), start);
        assert_eq!(attempts.begin(courteous(false), LIMIT, start + Duration::from_millis(400)), None);
        assert_eq!(
            attempts.begin(courteous(true), LIMIT, start + Duration::from_millis(500)),
            None,
            "it came back"
        );
        assert!(attempts.begin(courteous(true), LIMIT, start + Duration::from_millis(1000)).is_some());
    }
}
