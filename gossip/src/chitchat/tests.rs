//! chitchat itself, on a simulated network under a paused clock, and once on real sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::chitchat::{ChitchatId, Serializable};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::codec::Codec;
use super::fragment::MAX_SENT_DATAGRAM_LEN;
use super::generation::generation;
use super::simulation::Network;
use super::*;
use crate::seal::{ClusterKeys, Cookie, DerivationCost, Rejection};
use crate::{Incarnation, NodeName, ReplicaId};

struct Node {
    membership: Membership,
    observed: mpsc::Receiver<Observation>,
    me: ReplicaId,
    address: SocketAddr,
    /// The last observation of each other replica.
    others: BTreeMap<ReplicaId, Observation>,
    /// Everything observed.
    history: Vec<(Instant, Observation)>,
}

fn address(number: usize) -> SocketAddr {
    ([10, 0, (number / 200) as u8, (number % 200) as u8 + 1], 7883).into()
}

fn replica(number: usize, incarnation: u64) -> ReplicaId {
    ReplicaId {
        name: NodeName::parse(&format!("rumormq-{number}@host-{number}.example.org")).unwrap(),
        incarnation: Incarnation(incarnation),
    }
}

fn config(network: &Network, number: usize, incarnation: u64) -> MembershipConfig {
    let socket = network.bind(address(number));
    let mut config = MembershipConfig::new("blue", replica(number, incarnation), address(number), socket);
    config.seeds = vec![address(0).to_string()];
    config
}

fn keys(cluster: &str, cookie: &[u8]) -> ClusterKeys {
    ClusterKeys::derive_at_cost(cluster, &[Cookie::new(cookie).unwrap()], DerivationCost::CHEAP).unwrap()
}

async fn start(config: MembershipConfig) -> Node {
    let (me, address) = (config.me.clone(), config.advertise);
    let (membership, observed) = Membership::start(config).await.unwrap();
    membership.publish("head", format!("{}:0:0", me.incarnation.0)).unwrap();
    Node { membership, observed, me, address, others: BTreeMap::new(), history: Vec::new() }
}

async fn cluster(network: &Network, size: usize) -> Vec<Node> {
    cluster_with(network, size, |_| ()).await
}

async fn cluster_with(network: &Network, size: usize, adjust: impl Fn(&mut MembershipConfig)) -> Vec<Node> {
    let mut nodes = Vec::new();
    for number in 0..size {
        let mut config = config(network, number, 1_700_000_000_000 + number as u64);
        adjust(&mut config);
        nodes.push(start(config).await);
    }
    until(&mut nodes, "all see all", |nodes| nodes.iter().all(|node| node.others.len() == size - 1)).await;
    // Deaths while a cluster forms are of no interest to any test.
    nodes.iter_mut().for_each(|node| node.history.clear());
    nodes
}

impl Node {
    fn drain(&mut self) {
        while let Ok(observation) = self.observed.try_recv() {
            self.history.push((Instant::now(), observation.clone()));
            self.others.insert(observation.replica.clone(), observation);
        }
    }

    fn alive(&self) -> usize {
        self.others.values().filter(|other| other.liveness == Liveness::Alive).count()
    }

    fn sees(&self, replica: &ReplicaId, liveness: Liveness) -> bool {
        self.others.get(replica).is_some_and(|other| other.liveness == liveness)
    }

    fn sees_key(&self, replica: &ReplicaId, key: &str, value: &str) -> bool {
        self.others.get(replica).and_then(|other| other.keys.get(key)).is_some_and(|seen| seen == value)
    }

    fn deaths(&self) -> usize {
        self.history.iter().filter(|(_, observation)| observation.liveness != Liveness::Alive).count()
    }
}

/// Lets time pass until the condition holds, and tells how much did.
async fn until(nodes: &mut [Node], what: &str, condition: impl Fn(&[Node]) -> bool) -> Duration {
    let start = Instant::now();
    loop {
        nodes.iter_mut().for_each(Node::drain);
        if condition(nodes) {
            return start.elapsed();
        }
        assert!(start.elapsed() < Duration::from_secs(60), "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A seed of this run, printed.
fn seed() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    let seed = u64::from_le_bytes(bytes);
    println!("loss drawn from seed {seed} (chitchat draws its own)");
    seed
}

/// Deaths seen in a cluster where nobody dies.
async fn false_deaths(size: usize, loss_percent: u64, minutes: u64, phi: f64) -> usize {
    let network = Network::new(loss_percent, seed());
    let mut nodes = cluster_with(&network, size, |config| config.phi = phi).await;
    let start = Instant::now();
    let sent =
        |nodes: &[Node]| nodes.iter().map(|node| node.membership.counters().outgoing().sum()).sum::<u64>();
    let sent_before = sent(&nodes);
    for _ in 0..minutes * 60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        nodes.iter_mut().for_each(Node::drain);
    }
    let deaths = nodes.iter().map(Node::deaths).sum();
    println!(
        "{size} nodes, {loss_percent} % loss, {minutes} minutes, phi {phi}: {deaths} false deaths; \
         {} bytes a second sent by each, the longest datagram has {}",
        (sent(&nodes) - sent_before) / size as u64 / start.elapsed().as_secs(),
        network.longest()
    );
    assert!(network.longest() <= MAX_SENT_DATAGRAM_LEN);
    deaths
}

async fn time_to_detect(size: usize, loss_percent: u64, trials: usize) {
    let mut times = Vec::new();
    for _ in 0..trials {
        let network = Network::new(loss_percent, seed());
        let mut nodes = cluster(&network, size).await;
        // Long enough for the intervals between heartbeats to be learnt.
        tokio::time::sleep(Duration::from_secs(20)).await;
        let victim = nodes.pop().unwrap();
        network.cut_off(victim.address);
        let elapsed = until(&mut nodes, "all notice the crash", |nodes| {
            nodes.iter().all(|node| node.sees(&victim.me, Liveness::Dead))
        });
        times.push(elapsed.await);
    }
    times.sort();
    println!(
        "{size} nodes, {loss_percent} % loss: a crash was seen by all within {:?} to {:?}, median {:?}",
        times[0],
        times[trials - 1],
        times[trials / 2]
    );
    assert!(times[trials * 19 / 20 - 1] <= Duration::from_secs(3));
    assert!(times[trials - 1] <= Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn who_is_silent_is_not_heard_of_until_it_speaks() {
    let network = Network::new(0, 1);
    let mut nodes = cluster(&network, 2).await;
    let silent = start(MembershipConfig { silent: true, ..config(&network, 2, 1_700_000_000_000) }).await;
    let refused = start(MembershipConfig { silent: true, ..config(&network, 3, 1_700_000_000_000) }).await;
    nodes.extend([silent, refused]);
    tokio::time::sleep(Duration::from_secs(10)).await;
    nodes.iter_mut().for_each(Node::drain);
    assert_eq!(nodes.iter().map(|node| node.others.len()).collect::<Vec<_>>(), [1, 1, 0, 0]);
    nodes.pop().unwrap().membership.stop().await;
    nodes[2].membership.speak();
    until(&mut nodes, "all see all", |nodes| nodes.iter().all(|node| node.alive() == 2)).await;
    assert!(nodes.iter().all(|node| node.others.len() == 2));
}

#[tokio::test(start_paused = true)]
async fn no_false_death_in_ten_minutes_at_30_percent_loss() {
    assert_eq!(false_deaths(4, 30, 10, 12.0).await, 0);
}

/// The check above is one that can fail.
#[tokio::test(start_paused = true)]
async fn a_hasty_detector_declares_live_members_dead() {
    assert!(false_deaths(4, 30, 1, 3.0).await > 0);
}

#[tokio::test(start_paused = true)]
async fn a_crash_is_noticed_within_five_seconds() {
    time_to_detect(4, 30, 20).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "takes minutes"]
async fn no_false_death_in_larger_clusters_and_at_50_percent_loss() {
    for (size, loss_percent) in [(3, 50), (10, 30), (10, 50), (30, 30), (50, 30), (50, 50), (100, 30)] {
        assert_eq!(false_deaths(size, loss_percent, 10, 12.0).await, 0);
    }
}

#[tokio::test(start_paused = true)]
#[ignore = "takes minutes"]
async fn a_crash_is_noticed_in_larger_clusters() {
    for (size, loss_percent) in [(3, 0), (3, 30), (10, 30), (30, 30), (50, 30)] {
        time_to_detect(size, loss_percent, 20).await;
    }
}

#[tokio::test(start_paused = true)]
async fn datagrams_stay_small_in_a_cluster_of_thirty() {
    let network = Network::new(0, seed());
    let nodes = cluster(&network, 30).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let counters = nodes[0].membership.counters();
    println!(
        "30 nodes: longest datagram {} bytes, {} datagrams and {} bytes sent by one",
        network.longest(),
        counters.outgoing().count(),
        counters.outgoing().sum()
    );
    assert!(network.longest() <= MAX_SENT_DATAGRAM_LEN);
    assert_eq!(counters.rejected().total(), 0);
}

#[tokio::test(start_paused = true)]
async fn keys_travel_also_between_nodes_that_do_not_reach_each_other() {
    let network = Network::new(10, seed());
    network.sever(address(1), address(2));
    let mut nodes = cluster(&network, 3).await;
    let author = nodes[1].me.clone();
    for value in ["1", "2", "3"] {
        nodes[1].membership.publish("head.routes", value.into()).unwrap();
    }
    until(&mut nodes, "the last value", |nodes| nodes[2].sees_key(&author, "head.routes", "3")).await;
    let values: Vec<&str> =
        nodes[2].history.iter().filter_map(|(_, o)| o.keys.get("head.routes")).map(String::as_str).collect();
    assert_eq!(values, ["3"], "values of one tick are joined");
    assert_eq!(nodes[2].deaths(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_node_is_a_new_replica_at_once() {
    let network = Network::new(30, seed());
    let mut nodes = cluster(&network, 3).await;
    let old = nodes.pop().unwrap();
    drop(old.membership);
    let new = start(config(&network, 2, old.me.incarnation.0 + 1)).await;
    let (old, new) = (old.me, new);
    until(&mut nodes, "the new replica", |nodes| {
        nodes.iter().all(|node| node.sees(&new.me, Liveness::Alive) && node.sees(&old, Liveness::Dead))
    })
    .await;
    for node in &nodes {
        let death = node.history.iter().position(|(_, o)| o.replica == old && o.liveness == Liveness::Dead);
        let birth =
            node.history.iter().position(|(_, o)| o.replica == new.me && o.liveness == Liveness::Alive);
        assert!(death < birth, "the old one is never alive beside the new one");
        assert!(node.others.values().all(|other| !other.conflict));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_told_before_silence_would_tell_it() {
    let network = Network::new(0, seed());
    let mut nodes = cluster(&network, 4).await;
    let leaver = nodes.pop().unwrap();
    leaver.membership.publish("status", "stopped".into()).unwrap();
    let start = Instant::now();
    leaver.membership.stop().await;
    let took = start.elapsed();
    until(&mut nodes, "the status", |nodes| {
        nodes.iter().all(|node| node.sees_key(&leaver.me, "status", "stopped"))
    })
    .await;
    println!("stopped in {took:?}, told after {:?}", start.elapsed());
    assert!(took < Duration::from_secs(1) && start.elapsed() < Duration::from_secs(1));
    until(&mut nodes, "its silence", |nodes| nodes.iter().all(|node| node.sees(&leaver.me, Liveness::Dead)))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_away_is_alive_again() {
    let network = Network::new(10, seed());
    let mut nodes = cluster(&network, 3).await;
    network.cut_off(nodes[0].address);
    until(&mut nodes, "a split", |nodes| nodes[0].alive() == 0 && nodes[1].alive() == 1).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    network.reconnect(nodes[0].address);
    let healed = until(&mut nodes, "healed", |nodes| nodes.iter().all(|node| node.alive() == 2)).await;
    println!("healed after {healed:?}");
}

#[tokio::test(start_paused = true)]
async fn sides_that_have_forgotten_each_other_meet_again_by_seeds() {
    let network = Network::new(0, seed());
    let mut nodes = Vec::new();
    for number in 0..4 {
        let mut config = config(&network, number, 5);
        config.forget_after = Duration::from_secs(20);
        // One bridge: 2 knows of 1.
        config.seeds = vec![address(if number == 2 { 1 } else { number / 2 * 2 }).to_string()];
        nodes.push(start(config).await);
    }
    until(&mut nodes, "one cluster", |nodes| nodes.iter().all(|node| node.alive() == 3)).await;
    for (a, b) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        network.sever(address(a), address(b));
    }
    until(&mut nodes, "a split", |nodes| nodes.iter().all(|node| node.alive() == 1)).await;
    until(&mut nodes, "oblivion", |nodes| {
        nodes
            .iter()
            .all(|node| node.others.values().filter(|o| o.liveness == Liveness::Forgotten).count() == 2)
    })
    .await;
    network.heal();
    until(&mut nodes, "healed", |nodes| nodes.iter().all(|node| node.alive() == 3)).await;
}

#[tokio::test(start_paused = true)]
async fn clusters_and_cookies_are_kept_apart() {
    let network = Network::new(0, seed());
    let mut nodes = Vec::new();
    let cookies: [(&str, Option<&[u8]>); 6] = [
        ("blue", None),
        ("blue", None),
        ("green", None),
        ("blue", Some(b"a cookie of 16 b")),
        ("blue", Some(b"a cookie of 16 b")),
        ("blue", Some(b"another of 16 by")),
    ];
    for (number, (cluster, cookie)) in cookies.into_iter().enumerate() {
        let mut config = config(&network, number, 5);
        config.cluster = cluster.into();
        config.keys = cookie.map(|cookie| keys(cluster, cookie));
        config.seeds = (0..cookies.len()).map(|number| address(number).to_string()).collect();
        nodes.push(start(config).await);
    }
    until(&mut nodes, "the two pairs", |nodes| [0, 1, 3, 4].iter().all(|node| nodes[*node].alive() == 1))
        .await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    nodes.iter_mut().for_each(Node::drain);
    let known: Vec<usize> = nodes.iter().map(|node| node.others.len()).collect();
    assert_eq!(known, [1, 1, 0, 1, 1, 0]);
    let reasons = |node: usize| -> Vec<&str> {
        let rejected = nodes[node].membership.counters().rejected();
        rejected.by_reason().filter(|(_, count)| *count > 0).map(|(reason, _)| reason).collect()
    };
    assert_eq!(reasons(0), ["other_cluster", "wrong_key"]);
    assert_eq!(reasons(2), ["other_cluster"]);
    assert_eq!(reasons(3), ["other_cluster", "unsealed", "wrong_key"]);
}

#[tokio::test(start_paused = true)]
async fn damaged_and_repeated_datagrams_change_nothing_where_there_is_a_cookie() {
    let network = Network::new(10, seed());
    let keys = keys("blue", b"0123456789abcdef");
    let mut nodes = cluster_with(&network, 3, |config| config.keys = Some(keys.clone())).await;
    network.harm(20);
    tokio::time::sleep(Duration::from_secs(60)).await;
    for node in &mut nodes {
        node.drain();
        assert_eq!((node.alive(), node.deaths(), node.others.len()), (2, 0, 2));
        let rejected = node.membership.counters().rejected();
        assert!(rejected.of(Rejection::Replay) > 0 && rejected.of(Rejection::WrongKey) > 0);
        assert_eq!(node.membership.counters().restarts(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_receiver_gets_the_last_values() {
    let network = Network::new(0, seed());
    let mut nodes = cluster(&network, 2).await;
    let author = nodes[1].me.clone();
    for value in 0..200 {
        nodes[1].membership.publish("head", value.to_string()).unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    until(&mut nodes, "the last value", |nodes| nodes[0].sees_key(&author, "head", "199")).await;
    assert!(nodes[0].history.len() < 100);
}

/// Claims that the victim's own state is at the highest version, so that it cannot publish any more: chitchat panics.
fn poison(victim: &Node, restart: u32) -> Vec<u8> {
    let id =
        ChitchatId::new(victim.me.name.as_str(), generation(victim.me.incarnation, restart), victim.address);
    let mut operations = vec![0];
    id.serialize(&mut operations);
    operations.extend_from_slice(&[0; 16]);
    operations.push(2);
    operations.extend_from_slice(&u64::MAX.to_le_bytes());
    let mut ack = vec![0x53, 0xb0, 0, 2, 2];
    ack.extend_from_slice(&(operations.len() as u16).to_le_bytes());
    ack.extend_from_slice(&operations);
    ack.push(0);
    ack
}

#[tokio::test(start_paused = true)]
async fn a_death_of_chitchat_is_survived_under_the_same_incarnation() {
    let network = Network::new(0, seed());
    let mut nodes = cluster(&network, 4).await;
    let victim = nodes[3].me.clone();
    let mut attacker = Codec::new("blue", None, [9; 16], Arc::default());
    for restart in 0..3 {
        let message = poison(&nodes[3], restart);
        let message = ::chitchat::Deserializable::deserialize(&mut &message[..]).unwrap();
        let to = nodes[3].address;
        attacker.encode(&message, |datagram| network.inject(address(77), to, datagram.to_vec()));
        tokio::time::sleep(Duration::from_millis(400)).await;
        let value = format!("after {restart}");
        nodes[3].membership.publish("head", value.clone()).unwrap();
        until(&mut nodes, "another death", |nodes| {
            nodes[3].membership.counters().restarts() == u64::from(restart) + 1
        })
        .await;
        until(&mut nodes, "its keys", |nodes| nodes[..3].iter().all(|n| n.sees_key(&victim, "head", &value)))
            .await;
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
    nodes.iter_mut().for_each(Node::drain);
    for node in &nodes {
        assert_eq!((node.alive(), node.deaths(), node.others.len()), (3, 0, 3));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_published_is_bounded() {
    let network = Network::new(0, seed());
    let node = start(config(&network, 0, 1)).await;
    assert_eq!(node.membership.publish("k", "x".repeat(1024)), Err(PublishError::TooLong(1025)));
    let results: Vec<_> = (0..70).map(|n| node.membership.publish(&n.to_string(), String::new())).collect();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 63);
    assert_eq!(node.membership.publish("5", "again".into()), Ok(()));
    let mut config = config(&network, 1, u64::MAX);
    config.keys = None;
    assert!(matches!(Membership::start(config).await, Err(StartError::Incarnation(u64::MAX))));
}

#[tokio::test]
async fn two_nodes_meet_on_real_sockets() {
    let mut nodes = Vec::new();
    let mut seeds = Vec::new();
    // Where there is IPv6, one of them listens on both families and is still reached by IPv4.
    for (number, listen) in ["[::]:0", "127.0.0.1:0"].into_iter().enumerate() {
        let socket = match tokio::net::UdpSocket::bind(listen).await {
            Ok(socket) => Arc::new(socket),
            Err(_) => Arc::new(tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap()),
        };
        let address = SocketAddr::from(([127, 0, 0, 1], socket.local_addr().unwrap().port()));
        let mut config = MembershipConfig::new("blue", replica(number, 1), address, socket);
        config.keys = Some(keys("blue", b"0123456789abcdef"));
        config.gossip_interval = Duration::from_millis(20);
        config.seeds = seeds.clone();
        seeds.push(format!("localhost:{}", address.port()));
        nodes.push(start(config).await);
    }
    until(&mut nodes, "both see each other", |nodes| nodes.iter().all(|node| node.alive() == 1)).await;
    let counters = nodes[0].membership.counters();
    assert!(counters.incoming().sum() > 0 && counters.outgoing().sum() > 0);
}
