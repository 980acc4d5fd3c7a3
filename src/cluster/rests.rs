//! Sessions here of which another node may have an older one, until every node can be reached: by then it has offered it. A
//! node that cannot be, but could a moment ago, is noticed soon after.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Cluster;

/// Sessions that are remembered. Of more, what another node has is taken as it comes.
const MAX: usize = 100_000;
/// Every node can be reached for so long before nothing is expected any more.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at the sessions.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The sessions. No other lock is taken under its own.
#[derive(Debug, Default)]
pub(super) struct Rests(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// With when they came, or were resumed.
    clients: HashMap<Box<str>, Instant>,
    /// Since when every node can be reached.
    together: Option<Instant>,
    looked: Option<Instant>,
}

impl Rests {
    fn insert(&self, client: &str, now: Instant) -> bool {
        let mut table = self.0.lock();
        let has_room = table.clients.len() < MAX || table.clients.contains_key(client);
        if has_room {
            table.clients.insert(client.into(), now);
        }
        has_room
    }

    fn contains(&self, client: &str) -> bool {
        self.0.lock().clients.contains_key(client)
    }

    /// Those for which there was time enough.
    fn take_over(&self, reaches_all: bool, now: Instant) -> Vec<Box<str>> {
        let mut table = self.0.lock();
        if !reaches_all {
            table.together = None;
            return Vec::new();
        }
        let passed = |since| now.saturating_duration_since(since);
        let together = *table.together.get_or_insert(now);
        if passed(together) < PATIENCE || table.looked.is_some_and(|looked| passed(looked) < LOOK_EVERY) {
            return Vec::new();
        }
        table.looked = Some(now);
        table.clients.extract_if(|_, since| passed(*since) >= PATIENCE).map(|(client, _)| client).collect()
    }
}

impl Cluster {
    /// An older session of the client may turn up. False where there are too many such sessions: then what turns up is taken as
    /// it is.
    pub fn expect_rest(&self, client: &str, now: Instant) -> bool {
        self.rests.insert(client, now)
    }

    /// Whether one may.
    pub fn expects_rest(&self, client: &str) -> bool {
        self.rests.contains(client)
    }

    /// Whether there is a way to every node that has not left.
    pub(super) fn reaches_all(&self) -> bool {
        self.peers.all().iter().all(|peer| peer.is_reachable())
    }
}

/// Ends the expectations that nothing can come of any more.
pub(super) fn tend(cluster: &Cluster, now: Instant) {
    for client in cluster.rests.take_over(cluster.reaches_all(), now) {
        match cluster.takeovers.awaits_rest(&client) {
            true => {
                cluster.rests.insert(&client, now);
            }
            false => cluster.host.expects_no_rest(&client),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_is_expected_until_all_are_together_for_a_while() {
        let (rests, began) = (Rests::default(), Instant::now());
        let after = |secs| began + Duration::from_secs(secs);
        assert!(rests.insert("x", after(0)));
        assert!(rests.take_over(true, after(0)).is_empty());
        assert!(rests.take_over(false, after(4)).is_empty());
        assert!(rests.take_over(true, after(6)).is_empty());
        assert!(rests.take_over(true, after(10)).is_empty());
        assert!(rests.insert("y", after(10)));
        assert_eq!(rests.take_over(true, after(11)), ["x".into()]);
        assert!(rests.take_over(true, after(14)).is_empty());
        assert_eq!(rests.take_over(true, after(15)), ["y".into()]);
    }
}
