//! A few nodes, links without loss, and a clock that the script moves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rumormq_gossip::{
    Config, Event, Incarnation, Node, NodeName, Observation, Orphans, ReplicaId, SetId, SetSpec, Status,
};

pub const ROUTES: SetId = SetId(0);
pub const SESSIONS: SetId = SetId(1);
pub const RETAINED: SetId = SetId(2);

pub const SETS: [SetSpec; 3] = [
    SetSpec::plain("routes"),
    SetSpec::stamped("sessions", Orphans::Dropped),
    SetSpec::stamped("retained", Orphans::Adopted),
];

pub fn replica(name: &str, incarnation: u64) -> ReplicaId {
    let name = NodeName::parse(&format!("{name}@host")).expect("is a name");
    ReplicaId { name, incarnation: Incarnation(incarnation) }
}

/// Nodes called by letters, and the links between them.
pub struct Script {
    pub now: Instant,
    pub nodes: BTreeMap<&'static str, Node>,
    pub links: Vec<(&'static str, &'static str)>,
    pub events: BTreeMap<&'static str, Vec<Event>>,
    pub sent: Vec<(&'static str, usize)>,
}

impl Script {
    pub fn new(names: &[&'static str]) -> Script {
        Script::with_config(names, Config::default())
    }

    pub fn with_config(names: &[&'static str], config: Config) -> Script {
        let now = Instant::now();
        let node = |name| Node::new(config.clone(), replica(name, 1), &SETS, now);
        Script {
            now,
            nodes: names.iter().map(|name| (*name, node(name))).collect(),
            links: Vec::new(),
            events: BTreeMap::new(),
            sent: Vec::new(),
        }
    }

    pub fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.get_mut(name).expect("is in the script")
    }

    pub fn me(&self, name: &str) -> ReplicaId {
        self.nodes[name].me().clone()
    }

    /// Links two nodes and makes both known to all as alive.
    pub fn link(&mut self, one: &'static str, other: &'static str) {
        let now = self.now;
        let hellos = [one, other].map(|name| self.nodes[name].hello(now));
        let ids = [one, other].map(|name| self.me(name));
        let [from_one, from_other] = hellos;
        assert!(self.node(one).handle_link_up(ids[1].clone(), from_other, now));
        assert!(self.node(other).handle_link_up(ids[0].clone(), from_one, now));
        self.links.push((one, other));
        self.pump();
    }

    pub fn unlink(&mut self, one: &'static str, other: &'static str) {
        let (now, ids) = (self.now, [one, other].map(|name| self.me(name)));
        self.links.retain(|link| *link != (one, other));
        self.node(one).handle_link_down(&ids[1], now);
        self.node(other).handle_link_down(&ids[0], now);
        self.pump();
    }

    pub fn observe(&mut self, at: &str, replica: &ReplicaId, alive: bool, status: Status) {
        let now = self.now;
        let heads =
            self.nodes.values().find(|node| node.me() == replica).map(Node::heads).unwrap_or_default();
        let observation = Observation { replica: replica.clone(), alive, status, heads };
        self.node(at).handle_observation(observation, now);
        self.pump();
    }

    pub fn observe_all_alive(&mut self) {
        let names: Vec<&str> = self.nodes.keys().copied().collect();
        for at in &names {
            for of in names.iter().filter(|of| *of != at) {
                let of = self.me(of);
                self.observe(at, &of, true, Status::Running);
            }
        }
    }

    pub fn insert(&mut self, at: &str, key: &str) -> u64 {
        let now = self.now;
        self.node(at).insert(ROUTES, key.as_bytes(), b"1", now)
    }

    /// Delivers everything that is on its way.
    pub fn pump(&mut self) {
        loop {
            let mut quiet = true;
            for name in self.nodes.keys().copied().collect::<Vec<_>>() {
                while let Some(event) = self.node(name).poll_event() {
                    self.events.entry(name).or_default().push(event);
                }
                while let Some((to, message)) = self.node(name).poll_transmit() {
                    quiet = false;
                    let from = self.me(name);
                    let bytes = postcard::to_stdvec(&message).expect("can be written");
                    self.sent.push((name, bytes.len()));
                    let linked = |peer: &str| {
                        self.links.iter().any(|link| *link == (name, peer) || *link == (peer, name))
                    };
                    let peer = self.nodes.keys().copied().find(|peer| linked(peer) && self.me(peer) == to);
                    if let Some(peer) = peer {
                        let message = postcard::from_bytes(&bytes).expect("can be read");
                        let now = self.now;
                        self.node(peer).handle_message(&from, message, now).expect("is well formed");
                    }
                }
            }
            if quiet {
                return;
            }
        }
    }

    /// Lets time pass in small steps; linked peers answer pings, except the silent ones.
    pub fn pass(&mut self, time: Duration, silent: &[&str]) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(50);
            for (one, other) in self.links.clone() {
                if silent.contains(&one) || silent.contains(&other) {
                    continue;
                }
                let (now, rtt) = (self.now, Duration::from_millis(1));
                let ids = [one, other].map(|name| self.me(name));
                self.node(one).handle_pong(&ids[1], rtt, now);
                self.node(other).handle_pong(&ids[0], rtt, now);
            }
            let now = self.now;
            self.nodes.values_mut().for_each(|node| node.handle_tick(now));
            self.pump_except(silent);
        }
    }

    /// Delivers, but what silent nodes would say or hear is lost.
    pub fn pump_except(&mut self, silent: &[&str]) {
        let links = self.links.clone();
        self.links.retain(|(one, other)| !silent.contains(one) && !silent.contains(other));
        self.pump();
        self.links = links;
    }

    pub fn take_events(&mut self, at: &str) -> Vec<Event> {
        self.events.remove(at).unwrap_or_default()
    }

    pub fn settled(&mut self, at: &str) -> Vec<(u64, Vec<ReplicaId>)> {
        let settled = |event| match event {
            Event::Settled { seq, missed, .. } => Some((seq, missed)),
            _ => None,
        };
        self.take_events(at).into_iter().filter_map(settled).collect()
    }

    pub fn keys(&self, at: &str) -> Vec<String> {
        let elements = self.nodes[at].elements(ROUTES, false);
        let mut keys: Vec<String> =
            elements.map(|(_, element)| String::from_utf8_lossy(element.key()).into_owned()).collect();
        keys.sort();
        keys
    }
}
