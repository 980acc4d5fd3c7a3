//! When datagrams came from each address: they came directly, so there is a way from there to here.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Addresses remembered; more than a cluster may have members.
const MAX_ADDRESSES: usize = 1024;
/// Where there is no room, those go that were silent for so long.
const OLD: Duration = Duration::from_secs(10);
/// A pause so long ends a spell. Loss alone rarely makes one where several datagrams are sent in a second.
const PAUSE: Duration = Duration::from_secs(1);

/// Datagrams came from an address, one soon after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spell {
    /// When the first came, after none had for a second or for ever.
    pub since: std::time::Instant,
    /// When the last came.
    pub last: std::time::Instant,
}

#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Guards nothing else, and is held for a look. Since when they come, and the last.
    by_address: Mutex<HashMap<SocketAddr, (Instant, Instant)>>,
}

impl Heard {
    pub(super) fn note(&self, from: SocketAddr, now: Instant) {
        let mut by_address = self.lock();
        if by_address.len() >= MAX_ADDRESSES && !by_address.contains_key(&from) {
            by_address.retain(|_, (_, last)| now.duration_since(*last) < OLD);
            if by_address.len() >= MAX_ADDRESSES {
                return;
            }
        }
        let (since, last) = by_address.entry(from).or_insert((now, now));
        if now.duration_since(*last) > PAUSE {
            *since = now;
        }
        *last = now;
    }

    pub(super) fn spell(&self, from: SocketAddr) -> Option<Spell> {
        let (since, last) = self.lock().get(&from).copied()?;
        Some(Spell { since: since.into_std(), last: last.into_std() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, (Instant, Instant)>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: usize) -> SocketAddr {
        ([10, 0, (number >> 8) as u8, number as u8], 7883).into()
    }

    /// Since when, and until when, after `start`; in milliseconds.
    fn spell(heard: &Heard, from: SocketAddr, start: Instant) -> Option<(u128, u128)> {
        let after = |at: std::time::Instant| (at - start.into_std()).as_millis();
        heard.spell(from).map(|spell| (after(spell.since), after(spell.last)))
    }

    #[test]
    fn a_pause_begins_a_new_spell() {
        let (heard, start) = (Heard::default(), Instant::now());
        let mut note = |ms| {
            heard.note(address(0), start + Duration::from_millis(ms));
            spell(&heard, address(0), start).unwrap()
        };
        assert_eq!([0, 900, 1900].map(&mut note), [(0, 0), (0, 900), (0, 1900)]);
        assert_eq!([2901, 3000].map(note), [(2901, 2901), (2901, 3000)]);
    }

    #[test]
    fn made_up_addresses_take_no_room_for_ever() {
        let (heard, start) = (Heard::default(), Instant::now());
        (0..=MAX_ADDRESSES).for_each(|number| heard.note(address(number), start));
        assert_eq!(spell(&heard, address(0), start), Some((0, 0)));
        assert_eq!(spell(&heard, address(MAX_ADDRESSES), start), None, "there is no room");
        let later = start + OLD;
        heard.note(address(0), later - Duration::from_secs(1));
        heard.note(address(MAX_ADDRESSES), later);
        assert_eq!(spell(&heard, address(MAX_ADDRESSES), start), Some((10_000, 10_000)));
        assert!(heard.spell(address(0)).is_some() && heard.spell(address(1)).is_none());
    }
}
