//! The retained messages that this node shows: by topic, found by filter.
//!
//! They are the values of the replicated set, and share its bytes. The set says which one counts; here they are found, and
//! not shown any more when their time is over, which needs no word from anybody.

mod ahead;
#[cfg(test)]
mod tests;
pub mod value;

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use rumormq_gossip::{Entry, Stamp};

use super::Limits;
use crate::cluster::host::{Arrival, HybridTime};
use crate::router::{self, Place, Retained};
use crate::topic::{Topic, TopicFilter};
use ahead::Ahead;
use value::Summary;

/// The retained message of each topic.
#[derive(Default)]
pub struct RetainedMessages {
    /// One lock: retained messages are set and asked for far more seldom than others pass through.
    kept: RwLock<Kept>,
    /// It was more than a node may take.
    outgrown: AtomicBool,
}

#[derive(Default)]
struct Kept {
    topics: Retained<Box<Held>>,
    /// When what expires is to be looked at.
    due: BTreeSet<(Instant, Place)>,
    /// Changes that reached the subscribers as they happened.
    live: u64,
    /// Messages whose time is not over, and the memory they take.
    visible: usize,
    bytes: usize,
    ahead: Ahead,
}

struct Held {
    entry: Entry,
    /// Which of the changes that reached the subscribers it is.
    number: u64,
    /// When it expires; when it has, when to look at it again.
    due: Option<Instant>,
    /// Its time is over. It stays until the set has forgotten it, for until then somebody has to see to that.
    expired: bool,
}

/// The search for the messages that a filter matches, as far as it has come. It knows them by their place, which keeps none
/// of them alive.
#[derive(Debug)]
pub struct Search {
    /// Changes that had reached the subscribers before the search began. Later ones reached this one, too.
    live: u64,
    /// Found, and not sent yet; at most a piece.
    found: VecDeque<Place>,
    rest: router::Search,
}

/// What a search has found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The message.
    pub entry: Entry,
    /// When it stops being worth delivering.
    pub expires_at: Option<Instant>,
}

/// Messages that one step of a search finds.
const PIECE: usize = 1024;
/// Topic levels that it looks at.
const STEPS: usize = 4096;
/// Expired messages that are looked at in one go.
const SWEEP: usize = 1000;
/// An expired message that has not gone from the set is looked at again after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Memory that a level of a topic takes, which may be shared with no other topic.
const LEVEL_BYTES: usize = 100;
/// Memory that a message takes beside its topic and its value.
const MESSAGE_BYTES: usize = 250;

impl RetainedMessages {
    /// Whether there is room for a message with this value. What its topic has now makes room for it.
    pub fn has_room(&self, topic: Topic<'_>, value_len: usize, limits: &Limits) -> bool {
        if topic.levels().count() > limits.max_filter_levels {
            return false;
        }
        let kept = self.kept.read();
        let former = kept.topics.message(topic).filter(|held| !held.expired);
        let (messages, bytes) = former.map_or((0, 0), |held| (1, footprint(&held.entry)));
        kept.visible - messages < limits.max_retained_messages
            && kept.bytes - bytes + memory(topic.as_str().as_bytes(), value_len) <= limits.max_retained_bytes
    }

    /// Whether the topic has a message.
    pub fn contains(&self, topic: Topic<'_>) -> bool {
        self.kept.read().topics.place(topic).is_some()
    }

    /// The stamp of what is shown of a topic, be it that there is nothing; the lowest where that is not known.
    pub fn stamp(&self, topic: Topic<'_>) -> Stamp {
        let kept = self.kept.read();
        let held = kept.topics.message(topic).map(|held| held.entry.stamp());
        held.max(kept.ahead.stamp(topic.as_str().as_bytes())).unwrap_or_default()
    }

    /// This is what counts for the entry's topic now: a message, or that there is none.
    pub fn show(&self, entry: &Entry, arrival: Arrival, time: HybridTime) {
        let Some(topic) = value::topic(entry) else { return };
        let mut kept = self.kept.write();
        let superseded = kept.ahead.supersede(entry.key(), Some(entry.stamp()));
        if arrival == Arrival::Learned && !superseded {
            return;
        }
        kept.show(topic, entry, arrival, time);
    }

    /// A publish arrived by a forward, perhaps before the set has its entry: whoever asks from now on must not get an
    /// older message. Nothing happens where that would be no older one than it.
    pub fn show_ahead(&self, entry: &Entry, time: HybridTime) {
        let Some(topic) = value::topic(entry) else { return };
        let mut kept = self.kept.write();
        let present = kept.topics.message(topic).map(|held| held.entry.stamp());
        if present.is_none_or(|stamp| stamp < entry.stamp()) && kept.ahead.insert(entry, time.now) {
            kept.show(topic, entry, Arrival::Published, time);
        }
    }

    /// Topics of messages that arrived ahead of the set some time ago, and which it still does not have. What it says
    /// of them counts again.
    pub fn take_overdue(&self, now: Instant) -> Vec<Box<[u8]>> {
        if self.kept.read().ahead.is_overdue(now) {
            self.kept.write().ahead.take_overdue(now)
        } else {
            Vec::new()
        }
    }

    /// The topic has no message any more.
    pub fn hide(&self, key: &[u8], stamp: Option<Stamp>) {
        let Some(topic) = std::str::from_utf8(key).ok().and_then(|name| Topic::new(name).ok()) else {
            return;
        };
        let mut kept = self.kept.write();
        if kept.ahead.supersede(key, stamp)
            && let Some(place) = kept.topics.place(topic)
        {
            kept.remove(place);
        }
    }

    /// Hides messages whose expiry has passed. Returns some of those that the set still has.
    pub fn sweep(&self, now: Instant) -> Vec<Entry> {
        let is_due = |kept: &Kept| kept.due.first().is_some_and(|(at, _)| *at <= now);
        if is_due(&self.kept.read()) { self.kept.write().sweep(now) } else { Vec::new() }
    }

    /// Begins to search for what a filter matches.
    pub fn search(&self) -> Search {
        Search { live: self.kept.read().live, found: VecDeque::new(), rest: router::Search::default() }
    }

    /// Searches on, a bounded step, if nothing is left of what was found before. `filter` is the same in all calls.
    pub fn search_on(&self, filter: &TopicFilter, search: &mut Search) {
        if search.found.is_empty() {
            let kept = self.kept.read();
            kept.topics.search_on(filter, &mut search.rest, &mut search.found, PIECE, STEPS);
        }
    }

    /// Takes the next message out of what was found, unless a later one was published since, or its time is over.
    pub fn take_found(&self, search: &mut Search, now: Instant) -> Option<Found> {
        let kept = self.kept.read();
        while let Some(place) = search.found.pop_front() {
            let Some(held) = kept.topics.at(place) else { continue };
            if held.number <= search.live && held.is_visible(now) {
                return Some(Found { entry: held.entry.clone(), expires_at: held.due });
            }
        }
        None
    }

    /// Calls `visit` with every message that the filter matches, all without one, and with when it expires; in no order and
    /// piece by piece.
    pub fn for_each(
        &self,
        filter: Option<&TopicFilter>,
        now: Instant,
        visit: &mut impl FnMut(&Summary<'_>, Option<Instant>),
    ) {
        let (all, mut rest) = (TopicFilter::everything(), router::Search::default());
        if filter.is_none() {
            rest = router::Search::unhidden();
        }
        let mut found = Vec::new();
        while !rest.is_over() {
            let kept = self.kept.read();
            kept.topics.search_on(filter.unwrap_or(&all), &mut rest, &mut found, PIECE, STEPS);
            let held = found.drain(..).filter_map(|place| kept.topics.at(place));
            for held in held.filter(|held| held.is_visible(now)) {
                if let Some(summary) = value::summary(&held.entry) {
                    visit(&summary, held.due);
                }
            }
        }
    }

    /// Whether there are more than a node may take, since the last time that this was asked: other nodes may have taken
    /// some at the same time, and what they have acknowledged is kept.
    pub fn has_outgrown(&self, limits: &Limits) -> bool {
        let (messages, bytes) = {
            let kept = self.kept.read();
            (kept.visible, kept.bytes)
        };
        let outgrown = messages > limits.max_retained_messages || bytes > limits.max_retained_bytes;
        outgrown & !self.outgrown.swap(outgrown, Ordering::Relaxed)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.kept.read().visible
    }

    /// Memory they take, in bytes.
    pub fn bytes(&self) -> usize {
        self.kept.read().bytes
    }
}

impl Kept {
    fn show(&mut self, topic: Topic<'_>, entry: &Entry, arrival: Arrival, time: HybridTime) {
        let former = self.topics.place(topic);
        let number = match arrival {
            Arrival::Published => {
                self.live += 1;
                self.live
            }
            Arrival::Learned => former.and_then(|place| self.topics.at(place)).map_or(0, |held| held.number),
        };
        // What is no message shows nothing, on all nodes alike.
        let Some(summary) = value::summary(entry) else {
            if let Some(place) = former {
                self.remove(place);
            }
            return;
        };
        let due = summary.lifetime.map(|lifetime| {
            let ends_ms = entry.stamp().ms().saturating_add(lifetime.as_millis() as u64);
            time.now + Duration::from_millis(ends_ms.saturating_sub(time.stamp_ms))
        });
        if let Some(place) = former {
            self.forget(place);
        }
        let held = Held { entry: entry.clone(), number, due, expired: false };
        self.bytes += footprint(&held.entry);
        self.visible += 1;
        let (place, _) = self.topics.insert(topic, Box::new(held));
        self.due.extend(due.map(|at| (at, place)));
    }

    fn remove(&mut self, place: Place) {
        self.forget(place);
        self.topics.remove_at(place);
    }

    /// What is counted of a message goes, for it will go or be replaced.
    fn forget(&mut self, place: Place) {
        let Some(held) = self.topics.at(place) else { return };
        if let Some(at) = held.due {
            self.due.remove(&(at, place));
        }
        if !held.expired {
            self.bytes -= footprint(&held.entry);
            self.visible -= 1;
        }
    }

    fn sweep(&mut self, now: Instant) -> Vec<Entry> {
        let mut expired = Vec::new();
        while expired.len() < SWEEP {
            let Some(&(at, place)) = self.due.first().filter(|(at, _)| *at <= now) else { break };
            self.due.remove(&(at, place));
            let Some(held) = self.topics.at_mut(place) else { continue };
            if !std::mem::replace(&mut held.expired, true) {
                self.bytes -= footprint(&held.entry);
                self.visible -= 1;
            }
            held.due = Some(now + LOOK_AGAIN);
            expired.push(held.entry.clone());
            self.due.insert((now + LOOK_AGAIN, place));
        }
        expired
    }
}

impl Held {
    fn is_visible(&self, now: Instant) -> bool {
        !self.expired && self.due.is_none_or(|at| at > now)
    }
}

impl Search {
    /// Whether there is nothing more to find or to take.
    pub fn is_over(&self) -> bool {
        self.found.is_empty() && self.rest.is_over()
    }
}

fn footprint(entry: &Entry) -> usize {
    memory(entry.key(), entry.value().map_or(0, <[u8]>::len))
}

/// Memory that a message takes together with the levels of its topic.
fn memory(topic: &[u8], value_len: usize) -> usize {
    let levels = topic.iter().filter(|byte| **byte == b'/').count() + 1;
    MESSAGE_BYTES + 2 * topic.len() + value_len + levels * LEVEL_BYTES
}
