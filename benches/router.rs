//! What routing costs: nanoseconds for an operation, bytes for a filter. `cargo bench --bench router`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rumormq::codec::packet::QoS;
use rumormq::router::{MatchCache, PeerIndex, Retained, Router, Search, Subscription};
use rumormq::topic::{Topic, TopicFilter};

type Subscriber = Arc<str>;

const SUBSCRIPTION: Subscription =
    Subscription { qos: QoS::AtMostOnce, no_local: false, retain_as_published: false, identifier: None };

fn main() {
    let router = Router::<Subscriber>::new();
    let topics: Vec<String> = (0..10).flat_map(|i| (0..200).map(move |j| format!("mq/{i}/{j}"))).collect();
    for (i, text) in topics.iter().enumerate() {
        router.subscribe(&filter(text), format!("client-{i}").into(), SUBSCRIPTION);
    }
    let mut cache = MatchCache::new(None, MatchCache::<Subscriber>::DEFAULT_CAPACITY_BYTES);
    measure("uncached match, 2,000 filters in all", |_| {
        black_box(router.matches(topic("mq/3/0"), None));
    });
    for i in 0..100_000 {
        let other = filter(&format!("other/{i}/+/{}/{}/+/x", i % 7, i % 11));
        router.subscribe(&other, format!("other-{i}").into(), SUBSCRIPTION);
    }
    measure("uncached match, 100,000 wildcard filters beside", |_| {
        black_box(router.matches(topic("mq/3/0"), None));
    });
    measure("uncached match of nothing", |_| {
        black_box(router.matches(topic("nobody/3/0"), None));
    });
    measure("cached, the last topic", |_| {
        black_box(cache.look_up(&router, topic("mq/3/0")));
    });
    measure("cached, 2,000 topics in turn", |i| {
        black_box(cache.look_up(&router, topic(&topics[i % topics.len()])));
    });
    let me: Subscriber = "me".into();
    let (near, far) = (filter("mq/3/0"), filter("other/5/+/5/5/+/y"));
    measure("subscribe, look up, unsubscribe, look up: mq/3/0", |_| {
        router.subscribe(&near, me.clone(), SUBSCRIPTION);
        black_box(cache.look_up(&router, topic("mq/3/0")));
        router.unsubscribe(&near, &me);
        black_box(cache.look_up(&router, topic("mq/3/0")));
    });
    measure("subscribe and unsubscribe among 100,000", |_| {
        router.subscribe(&far, me.clone(), SUBSCRIPTION);
        router.unsubscribe(&far, &me);
    });
    router.subscribe(&filter("mq/+/0"), me.clone(), SUBSCRIPTION);
    router.subscribe(&filter("#"), me.clone(), SUBSCRIPTION);
    measure("uncached match of three filters", |_| {
        black_box(router.matches(topic("mq/3/0"), None));
    });
    for i in 0..500 {
        router.subscribe(&filter("fan/out"), format!("fan-{i}").into(), SUBSCRIPTION);
    }
    measure("uncached match of 500 subscribers, and # once", |_| {
        black_box(router.matches(topic("fan/out"), None));
    });
    two_publishers(&router);
    million_routes();
    million_retained();
}

/// Both cores match without a cache, while nothing changes.
fn two_publishers(router: &Router<Subscriber>) {
    std::thread::scope(|scope| {
        for name in ["uncached match, two threads, one", "uncached match, two threads, other"] {
            scope.spawn(move || {
                measure(name, |_| {
                    black_box(router.matches(topic("mq/3/0"), None));
                })
            });
        }
    });
}

fn million_routes() {
    let filters: Vec<TopicFilter> =
        (0..1_000_000).map(|i| filter(&format!("devices/{}/{i}/+", i % 1000))).collect();
    let router = Router::<Subscriber>::new();
    let peer = PeerIndex::new(1).expect("1 is below the limit");
    let before = resident_bytes();
    let (start, mut slowest) = (Instant::now(), Duration::ZERO);
    for filter in &filters {
        let start = Instant::now();
        router.insert_route(filter, peer);
        slowest = slowest.max(start.elapsed());
    }
    let each = start.elapsed().as_nanos() / 1_000_000;
    let bytes = (resident_bytes() - before) / 1_000_000;
    println!(
        "{each:>8} ns  insert one of 1,000,000 routes ({bytes} bytes each; the slowest took {slowest:?})"
    );
    measure("uncached match, 1,000,000 filters beside", |i| {
        black_box(router.matches(topic(&format!("devices/{}/{}/x", i % 1000, i % 1_000_000)), None));
    });
    let start = Instant::now();
    for filter in &filters {
        router.remove_route(filter, peer);
    }
    println!("{:>8} ns  remove one of 1,000,000 routes", start.elapsed().as_nanos() / 1_000_000);
}

fn million_retained() {
    let mut retained = Retained::default();
    let before = resident_bytes();
    let start = Instant::now();
    for i in 0..1_000_000u32 {
        retained.insert(topic(&format!("devices/{}/{i}/state", i % 1000)), i);
    }
    let each = start.elapsed().as_nanos() / 1_000_000;
    let bytes = (resident_bytes() - before) / 1_000_000;
    println!("{each:>8} ns  insert one of 1,000,000 retained messages ({bytes} bytes each)");
    for (text, matches) in [("devices/7/+/state", 1000), ("devices/+/7/#", 1), ("devices/#", 1_000_000)] {
        let filter = filter(text);
        measure(&format!("retained messages of {matches} out of 1,000,000 topics"), |_| {
            let (mut search, mut found) = (Search::default(), Vec::new());
            retained.search_on(&filter, &mut search, &mut found, usize::MAX, usize::MAX);
            assert_eq!(black_box(found).len(), matches);
        });
    }
}

/// Runs the operation for about 300 ms after a warm-up and prints what one takes.
fn measure(name: &str, mut operation: impl FnMut(usize)) {
    let run = |operation: &mut dyn FnMut(usize), count: usize| {
        let start = Instant::now();
        (0..count).for_each(operation);
        start.elapsed()
    };
    let mut count = 16;
    while run(&mut operation, count) < Duration::from_millis(100) {
        count *= 2;
    }
    let elapsed = run(&mut operation, count * 3);
    println!("{:>8.1} ns  {name}", elapsed.as_nanos() as f64 / (count * 3) as f64);
}

/// Memory that the system counts for this process; 0 where /proc does not tell.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let resident = pages.and_then(|text| text.split(' ').nth(1)?.parse::<usize>().ok());
    resident.unwrap_or(0) * 4096
}

fn topic(text: &str) -> Topic<'_> {
    Topic::new(text).expect("a valid topic")
}

fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).expect("a valid filter")
}
