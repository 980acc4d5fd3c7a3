//! How long messages take from being read to being written, at the cost of a clock read now and then.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// A thread times no more than one turn in so long: what comes in between is taken to be like it.
const EVERY: Duration = Duration::from_millis(1);

thread_local! {
    static TIMED_LAST: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Whether a turn that begins at `now` is one to be timed.
pub fn is_due(now: Instant) -> bool {
    TIMED_LAST.get().is_none_or(|last| now.saturating_duration_since(last) >= EVERY)
}

/// Reads the clock at the end of a turn that began at `now`.
pub fn time(now: Instant) -> Duration {
    TIMED_LAST.set(Some(now));
    now.elapsed()
}

/// When a message was read that is not written yet, if somebody wants to know. Four bytes, for every client has one.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadAt(Option<NonZeroU32>);

/// What [`ReadAt`] counts microseconds from.
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

impl ReadAt {
    /// A message was read at `now`; one that was read earlier and still waits counts.
    pub fn note(&mut self, now: Instant) {
        self.0 = self.0.or_else(|| NonZeroU32::new(micros(now)));
    }

    /// How long that has taken so far.
    pub fn age(self, now: Instant) -> Option<Duration> {
        Some(Duration::from_micros(u64::from(micros(now).wrapping_sub(self.0?.get()))))
    }

    /// How long that took until now. What takes more than an hour starts again at zero.
    #[inline]
    pub fn take(&mut self) -> Option<Duration> {
        let read_at = self.0.take()?;
        Some(Duration::from_micros(u64::from(micros(Instant::now()).wrapping_sub(read_at.get()))))
    }
}

/// The lower bits of the time since the beginning; before it there is none.
fn micros(at: Instant) -> u32 {
    at.saturating_duration_since(*BEGINNING).as_micros() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_waits_is_timed_once_and_from_the_first() {
        let begin = *BEGINNING;
        let mut read_at = ReadAt::default();
        assert_eq!(read_at.take(), None);
        while begin.elapsed() < Duration::from_millis(2) {
            std::hint::spin_loop();
        }
        read_at.note(begin + Duration::from_millis(1));
        read_at.note(Instant::now());
        let took = read_at.take().expect("noted");
        assert!(took >= Duration::from_millis(1) && took <= begin.elapsed(), "{took:?}");
        assert_eq!(read_at.take(), None);
    }

    #[test]
    fn turns_are_timed_now_and_then() {
        let begin = Instant::now();
        assert!(is_due(begin));
        time(begin);
        assert!(!is_due(begin + EVERY / 2));
        assert!(is_due(begin + EVERY));
    }
}
