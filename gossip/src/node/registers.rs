//! Stamped sets, as the application uses them, and what is tidied up in them with time.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use super::slot::Slot;
use super::{Link, Node};
use crate::delta::SetId;
use crate::element::Element;
use crate::entry::Entry;
use crate::event::Event;
use crate::registers::{Expiry, Registers, Winner};
use crate::replica::{NodeName, ReplicaId};
use crate::set::ReplicatedSet;
use crate::stamp::Stamp;

/// What a write to a stamped set did.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// Its sequence number in this node's lane, for [`Node::await_settled`].
    pub seq: u64,
    /// Above the stamps of everything written to the key before, as far as it is known here.
    pub stamp: Stamp,
    /// The value that counted before; `replica` says whose it was.
    pub replaced: Option<Winner>,
}

impl Node {
    // ---- Commands ----

    /// Writes a value to a stamped set. It counts from now on, here and wherever this is learned, until something later is
    /// written. `wall_ms` is the time in milliseconds since 1970. There is no event about it: the answer says what it replaced.
    ///
    /// # Panics
    /// If there is no such set, or it is not stamped.
    pub fn write(&mut self, set: SetId, key: &[u8], value: &[u8], wall_ms: u64, now: Instant) -> Written {
        self.write_version(set, key, Some(value), wall_ms, now)
    }

    /// Writes a value that counts instead of what is known of the key, and of nothing else: its stamp is the next one. So it
    /// gives way to whatever somebody else writes meanwhile by the time of the clock, also where neither has heard of the other.
    /// `None`, and nothing is done, where nothing is known of the key.
    ///
    /// # Panics
    /// If there is no such set, or it is not stamped.
    pub fn write_next(&mut self, set: SetId, key: &[u8], value: &[u8], now: Instant) -> Option<Written> {
        let stamp = Stamp(self.latest(set, key)?.entry.stamp().0.saturating_add(1));
        self.clock.absorb(stamp);
        Some(self.write_element(set, Entry::write(key, Some(value), stamp, None), stamp, now))
    }

    /// Writes a tombstone: from now on the key has no value, and no older one comes back for
    /// [`Config::tombstone_ttl`](crate::Config::tombstone_ttl). It is written also where there is no value: one that is on its
    /// way loses against it. Who does not want to pay for that asks for the winner first.
    ///
    /// # Panics
    /// If there is no such set, or it is not stamped.
    pub fn clear(&mut self, set: SetId, key: &[u8], wall_ms: u64, now: Instant) -> Written {
        let written = self.write_version(set, key, None, wall_ms, now);
        let until = now + self.config.tombstone_ttl;
        let (lanes, registers) = self.stamped_mut(set);
        registers.cleared(lanes, written.seq, until);
        written
    }

    /// Takes back a value of this node's own that counts, as what it spoke of has ended. `None`, and nothing is done, if the
    /// value that counts is not this node's.
    ///
    /// Like [`clear`](Node::clear) it writes a tombstone, for a cut-off node may still have an older value; but this one goes
    /// [`Config::retired_ttl`](crate::Config::retired_ttl) after every known replica has acknowledged it and has removed
    /// what it had of the key.
    ///
    /// # Panics
    /// If there is no such set, or it is not stamped.
    pub fn retire(&mut self, set: SetId, key: &[u8], wall_ms: u64, now: Instant) -> Option<Written> {
        self.retire_saying(set, key, &[], wall_ms, now)
    }

    /// The same with a tombstone that says something, for whoever asks for the [`latest`](Node::latest).
    ///
    /// # Panics
    /// If there is no such set, or it is not stamped.
    pub fn retire_saying(
        &mut self,
        set: SetId,
        key: &[u8],
        remark: &[u8],
        wall_ms: u64,
        now: Instant,
    ) -> Option<Written> {
        let (lanes, registers) = self.stamped(set);
        if !registers.holds(lanes, key) {
            return None;
        }
        let replaced = registers.latest(lanes, key).map(|latest| latest.entry.stamp());
        let stamp = self.clock.tick(wall_ms, replaced);
        let written = self.write_element(set, Entry::write_tombstone(key, remark, stamp, None), stamp, now);
        let at_most = now + self.config.tombstone_ttl;
        let (lanes, registers) = self.stamped_mut(set);
        registers.retired(lanes, written.seq, at_most, now);
        Some(written)
    }

    /// Ends a value whose time is over, if it counts, is still the one with this stamp, and is in this node's lane: `None`, and
    /// nothing is done, if not. Everybody is expected to look at it as ended by himself.
    ///
    /// The tombstone has the stamp of the value. So it hides what that has hidden, and nothing that was written later, in a
    /// part of the cluster that is cut off. It goes as those of [`retire`](Node::retire) do.
    ///
    /// # Panics
    /// If there is no such set, or it is not stamped.
    pub fn expire(&mut self, set: SetId, key: &[u8], stamp: Stamp, now: Instant) -> Option<Written> {
        let (lanes, registers) = self.stamped(set);
        let ended = registers.winner(lanes, key).filter(|winner| winner.entry.stamp() == stamp)?;
        if !registers.holds(lanes, key) {
            return None;
        }
        let writer = (ended.replica != self.me).then_some(&ended.replica);
        let tombstone = Entry::write(key, None, stamp, writer);
        let prune_at = now + self.config.prune_after;
        let at_most = now + self.config.tombstone_ttl;
        let (lanes, registers) = self.stamped_mut(set);
        let (seq, replaced) = registers.write(lanes, tombstone, prune_at);
        registers.retired(lanes, seq, at_most, now);
        self.wrote(set, seq, now);
        Some(Written { seq, stamp, replaced })
    }

    /// What the wall clock says, in milliseconds since 1970. Stamps that are more than a day ahead of it are compared with as any,
    /// and what is written here is later than what it replaces; but they do not push all stamps of this node ahead. To be
    /// told now and then: before the first time all are believed.
    pub fn handle_wall_clock(&mut self, wall_ms: u64) {
        self.clock.look(wall_ms);
    }

    /// This stamp was seen outside of the sets: what is written from now on is later than it, unless it is a day ahead.
    pub fn absorb(&mut self, stamp: Stamp) {
        self.clock.absorb(stamp);
    }

    /// Puts back what this node had written before it was restarted, with the stamp that it had; `None` is a tombstone. To
    /// be called before the first greeting. Returns the sequence number, or `None` if something later is known already.
    ///
    /// # Panics
    /// If there is no such set, or it is not stamped.
    pub fn restore(
        &mut self,
        set: SetId,
        key: &[u8],
        value: Option<&[u8]>,
        stamp: Stamp,
        now: Instant,
    ) -> Option<u64> {
        let (lanes, registers) = self.stamped(set);
        if registers.latest(lanes, key).is_some_and(|latest| latest.entry.stamp() >= stamp) {
            return None;
        }
        self.clock.absorb(stamp);
        let (until, prune_at) = (now + self.config.tombstone_ttl, now + self.config.prune_after);
        let (lanes, registers) = self.stamped_mut(set);
        let (seq, _) = registers.write(lanes, Entry::write(key, value, stamp, None), prune_at);
        if value.is_none() {
            registers.cleared(lanes, seq, until);
        }
        self.wrote(set, seq, now);
        Some(seq)
    }

    fn write_version(
        &mut self,
        set: SetId,
        key: &[u8],
        value: Option<&[u8]>,
        wall_ms: u64,
        now: Instant,
    ) -> Written {
        let (lanes, registers) = self.stamped(set);
        let replaced = registers.latest(lanes, key).map(|latest| latest.entry.stamp());
        let stamp = self.clock.tick(wall_ms, replaced);
        self.write_element(set, Entry::write(key, value, stamp, None), stamp, now)
    }

    fn write_element(&mut self, set: SetId, element: Element, stamp: Stamp, now: Instant) -> Written {
        let prune_at = now + self.config.prune_after;
        let (lanes, registers) = self.stamped_mut(set);
        let (seq, replaced) = registers.write(lanes, element, prune_at);
        self.wrote(set, seq, now);
        Written { seq, stamp, replaced }
    }

    // ---- Queries ----

    /// The value that counts for a key of a stamped set; `None` if there is none or it was cleared. It counts also while
    /// its writer is dead or stopped: ask [`is_visible`](Node::is_visible) where that matters.
    ///
    /// # Panics
    /// If there is no such set, or it is not stamped.
    pub fn winner(&self, set: SetId, key: &[u8]) -> Option<Winner> {
        let (lanes, registers) = self.stamped(set);
        registers.winner(lanes, key)
    }

    /// What counts for a key of a stamped set, be it that it was cleared; `None` if nothing is known of it.
    ///
    /// # Panics
    /// If there is no such set, or it is not stamped.
    pub fn latest(&self, set: SetId, key: &[u8]) -> Option<Winner> {
        let (lanes, registers) = self.stamped(set);
        registers.latest(lanes, key)
    }

    /// The values that count, of all keys of a stamped set, in no order.
    ///
    /// # Panics
    /// If there is no such set, or it is not stamped.
    pub fn winners(&self, set: SetId) -> impl Iterator<Item = Winner> {
        let (lanes, registers) = self.stamped(set);
        registers.winners(lanes, |_| true)
    }

    /// The first `limit` of them by key, of those keys that begin with `prefix` and come after `after`. Looks at all keys,
    /// and copies few.
    ///
    /// # Panics
    /// If there is no such set, or it is not stamped.
    pub fn winners_page(&self, set: SetId, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<Winner> {
        let (lanes, registers) = self.stamped(set);
        let wanted = |key: &[u8]| key.starts_with(prefix) && after.is_none_or(|after| key > after);
        let mut page: BTreeMap<Vec<u8>, Winner> = BTreeMap::new();
        for winner in registers.winners(lanes, wanted) {
            let key = winner.entry.key();
            let is_full = page.len() >= limit;
            if is_full && page.last_key_value().is_none_or(|(last, _)| key > last.as_slice()) {
                continue;
            }
            page.insert(key.to_vec(), winner);
            if is_full {
                page.pop_last();
            }
        }
        page.into_values().collect()
    }

    /// Number of keys of a stamped set that have a value.
    ///
    /// # Panics
    /// If there is no such set, or it is not stamped.
    pub fn winner_count(&self, set: SetId) -> u64 {
        self.stamped(set).1.count()
    }

    /// Entries of dropped replicas that nobody has taken over yet, as far as is known here.
    ///
    /// # Panics
    /// If there is no such set, or it is not stamped.
    pub fn orphan_count(&self, set: SetId) -> usize {
        self.stamped(set).1.orphans()
    }

    /// Tombstones in this node's lane.
    ///
    /// # Panics
    /// If there is no such set, or it is not stamped.
    pub fn tombstone_count(&self, set: SetId) -> usize {
        self.stamped(set).1.tombstones()
    }

    /// How far the stamps have been pushed ahead of this node's wall clock by clocks that run ahead of it, in milliseconds.
    pub fn stamps_ahead_ms(&self, wall_ms: u64) -> u64 {
        self.clock.ahead_ms(wall_ms)
    }

    fn stamped(&self, set: SetId) -> (&ReplicatedSet, &Registers) {
        let index = usize::from(set.0);
        (&self.sets[index], self.registers[index].as_ref().expect("the set is stamped"))
    }

    fn stamped_mut(&mut self, set: SetId) -> (&mut ReplicatedSet, &mut Registers) {
        let index = usize::from(set.0);
        (&mut self.sets[index], self.registers[index].as_mut().expect("the set is stamped"))
    }

    // ---- Time ----

    /// Tidies up in this node's lanes: what was beaten, what was cleared long ago, what nobody else takes over.
    pub(super) fn upkeep(&mut self, now: Instant) {
        for set in self.set_ids() {
            let index = usize::from(set.0);
            let due = self.registers[index].as_ref().and_then(Registers::next_upkeep);
            let too_many = self.registers[index]
                .as_ref()
                .is_some_and(|own| own.tombstones() > self.config.max_tombstones);
            if due.is_none_or(|due| due > now) && !too_many {
                continue;
            }
            let acknowledged =
                self.members.values().map(|member| member.acked(set)).min().unwrap_or(u64::MAX);
            let others: Vec<NodeName> =
                self.live_members().map(|(replica, _)| replica.name.clone()).collect();
            let config = &self.config;
            let (lanes, Some(registers)) = (&mut self.sets[index], &mut self.registers[index]) else {
                continue;
            };
            let before = lanes.head().seq;
            let silent = RefCell::new(BTreeSet::new());
            let is_everywhere = |owner: &ReplicaId, dot: u64| {
                let (slot, changed) = match self.members.get(owner) {
                    _ if *owner == self.me => (Some(Slot::OWN), 0),
                    Some(member) => (Some(member.slot), member.changed_round()),
                    None => (None, 0),
                };
                let has = |link: &Link| slot.map_or(0, |slot| link.has(set, slot));
                let others = self.links.iter().filter(|(peer, _)| *peer != owner);
                let mut lacking = others.filter(|(_, link)| has(link) < dot).peekable();
                let all_have_it = lacking.peek().is_none();
                // What it would have said of the lane by now was lost, or never said.
                let in_doubt = lacking.filter(|(_, link)| has(link) == 0 || link.talk.heard_after(changed));
                silent.borrow_mut().extend(in_doubt.map(|(peer, _)| peer.clone()));
                all_have_it
            };
            {
                let sink = &mut tell(&mut self.events, set);
                registers.prune(lanes, is_everywhere, now, sink);
                let expiry =
                    Expiry { acknowledged, retired_ttl: config.retired_ttl, max: config.max_tombstones };
                self.counters.tombstones_early += registers.expire(lanes, expiry, now, sink);
            }
            registers.adopt(lanes, &others, config.adoption_patience, config.tombstone_ttl, now);
            self.ask_silent(&silent.into_inner());
            if self.sets[index].head().seq > before {
                self.offer_own(set, now);
            }
        }
    }

    pub(super) fn next_upkeep(&self) -> Option<Instant> {
        self.registers.iter().flatten().filter_map(Registers::next_upkeep).min()
    }
}

/// Turns changes of winners into events.
pub(super) fn tell(events: &mut VecDeque<Event>, set: SetId) -> impl FnMut(Option<Winner>, Option<Winner>) {
    move |before, after| match (before, after) {
        (replaced, Some(winner)) => {
            events.push_back(Event::Won { set, winner, replaced: replaced.map(Box::new) });
        }
        (Some(replaced), None) => events.push_back(Event::Cleared { set, replaced }),
        (None, None) => {}
    }
}
