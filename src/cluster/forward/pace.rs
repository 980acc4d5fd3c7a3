//! How much of a stream may be under way at a time.
//!
//! Whatever is written into a socket goes ahead of everything that is written later: of acknowledgements, pings, routes and
//! messages of QoS 0. So a buffer that drains after an outage is not poured into the link, but follows the
//! acknowledgements: the window grows while these come back about as fast as they ever did, and shrinks when what is
//! under way takes much longer than that. It is the delay that is measured, as in LEDBAT (RFC 6817), for on a link that
//! carries little the queue in front of it is what has to stay short.

use std::time::{Duration, Instant};

/// Bytes under way on a link that is new.
const START: usize = 64 << 10;
/// The least a window shrinks to: a link that takes long for so little is slow.
const MIN: usize = 16 << 10;
/// The most it grows to: enough for 40 MB/s at 100 ms.
const MAX: usize = 4 << 20;
/// The delay that a stream may cause before its window stops growing.
const GROWS_BELOW: Duration = Duration::from_millis(20);
/// The delay from which on its window shrinks.
const SHRINKS_ABOVE: Duration = Duration::from_millis(80);

/// The window of one stream on one link.
#[derive(Debug)]
pub struct Pace {
    window: usize,
    /// The quickest acknowledgement so far.
    quickest: Option<Duration>,
    /// The forward whose acknowledgement is timed, with when it was sent.
    timed: Option<(u64, Instant)>,
    /// More would have been sent since, had the window been larger. Otherwise its size says nothing.
    limited: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { window: START, quickest: None, timed: None, limited: false }
    }
}

impl Pace {
    /// Bytes that may be under way; one message may exceed it.
    pub fn window(&self) -> usize {
        self.window
    }

    /// The window is full, and there is more to send.
    pub fn handle_full(&mut self) {
        self.limited = true;
    }

    /// The forward of this number is sent.
    pub fn handle_sent(&mut self, sequence: u64, now: Instant) {
        self.timed.get_or_insert((sequence, now));
    }

    /// Everything up to this number has arrived.
    pub fn handle_ack(&mut self, sequence: u64, now: Instant) {
        let Some((_, sent)) = self.timed.take_if(|(timed, _)| *timed <= sequence) else { return };
        let took = now.saturating_duration_since(sent);
        let quickest = self.quickest.map_or(took, |quickest| quickest.min(took));
        self.quickest = Some(quickest);
        let limited = std::mem::take(&mut self.limited);
        match took - quickest {
            caused if caused < GROWS_BELOW && limited => self.window = (2 * self.window).min(MAX),
            caused if caused > SHRINKS_ABOVE => self.window = (self.window / 2).max(MIN),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends without end over a link that carries so many bytes a second and has this round trip; returns the bytes that
    /// arrived in ten seconds, and the most that was under way in the last five.
    fn run(bytes_per_sec: f64, round_trip: Duration) -> (f64, usize) {
        const MESSAGE: usize = 1000;
        let began = Instant::now();
        let mut pace = Pace::default();
        let (mut sent, mut acked, mut most) = (0u64, 0u64, 0);
        // When each message that is under way has passed the narrowest place, and is acknowledged.
        let mut under_way = std::collections::VecDeque::new();
        let mut free_at = began;
        let mut now = began;
        while now < began + Duration::from_secs(10) {
            while under_way.len() * MESSAGE < pace.window() {
                sent += 1;
                pace.handle_sent(sent, now);
                free_at = free_at.max(now) + Duration::from_secs_f64(MESSAGE as f64 / bytes_per_sec);
                under_way.push_back(free_at + round_trip);
            }
            pace.handle_full();
            if now > began + Duration::from_secs(5) {
                most = most.max(under_way.len() * MESSAGE);
            }
            now = under_way.pop_front().expect("one is under way");
            acked += 1;
            pace.handle_ack(acked, now);
        }
        (acked as f64 * MESSAGE as f64, most)
    }

    #[test]
    fn a_link_is_filled_and_its_queue_stays_short() {
        for (megabits, round_trip_ms) in
            [(1.0, 1), (1.0, 100), (10.0, 20), (100.0, 1), (100.0, 100), (1000.0, 5)]
        {
            let bytes_per_sec = megabits * 1e6 / 8.0;
            let round_trip = Duration::from_millis(round_trip_ms);
            let (arrived, under_way) = run(bytes_per_sec, round_trip);
            let used = arrived / (10.0 * bytes_per_sec);
            let delay = under_way as f64 / bytes_per_sec;
            println!("{megabits} Mbit/s, {round_trip:?}: {:.0} % used, {delay:.3} s under way", used * 100.0);
            assert!(used > 0.8, "{used}");
            assert!(delay < round_trip.as_secs_f64() + 0.3, "{delay} s");
        }
    }

    #[test]
    fn a_peer_that_acknowledges_what_it_likes_gets_a_window_within_its_bounds() {
        let mut pace = Pace::default();
        let now = Instant::now();
        pace.handle_ack(u64::MAX, now);
        for number in 1..100 {
            pace.handle_sent(number, now);
            pace.handle_ack(u64::MAX, now);
        }
        assert_eq!(pace.window(), START, "so little does not fill it");
        for number in 1..100 {
            pace.handle_sent(number, now);
            pace.handle_full();
            pace.handle_ack(u64::MAX, now);
        }
        assert_eq!(pace.window(), MAX);
        for number in 1..100 {
            pace.handle_sent(number, now);
            pace.handle_ack(number, now + Duration::from_secs(60));
        }
        assert_eq!(pace.window(), MIN);
    }
}
