//! Moving averages of what was counted, as `$SYS/broker/load/...` shows them.

use std::time::Instant;

use super::counts::Counts;

type Count = fn(&Counts) -> u64;

/// What is averaged, by its name below `$SYS/broker/load/`.
const AVERAGED: [(&str, Count); 9] = [
    ("messages/received", |counts| counts.packets_received),
    ("messages/sent", |counts| counts.publishes_sent),
    ("publish/received", |counts| counts.publishes_received),
    ("publish/sent", |counts| counts.publishes_sent),
    ("publish/dropped", |counts| counts.publishes_dropped),
    ("bytes/received", |counts| counts.bytes_received),
    ("bytes/sent", |counts| counts.bytes_sent),
    ("sockets", |counts| counts.connections),
    ("connections", |counts| counts.connects),
];

/// The averages' names with their lengths in seconds.
const SPANS: [(&str, f64); 3] = [("1min", 60.0), ("5min", 300.0), ("15min", 900.0)];

/// Averages per minute, exponentially weighted.
#[derive(Default)]
pub struct Loads {
    last: Option<(Instant, [u64; AVERAGED.len()])>,
    averages: [[f64; SPANS.len()]; AVERAGED.len()],
}

impl Loads {
    /// What has been counted until now.
    pub fn handle_counts(&mut self, counts: &Counts, now: Instant) {
        let current = AVERAGED.map(|(_, count)| count(counts));
        let Some((at, last)) = self.last.replace((now, current)) else { return };
        let secs = now.saturating_duration_since(at).as_secs_f64();
        if secs == 0.0 {
            return;
        }
        for ((averages, current), last) in self.averages.iter_mut().zip(current).zip(last) {
            let a_minute = current.saturating_sub(last) as f64 * 60.0 / secs;
            for (average, (_, span)) in averages.iter_mut().zip(SPANS) {
                *average = a_minute + (-secs / span).exp() * (*average - a_minute);
            }
        }
    }

    /// Each average with its name below `$SYS/broker/load/`.
    pub fn averages(&self) -> impl Iterator<Item = (String, f64)> {
        self.averages.iter().zip(AVERAGED).flat_map(|(averages, (name, _))| {
            averages.iter().zip(SPANS).map(move |(average, (span, _))| (format!("{name}/{span}"), *average))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_steady_flow_becomes_its_rate_a_minute() {
        let (mut loads, start) = (Loads::default(), Instant::now());
        let average = |loads: &Loads, name: &str| {
            loads.averages().find(|(known, _)| known == name).map(|(_, average)| average).expect("a name")
        };
        for step in 0..=60 {
            let counts = Counts { bytes_received: 1000 * step, ..Counts::default() };
            loads.handle_counts(&counts, start + Duration::from_secs(10 * step));
        }
        // Ten minutes of 6000 a minute.
        assert!((5990.0..=6000.0).contains(&average(&loads, "bytes/received/1min")));
        assert!((5100.0..5200.0).contains(&average(&loads, "bytes/received/5min")));
        assert!((2900.0..3000.0).contains(&average(&loads, "bytes/received/15min")));
        assert_eq!(average(&loads, "bytes/sent/1min"), 0.0);
    }
}
