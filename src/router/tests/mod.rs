//! The router against the plainest thing that does the same: a list of everything that was asked for.

mod concurrent;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use proptest::strategy::Strategy;

/// The list. Its filters match by [`TopicFilter::matches`].
#[derive(Clone, Default)]
struct Model {
    locals: BTreeMap<(TopicFilter, u8), Subscription>,
    routes: BTreeSet<(TopicFilter, PeerIndex)>,
    /// What each asked for, and whether its connection is open.
    members: BTreeMap<(TopicFilter, ShareName, u8), (Subscription, bool)>,
    peer_members: BTreeMap<(TopicFilter, ShareName, PeerIndex), Members>,
}

/// What a match says, in an order that can be compared.
type Outcome = (BTreeMap<u8, (QoS, bool, Vec<NonZeroU32>)>, Vec<PeerIndex>, BTreeMap<String, Group>);

/// The members of a group, here and elsewhere.
type Group = (BTreeMap<u8, (Subscription, bool)>, BTreeMap<PeerIndex, Members>);

#[derive(Clone, Debug)]
enum Step {
    Subscribe(TopicFilter, u8, Subscription),
    Unsubscribe(TopicFilter, u8),
    InsertRoute(TopicFilter, PeerIndex),
    RemoveRoute(TopicFilter, PeerIndex),
    Join(TopicFilter, ShareName, u8, Subscription, bool),
    Leave(TopicFilter, ShareName, u8),
    SetConnected(TopicFilter, ShareName, u8, bool),
    SetPeer(TopicFilter, ShareName, PeerIndex, Members),
    RemovePeer(TopicFilter, ShareName, PeerIndex),
}

impl Model {
    /// Takes a step and returns what the router has to return.
    fn take(&mut self, step: &Step) -> bool {
        match step.clone() {
            Step::Subscribe(filter, subscriber, options) => {
                self.locals.insert((filter, subscriber), options).is_none()
            }
            Step::Unsubscribe(filter, subscriber) => self.locals.remove(&(filter, subscriber)).is_some(),
            Step::InsertRoute(filter, peer) => self.routes.insert((filter, peer)),
            Step::RemoveRoute(filter, peer) => self.routes.remove(&(filter, peer)),
            Step::Join(filter, name, subscriber, options, connected) => {
                let member = self.members.entry((filter, name, subscriber));
                let new = matches!(member, Entry::Vacant(_));
                member.or_insert((options, connected)).0 = options;
                new
            }
            Step::Leave(filter, name, subscriber) => {
                self.members.remove(&(filter, name, subscriber)).is_some()
            }
            Step::SetConnected(filter, name, subscriber, connected) => {
                let member = self.members.get_mut(&(filter, name, subscriber));
                member.is_some_and(|(_, was)| std::mem::replace(was, connected) != connected)
            }
            Step::SetPeer(filter, name, peer, members) => {
                self.peer_members.insert((filter, name, peer), members) != Some(members)
            }
            Step::RemovePeer(filter, name, peer) => self.peer_members.remove(&(filter, name, peer)).is_some(),
        }
    }

    fn outcome(&self, topic: Topic<'_>, publisher: Option<u8>) -> Outcome {
        let mut locals = BTreeMap::new();
        for ((filter, subscriber), options) in &self.locals {
            if !filter.matches(topic) || options.no_local && publisher == Some(*subscriber) {
                continue;
            }
            let (qos, as_published, identifiers) =
                locals.entry(*subscriber).or_insert((QoS::AtMostOnce, false, Vec::new()));
            *qos = options.qos.max(*qos);
            *as_published |= options.retain_as_published;
            identifiers.extend(options.identifier);
            identifiers.sort();
        }
        let peers: BTreeSet<_> =
            self.routes.iter().filter(|(filter, _)| filter.matches(topic)).map(|(_, peer)| *peer).collect();
        let mut groups: BTreeMap<String, Group> = BTreeMap::new();
        let group = |name: &ShareName, filter: &TopicFilter| format!("$share/{name}/{filter}");
        for ((filter, name, subscriber), member) in &self.members {
            if filter.matches(topic) {
                groups.entry(group(name, filter)).or_default().0.insert(*subscriber, *member);
            }
        }
        for ((filter, name, peer), members) in &self.peer_members {
            if filter.matches(topic) {
                groups.entry(group(name, filter)).or_default().1.insert(*peer, *members);
            }
        }
        (locals, peers.into_iter().collect(), groups)
    }

    fn plain_filters(&self) -> BTreeSet<&TopicFilter> {
        let local = self.locals.keys().map(|(filter, _)| filter);
        local.chain(self.routes.iter().map(|(filter, _)| filter)).collect()
    }

    fn filters(&self) -> BTreeSet<&TopicFilter> {
        let members = self.members.keys().map(|(filter, ..)| filter);
        let peer_members = self.peer_members.keys().map(|(filter, ..)| filter);
        self.plain_filters().into_iter().chain(members).chain(peer_members).collect()
    }

    fn groups(&self) -> usize {
        let members = self.members.keys().map(|(filter, name, _)| (filter, name));
        let peer_members = self.peer_members.keys().map(|(filter, name, _)| (filter, name));
        members.chain(peer_members).collect::<BTreeSet<_>>().len()
    }

    fn matching_filters(&self, topic: Topic<'_>) -> Vec<MatchingFilter> {
        let matching = self.plain_filters().into_iter().filter(|filter| filter.matches(topic));
        let described = matching.map(|filter| MatchingFilter {
            filter: filter.as_str().to_owned(),
            locals: self.locals.keys().filter(|(other, _)| other == filter).count(),
            peers: self.routes.iter().filter(|(other, _)| other == filter).map(|(_, peer)| *peer).collect(),
        });
        described.collect()
    }

    /// A router that was told only what is left. `other` gives the hash seed, so that both put filters into the same shards.
    fn router(&self, other: &Router<u8>) -> Router<u8> {
        let router = Router { hasher: other.hasher.clone(), ..Router::default() };
        for ((filter, subscriber), options) in &self.locals {
            assert!(router.subscribe(filter, *subscriber, *options));
        }
        for (filter, peer) in &self.routes {
            assert!(router.insert_route(filter, *peer));
        }
        for ((filter, name, subscriber), (options, connected)) in &self.members {
            assert!(router.join(name, filter, *subscriber, *options, *connected, 1));
        }
        for ((filter, name, peer), members) in &self.peer_members {
            assert!(router.set_peer_members(name, filter, peer_members(*peer, *members)));
        }
        router
    }
}

fn take(router: &Router<u8>, step: &Step) -> bool {
    match step {
        Step::Subscribe(filter, subscriber, options) => router.subscribe(filter, *subscriber, *options),
        Step::Unsubscribe(filter, subscriber) => router.unsubscribe(filter, subscriber),
        Step::InsertRoute(filter, peer) => router.insert_route(filter, *peer),
        Step::RemoveRoute(filter, peer) => router.remove_route(filter, *peer),
        Step::Join(filter, name, subscriber, options, connected) => {
            router.join(name, filter, *subscriber, *options, *connected, 1)
        }
        Step::Leave(filter, name, subscriber) => router.leave(name, filter, subscriber),
        Step::SetConnected(filter, name, subscriber, connected) => {
            router.set_connected(name, filter, subscriber, *connected, 1)
        }
        Step::SetPeer(filter, name, peer, members) => {
            router.set_peer_members(name, filter, peer_members(*peer, *members))
        }
        Step::RemovePeer(filter, name, peer) => router.remove_peer_members(name, filter, *peer),
    }
}

fn peer_members(peer: PeerIndex, members: Members) -> PeerMembers {
    PeerMembers { peer, identity: peer.index() as u64, members }
}

fn outcome(matched: &Match<u8>) -> Outcome {
    let mut locals = BTreeMap::new();
    for local in &matched.locals {
        let mut identifiers = local.identifiers.to_vec();
        identifiers.sort();
        let twin = locals.insert(local.subscriber, (local.qos, local.retain_as_published, identifiers));
        assert!(twin.is_none(), "subscriber {} is matched twice", local.subscriber);
    }
    let groups = matched.groups.iter().map(|group| {
        let member = |member: &Member<u8>, connected| (member.subscriber, (member.subscription, connected));
        let connected = group.connected.iter().map(|each| member(each, true));
        let members = connected.chain(group.offline.iter().map(|each| member(each, false))).collect();
        let peers = group.peers().iter().map(|each| (each.peer, each.members)).collect();
        (group.share.to_string(), (members, peers))
    });
    let groups: BTreeMap<String, Group> = groups.collect();
    assert_eq!(groups.len(), matched.groups.len(), "a group is matched twice");
    (locals, matched.peers.iter().collect(), groups)
}

fn node_count<S: Subscriber>(router: &Router<S>) -> usize {
    router.shards.iter().map(|shard| shard.trie.read().node_count()).sum()
}

pub(super) fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).unwrap()
}

pub(super) fn topic(text: &str) -> Topic<'_> {
    Topic::new(text).unwrap()
}

fn peer(index: usize) -> PeerIndex {
    PeerIndex::new(index).unwrap()
}

fn plain(qos: QoS) -> Subscription {
    Subscription { qos, no_local: false, retain_as_published: false, identifier: None }
}

/// Few words, an empty one and a `$` among them, so that filters overlap; sometimes more levels than prefixes are long.
pub(super) fn any_topic() -> impl Strategy<Value = String> {
    let word = prop_oneof![4 => Just("a"), 3 => Just("b"), 1 => Just(""), 1 => Just("$s")];
    let words =
        prop_oneof![9 => prop::collection::vec(word.clone(), 1..5), 1 => prop::collection::vec(word, 8..11)];
    words.prop_map(|words| words.join("/")).prop_filter("not empty", |topic| !topic.is_empty())
}

pub(super) fn any_filter() -> impl Strategy<Value = TopicFilter> {
    (any_topic(), prop::collection::vec(0u8..3, 11), any::<bool>()).prop_map(|(topic, singles, multi)| {
        let levels = topic.split('/').zip(singles);
        let mut levels: Vec<&str> =
            levels.map(|(word, single)| if single == 0 { "+" } else { word }).collect();
        if multi {
            *levels.last_mut().unwrap() = "#";
        }
        filter(&levels.join("/"))
    })
}

fn any_subscription() -> impl Strategy<Value = Subscription> {
    let qos = prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)];
    (qos, any::<bool>(), any::<bool>(), 0u32..4).prop_map(
        |(qos, no_local, retain_as_published, identifier)| Subscription {
            qos,
            no_local,
            retain_as_published,
            identifier: NonZeroU32::new(identifier),
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (any_filter(), 0u8..4, any_subscription()).prop_map(|(f, s, o)| Step::Subscribe(f, s, o)),
        2 => (any_filter(), 0u8..4).prop_map(|(f, s)| Step::Unsubscribe(f, s)),
        3 => (any_filter(), 0usize..4).prop_map(|(f, p)| Step::InsertRoute(f, peer(p * 150))),
        2 => (any_filter(), 0usize..4).prop_map(|(f, p)| Step::RemoveRoute(f, peer(p * 150))),
        3 => any_group_step(),
    ]
}

fn any_group_step() -> impl Strategy<Value = Step> {
    let name = prop_oneof![Just("g"), Just("h")].prop_map(|name| ShareName::parse(name).unwrap());
    let members =
        (0u32..3, 0u32..3).prop_map(|(connected, offline)| Members { connected, offline, since_ms: 1 });
    let who = (0u8..4, any::<bool>(), any_subscription());
    (any_filter(), name, 0u8..10, who, 0usize..3, members).prop_map(
        |(filter, name, kind, (subscriber, connected, options), index, members)| match kind {
            0..3 => Step::Join(filter, name, subscriber, options, connected),
            3 => Step::Leave(filter, name, subscriber),
            4..6 => Step::SetConnected(filter, name, subscriber, connected),
            6..9 => Step::SetPeer(filter, name, peer(index * 150), members),
            _ => Step::RemovePeer(filter, name, peer(index * 150)),
        },
    )
}

/// Steps, some of which undo earlier ones.
fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((any_step(), any::<Option<prop::sample::Index>>()), 1..60).prop_map(|drawn| {
        let mut steps: Vec<Step> = Vec::new();
        for (step, earlier) in drawn {
            let undone = earlier.filter(|_| !steps.is_empty()).map(|index| match index.get(&steps).clone() {
                Step::Subscribe(filter, subscriber, _) => Step::Unsubscribe(filter, subscriber),
                Step::InsertRoute(filter, peer) => Step::RemoveRoute(filter, peer),
                Step::Join(filter, name, subscriber, ..) if subscriber % 2 == 0 => {
                    Step::Leave(filter, name, subscriber)
                }
                Step::Join(filter, name, subscriber, _, connected) => {
                    Step::SetConnected(filter, name, subscriber, !connected)
                }
                Step::SetPeer(filter, name, peer, _) => Step::RemovePeer(filter, name, peer),
                other => other,
            });
            steps.push(undone.unwrap_or(step));
        }
        steps
    })
}

/// Looks topics up through caches after every step, by the function given, and compares with the model. An error names
/// the first difference.
fn check_cached(
    steps: &[Step],
    topics: &[String],
    mut look_up: impl FnMut(&Router<u8>, Topic<'_>, Option<u8>) -> Arc<Match<u8>>,
) -> Result<(), String> {
    let (router, mut model) = (Router::new(), Model::default());
    for step in steps {
        take(&router, step);
        model.take(step);
        for text in topics {
            for publisher in [None, Some(0)] {
                let found = outcome(&look_up(&router, topic(text), publisher));
                let expected = model.outcome(topic(text), publisher);
                if found != expected {
                    return Err(format!("{text} after {step:?}: {found:?} is not {expected:?}"));
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn incremental_router_equals_rebuilt_and_naive(
        steps in any_steps(),
        topics in prop::collection::vec(any_topic(), 12),
    ) {
        let (router, mut model) = (Router::new(), Model::default());
        for step in &steps {
            prop_assert_eq!(take(&router, step), model.take(step), "{:?}", step);
        }
        let rebuilt = model.router(&router);
        for text in &topics {
            for publisher in [None, Some(0)] {
                let expected = model.outcome(topic(text), publisher);
                let incremental = router.matches(topic(text), publisher.as_ref());
                prop_assert_eq!(outcome(&incremental), expected.clone(), "{}", text);
                prop_assert_eq!(outcome(&rebuilt.matches(topic(text), publisher.as_ref())), expected, "{}", text);
            }
        }
        for text in &topics {
            let mut matching = router.matching_filters(topic(text));
            matching.sort_by(|a, b| a.filter.cmp(&b.filter));
            prop_assert_eq!(matching, model.matching_filters(topic(text)));
        }
        prop_assert_eq!(router.filter_count(), model.filters().len());
        prop_assert_eq!(node_count(&router), node_count(&rebuilt));

        for (filter, subscriber) in model.locals.keys() {
            router.unsubscribe(filter, subscriber);
        }
        for (filter, peer) in &model.routes {
            router.remove_route(filter, *peer);
        }
        prop_assert_eq!(router.group_count(), model.groups());
        for (filter, name, subscriber) in model.members.keys() {
            router.leave(name, filter, subscriber);
        }
        for (filter, name, peer) in model.peer_members.keys() {
            router.remove_peer_members(name, filter, *peer);
        }
        prop_assert_eq!((router.filter_count(), router.group_count(), node_count(&router)), (0, 0, 0));
    }

    #[test]
    fn cached_look_ups_equal_naive_after_every_step(
        steps in any_steps(),
        topics in prop::collection::vec(any_topic(), 6),
        capacity_bytes in 0usize..3000,
    ) {
        let mut anyone = MatchCache::new(None, capacity_bytes);
        let mut subscriber = MatchCache::new(Some(0), capacity_bytes);
        let checked = check_cached(&steps, &topics, |router, topic, publisher| {
            let cache = if publisher.is_none() { &mut anyone } else { &mut subscriber };
            cache.look_up(router, topic).clone()
        });
        prop_assert_eq!(checked, Ok(()));
    }

    #[test]
    fn change_of_a_filter_makes_old_what_begins_with_its_prefix(text in any_topic(), changed in any_filter()) {
        let router = Router::new();
        let before = router.matches(topic(&text), None);
        router.subscribe(&changed, 1, plain(QoS::AtMostOnce));
        let prefix: Vec<_> = changed.literal_prefix().take(Prefixes::MAX - 1).collect();
        let depends = topic(&text).levels().take(prefix.len()).eq(prefix.iter().copied());
        prop_assert!(!(depends && router.is_current(&before)));
    }
}

#[test]
fn checker_finds_a_cache_that_never_forgets() {
    let steps =
        [Step::Subscribe(filter("a/+"), 1, plain(QoS::AtMostOnce)), Step::Unsubscribe(filter("a/+"), 1)];
    let mut kept = HashMap::new();
    let checked = check_cached(&steps, &["a/b".to_owned()], |router, topic, publisher| {
        let matched = || Arc::new(router.matches(topic, publisher.as_ref()));
        kept.entry((topic.as_str().to_owned(), publisher)).or_insert_with(matched).clone()
    });
    assert!(checked.is_err_and(|difference| difference.contains("a/b after Unsubscribe")));
}

#[test]
fn unrelated_changes_leave_a_match_current() {
    let router = Router::new();
    let matched = router.matches(topic("x/2/y"), None);
    // One in a thousand of these shares a counter with one of the topic's prefixes.
    let spared = (1000..1100).filter(|i| {
        let fresh = router.matches(topic("x/2/y"), None);
        router.subscribe(&filter(&format!("x/{i}/+")), 1u8, plain(QoS::AtMostOnce));
        router.is_current(&fresh)
    });
    assert!(spared.count() > 90);
    for changed in ["x/2/y", "x/2/+", "x/+/y", "x/#", "#", "+/2/y", "x/2/y/#"] {
        let before = router.matches(topic("x/2/y"), None);
        assert!(router.is_current(&before));
        router.subscribe(&filter(changed), 1, plain(QoS::AtMostOnce));
        assert!(!router.is_current(&before), "{changed}");
    }
    assert!(!router.is_current(&matched));
}

#[test]
fn only_what_alters_a_match_makes_it_old() {
    let router = Router::new();
    let changed = filter("a/+");
    let altered = |change: &dyn Fn() -> bool| {
        let before = router.matches(topic("a/b"), None);
        (change(), !router.is_current(&before))
    };
    let qos_0 = plain(QoS::AtMostOnce);
    assert_eq!(altered(&|| router.subscribe(&changed, 1u8, qos_0)), (true, true));
    assert_eq!(altered(&|| router.subscribe(&changed, 1, qos_0)), (false, false));
    assert_eq!(altered(&|| router.subscribe(&changed, 1, plain(QoS::AtLeastOnce))), (false, true));
    assert_eq!(altered(&|| router.unsubscribe(&changed, &2)), (false, false));
    assert_eq!(altered(&|| router.insert_route(&changed, peer(7))), (true, true));
    assert_eq!(altered(&|| router.insert_route(&changed, peer(8))), (true, true));
    assert_eq!(altered(&|| router.insert_route(&changed, peer(8))), (false, false));
    assert_eq!(altered(&|| router.remove_route(&changed, peer(9))), (false, false));
    assert_eq!(altered(&|| router.remove_route(&changed, peer(7))), (true, true));
    assert_eq!(altered(&|| router.unsubscribe(&changed, &1)), (true, true));
}

#[test]
fn depth_costs_no_stack() {
    let router = Router::new();
    let deep = vec!["a"; 32_768].join("/");
    let single = vec!["+"; 32_768].join("/");
    router.subscribe(&filter(&deep), 1u8, plain(QoS::AtMostOnce));
    router.subscribe(&filter(&single), 2, plain(QoS::AtMostOnce));
    assert_eq!(router.matches(topic(&deep), None).locals.len(), 2);
    assert_eq!(router.matches(topic(&deep[2..]), None).locals.len(), 0);
    assert!(router.unsubscribe(&filter(&deep), &1) && router.unsubscribe(&filter(&single), &2));
    assert_eq!(node_count(&router), 0);
}

#[test]
fn many_subscribers_of_one_filter_come_and_go() {
    let router = Router::new();
    let (first, second) = (filter("a/b"), filter("a/+"));
    for subscriber in 0..10_000u32 {
        router.subscribe(&first, subscriber, plain(QoS::AtMostOnce));
        router.subscribe(&second, subscriber, plain(QoS::AtLeastOnce));
    }
    let matched = router.matches(topic("a/b"), None);
    assert_eq!(matched.locals.len(), 10_000);
    assert!(matched.locals.iter().all(|local| local.qos == QoS::AtLeastOnce));
    for subscriber in 0..10_000 {
        assert!(router.unsubscribe(&first, &subscriber) && router.unsubscribe(&second, &subscriber));
    }
    assert_eq!(node_count(&router), 0);
}
