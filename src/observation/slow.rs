//! Slow subscribers: clients that have acknowledged messages late.
//!
//! Who is behind at this moment is looked up when somebody asks; what was late and is over has to be noted when it happens, and
//! that is what this list is for. It is bounded: of more clients than it has room for, those that were slowest stay.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Clients in the list, at most.
pub const CLIENTS_MAX: usize = 1000;
/// A client that has not been late for so long is in the list no more.
pub const KEPT: Duration = Duration::from_secs(300);
/// A full list is looked through so often.
const FLOOR_KEPT: Duration = Duration::from_secs(1);
/// Longest topic that is noted, in bytes.
const TOPIC_MAX: usize = 1024;

/// The clients that were late, while that is to be known.
#[derive(Debug, Default)]
pub struct SlowSubscribers {
    /// In milliseconds; 0 where nothing is noted.
    threshold_ms: AtomicU64,
    /// Guards who is in the list. A leaf, taken under clients' locks.
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    clients: HashMap<Box<str>, Late>,
    /// Nobody in the full list was faster than this.
    floor: Duration,
    /// For so long that is taken for granted.
    floor_until: Option<Instant>,
}

/// How late a client was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late {
    /// When it was late first, without having been in time for long since.
    pub since: Instant,
    /// When it was late last.
    pub last: Instant,
    /// The longest that it took for a message.
    pub worst: Duration,
    /// The topic of that message.
    pub topic: Box<str>,
    /// Messages that it was late for.
    pub messages: u64,
}

impl SlowSubscribers {
    /// Notes clients that take so long; nobody, if it is zero.
    pub fn set_threshold(&self, threshold: Duration) {
        // What is less than a millisecond is more than nothing.
        let ms = u64::try_from(threshold.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        self.threshold_ms.store(ms, Ordering::Relaxed);
        if ms == 0 {
            *self.list.lock() = List::default();
        }
    }

    /// From when on a client is slow, where that is noted.
    pub fn threshold(&self) -> Option<Duration> {
        let ms = self.threshold_ms.load(Ordering::Relaxed);
        (ms > 0).then(|| Duration::from_millis(ms))
    }

    /// Whether anything is noted.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.threshold_ms.load(Ordering::Relaxed) > 0
    }

    /// A client has acknowledged a message that it took so long for.
    pub fn note(&self, client: &str, topic: &str, took: Duration, now: Instant) {
        if self.threshold().is_some_and(|threshold| took >= threshold) {
            self.list.lock().note(client, topic, took, now);
        }
    }

    /// Who was late lately, in no order.
    pub fn late(&self, now: Instant) -> Vec<(Box<str>, Late)> {
        let list = self.list.lock();
        let lately = list.clients.iter().filter(|(_, late)| late.is_lately(now));
        lately.map(|(client, late)| (client.clone(), late.clone())).collect()
    }
}

impl Late {
    fn is_lately(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) < KEPT
    }
}

impl List {
    fn note(&mut self, client: &str, topic: &str, took: Duration, now: Instant) {
        if let Some(late) = self.clients.get_mut(client) {
            if !late.is_lately(now) {
                *late = Late { since: now, last: now, worst: Duration::ZERO, topic: "".into(), messages: 0 };
            }
            late.last = now;
            late.messages += 1;
            if took > late.worst {
                (late.worst, late.topic) = (took, cut(topic));
            }
            return;
        }
        if self.clients.len() >= CLIENTS_MAX && !self.make_room(took, now) {
            return;
        }
        let late = Late { since: now, last: now, worst: took, topic: cut(topic), messages: 1 };
        self.clients.insert(client.into(), late);
    }

    /// Whether there is room in a full list for one that was so slow.
    fn make_room(&mut self, took: Duration, now: Instant) -> bool {
        // A look at all of them only where one may have to go. The floor may be that of one who has been slower since.
        if took <= self.floor && self.floor_until.is_some_and(|until| now < until) {
            return false;
        }
        self.clients.retain(|_, late| late.is_lately(now));
        if self.clients.len() >= CLIENTS_MAX {
            let fastest = self.clients.iter().min_by_key(|(_, late)| late.worst);
            let Some((client, worst)) = fastest.map(|(client, late)| (client.clone(), late.worst)) else {
                return true;
            };
            if took <= worst {
                (self.floor, self.floor_until) = (worst, Some(now + FLOOR_KEPT));
                return false;
            }
            self.clients.remove(&client);
        }
        self.floor = Duration::ZERO;
        true
    }
}

fn cut(topic: &str) -> Box<str> {
    let mut end = topic.len().min(TOPIC_MAX);
    while !topic.is_char_boundary(end) {
        end -= 1;
    }
    topic[..end].into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slow(threshold_ms: u64) -> SlowSubscribers {
        let slow = SlowSubscribers::default();
        slow.set_threshold(Duration::from_millis(threshold_ms));
        slow
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn nothing_is_noted_unless_it_is_asked_for() {
        let (slow, now) = (SlowSubscribers::default(), Instant::now());
        assert!(!slow.is_on());
        slow.note("c", "t", ms(10_000), now);
        assert_eq!(slow.late(now), []);
        slow.set_threshold(Duration::from_nanos(1));
        assert_eq!(slow.threshold(), Some(ms(1)));
        slow.note("c", "t", ms(1), now);
        assert_eq!(slow.late(now).len(), 1);
        slow.set_threshold(Duration::ZERO);
        assert!(!slow.is_on() && slow.late(now).is_empty());
    }

    #[test]
    fn the_worst_counts_as_long_as_the_client_is_late_now_and_then() {
        let (slow, now) = (slow(100), Instant::now());
        let mut at = now;
        for (took, topic) in [(99, "in/time"), (150, "a"), (300, "b"), (200, "c")] {
            slow.note("c", topic, ms(took), at);
            at += Duration::from_secs(200);
        }
        let late = slow.late(now + Duration::from_secs(700));
        let expected = Late {
            since: now + Duration::from_secs(200),
            last: now + Duration::from_secs(600),
            worst: ms(300),
            topic: "b".into(),
            messages: 3,
        };
        assert_eq!(late, [("c".into(), expected)]);
        assert_eq!(slow.late(now + Duration::from_secs(900)), [], "that is over");
        slow.note("c", "d", ms(120), now + Duration::from_secs(2000));
        let late = slow.late(now + Duration::from_secs(2000));
        assert_eq!((late[0].1.worst, &*late[0].1.topic, late[0].1.messages), (ms(120), "d", 1));
    }

    #[test]
    fn a_full_list_takes_others_when_those_in_it_have_caught_up() {
        let (slow, now) = (slow(1), Instant::now());
        (0..CLIENTS_MAX).for_each(|client| slow.note(&client.to_string(), "t", ms(60_000), now));
        slow.note("not so slow", "t", ms(5000), now);
        assert_eq!(slow.late(now).len(), CLIENTS_MAX);
        slow.note("later", "t", ms(5000), now + KEPT);
        assert_eq!(slow.late(now + KEPT).len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        /// Whatever comes: the list is bounded, and nobody who was in it once was slower than all that are.
        #[test]
        fn the_slowest_stay(took in prop::collection::vec(1_u64..5000, CLIENTS_MAX..2 * CLIENTS_MAX)) {
            let (slow, now) = (slow(1), Instant::now());
            for (client, took) in took.iter().enumerate() {
                slow.note(&client.to_string(), "t", ms(*took), now);
            }
            let mut kept: Vec<Duration> = slow.late(now).into_iter().map(|(_, late)| late.worst).collect();
            kept.sort_unstable();
            let mut all: Vec<Duration> = took.iter().map(|took| ms(*took)).collect();
            all.sort_unstable();
            prop_assert_eq!(&kept[..], &all[all.len() - CLIENTS_MAX..]);
        }
    }
}
