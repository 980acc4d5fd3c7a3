//! Keeps one cause from filling the disk and hiding the others.
//!
//! A cause is a line of the source together with whom the event is about. Each may say [`BURST`] lines in [`WINDOW`], and a line
//! of the source [`LINE_BURST`] whomever they are about, for there may be many of them and not all of them honest. What is left out is
//! counted, and said when the window ends. What is logged for debugging is not limited.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::{self, Write};
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// How long lines are counted together.
pub(super) const WINDOW: Duration = Duration::from_secs(10);
/// Lines of a cause in that time.
const BURST: u32 = 10;
/// Lines of one line of the source in that time.
const LINE_BURST: u32 = 200;
/// Causes that are remembered; more are one with their line of the source.
const MAX: usize = 1024;
/// Fields that say whom an event is about.
const SUBJECTS: [&str; 9] =
    ["bridge", "client", "listener", "member", "peer", "reason", "replica", "set", "address"];

/// A layer that lets through what is not too much.
#[derive(Clone, Debug, Default)]
pub(super) struct Limiter(Arc<Mutex<HashMap<Cause, Count>>>);

/// The line of the source, and a hash of whom it speaks of; none for all of them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Cause {
    file: Option<&'static str>,
    line: Option<u32>,
    about: Option<u64>,
}

#[derive(Debug)]
struct Count {
    since: Instant,
    lines: u32,
    suppressed: u64,
    level: Level,
    message: String,
}

/// Lines of a cause that were left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Suppressed {
    /// How many.
    pub(super) lines: u64,
    /// Of which level.
    pub(super) level: Level,
    /// What the first of them said.
    pub(super) message: String,
}

impl Limiter {
    /// What was left out in windows that are over; they begin anew.
    pub(super) fn poll(&self, now: Instant) -> Vec<Suppressed> {
        let mut suppressed = Vec::new();
        self.0.lock().retain(|_, count| {
            let is_over = now.duration_since(count.since) >= WINDOW;
            if is_over && count.suppressed > 0 {
                let message = std::mem::take(&mut count.message);
                suppressed.push(Suppressed { lines: count.suppressed, level: count.level, message });
            }
            !is_over
        });
        suppressed
    }

    /// Whether an event may be logged.
    fn handle_event(&self, event: &Event<'_>, now: Instant) -> bool {
        let metadata = event.metadata();
        let mut seen = Seen::default();
        event.record(&mut seen);
        let all = Cause { file: metadata.file(), line: metadata.line(), about: None };
        let one = Cause { about: Some(seen.about.finish()), ..all };
        let mut causes = self.0.lock();
        let one = if causes.len() < MAX || causes.contains_key(&one) { one } else { all };
        let mut may_pass = |cause, burst| {
            let count = match causes.entry(cause) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let level = *metadata.level();
                    entry.insert(Count { since: now, lines: 0, suppressed: 0, level, message: String::new() })
                }
            };
            count.lines += 1;
            count.lines <= burst
        };
        let passes = may_pass(one, BURST) && (one == all || may_pass(all, LINE_BURST));
        if !passes && let Some(count) = causes.get_mut(&one) {
            if count.suppressed == 0 {
                count.message = seen.message;
            }
            count.suppressed += 1;
        }
        passes
    }
}

impl<S: Subscriber> Layer<S> for Limiter {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        *event.metadata().level() > Level::INFO || self.handle_event(event, Instant::now())
    }
}

/// What is looked at of an event.
#[derive(Default)]
struct Seen {
    about: DefaultHasher,
    message: String,
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // Writing to a text does not fail.
            let _ = write!(self.message, "{value:?}");
        } else if SUBJECTS.contains(&field.name()) {
            self.about.write(format!("{value:?}").as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Counts what gets through.
    #[derive(Clone, Default)]
    struct Counter(Arc<Mutex<u32>>);

    impl<S: Subscriber> Layer<S> for Counter {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            *self.0.lock() += 1;
        }
    }

    fn passed(log: impl FnOnce()) -> (u32, Limiter) {
        let (limiter, counter) = (Limiter::default(), Counter::default());
        let subscriber = tracing_subscriber::registry().with(limiter.clone()).with(counter.clone());
        tracing::subscriber::with_default(subscriber, log);
        let passed = *counter.0.lock();
        (passed, limiter)
    }

    #[test]
    fn a_flood_leaves_a_few_lines_and_their_number() {
        let (lines, limiter) = passed(|| {
            for number in 0..100 {
                tracing::warn!(number, "too much");
            }
            tracing::warn!("something else");
        });
        assert_eq!(lines, BURST + 1);
        assert_eq!(limiter.poll(Instant::now()), []);
        let told = Suppressed { lines: 90, level: Level::WARN, message: "too much".to_owned() };
        let later = Instant::now() + WINDOW;
        assert_eq!(limiter.poll(later), [told]);
        assert_eq!(limiter.poll(later), []);
    }

    #[test]
    fn one_peer_does_not_hide_another_and_many_are_bounded() {
        let about = |peers: std::ops::Range<u32>| {
            passed(move || {
                for peer in peers {
                    tracing::info!(peer, "seen");
                }
            })
        };
        assert_eq!(about(0..50).0, 50);
        let (lines, limiter) = about(0..100_000);
        assert_eq!(lines, LINE_BURST);
        assert!(limiter.0.lock().len() <= MAX + 1);
        let told: u64 = limiter.poll(Instant::now() + WINDOW).iter().map(|each| each.lines).sum();
        assert_eq!(told, 100_000 - u64::from(LINE_BURST));
    }

    #[test]
    fn who_asks_for_details_gets_them() {
        let (lines, _) = passed(|| (0..100).for_each(|_| tracing::debug!("detail")));
        assert_eq!(lines, 100);
    }
}
