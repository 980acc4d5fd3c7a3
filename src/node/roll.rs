//! Many entries in the order of their names, some at a time, for those who look at them page by page.
//!
//! The entries are kept in no order. To find the next few of a million takes a look at all; so what a look finds is a window
//! of many pages, and whoever turns the pages looks at all of them once a window, not once a page.

use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::admin::MAX_LIMIT;

/// Most entries of a window. What is kept of them are references, until somebody begins a list anew.
const WINDOW: usize = 1 << 16;

/// The window that was found last. `C` are the entries, `Q` is what else than the order distinguishes lists.
#[derive(Debug)]
pub(super) struct Roll<Q, C> {
    /// Guards which it is; not held while one is found.
    window: Mutex<Option<Arc<Window<Q, C>>>>,
    size: usize,
}

/// Entries without a gap between them.
#[derive(Debug)]
struct Window<Q, C> {
    query: Q,
    /// They are those behind this name, or the first.
    after: Option<String>,
    entries: Vec<C>,
    /// Others come behind them.
    more: bool,
}

/// What has a name.
pub(super) trait Named {
    /// The name.
    fn name(&self) -> &str;
}

impl<Q, C> Default for Roll<Q, C> {
    fn default() -> Self {
        Roll { window: Mutex::default(), size: WINDOW }
    }
}

impl<Q: Clone + PartialEq, C: Named> Roll<Q, C> {
    /// Calls `take` with what is behind `after`, in order, until that is enough. `all` gives all entries in any order,
    /// `wanted` says which of them `query` is about. Who is there from before the first page, which is the one that is behind
    /// nothing, until after the last one is on one of them.
    pub(super) fn walk<I: Iterator<Item = C>>(
        &self,
        query: &Q,
        after: Option<&str>,
        all: impl Fn() -> I,
        wanted: impl Fn(&C) -> bool,
        mut take: impl FnMut(&C) -> ControlFlow<()>,
    ) {
        let find = |after: Option<&str>| {
            let is_behind = |entry: &C| after.is_none_or(|after| entry.name() > after);
            first_of(all().filter(|entry| is_behind(entry) && wanted(entry)), self.size)
        };
        let mut after = after.map(str::to_owned);
        loop {
            let window = self.window(query, after.as_deref(), find);
            let seen = |entry: &C| after.as_deref().is_some_and(|after| entry.name() <= after);
            let first = window.entries.partition_point(seen);
            if window.entries[first..].iter().try_for_each(&mut take).is_break() {
                return;
            }
            match window.entries.last() {
                Some(last) if window.more => after = Some(last.name().to_owned()),
                _ => return,
            }
        }
    }

    /// A window that goes on behind `after`; one that `find` finds there, if need be.
    fn window(
        &self,
        query: &Q,
        after: Option<&str>,
        find: impl Fn(Option<&str>) -> (Vec<C>, bool),
    ) -> Arc<Window<Q, C>> {
        // Whoever begins wants to see who has come since.
        if let (Some(window), Some(after)) = (self.window.lock().clone(), after)
            && window.query == *query
            && window.goes_on_behind(after)
        {
            return window;
        }
        let (entries, more) = find(after);
        let after = after.map(str::to_owned);
        let window = Arc::new(Window { query: query.clone(), after, entries, more });
        // What fits a page is not asked for again.
        *self.window.lock() = (window.entries.len() > MAX_LIMIT.min(self.size - 1)).then(|| window.clone());
        window
    }
}

impl<Q, C: Named> Window<Q, C> {
    fn goes_on_behind(&self, after: &str) -> bool {
        let begins = self.after.as_deref().is_none_or(|begin| begin <= after);
        begins && (!self.more || self.entries.last().is_some_and(|last| after < last.name()))
    }
}

/// The first entries, sorted, and whether there are more. No more than twice `size` are held meanwhile.
fn first_of<C: Named>(entries: impl Iterator<Item = C>, size: usize) -> (Vec<C>, bool) {
    let (mut first, mut more) = (Vec::new(), false);
    for entry in entries {
        first.push(entry);
        if first.len() == 2 * size {
            first.select_nth_unstable_by(size, |a, b| a.name().cmp(b.name()));
            first.truncate(size);
            more = true;
        }
    }
    first.sort_unstable_by(|a, b| a.name().cmp(b.name()));
    more |= first.len() > size;
    first.truncate(size);
    (first, more)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    impl Named for String {
        fn name(&self) -> &str {
            self
        }
    }

    /// All pages, one after the other; before each, `meanwhile` happens.
    fn pages(
        roll: &Roll<u8, String>,
        query: u8,
        limit: usize,
        all: impl Fn() -> Vec<String>,
        mut meanwhile: impl FnMut(),
    ) -> Vec<String> {
        let (mut seen, mut after): (Vec<String>, Option<String>) = (Vec::new(), None);
        loop {
            meanwhile();
            let mut page: Vec<String> = Vec::new();
            roll.walk(
                &query,
                after.as_deref(),
                || all().into_iter(),
                |_| true,
                |entry| {
                    page.push(entry.clone());
                    if page.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                },
            );
            let Some(last) = page.last() else { return seen };
            after = Some(last.clone());
            seen.extend(page);
        }
    }

    proptest! {
        /// Others who look, at the same or at something else, change nothing; who stays is seen, who comes and goes may be.
        #[test]
        fn the_pages_are_the_list(
            stay in prop::collection::btree_set("[a-d]{1,3}", 0..40),
            come in prop::collection::vec("[a-d]{1,3}", 0..20),
            limit in 1..6_usize,
            size in 1..20_usize,
        ) {
            let roll = Roll { window: Mutex::default(), size };
            let here = Cell::new(0);
            let all = || -> Vec<String> { stay.iter().chain(&come[..here.get()]).rev().cloned().collect() };
            let mut others = 0;
            let seen = pages(&roll, 1, limit, || all().into_iter().collect::<BTreeSet<_>>().into_iter().collect(), || {
                here.set((here.get() + 1).min(come.len()));
                others += 1;
                if others % 3 == 0 {
                    let _ = pages(&roll, u8::try_from(others % 2).unwrap(), 2, || stay.iter().cloned().collect(), || {});
                }
            });
            prop_assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
            let seen: BTreeSet<String> = seen.into_iter().collect();
            prop_assert!(seen.is_superset(&stay));
            prop_assert!(seen.iter().all(|name| stay.contains(name) || come.contains(name)));
        }
    }

    #[test]
    fn a_window_is_looked_for_once() {
        let roll = Roll { window: Mutex::default(), size: 100 };
        let looks = Cell::new(0);
        let names: Vec<String> = (0..1000).map(|number| format!("{number:04}")).collect();
        let all = || {
            looks.set(looks.get() + 1);
            names.iter().rev().cloned().collect()
        };
        assert_eq!(pages(&roll, 1, 10, all, || {}), names);
        assert_eq!(looks.get(), 10, "looks for 100 pages");
    }
}
