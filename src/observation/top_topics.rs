//! Which topics are published to most, counted while somebody wants to know.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::heavy_hitters::{HeavyHitters, Hitter};

/// Counts at a time.
pub const COUNTS_MAX: usize = 4;
/// Topics that each keeps, by messages and by bytes.
pub const TOPICS_MAX: usize = 1000;
/// A count that nobody has fetched so long after its time is dropped.
const FETCHED_WITHIN: Duration = Duration::from_secs(10);
/// Longer topics count by so many of their first bytes.
const TOPIC_MAX: usize = 256;

/// The counts that are going on.
#[derive(Debug, Default)]
pub struct TopTopics {
    on: AtomicBool,
    /// Guards the counts. A leaf.
    counts: Mutex<Vec<Count>>,
}

#[derive(Debug)]
struct Count {
    /// What it is fetched by.
    id: String,
    begun: Instant,
    ends: Instant,
    messages: HeavyHitters,
    bytes: HeavyHitters,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// How long it was counted.
    pub time: Duration,
    /// By number of publishes.
    pub messages: Ranking,
    /// By bytes of topics and payloads.
    pub bytes: Ranking,
}

/// Topics, the first of them the greatest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranking {
    /// Those that are known.
    pub topics: Vec<Hitter>,
    /// All publishes, or all bytes.
    pub total: u64,
    /// What any other topic has at most.
    pub unlisted_max: u64,
}

/// As many as can be are going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("topics are counted for {} already: wait until one is done", COUNTS_MAX)]
pub struct CountsFull;

impl TopTopics {
    /// Whether anything is counted.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Begins to count for so long, and then some, until it is fetched by this name.
    pub fn begin(&self, id: &str, time: Duration, now: Instant) -> Result<(), CountsFull> {
        let mut counts = self.counts.lock();
        if counts.iter().any(|count| count.id == id) {
            return Ok(());
        }
        if counts.len() >= COUNTS_MAX {
            return Err(CountsFull);
        }
        let [messages, bytes] = [(); 2].map(|()| HeavyHitters::new(TOPICS_MAX));
        counts.push(Count { id: id.to_owned(), begun: now, ends: now + time, messages, bytes });
        self.on.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Somebody has published.
    pub fn add(&self, topic: &str, payload: usize) {
        let mut end = topic.len().min(TOPIC_MAX);
        while !topic.is_char_boundary(end) {
            end -= 1;
        }
        let bytes = (topic.len() + payload) as u64;
        for count in self.counts.lock().iter_mut() {
            count.messages.add(&topic[..end], 1);
            count.bytes.add(&topic[..end], bytes);
        }
    }

    /// Ends the count of this name; none where there is none.
    pub fn fetch(&self, id: &str, now: Instant) -> Option<Counted> {
        let mut counts = self.counts.lock();
        let at = counts.iter().position(|count| count.id == id)?;
        let count = counts.swap_remove(at);
        self.on.store(!counts.is_empty(), Ordering::Relaxed);
        drop(counts);
        let ranking = |heavy: HeavyHitters| {
            let (total, unlisted_max) = (heavy.total(), heavy.unlisted_max());
            Ranking { topics: heavy.into_hitters(), total, unlisted_max }
        };
        let time = now.saturating_duration_since(count.begun);
        Some(Counted { time, messages: ranking(count.messages), bytes: ranking(count.bytes) })
    }

    /// Drops what nobody fetches. Call it now and then.
    pub fn tidy(&self, now: Instant) {
        if self.is_on() {
            let mut counts = self.counts.lock();
            counts.retain(|count| now < count.ends + FETCHED_WITHIN);
            self.on.store(!counts.is_empty(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counts_what_comes_in_its_time() {
        let (top, now, time) = (TopTopics::default(), Instant::now(), Duration::from_secs(5));
        assert!(!top.is_on());
        top.begin("one", time, now).expect("room");
        top.add("a", 9);
        top.begin("two", time, now + time).expect("room");
        (0..3).for_each(|_| top.add("b", 1));
        let one = top.fetch("one", now + time).expect("counted");
        let ranked = |ranking: &Ranking| -> Vec<(Box<str>, u64)> {
            ranking.topics.iter().map(|topic| (topic.text.clone(), topic.weight)).collect()
        };
        assert_eq!((ranked(&one.messages), one.time), (vec![("b".into(), 3), ("a".into(), 1)], time));
        assert_eq!((ranked(&one.bytes), one.bytes.total), (vec![("a".into(), 10), ("b".into(), 6)], 16));
        assert_eq!(top.fetch("one", now), None, "once");
        assert!(top.is_on());
        let two = top.fetch("two", now + 2 * time).expect("counted");
        assert_eq!((ranked(&two.messages), two.messages.total), (vec![("b".into(), 3)], 3));
        assert!(!top.is_on());
    }

    #[test]
    fn there_are_few_and_they_end() {
        let (top, now, time) = (TopTopics::default(), Instant::now(), Duration::from_secs(5));
        (0..COUNTS_MAX).for_each(|id| top.begin(&id.to_string(), time, now).expect("room"));
        assert_eq!(top.begin("one more", time, now), Err(CountsFull));
        assert_eq!(top.begin("0", time, now), Ok(()), "it is going on");
        top.tidy(now + Duration::from_secs(14));
        assert!(top.is_on());
        top.tidy(now + Duration::from_secs(15));
        assert!(!top.is_on() && top.fetch("0", now).is_none());
    }

    #[test]
    fn long_topics_count_by_their_beginning() {
        let (top, now) = (TopTopics::default(), Instant::now());
        top.begin("it", Duration::ZERO, now).expect("room");
        top.add(&"ä".repeat(30_000), 5);
        let counted = top.fetch("it", now).expect("counted");
        assert_eq!((counted.bytes.total, counted.bytes.topics[0].text.len()), (60_005, 256));
    }
}
