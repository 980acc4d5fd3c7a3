//! Whose turn it is, by address: who asks a thousand times waits for himself, and not others for him.
//!
//! Each address has a queue of its own, of which only so many wait in the common one as may run at a time. So whoever comes from
//! another address waits for a few of a flood, not for all of it. Of the places to wait an address may have as many as are free
//! (dynamic thresholds, Choudhury and Hahne 1998): one alone gets half of them, and leaves the other half to others.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The queues.
#[derive(Clone, Debug)]
pub struct Turns {
    running: Arc<Semaphore>,
    running_max: usize,
    waiting: Arc<Mutex<Waiting>>,
}

/// Who waits or runs. Guarded by a lock under which no other is taken.
#[derive(Debug, Default)]
struct Waiting {
    total: usize,
    /// Those with an address; an address is gone when nobody of it waits.
    addresses: HashMap<IpAddr, Address>,
}

#[derive(Debug)]
struct Address {
    turns: Arc<Semaphore>,
    places: usize,
}

/// A place in the queue, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    waiting: Arc<Mutex<Waiting>>,
    address: Option<(IpAddr, Arc<Semaphore>)>,
    running: Arc<Semaphore>,
}

/// The turn, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    _common: OwnedSemaphorePermit,
    _own: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// So many run at a time.
    pub fn new(running_max: usize) -> Turns {
        Turns { running: Arc::new(Semaphore::new(running_max)), running_max, waiting: Arc::default() }
    }

    /// A place to wait, of which there are `maximum`; none if there is no room, or the address has its share.
    pub fn enter(&self, address: Option<IpAddr>, maximum: usize) -> Option<Place> {
        let address = address.map(network);
        let mut waiting = self.waiting.lock();
        let free = maximum.saturating_sub(waiting.total);
        let own =
            address.and_then(|address| waiting.addresses.get(&address)).map_or(0, |address| address.places);
        if free == 0 || own > free {
            return None;
        }
        waiting.total += 1;
        let address = address.map(|address| {
            let new = || Address { turns: Arc::new(Semaphore::new(self.running_max)), places: 0 };
            let entry = waiting.addresses.entry(address).or_insert_with(new);
            entry.places += 1;
            (address, entry.turns.clone())
        });
        drop(waiting);
        Some(Place { waiting: self.waiting.clone(), address, running: self.running.clone() })
    }
}

impl Place {
    /// Waits for the turn, which may outlive the place. None where the process ends.
    pub async fn turn(&self) -> Option<Turn> {
        let own = match &self.address {
            Some((_, turns)) => Some(turns.clone().acquire_owned().await.ok()?),
            None => None,
        };
        let common = self.running.clone().acquire_owned().await.ok()?;
        Some(Turn { _common: common, _own: own })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        waiting.total -= 1;
        let Some((address, _)) = &self.address else { return };
        if let Some(entry) = waiting.addresses.get_mut(address) {
            entry.places -= 1;
            if entry.places == 0 {
                waiting.addresses.remove(address);
            }
        }
    }
}

/// What one person has: an address of IPv4, 2^64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::time::timeout;

    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(Ipv4Addr::new(10, 0, 0, last).into())
    }

    #[test]
    fn an_address_has_half_of_the_places_and_the_others_the_rest() {
        let turns = Turns::new(1);
        let flood: Vec<Place> = (0..100).filter_map(|_| turns.enter(address(1), 10)).collect();
        assert_eq!(flood.len(), 6, "until fewer are free than it has");
        assert!(turns.enter(address(2), 10).is_some());
        let others: Vec<Place> = (2..20).filter_map(|other| turns.enter(address(other), 10)).collect();
        assert_eq!(others.len(), 4);
        assert!(turns.enter(None, 10).is_none(), "they are all taken");
        drop((flood, others));
        let waiting = turns.waiting.lock();
        assert_eq!((waiting.total, waiting.addresses.len()), (0, 0));
    }

    #[tokio::test]
    async fn a_flood_delays_others_by_one_turn() {
        let turns = Turns::new(1);
        let first = turns.enter(address(1), 100).expect("a place");
        let running = first.turn().await.expect("a turn");
        let flood: Vec<Place> = (0..40).filter_map(|_| turns.enter(address(1), 100)).collect();
        let mut flood_turns: Vec<_> = flood.iter().map(|place| Box::pin(place.turn())).collect();
        for turn in &mut flood_turns {
            assert!(timeout(std::time::Duration::ZERO, turn).await.is_err());
        }
        let other = turns.enter(address(2), 100).expect("a place");
        let mut other = Box::pin(other.turn());
        assert!(timeout(std::time::Duration::ZERO, &mut other).await.is_err(), "one runs");
        drop(running);
        assert!(timeout(std::time::Duration::ZERO, &mut other).await.is_ok(), "it is not behind the others");
    }

    #[test]
    fn whoever_has_many_addresses_is_one() {
        let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(network(parse("2001:db8:1:2::3")), network(parse("2001:db8:1:2:ffff::")));
        assert_ne!(network(parse("2001:db8:1:2::3")), network(parse("2001:db8:1:3::3")));
        assert_eq!(network(parse("::ffff:10.0.0.1")), parse("10.0.0.1"));
    }
}
