//! Whom to gossip with besides the members: addresses given by the operator, or of members known before.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::sync::watch;

/// Addresses of members known before; the oldest make room for new ones.
const MAX_ADDED: usize = 64;
/// Addresses that seeds may resolve to.
const MAX_RESOLVED: usize = 1024;
/// Seeds spoken to in one tick by a node that knows nobody alive.
const AT_ONCE_ALONE: usize = 3;
/// A node that knows somebody speaks to one seed in so many ticks, in case the seed is on the other side of a split.
const TICKS_BETWEEN: u64 = 10;

const RESOLVE_EVERY: Duration = Duration::from_secs(60);
const RESOLVE_EVERY_WHILE_FAILING: Duration = Duration::from_secs(5);

pub(super) struct Seeds {
    me: SocketAddr,
    resolved: watch::Receiver<Vec<SocketAddr>>,
    added: VecDeque<SocketAddr>,
    next: usize,
    ticks: u64,
}

impl Seeds {
    pub(super) fn new(me: SocketAddr, resolved: watch::Receiver<Vec<SocketAddr>>) -> Seeds {
        Seeds { me, resolved, added: VecDeque::new(), next: 0, ticks: 0 }
    }

    /// Adds an address where a member was reached.
    pub(super) fn add(&mut self, address: SocketAddr) {
        if !self.added.contains(&address) {
            if self.added.len() >= MAX_ADDED {
                self.added.pop_front();
            }
            self.added.push_back(address);
        }
    }

    /// Whom to speak to in this tick, by turns. `live` are the members that chitchat speaks to anyway.
    pub(super) fn poll_targets(&mut self, live: &BTreeSet<SocketAddr>) -> Vec<SocketAddr> {
        self.ticks += 1;
        let at_once = match (live.is_empty(), self.ticks.is_multiple_of(TICKS_BETWEEN)) {
            (true, _) => AT_ONCE_ALONE,
            (false, true) => 1,
            (false, false) => return Vec::new(),
        };
        let all: BTreeSet<SocketAddr> = self.resolved.borrow().iter().chain(&self.added).copied().collect();
        let strangers: Vec<SocketAddr> =
            all.into_iter().filter(|seed| *seed != self.me && !live.contains(seed)).collect();
        let start = self.next;
        self.next = self.next.wrapping_add(at_once);
        (0..at_once.min(strangers.len()))
            .map(|offset| strangers[start.wrapping_add(offset) % strangers.len()])
            .collect()
    }
}

/// Resolves seeds again and again, and at once when there are others, until nobody asks any more. Names that are not
/// addresses may change what they stand for, and take their time: the others do not wait for them.
pub(super) async fn resolve(
    mut seeds: watch::Receiver<Vec<String>>,
    resolved: watch::Sender<Vec<SocketAddr>>,
) {
    loop {
        let all = seeds.borrow_and_update().clone();
        let mut addresses = BTreeSet::new();
        let mut names = Vec::new();
        for seed in all {
            match seed.parse() {
                Ok(address) => drop(addresses.insert(address)),
                Err(_) => names.push(seed),
            }
        }
        let tell = |addresses: &BTreeSet<SocketAddr>| {
            resolved.send_replace(addresses.iter().take(MAX_RESOLVED).copied().collect());
        };
        if !addresses.is_empty() {
            tell(&addresses);
        }
        let mut failed = false;
        for name in &names {
            match lookup_host(name).await {
                Ok(found) => addresses.extend(found),
                Err(error) => {
                    failed = true;
                    tracing::warn!(seed = %name, %error, "cannot resolve a seed: check the name and the DNS server");
                }
            }
        }
        // What a name stood for a moment ago is better than nothing.
        if !(addresses.is_empty() && failed) {
            tell(&addresses);
        }
        let pause = if failed { RESOLVE_EVERY_WHILE_FAILING } else { RESOLVE_EVERY };
        tokio::select! {
            () = tokio::time::sleep(pause), if !names.is_empty() => {}
            changed = seeds.changed() => if changed.is_err() { return },
            () = resolved.closed() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn a_lonely_node_tries_all_its_seeds_in_turn_but_not_itself() {
        let (_sender, resolved) = watch::channel((1..=4).map(address).collect());
        let mut seeds = Seeds::new(address(1), resolved);
        seeds.add(address(5));
        let alone = BTreeSet::new();
        let ticks: Vec<Vec<SocketAddr>> = (0..4).map(|_| seeds.poll_targets(&alone)).collect();
        assert!(ticks.iter().all(|targets| targets.len() == 3));
        let reached: BTreeSet<SocketAddr> = ticks.into_iter().flatten().collect();
        assert_eq!(reached, (2..=5).map(address).collect());
    }

    #[test]
    fn in_company_only_seeds_that_are_no_live_members_are_tried_now_and_then() {
        let (_sender, resolved) = watch::channel((1..=3).map(address).collect());
        let mut seeds = Seeds::new(address(1), resolved);
        let live = BTreeSet::from([address(2)]);
        let reached: Vec<SocketAddr> = (0..30).flat_map(|_| seeds.poll_targets(&live)).collect();
        assert_eq!(reached, [address(3); 3]);
    }

    #[tokio::test]
    async fn seeds_are_resolved_when_they_change() {
        let (seeds, given) =
            watch::channel(vec!["127.0.0.1:1".to_owned(), "no.such.name.invalid:1".to_owned()]);
        let (sender, mut resolved) = watch::channel(Vec::new());
        let task = tokio::spawn(resolve(given, sender));
        resolved.wait_for(|found| *found == [address(1)]).await.unwrap();
        seeds.send_replace(vec!["127.0.0.1:2".to_owned(), "127.0.0.1:3".to_owned()]);
        resolved.wait_for(|found| *found == [address(2), address(3)]).await.unwrap();
        drop(seeds);
        task.await.unwrap();
    }

    #[test]
    fn addresses_known_from_before_are_bounded() {
        let (_sender, resolved) = watch::channel(Vec::new());
        let mut seeds = Seeds::new(address(1), resolved);
        (2..200).for_each(|port| seeds.add(address(port)));
        assert_eq!(seeds.added.len(), MAX_ADDED);
        assert!(seeds.added.contains(&address(199)));
    }
}
