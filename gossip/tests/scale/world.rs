//! The simulated cluster: real nodes, and a model of what is between them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use rumormq_gossip::{
    Config, Event, Incarnation, Message, Node, NodeName, Observation, ReplicaId, SetId, SetSpec, Status,
};

use crate::random::Random;
use crate::traffic::{PING, Traffic};

pub const ROUTES: SetId = SetId(0);

/// One way over a link.
const LATENCY: (Duration, Duration) = (Duration::from_micros(450), Duration::from_micros(550));
/// A lost segment is sent again after so long, and holds up what is behind it on its link.
const RETRANSMISSION: Duration = Duration::from_millis(200);
/// From the first packet to the end of both greetings.
const HANDSHAKE: Duration = Duration::from_millis(2);
const PING_EVERY: Duration = Duration::from_millis(500);
const DIAL_EVERY: Duration = Duration::from_millis(250);
/// A silent link is cut after so long.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// A death is seen by everybody within these times, as measured with chitchat at 3 to 50 nodes.
const DEATH_SEEN: (Duration, Duration) = (Duration::from_millis(1000), Duration::from_millis(2800));
/// Rounds of the membership's gossip, of which everybody hears of a join or a return after one for every doubling of the
/// cluster.
const GOSSIP_EVERY: Duration = Duration::from_millis(200);

enum Happening {
    Tick { host: usize },
    Deliver { from: usize, to: usize, link: u64, message: Box<Message> },
    PingRound { host: usize },
    DialRound { host: usize },
    Open { from: usize, to: usize },
    Cut { one: usize, other: usize, link: u64 },
    Observe { host: usize, about: usize, alive: bool },
    Change { host: usize, tracked: bool },
}

struct Entry {
    at: Duration,
    number: u64,
    happening: Happening,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.number == other.number
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

pub struct Host {
    pub node: Node,
    links: BTreeMap<usize, Link>,
    tick_at: Option<Duration>,
    pub traffic: Traffic,
    /// Bytes that came.
    pub received: u64,
    keys: u64,
    /// Its clock, before that of the world.
    ahead: Duration,
    /// When it looks next, so much more time has passed for it.
    skips: Duration,
}

struct Link {
    id: u64,
    /// Nothing overtakes on a link.
    clear_at: Duration,
}

/// A change whose way is followed.
pub struct Tracked {
    owner: usize,
    seq: u64,
    made: Duration,
    /// When each host had applied it.
    pub applied: BTreeMap<usize, Duration>,
    /// When its owner knew that all have it, or may be told so; and how many missed it.
    pub settled: Option<(Duration, usize)>,
}

pub struct World {
    pub hosts: Vec<Host>,
    by_name: HashMap<NodeName, usize>,
    /// On which side of a split a host is.
    side: Vec<u8>,
    queue: BinaryHeap<Reverse<Entry>>,
    number: u64,
    pub now: Duration,
    epoch: Instant,
    random: Random,
    config: Config,
    /// Messages of a million that are held up.
    held_up: usize,
    pub tracked: Vec<Tracked>,
}

impl World {
    /// So many nodes that know each other and have no links yet.
    pub fn new(nodes: usize, held_up: usize, config: Config) -> World {
        let mut world = World {
            hosts: Vec::new(),
            by_name: HashMap::new(),
            side: Vec::new(),
            queue: BinaryHeap::new(),
            number: 0,
            now: Duration::ZERO,
            epoch: Instant::now(),
            random: Random::new(1),
            config,
            held_up,
            tracked: Vec::new(),
        };
        for _ in 0..nodes {
            world.add_host();
        }
        for host in 0..nodes {
            for about in (0..nodes).filter(|about| *about != host) {
                world.observe(host, about, true);
            }
            world.settle(host);
            // By then everybody has looked at whom to link to.
            world.begin_rounds(host, Duration::from_secs(2));
        }
        world
    }

    fn add_host(&mut self) -> usize {
        let host = self.hosts.len();
        let name = format!("rumormq@10.20.{}.{}", host / 256, host % 256);
        let name = NodeName::parse(&name).expect("is a name");
        let me = ReplicaId { name: name.clone(), incarnation: Incarnation(1_700_000_000_000) };
        let started = self.between(Duration::ZERO, Duration::from_millis(500));
        let node =
            Node::new(self.config.clone(), me, &[SetSpec::plain("routes")], self.epoch + self.now + started);
        self.hosts.push(Host {
            node,
            links: BTreeMap::new(),
            tick_at: None,
            traffic: Traffic::default(),
            received: 0,
            keys: 0,
            ahead: Duration::ZERO,
            skips: Duration::ZERO,
        });
        self.by_name.insert(name, host);
        self.side.push(0);
        host
    }

    fn begin_rounds(&mut self, host: usize, after: Duration) {
        let dial = after + self.between(Duration::ZERO, DIAL_EVERY);
        self.at(dial, Happening::DialRound { host });
        let ping = self.between(Duration::ZERO, PING_EVERY);
        self.at(ping, Happening::PingRound { host });
    }

    // ---- What a scenario does ----

    /// Adds a node that knows the first one only; of the others it hears through it. Returns its number.
    pub fn join(&mut self) -> usize {
        let others = self.hosts.len();
        let host = self.add_host();
        self.settle(host);
        self.open(host, 0);
        self.begin_rounds(host, DIAL_EVERY);
        let rounds = (others as f64).log2().ceil() as u32;
        for other in 0..others {
            let heard = self.between(GOSSIP_EVERY, GOSSIP_EVERY * rounds.max(2));
            self.at(heard, Happening::Observe { host: other, about: host, alive: true });
            // Its first exchange names all.
            self.at(GOSSIP_EVERY, Happening::Observe { host, about: other, alive: true });
        }
        host
    }

    /// Cuts the cluster into halves.
    pub fn split(&mut self) {
        let hosts = self.hosts.len();
        for host in 0..hosts {
            self.side[host] = (host % 2) as u8;
        }
        for host in 0..hosts {
            let across: Vec<(usize, u64)> = self.hosts[host]
                .links
                .iter()
                .filter(|(peer, _)| self.side[**peer] != self.side[host])
                .map(|(peer, link)| (*peer, link.id))
                .collect();
            for (peer, link) in across {
                self.at(SILENCE_MAX, Happening::Cut { one: host, other: peer, link });
            }
            for about in (0..hosts).filter(|about| about % 2 != host % 2) {
                let seen = self.between(DEATH_SEEN.0, DEATH_SEEN.1);
                self.at(seen, Happening::Observe { host, about, alive: false });
            }
        }
    }

    /// Ends the split.
    pub fn heal(&mut self) {
        let hosts = self.hosts.len();
        self.side.fill(0);
        let rounds = (hosts as f64).log2().ceil() as u32;
        for host in 0..hosts {
            for about in (0..hosts).filter(|about| about % 2 != host % 2) {
                let seen = self.between(GOSSIP_EVERY, GOSSIP_EVERY * rounds.max(2));
                self.at(seen, Happening::Observe { host, about, alive: true });
            }
        }
    }

    /// Lets time pass at which nothing happens, as in machines that are suspended together: each host's clock is put forward when it
    /// looks at it next, and it knows that it was not given that time. Its timers go off, what it knows of others is no older.
    pub fn skip(&mut self, time: Duration) {
        for host in &mut self.hosts {
            host.skips += time;
        }
    }

    /// Some node subscribes to something new, so long from now. Its way is followed on request.
    pub fn change_after(&mut self, delay: Duration, host: usize, tracked: bool) {
        self.at(delay, Happening::Change { host, tracked });
    }

    pub fn some_host(&mut self) -> usize {
        self.random.below(0..self.hosts.len())
    }

    pub fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(Reverse(entry)) = self.queue.peek()
            && entry.at <= until
        {
            let Some(Reverse(entry)) = self.queue.pop() else { break };
            self.now = entry.at;
            self.happen(entry.happening);
        }
        self.now = until;
    }

    /// Runs until the condition holds, looking every `step`, at most for `most`. Returns how long that took.
    pub fn run_until(
        &mut self,
        step: Duration,
        most: Duration,
        mut holds: impl FnMut(&World) -> bool,
    ) -> Option<Duration> {
        let started = self.now;
        while self.now - started < most {
            self.run_for(step);
            if holds(self) {
                return Some(self.now - started);
            }
        }
        None
    }

    // ---- What a scenario asks ----

    pub fn traffic(&self) -> Traffic {
        let mut sum = Traffic::default();
        for host in &self.hosts {
            let Traffic {
                deltas,
                delta_bytes,
                acks,
                ack_bytes,
                pull_bytes,
                vector_bytes,
                beat_bytes,
                ping_bytes,
            } = host.traffic;
            sum.deltas += deltas;
            sum.delta_bytes += delta_bytes;
            sum.acks += acks;
            sum.ack_bytes += ack_bytes;
            sum.pull_bytes += pull_bytes;
            sum.vector_bytes += vector_bytes;
            sum.beat_bytes += beat_bytes;
            sum.ping_bytes += ping_bytes;
        }
        sum
    }

    /// Links of each host.
    pub fn links(&self) -> impl Iterator<Item = usize> {
        self.hosts.iter().map(|host| host.links.len())
    }

    pub fn heads(&self) -> Vec<u64> {
        self.hosts.iter().map(|host| host.node.head(ROUTES).seq).collect()
    }

    /// Whether everybody has applied everything up to these heads.
    pub fn have(&self, heads: &[u64]) -> bool {
        (0..self.hosts.len()).all(|host| self.has(host, heads))
    }

    /// Whether one has.
    pub fn has(&self, host: usize, heads: &[u64]) -> bool {
        heads.iter().enumerate().filter(|(owner, seq)| *owner != host && **seq > 0).all(|(owner, seq)| {
            let applied = self.hosts[host].node.applied(ROUTES, self.hosts[owner].node.me());
            applied.is_some_and(|head| head.seq >= *seq)
        })
    }

    pub fn is_full_mesh(&self) -> bool {
        self.hosts.iter().all(|host| host.node.is_full_mesh())
    }

    /// Whether nobody lacks a link.
    pub fn is_linked(&self) -> bool {
        self.hosts.iter().all(|host| host.node.missing_links().is_empty())
    }

    // ---- What happens ----

    fn between(&mut self, from: Duration, to: Duration) -> Duration {
        self.random.micros(from.as_micros() as usize..to.as_micros() as usize)
    }

    fn at(&mut self, delay: Duration, happening: Happening) {
        self.number += 1;
        self.queue.push(Reverse(Entry { at: self.now + delay, number: self.number, happening }));
    }

    /// What the clock of a host shows. Nobody compares clocks of two.
    fn instant(&self, host: usize) -> Instant {
        self.epoch + self.now + self.hosts[host].ahead
    }

    fn is_cut(&self, one: usize, other: usize) -> bool {
        self.side[one] != self.side[other]
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Tick { host } => {
                if self.hosts[host].tick_at == Some(self.now) {
                    let entry = &mut self.hosts[host];
                    entry.tick_at = None;
                    entry.ahead += std::mem::take(&mut entry.skips);
                    let now = self.instant(host);
                    self.hosts[host].node.handle_tick(now);
                    self.settle(host);
                }
            }
            Happening::Deliver { from, to, link, message } => {
                if self.hosts[to].links.get(&from).is_none_or(|known| known.id != link)
                    || self.is_cut(from, to)
                {
                    return;
                }
                let (peer, now) = (self.hosts[from].node.me().clone(), self.instant(to));
                let handled = self.hosts[to].node.handle_message(&peer, *message, now);
                handled.expect("nobody breaks the protocol");
                self.settle(to);
            }
            Happening::PingRound { host } => self.ping_round(host),
            Happening::DialRound { host } => self.dial_round(host),
            Happening::Open { from, to } => self.open(from, to),
            Happening::Cut { one, other, link } => {
                if self.is_cut(one, other)
                    && self.hosts[one].links.get(&other).is_some_and(|known| known.id == link)
                {
                    self.close(one, other);
                }
            }
            Happening::Observe { host, about, alive } => {
                self.observe(host, about, alive);
                self.settle(host);
            }
            Happening::Change { host, tracked } => self.change(host, tracked),
        }
    }

    fn observe(&mut self, host: usize, about: usize, alive: bool) {
        let now = self.instant(host);
        let replica = self.hosts[about].node.me().clone();
        let observation = Observation { replica, alive, status: Status::Running, heads: Vec::new() };
        self.hosts[host].node.handle_observation(observation, now);
    }

    fn change(&mut self, host: usize, tracked: bool) {
        let now = self.instant(host);
        let entry = &mut self.hosts[host];
        entry.keys += 1;
        let filter = format!("plant/{host}/machine/{}/state", entry.keys);
        let seq = entry.node.insert(ROUTES, filter.as_bytes(), b"\x01", now);
        if tracked {
            let applied = BTreeMap::new();
            self.tracked.push(Tracked { owner: host, seq, made: self.now, applied, settled: None });
            self.hosts[host].node.await_settled(ROUTES, seq, now);
        }
        self.settle(host);
    }

    /// Every peer answers, unless it is cut off.
    fn ping_round(&mut self, host: usize) {
        let now = self.instant(host);
        let peers: Vec<usize> = self.hosts[host].links.keys().copied().collect();
        for peer in peers {
            self.hosts[host].traffic.ping_bytes += PING;
            if !self.is_cut(host, peer) {
                self.hosts[peer].traffic.ping_bytes += PING;
                self.hosts[peer].received += PING;
                self.hosts[host].received += PING;
                let replica = self.hosts[peer].node.me().clone();
                self.hosts[host].node.handle_pong(&replica, 2 * LATENCY.0, now);
            }
        }
        self.settle(host);
        self.at(PING_EVERY, Happening::PingRound { host });
    }

    /// Of two that want a link the one with the lower name dials; links that are of no use end.
    fn dial_round(&mut self, host: usize) {
        let now = self.instant(host);
        self.hosts[host].node.review_links(now);
        for replica in self.hosts[host].node.missing_links() {
            let Some(peer) = self.by_name.get(&replica.name).copied() else { continue };
            let node = &self.hosts[peer].node;
            if self.hosts[host].node.me() < node.me() || !node.wants_link(&self.hosts[host].node.me().name) {
                self.at(HANDSHAKE, Happening::Open { from: host, to: peer });
            }
        }
        let peers: Vec<usize> = self.hosts[host].links.keys().copied().collect();
        for peer in peers {
            let replica = self.hosts[peer].node.me().clone();
            if !self.is_cut(host, peer) && self.hosts[host].node.is_spare(&replica, now) {
                self.close(host, peer);
                self.close(peer, host);
            }
        }
        self.at(DIAL_EVERY, Happening::DialRound { host });
    }

    fn open(&mut self, from: usize, to: usize) {
        if self.is_cut(from, to) {
            return;
        }
        let ends = [(from, to), (to, from)];
        if ends.iter().all(|(host, peer)| self.hosts[*host].links.contains_key(peer)) {
            return;
        }
        self.number += 1;
        let (id, clear_at) = (self.number, self.now);
        for (host, peer) in ends {
            self.close(host, peer);
        }
        let hellos = ends.map(|(host, _)| self.hosts[host].node.hello(self.instant(host)));
        for ((host, peer), (own, theirs)) in ends.into_iter().zip([0, 1].into_iter().zip([1, 0])) {
            let bytes = self.hosts[host].traffic.count_greeting(&hellos[own]);
            self.hosts[peer].received += bytes;
            let (replica, now) = (self.hosts[peer].node.me().clone(), self.instant(host));
            self.hosts[host].links.insert(peer, Link { id, clear_at });
            let entry = &mut self.hosts[host];
            assert!(entry.node.handle_link_up(replica.clone(), hellos[theirs].clone(), now));
            entry.node.allow_beats(&replica);
        }
        for (host, _) in ends {
            self.settle(host);
        }
    }

    fn close(&mut self, host: usize, peer: usize) {
        if self.hosts[host].links.remove(&peer).is_some() {
            let (replica, now) = (self.hosts[peer].node.me().clone(), self.instant(host));
            self.hosts[host].node.handle_link_down(&replica, now);
            self.settle(host);
        }
    }

    /// Does what a node wants.
    fn settle(&mut self, host: usize) {
        while let Some(event) = self.hosts[host].node.poll_event() {
            self.note(host, event);
        }
        while let Some((peer, message)) = self.hosts[host].node.poll_transmit() {
            let Some(to) = self.by_name.get(&peer.name).copied() else { continue };
            self.send(host, to, message);
        }
        let Some(due) = self.hosts[host].node.poll_timeout() else { return };
        let at = due.saturating_duration_since(self.epoch + self.hosts[host].ahead).max(self.now);
        if self.hosts[host].tick_at.is_none_or(|before| before > at) {
            self.hosts[host].tick_at = Some(at);
            self.at(at - self.now, Happening::Tick { host });
        }
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        let bytes = self.hosts[from].traffic.count(&message);
        self.hosts[to].received += bytes;
        let held_up = self.random.below(0..1_000_000) < self.held_up;
        let latency = self.between(LATENCY.0, LATENCY.1);
        let latency = if held_up { latency + RETRANSMISSION } else { latency };
        let Some(link) = self.hosts[from].links.get_mut(&to) else { return };
        let arrival = (self.now + latency).max(link.clear_at);
        link.clear_at = arrival;
        let link = link.id;
        self.at(arrival - self.now, Happening::Deliver { from, to, link, message: Box::new(message) });
    }

    fn note(&mut self, host: usize, event: Event) {
        match event {
            Event::Changed { replica, .. } => {
                for tracked in &mut self.tracked {
                    if *self.hosts[tracked.owner].node.me() == replica
                        && self.hosts[host]
                            .node
                            .applied(ROUTES, &replica)
                            .is_some_and(|head| head.seq >= tracked.seq)
                    {
                        tracked.applied.entry(host).or_insert(self.now - tracked.made);
                    }
                }
            }
            Event::Settled { seq, missed, .. } => {
                let now = self.now;
                let settled =
                    self.tracked.iter_mut().find(|tracked| tracked.owner == host && tracked.seq == seq);
                if let Some(tracked) = settled {
                    tracked.settled = Some((now - tracked.made, missed.len()));
                }
            }
            Event::Diverged { .. } | Event::Conflict { .. } | Event::RestartLane { .. } => {
                panic!("{host}: {event:?}")
            }
            Event::Member { .. } | Event::Propagated { .. } | Event::Won { .. } | Event::Cleared { .. } => {}
        }
    }
}
