//! What has become of the messages: which came, came twice, came late, or did not come.
//!
//! A receiver sees the numbers of each publisher's messages. It keeps the next one it expects, and which of the last
//! [`WINDOW`] are missing: so its memory is bounded, whatever is lost.

use std::time::Duration;

use super::histogram::Histogram;
use super::stamp::Stamp;

/// So far back a message that comes late is told from one that comes twice. Further back it counts as late as long as anything
/// is missing there.
pub const WINDOW: u64 = 4096;
const WORDS: usize = (WINDOW / 64) as usize;

/// Publishers of another process that are told apart; messages of more are unexpected.
const OTHERS_MAX: u32 = 65_536;

/// One publisher's messages, as one subscriber gets them.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    next: u64,
    received: u64,
    duplicates: u64,
    out_of_order: u64,
    /// Missing further back than the window.
    missing_before: u64,
    /// Which numbers of the window are missing, once one has been: a bit for each, by its remainder.
    missing: Option<Box<[u64; WORDS]>>,
}

impl Stream {
    /// A message has come. True if it had not come before.
    #[inline]
    pub fn note(&mut self, number: u64) -> bool {
        if number == self.next && self.missing.is_none() {
            self.next += 1;
            self.received += 1;
            return true;
        }
        self.note_irregular(number)
    }

    fn note_irregular(&mut self, number: u64) -> bool {
        if number >= self.next {
            self.skip_to(number);
            self.received += 1;
            return true;
        }
        let is_late = if self.next - number > WINDOW {
            let late = self.missing_before > 0;
            self.missing_before -= u64::from(late);
            late
        } else {
            self.missing.as_mut().is_some_and(|missing| set(missing, number, false))
        };
        self.received += u64::from(is_late);
        self.out_of_order += u64::from(is_late);
        self.duplicates += u64::from(!is_late);
        is_late
    }

    /// How many are missing of those between the first and the last that came.
    pub fn missing(&self) -> u64 {
        let within =
            self.missing.iter().flat_map(|missing| missing.iter()).map(|word| u64::from(word.count_ones()));
        self.missing_before + within.sum::<u64>()
    }

    /// All before this one, and not come yet, are missing.
    fn skip_to(&mut self, number: u64) {
        let missing = self.missing.get_or_insert_with(|| Box::new([0; WORDS]));
        // Two windows push out whatever there was; what lies before them never was in one.
        let far = (number - self.next).saturating_sub(2 * WINDOW);
        self.missing_before += far;
        self.next += far;
        for skipped in self.next..number {
            self.missing_before += u64::from(set(missing, skipped, true));
        }
        self.missing_before += u64::from(set(missing, number, false));
        self.next = number + 1;
        if missing.iter().all(|word| *word == 0) {
            self.missing = None;
        }
    }
}

/// Sets the bit of a number; returns what it was.
fn set(missing: &mut [u64; WORDS], number: u64, to: bool) -> bool {
    let bit = number % WINDOW;
    let (word, mask) = (&mut missing[(bit / 64) as usize], 1 << (bit % 64));
    let was = *word & mask != 0;
    *word = if to { *word | mask } else { *word & !mask };
    was
}

/// What one subscriber got.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Which run's messages it counts; `None`: that of the first that comes.
    run: Option<u32>,
    /// The messages are another process's, who began when it liked.
    of_others: bool,
    /// The number of the first publisher that it hears.
    first: u32,
    streams: Vec<Stream>,
    unexpected: u64,
    bytes: u64,
    latency: Histogram,
}

/// The sums of several tallies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Different messages that came.
    pub received: u64,
    /// Messages that came once more.
    pub duplicates: u64,
    /// Messages that came after a later one of their publisher.
    pub out_of_order: u64,
    /// Messages that did not come, of those between the first and the last of a publisher that did.
    pub missing: u64,
    /// Messages that are not of this run, or not for this subscriber.
    pub unexpected: u64,
    /// Bytes of payload of all of these.
    pub bytes: u64,
}

impl Tally {
    /// For the messages of `count` publishers from the one with the number `first` on.
    pub fn new(run: u32, first: u32, count: usize) -> Tally {
        Tally { run: Some(run), first, streams: vec![Stream::default(); count], ..Tally::default() }
    }

    /// For the messages of whoever is heard first.
    pub fn of_others() -> Tally {
        Tally { of_others: true, ..Tally::default() }
    }

    /// A message has come, at this time in nanoseconds since 1970. Its publisher's number, if it is a new one for this
    /// subscriber.
    #[inline]
    pub fn note(&mut self, payload: &[u8], now: u64) -> Option<u32> {
        self.bytes += payload.len() as u64;
        let stamp = Stamp::read(payload).filter(|stamp| self.run.is_none_or(|run| stamp.run == run));
        if self.of_others
            && let Some(stamp) = stamp
        {
            self.meet(stamp);
        }
        let stream = stamp.and_then(|stamp| {
            let index = stamp.publisher.checked_sub(self.first)?;
            Some((stamp, self.streams.get_mut(index as usize)?))
        });
        let Some((stamp, stream)) = stream else {
            self.unexpected += 1;
            return None;
        };
        if !stream.note(stamp.number) {
            return None;
        }
        self.latency.record(Duration::from_nanos(now.saturating_sub(stamp.sent)));
        Some(stamp.publisher)
    }

    /// Of a publisher that was not heard before, this message counts as the first.
    fn meet(&mut self, stamp: Stamp) {
        self.run = Some(stamp.run);
        let index = stamp.publisher as usize;
        if index >= self.streams.len() && stamp.publisher < OTHERS_MAX {
            self.streams.resize(index + 1, Stream::default());
        }
        if let Some(stream) = self.streams.get_mut(index).filter(|stream| stream.received == 0) {
            stream.next = stamp.number;
        }
    }

    /// Adds what it has to the sums.
    pub fn add_to(&self, sums: &mut Sums, latency: &mut Histogram) {
        for stream in &self.streams {
            sums.received += stream.received;
            sums.duplicates += stream.duplicates;
            sums.out_of_order += stream.out_of_order;
            sums.missing += stream.missing();
        }
        sums.unexpected += self.unexpected;
        sums.bytes += self.bytes;
        latency.add(&self.latency);
    }

    /// Different messages that came.
    pub fn received(&self) -> u64 {
        self.streams.iter().map(|stream| stream.received).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn stream(numbers: impl IntoIterator<Item = u64>) -> Stream {
        let mut stream = Stream::default();
        for number in numbers {
            stream.note(number);
        }
        stream
    }

    /// Received, duplicates, out of order.
    fn counts(stream: &Stream) -> (u64, u64, u64) {
        (stream.received, stream.duplicates, stream.out_of_order)
    }

    #[test]
    fn in_order_nothing_is_wrong_and_nothing_is_kept() {
        let stream = stream(0..10_000);
        assert_eq!(counts(&stream), (10_000, 0, 0));
        assert!(stream.missing.is_none());
    }

    #[test]
    fn losses_are_what_is_missing_in_the_end() {
        assert_eq!(counts(&stream((0..10_000).filter(|number| number % 10 != 3))), (9_000, 0, 0));
    }

    #[test]
    fn what_comes_twice_is_a_duplicate() {
        assert_eq!(counts(&stream([0, 1, 1, 2, 0, 3, 3, 3])), (4, 4, 0));
    }

    #[test]
    fn what_comes_after_a_later_one_is_out_of_order_and_not_lost() {
        assert_eq!(counts(&stream([0, 2, 1, 3, 6, 5, 4, 7])), (8, 0, 3));
        assert_eq!(counts(&stream([0, 2, 1, 1])), (3, 1, 1), "late, and then again");
    }

    #[test]
    fn far_behind_what_may_be_missing_counts_as_late() {
        let far = 3 * WINDOW;
        assert_eq!(counts(&stream([0, far, 1])), (3, 0, 1));
        assert_eq!(counts(&stream((0..far).chain([5]))), (far, 1, 0));
        assert_eq!(counts(&stream([0].into_iter().chain(2..far).chain([1, 1]))), (far, 1, 1));
    }

    #[test]
    fn gaps_that_are_closed_cost_nothing_any_more() {
        let stream = stream([0, 2, 1].into_iter().chain(3..2 * WINDOW));
        assert!(stream.missing.is_none());
    }

    #[test]
    fn a_tally_counts_only_what_is_meant_for_it() {
        let mut tally = Tally::new(9, 5, 2);
        let message = |run, publisher, number| Stamp { run, publisher, number, sent: 1_000_000 }.to_bytes();
        assert_eq!(tally.note(&message(9, 5, 0), 3_000_000), Some(5));
        assert_eq!(tally.note(&message(9, 6, 0), 3_000_000), Some(6));
        assert_eq!(tally.note(&message(9, 6, 0), 3_000_000), None, "once more");
        for foreign in [&message(8, 5, 1)[..], &message(9, 4, 0), &message(9, 7, 0), b"hello"] {
            assert_eq!(tally.note(foreign, 3_000_000), None);
        }
        let (mut sums, mut latency) = (Sums::default(), Histogram::default());
        tally.add_to(&mut sums, &mut latency);
        let bytes = 6 * Stamp::LEN as u64 + 5;
        assert_eq!(
            sums,
            Sums { received: 2, duplicates: 1, out_of_order: 0, missing: 0, unexpected: 4, bytes }
        );
        assert_eq!(latency.percentile(0.5), Some(Duration::from_millis(2)));
        assert_eq!(tally.received(), 2);
    }

    #[test]
    fn of_others_counts_what_lies_between_their_first_and_their_last() {
        let mut tally = Tally::of_others();
        for (run, publisher, number) in [(3, 1, 100), (3, 1, 103), (3, 0, 7), (3, 1, 102), (4, 1, 104)] {
            tally.note(&Stamp { run, publisher, number, sent: 0 }.to_bytes(), 0);
        }
        let (mut sums, mut latency) = (Sums::default(), Histogram::default());
        tally.add_to(&mut sums, &mut latency);
        assert_eq!((sums.received, sums.missing, sums.out_of_order, sums.unexpected), (4, 1, 1, 1));
    }

    proptest! {
        /// As long as nothing is further behind than the window, a stream counts what a set would.
        #[test]
        fn a_stream_is_as_good_as_a_set(steps in prop::collection::vec((0_u64..40, 0_u64..200), 1..400)) {
            let (mut stream, mut seen, mut newest) = (Stream::default(), BTreeSet::new(), None);
            let (mut duplicates, mut late) = (0, 0);
            let mut head = 0;
            for (ahead, behind) in steps {
                let number = if behind < 100 { head + ahead } else { head.saturating_sub(behind) };
                head = head.max(number);
                let is_new = seen.insert(number);
                duplicates += u64::from(!is_new);
                late += u64::from(is_new && newest.is_some_and(|newest| number < newest));
                newest = newest.max(Some(number));
                prop_assert_eq!(stream.note(number), is_new);
            }
            prop_assert_eq!(counts(&stream), (seen.len() as u64, duplicates, late));
            prop_assert_eq!(stream.missing(), newest.map_or(0, |newest| newest + 1) - seen.len() as u64);
        }
    }
}
