//! When to ping beyond the usual: pure.
//!
//! TCP repeats what was lost after 200 ms or more when nothing was sent behind it, and after a round trip when the other end
//! got something later and says so. What a link carries comes in small bursts, so a loss mostly hits the last of them. A
//! ping a few milliseconds behind a burst to which the peer has not said anything makes the loss known. Where nothing is lost the
//! peer has answered before.

use std::time::{Duration, Instant};

/// Patience with an answer before a ping, at least. Shorter than two round trips it would ping for nothing.
const PATIENCE: Duration = Duration::from_millis(20);
/// So many pings in a row are sent at that pace: until TCP repeats something by itself, which makes it slow for a while.
const QUICK: u32 = 9;
/// Patience after these.
const LATER: Duration = Duration::from_millis(100);
/// A peer that is silent for so long is not pinged beyond the usual: it is not loss that keeps it from answering.
const GIVE_UP: Duration = Duration::from_secs(2);

/// Where a link's probing stands.
#[derive(Debug)]
pub struct Probes {
    /// Pings in a row to which nothing was said.
    unanswered: u32,
    /// The last frames that ask for an answer, or make the peer say something.
    written: Instant,
    /// When to look whether the peer has said anything since `since`.
    armed: Option<Armed>,
}

#[derive(Clone, Copy, Debug)]
struct Armed {
    since: Instant,
    due: Instant,
}

impl Probes {
    /// Nothing was written yet.
    pub fn new(now: Instant) -> Probes {
        Probes { unanswered: 0, written: now, armed: None }
    }

    /// Frames other than answers to pings were written.
    pub fn handle_written(&mut self, round_trip: Duration, now: Instant) {
        self.written = now;
        if self.armed.is_none() {
            self.unanswered = 0;
            self.arm(round_trip, now);
        }
    }

    /// When to call [`Probes::handle_due`].
    pub fn due(&self) -> Option<Instant> {
        self.armed.map(|armed| armed.due)
    }

    /// It is time. Something last came from the peer at `heard`. Whether to ping.
    pub fn handle_due(&mut self, heard: Instant, round_trip: Duration, now: Instant) -> bool {
        let Some(armed) = self.armed.take() else { return false };
        if heard > self.written || now.saturating_duration_since(heard) > GIVE_UP {
            return false;
        }
        let silent = heard <= armed.since;
        self.unanswered = if silent { self.unanswered + 1 } else { 0 };
        self.arm(round_trip, now);
        silent
    }

    fn arm(&mut self, round_trip: Duration, now: Instant) {
        let patience = if self.unanswered < QUICK { PATIENCE } else { LATER };
        self.armed = Some(Armed { since: now, due: now + patience.max(2 * round_trip) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Drives probes until `until`; gives when they pinged, in milliseconds. `heard` tells when something last had come from the
    /// peer by then.
    fn pings(
        probes: &mut Probes,
        start: Instant,
        round_trip: Duration,
        until: u64,
        heard: impl Fn(u64) -> u64,
    ) -> Vec<u64> {
        let mut pings = Vec::new();
        while let Some(due) = probes.due().filter(|due| *due < start + ms(until)) {
            let at = (due - start).as_millis() as u64;
            if probes.handle_due(start + ms(heard(at)), round_trip, due) {
                pings.push(at);
                probes.handle_written(round_trip, due);
            }
        }
        pings
    }

    #[test]
    fn an_answer_in_time_ends_it() {
        let start = Instant::now();
        let mut probes = Probes::new(start);
        assert_eq!(probes.due(), None);
        probes.handle_written(ms(1), start);
        assert_eq!(pings(&mut probes, start, ms(1), 1000, |_| 1), [0; 0]);
        assert_eq!(probes.due(), None);
    }

    #[test]
    fn silence_is_probed_more_and_more_seldom_and_not_for_ever() {
        let start = Instant::now();
        let mut probes = Probes::new(start);
        probes.handle_written(ms(1), start);
        let pings = pings(&mut probes, start, ms(1), 10_000, |_| 0);
        assert_eq!(pings[..12], [20, 40, 60, 80, 100, 120, 140, 160, 180, 280, 380, 480]);
        assert_eq!((pings.len(), pings.last()), (27, Some(&1980)));
        assert_eq!(probes.due(), None);
    }

    #[test]
    fn an_answer_to_a_probe_ends_it_too() {
        let start = Instant::now();
        let mut probes = Probes::new(start);
        probes.handle_written(ms(1), start);
        assert_eq!(pings(&mut probes, start, ms(1), 1000, |at| if at > 40 { 41 } else { 0 }), [20, 40]);
    }

    #[test]
    fn whoever_hears_something_all_the_time_need_not_ping() {
        let start = Instant::now();
        let mut probes = Probes::new(start);
        for at in 0..100 {
            probes.handle_written(ms(1), start + ms(at));
            assert_eq!(pings(&mut probes, start, ms(1), at, |at| at / 10 * 10), [0; 0]);
        }
    }

    #[test]
    fn far_peers_have_more_time() {
        let start = Instant::now();
        let mut probes = Probes::new(start);
        probes.handle_written(ms(150), start);
        assert_eq!(pings(&mut probes, start, ms(150), 1000, |_| 0), [300, 600, 900]);
    }
}
