//! When datagrams last came from each address: they came directly, so there is a way from there to here.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Addresses remembered; more than a cluster may have members.
const MAX_ADDRESSES: usize = 1024;
/// Where there is no room, those go that were silent for so long.
const OLD: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Guards nothing else, and is held for a look.
    by_address: Mutex<HashMap<SocketAddr, Instant>>,
}

impl Heard {
    pub(super) fn note(&self, from: SocketAddr, now: Instant) {
        let mut by_address = self.lock();
        if by_address.len() >= MAX_ADDRESSES && !by_address.contains_key(&from) {
            by_address.retain(|_, at| now.duration_since(*at) < OLD);
            if by_address.len() >= MAX_ADDRESSES {
                return;
            }
        }
        by_address.insert(from, now);
    }

    pub(super) fn last(&self, from: SocketAddr) -> Option<Instant> {
        self.lock().get(&from).copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SocketAddr, Instant>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: usize) -> SocketAddr {
        ([10, 0, (number >> 8) as u8, number as u8], 7883).into()
    }

    #[test]
    fn made_up_addresses_take_no_room_for_ever() {
        let (heard, start) = (Heard::default(), Instant::now());
        (0..=MAX_ADDRESSES).for_each(|number| heard.note(address(number), start));
        assert_eq!(heard.last(address(0)), Some(start));
        assert_eq!(heard.last(address(MAX_ADDRESSES)), None, "there is no room");
        let later = start + OLD;
        heard.note(address(0), later - Duration::from_secs(1));
        heard.note(address(MAX_ADDRESSES), later);
        assert_eq!(heard.last(address(MAX_ADDRESSES)), Some(later));
        assert!(heard.last(address(0)).is_some() && heard.last(address(1)).is_none());
    }
}
