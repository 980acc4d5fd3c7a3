//! How a lane came to its state, as far back as it remembers: enough to tell a peer what was removed since.

use std::collections::VecDeque;

/// The bounded memory of removes, and the sequence numbers at which this node has held the lane complete.
///
/// The owner of a lane has held it at every number. Others have held it only at the ends of the intervals they applied;
/// what was added and removed again in between they never saw. A peer that stands in between may have seen it, so an
/// interval for that peer must begin at a number this node has held: a *boundary*.
#[derive(Clone, Debug)]
pub(crate) struct History {
    /// (the boundary at which it was gone, the removed dot), ascending by boundary.
    removes: VecDeque<(u64, u64)>,
    /// Boundaries as ascending runs, first and last included. Never empty. The first one is the oldest number from
    /// which every remove is remembered.
    boundaries: VecDeque<(u64, u64)>,
    window: usize,
}

impl History {
    /// Starts at sequence number `at`, with nothing known of the time before. Remembers at most `window` removes.
    pub fn new(at: u64, window: usize) -> History {
        History { removes: VecDeque::new(), boundaries: VecDeque::from([(at, at)]), window }
    }

    /// Notes that the lane is complete at `at` and that `removed` went since the boundary before.
    pub fn record(&mut self, at: u64, removed: impl IntoIterator<Item = u64>) {
        match self.boundaries.back_mut() {
            Some((_, last)) if at <= last.saturating_add(1) => *last = at,
            _ => self.boundaries.push_back((at, at)),
        }
        self.removes.extend(removed.into_iter().map(|dot| (at, dot)));
        while self.removes.len() > self.window {
            let (oldest, _) = self.removes[0];
            self.forget_before(oldest);
        }
        while self.boundaries.len() > self.window.max(1) {
            self.forget_before(self.boundaries[1].0);
        }
    }

    /// The highest boundary that is not above `seq`, or `None` when that is beyond what is remembered.
    pub fn boundary_at_or_below(&self, seq: u64) -> Option<u64> {
        let runs_begun = self.boundaries.partition_point(|(first, _)| *first <= seq);
        let (_, last) = self.boundaries.get(runs_begun.checked_sub(1)?)?;
        Some(seq.min(*last))
    }

    /// The dots removed after `boundary`, in the order of their going.
    pub fn removed_since(&self, boundary: u64) -> impl Iterator<Item = u64> {
        let start = self.removes.partition_point(|(at, _)| *at <= boundary);
        self.removes.range(start..).map(|(_, dot)| *dot)
    }

    /// Makes `floor` the oldest boundary. Removes at or before it serve nobody any more.
    fn forget_before(&mut self, floor: u64) {
        let gone = self.removes.partition_point(|(at, _)| *at <= floor);
        self.removes.drain(..gone);
        while self.boundaries.len() > 1 && self.boundaries[0].1 < floor {
            self.boundaries.pop_front();
        }
        self.boundaries[0].0 = self.boundaries[0].0.max(floor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_has_every_number_and_others_the_ends_of_intervals() {
        let mut owner = History::new(0, 10);
        (1..=20).for_each(|seq| owner.record(seq, []));
        assert_eq!(owner.boundary_at_or_below(13), Some(13));

        let mut third_party = History::new(0, 10);
        third_party.record(10, []);
        third_party.record(17, [3]);
        assert_eq!(third_party.boundary_at_or_below(9), Some(0));
        assert_eq!(third_party.boundary_at_or_below(15), Some(10));
        assert_eq!(third_party.boundary_at_or_below(99), Some(17));
        assert_eq!(third_party.removed_since(10).collect::<Vec<_>>(), [3]);
        assert_eq!(third_party.removed_since(17).count(), 0);
    }

    #[test]
    fn window_forgets_whole_steps() {
        let mut history = History::new(0, 3);
        history.record(5, [1, 2]);
        history.record(6, [3, 4]);
        assert_eq!(history.boundary_at_or_below(4), None);
        assert_eq!(history.boundary_at_or_below(5), Some(5));
        assert_eq!(history.removed_since(5).collect::<Vec<_>>(), [3, 4]);

        history.record(9, [5, 6, 7, 8]);
        assert_eq!(history.boundary_at_or_below(8), None, "more removes in one step than the window holds");
        assert_eq!(history.boundary_at_or_below(9), Some(9));
    }

    #[test]
    fn boundaries_are_bounded_too() {
        let mut history = History::new(0, 3);
        (1..=10).for_each(|step| history.record(step * 10, []));
        assert_eq!(history.boundary_at_or_below(79), None);
        assert_eq!(history.boundary_at_or_below(89), Some(80));
    }
}
