//! What a reader sees through its cache while others change the router.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use proptest::test_runner::{RngAlgorithm, TestRng};

use super::*;

/// Subscribers come one by one, each by a filter of its own kind; whoever knows that one's call has returned must find
/// it, and all before it, on every topic that the filter matches. Meanwhile another comes and goes.
#[test]
fn subscription_made_before_is_matched_by_every_reader() {
    const SUBSCRIBERS: u32 = 2000;
    const FILTERS: [&str; 5] = ["a/b", "a/+", "+/b", "a/b/#", "#"];
    let router = Router::new();
    let returned = AtomicU32::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for subscriber in 0..SUBSCRIBERS {
                let filter = filter(FILTERS[subscriber as usize % FILTERS.len()]);
                router.subscribe(&filter, subscriber, plain(QoS::AtMostOnce));
                returned.store(subscriber + 1, Ordering::Release);
            }
        });
        scope.spawn(|| {
            while returned.load(Ordering::Relaxed) < SUBSCRIBERS {
                for text in ["a/c", "c/b", "a/+", "b/#"] {
                    router.subscribe(&filter(text), SUBSCRIBERS, plain(QoS::AtMostOnce));
                    router.unsubscribe(&filter(text), &SUBSCRIBERS);
                }
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let mut cache = MatchCache::new(None, 1 << 20);
                let mut known = 0;
                while known < SUBSCRIBERS {
                    known = returned.load(Ordering::Acquire);
                    let matched = cache.look_up(&router, topic("a/b"));
                    let found = matched.locals.iter().filter(|local| local.subscriber < known).count();
                    assert_eq!(found, known as usize);
                }
            });
        }
    });
}

/// Threads change subscriptions of their own with the same filters; after each change its thread looks topics up and must
/// find exactly what it has there, whatever the others do.
#[test]
fn everyone_sees_their_own_changes_at_once() {
    const STEPS: usize = 3000;
    let router = Router::new();
    thread::scope(|scope| {
        for me in 0..4 {
            let router = &router;
            scope.spawn(move || see_own_changes(router, me, STEPS));
        }
    });
    assert_eq!((router.filter_count(), node_count(&router)), (0, 0));
}

fn see_own_changes(router: &Router<u8>, me: u8, steps: usize) {
    let filters = ["a/b", "a/+", "+/b", "a/b/#", "#", "a/b/c", "a/#", "+/+/c", "b", "$s/#"].map(filter);
    let topics = ["a/b", "a/b/c", "b", "a", "c/b", "$s/a"].map(topic);
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[me; 32]);
    let mut mine = Model::default();
    // Small, so that there are evictions, too.
    let mut cache = MatchCache::new(None, 1500);
    for number in 0..steps {
        let random = random.next_u32() as usize;
        let filter = filters[random % filters.len()].clone();
        let identifier = NonZeroU32::new(number as u32);
        let step = match random / filters.len() % 4 {
            0 | 1 => Step::Subscribe(filter, me, Subscription { identifier, ..plain(QoS::AtMostOnce) }),
            2 => Step::Unsubscribe(filter, me),
            _ if mine.routes.contains(&(filter.clone(), peer(me.into()))) => {
                Step::RemoveRoute(filter, peer(me.into()))
            }
            _ => Step::InsertRoute(filter, peer(me.into())),
        };
        assert_eq!(take(router, &step), mine.take(&step));
        for topic in topics {
            let (mut locals, mut peers, groups) = outcome(cache.look_up(router, topic));
            locals.retain(|subscriber, _| *subscriber == me);
            peers.retain(|other| *other == peer(me.into()));
            assert_eq!(
                (locals, peers, groups),
                mine.outcome(topic, None),
                "{topic} after step {number} of {me}: {step:?}"
            );
        }
    }
    for (filter, me) in mine.locals.keys() {
        router.unsubscribe(filter, me);
    }
    for (filter, peer) in &mine.routes {
        router.remove_route(filter, *peer);
    }
}

/// A subscriber that does something when a match takes its handle: so a change can be put into the middle of a match.
struct Tripwire {
    name: u8,
    on_clone: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Clone for Tripwire {
    fn clone(&self) -> Self {
        if let Some(on_clone) = &self.on_clone {
            on_clone();
        }
        Tripwire { name: self.name, on_clone: None }
    }
}

impl PartialEq for Tripwire {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Tripwire {}

impl Hash for Tripwire {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// The change comes after its shard was read, or found empty, and before the match is done.
#[test]
fn match_that_a_change_overtook_is_not_current() {
    for shard_is_empty in [true, false] {
        let router = Arc::new(Router::new());
        let subscribe = |router: &Router<Tripwire>, text, name, on_clone| {
            router.subscribe(&filter(text), Tripwire { name, on_clone }, plain(QoS::AtMostOnce))
        };
        if !shard_is_empty {
            subscribe(&router, "+/c", 0, None);
        }
        let inner = Arc::downgrade(&router);
        let overtake = move || assert!(subscribe(&inner.upgrade().unwrap(), "+/b", 1, None));
        subscribe(&router, "a/b", 2, Some(Arc::new(overtake)));

        let overtaken = router.matches(topic("a/b"), None);
        assert_eq!(overtaken.locals.len(), 1);
        assert!(!router.is_current(&overtaken));

        // The control: a stamp taken when the match is done would have passed.
        let stamp = router.stamps.stamp(&Prefixes::of_topic(&router.hasher, topic("a/b")));
        assert!(router.is_current(&Match { stamp, ..overtaken }));
    }
}

/// A reader is in the shard and the writer waits for it: what the reader stamps now must not include the change.
#[test]
fn counter_is_not_raised_before_the_writer_has_the_lock() {
    let router = Router::new();
    let prefixes = Prefixes::of_topic(&router.hasher, topic("a/b"));
    let shard = &router.shards[shard_of_filter(&prefixes)].trie;
    thread::scope(|scope| {
        let reader = shard.read();
        let writer = scope.spawn(|| router.subscribe(&filter("a/b"), 1u8, plain(QoS::AtMostOnce)));
        while shard.try_read().is_some() {
            thread::yield_now();
        }
        let stamp = router.stamps.stamp(&prefixes);
        drop(reader);
        assert!(writer.join().unwrap());
        assert!(!router.stamps.is_current(&stamp));
    });
}
