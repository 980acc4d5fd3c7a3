//! Times, counted so that percentiles can be told within 3 %, in a few kilobytes.

use std::time::Duration;

/// Powers of two are divided into so many buckets.
const PARTS: u64 = 32;

/// Counts of durations. It grows with the longest of them, to 13 KiB at most.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    counts: Vec<u64>,
    count: u64,
    max_us: u64,
}

impl Histogram {
    /// Counts a duration, in whole microseconds.
    #[inline]
    pub fn record(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = bucket(micros);
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.count += 1;
        self.max_us = self.max_us.max(micros);
    }

    /// Adds what the other has counted.
    pub fn add(&mut self, other: &Histogram) {
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.count += other.count;
        self.max_us = self.max_us.max(other.max_us);
    }

    /// What has been counted since this histogram was like `before`. Its longest time is not known any more, only its bucket.
    #[must_use]
    pub fn since(&self, before: &Histogram) -> Histogram {
        let earlier = before.counts.iter().copied().chain(std::iter::repeat(0));
        let counts: Vec<u64> =
            self.counts.iter().zip(earlier).map(|(count, before)| count.saturating_sub(before)).collect();
        let max_us = counts.iter().rposition(|count| *count > 0).map_or(0, last_of);
        Histogram { count: counts.iter().sum(), max_us: max_us.min(self.max_us), counts }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest.
    pub fn max(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_micros(self.max_us))
    }

    /// The time within which this share of all (of 1) stays. It is no shorter than the true one, and at most 3 % longer.
    pub fn percentile(&self, share: f64) -> Option<Duration> {
        let rank = ((self.count as f64 * share).ceil() as u64).clamp(1, self.count.max(1));
        let mut below = 0;
        let found = self.counts.iter().position(|count| {
            below += count;
            below >= rank
        });
        found.map(|bucket| Duration::from_micros(last_of(bucket).min(self.max_us)))
    }
}

fn bucket(micros: u64) -> usize {
    let magnitude = u64::from(micros.max(1).ilog2());
    let shift = magnitude.saturating_sub(u64::from(PARTS.ilog2()));
    (shift * PARTS + (micros >> shift)) as usize
}

/// The longest time of a bucket, in microseconds.
fn last_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / PARTS).saturating_sub(1);
    let first = bucket - shift * PARTS;
    ((u128::from(first + 1) << shift) - 1).try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_narrow_and_leave_nothing_out() {
        let mut before = 0;
        for micros in (0..5000).chain((13..64).map(|power| 1 << power)).chain([u64::MAX]) {
            let bucket = bucket(micros);
            assert!(bucket >= before && bucket < 2000);
            before = bucket;
            let last = last_of(bucket);
            assert!(last >= micros && last - micros <= micros / 32, "{micros} in a bucket up to {last}");
            assert_eq!(super::bucket(last), bucket);
        }
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_list() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(0.5), None);
        (1..=10_000).for_each(|micros| histogram.record(Duration::from_micros(micros)));
        for (share, expected) in [(0.5, 5_000), (0.99, 9_900), (0.999, 9_990), (1.0, 10_000), (0.0, 1)] {
            let micros = histogram.percentile(share).unwrap().as_micros();
            assert!((expected..=expected * 33 / 32).contains(&micros), "{share}: {micros}");
        }
        assert_eq!(histogram.max(), Some(Duration::from_millis(10)));
    }

    #[test]
    fn sums_and_differences_are_of_the_counts() {
        let mut one = Histogram::default();
        one.record(Duration::from_micros(10));
        let before = one.clone();
        let mut other = Histogram::default();
        (0..3).for_each(|_| other.record(Duration::from_millis(5)));
        one.add(&other);
        assert_eq!(one.count(), 4);
        let since = one.since(&before);
        assert_eq!(since.count(), 3);
        assert_eq!(since.percentile(0.01), since.percentile(1.0));
        assert_eq!(one.percentile(0.25), Some(Duration::from_micros(10)));
    }
}
