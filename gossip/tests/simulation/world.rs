//! The simulated cluster: hosts, the network between them, what goes wrong, and what must hold.
//!
//! Links are treated worse than TCP would: single messages are lost, repeated and overtake each other while the
//! link stays up. One seed gives one run, always the same.

mod checks;
mod network;
mod trouble;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rumormq_gossip::{
    Config, Counters, Event, Head, Hello, Incarnation, LaneLimits, NodeName, ReplicaId, SetId, Stamp, Winner,
};

use crate::membership::Table;
use crate::process::{Content, Kept, Process, SETS, Seen};
use crate::random::Random;

/// What a run is like; drawn from the seed.
#[derive(Clone, Debug)]
pub struct Profile {
    pub hosts: usize,
    /// Percent of messages lost, repeated.
    pub loss: usize,
    pub duplication: usize,
    /// Messages of a link overtake each other.
    pub reorder: bool,
    pub latency_micros: (usize, usize),
    /// How long things go wrong.
    pub trouble: Duration,
    /// Some pairs never get a link, though all hosts are connected through others.
    pub keep_cuts: bool,
    pub config: Config,
}

impl Profile {
    pub fn of(random: &mut Random) -> Profile {
        // Small clusters may be grids, too, and then more so than large ones.
        let full_mesh_up_to = random.pick(&[64, 64, 4, 1]);
        let config = Config {
            lane: LaneLimits { remove_window: random.pick(&[0, 1, 3, 8, 30, 1000]), ..LaneLimits::default() },
            max_delta_bytes: random.pick(&[64, 150, 400, 4000, 100_000]),
            forget_after: Duration::from_millis(random.pick(&[1_000, 3_600_000, 3_600_000, 3_600_000])),
            full_mesh_up_to,
            // Digests are lost here as they are not with TCP, and in grids everybody waits for his turn.
            full_digest_every: if full_mesh_up_to < 64 { 1 } else { Config::default().full_digest_every },
            spare_link_after: Duration::from_millis(random.pick(&[300, 3_000])),
            ..Config::default()
        };
        Profile {
            hosts: random.below(3..11),
            loss: random.pick(&[0, 10, 30, 30, 30]),
            duplication: random.pick(&[0, 5, 20]),
            reorder: random.chance(80),
            latency_micros: random.pick(&[(100, 1_000), (500, 20_000), (10_000, 120_000)]),
            trouble: random.millis(3_000..9_000),
            keep_cuts: random.chance(40),
            config,
        }
    }
}

/// A deliberate fault, to show that the checks can fail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sabotage {
    None,
    /// Removes are taken out of deltas on their way, one of each, until somebody notices.
    SkipOneRemove,
    /// A host restarts with the incarnation it had, and without what it had.
    ReuseIncarnation,
    /// One host stays cut off.
    NeverHeal,
    /// An application misses one event about a winner.
    MissOneWinner,
}

enum Happening {
    Tick { host: usize, life: u64 },
    GossipRound { host: usize, life: u64 },
    Gossip { to: usize, table: Table },
    Dial { one: usize, other: usize },
    Greeting { from: usize, to: usize, connection: u64, peer: ReplicaId, hello: Box<Hello>, is_reply: bool },
    PingRound { host: usize, life: u64 },
    Ping { from: usize, to: usize, connection: u64, sent: Duration, is_pong: bool },
    Deliver { from: usize, to: usize, connection: u64, bytes: Vec<u8> },
    Churn,
    Trouble,
    Start { host: usize },
    Exit { host: usize, life: u64 },
    Heal { one: usize, other: usize },
}

/// A sequence number, and the heads of its own lanes that a replica had when it applied that of another's lane.
type Applied = (u64, Vec<u64>);

struct Host {
    name: NodeName,
    process: Option<Process>,
    /// What the next process restores.
    saved: Content,
    incarnation: Incarnation,
    /// How far its clock is ahead, in milliseconds.
    clock_ahead: u64,
}

pub struct World {
    pub profile: Profile,
    random: Random,
    epoch: Instant,
    now: Duration,
    queue: BTreeMap<(Duration, u64), Happening>,
    counter: u64,
    hosts: Vec<Host>,
    /// `blocked[from][to]`, by number of cuts that overlap.
    blocked: Vec<Vec<u32>>,
    troubled: bool,
    sabotage: Sabotage,
    sabotaged: bool,
    /// Every state that an owner's lane was ever in.
    history: BTreeMap<(ReplicaId, SetId), Vec<Head>>,
    /// What counted for somebody who runs when the trouble ended, by key: nothing older may count in the end.
    known: BTreeMap<Vec<u8>, Seen>,
    /// How far each replica's own lanes were, when it had applied how much of which lane.
    when_applied: BTreeMap<(ReplicaId, ReplicaId, SetId), Vec<Applied>>,
    pub coverage: Counters,
    /// Times that a claim of one application was seen to be taken over by another.
    pub claims_lost: u64,
    /// Entries that somebody holds for a replica that is gone.
    pub adopted: u64,
    pub restarts: u64,
    pub spare_links_ended: u64,
    pub alarms: u64,
    pub violations: Vec<String>,
}

impl World {
    pub fn new(seed: u64, sabotage: Sabotage) -> World {
        let mut random = Random::new(seed);
        let profile = Profile::of(&mut random);
        let name = |host| NodeName::parse(&format!("node{host}@sim")).expect("is a name");
        let hosts = (0..profile.hosts).map(|host| Host {
            name: name(host),
            process: None,
            saved: vec![BTreeMap::new(); SETS.len()],
            incarnation: Incarnation(0),
            clock_ahead: 0,
        });
        let mut world = World {
            hosts: hosts.collect(),
            blocked: vec![vec![0; profile.hosts]; profile.hosts],
            profile,
            random,
            epoch: Instant::now(),
            now: Duration::ZERO,
            queue: BTreeMap::new(),
            counter: 0,
            troubled: true,
            sabotage,
            sabotaged: false,
            history: BTreeMap::new(),
            known: BTreeMap::new(),
            when_applied: BTreeMap::new(),
            coverage: Counters::default(),
            adopted: 0,
            claims_lost: 0,
            restarts: 0,
            spare_links_ended: 0,
            alarms: 0,
            violations: Vec::new(),
        };
        for one in 0..world.hosts.len() {
            world.hosts[one].clock_ahead = world.random.pick(&[0, 0, 3, 1000, 60_000]);
            let delay = world.random.millis(0..1500);
            world.at(delay, Happening::Start { host: one });
            for other in one + 1..world.hosts.len() {
                let delay = world.random.millis(0..300);
                world.at(delay, Happening::Dial { one, other });
            }
        }
        world.at(Duration::from_millis(300), Happening::Churn);
        world.at(Duration::from_millis(900), Happening::Trouble);
        world
    }

    /// Trouble, then quiet until all agree. The error says what they do not agree in.
    pub fn run(&mut self) -> Result<(), String> {
        self.run_until(self.profile.trouble);
        self.end_trouble();
        self.note_known();
        let deadline = self.now + Duration::from_secs(90);
        let mut agreed_since = None;
        loop {
            self.run_until(self.now + Duration::from_millis(100));
            if let Some(violation) = self.violations.first() {
                return Err(violation.clone());
            }
            match self.disagreement() {
                None => {
                    // They must not only agree once, but stay so while digests and late messages go on.
                    if self.now - *agreed_since.get_or_insert(self.now) >= Duration::from_millis(1200) {
                        break;
                    }
                }
                Some(disagreement) if self.now > deadline => return Err(disagreement),
                Some(_) => agreed_since = None,
            }
        }
        let mut adopted_in_all = 0;
        for process in self.hosts.iter().filter_map(|host| host.process.as_ref()) {
            add(&mut self.coverage, process.node.counters());
        }
        for (_, process) in self.running() {
            let entries = process.node.elements(SetId(SETS.len() as u8 - 1), false);
            let lanes: Vec<_> = entries.map(|(owner, element)| (owner, element.key())).collect();
            let adopted = lanes.iter().filter(|(owner, key)| {
                let latest = process.node.latest(SetId(SETS.len() as u8 - 1), key);
                *owner == process.node.me() && latest.is_some_and(|latest| latest.replica != **owner)
            });
            adopted_in_all += adopted.count() as u64;
        }
        self.adopted = adopted_in_all;
        self.wrong_content().map_or(Ok(()), Err)
    }

    /// Whether the fault that was asked for has happened.
    pub fn sabotage_landed(&self) -> bool {
        self.sabotaged
    }

    fn run_until(&mut self, until: Duration) {
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((at, _), happening) = entry.remove_entry();
            self.now = at;
            self.happen(happening);
        }
        self.now = until;
    }

    fn at(&mut self, delay: Duration, happening: Happening) {
        self.counter += 1;
        self.queue.insert((self.now + delay, self.counter), happening);
    }

    fn instant(&self) -> Instant {
        self.epoch + self.now
    }

    fn running(&self) -> impl Iterator<Item = (usize, &Process)> {
        let processes = self.hosts.iter().map(|host| host.process.as_ref());
        processes.enumerate().filter_map(|(host, process)| Some((host, process?)))
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Tick { host, life } => {
                let (now, at) = (self.instant(), self.now);
                if let Some(process) = self.process(host, life)
                    && process.tick_at == Some(at)
                {
                    process.tick_at = None;
                    process.node.handle_tick(now);
                    self.drain(host);
                }
            }
            Happening::GossipRound { host, life } => self.gossip_round(host, life),
            Happening::Gossip { to, table } => {
                let now = self.now;
                if let Some(process) = &mut self.hosts[to].process {
                    process.membership.merge(&table, now);
                }
            }
            Happening::Dial { one, other } => self.dial(one, other),
            Happening::Greeting { from, to, connection, peer, hello, is_reply } => {
                self.greeting(from, to, connection, peer, *hello, is_reply);
            }
            Happening::PingRound { host, life } => self.ping_round(host, life),
            Happening::Ping { from, to, connection, sent, is_pong } => {
                self.ping(from, to, connection, sent, is_pong);
            }
            Happening::Deliver { from, to, connection, bytes } => self.deliver(from, to, connection, &bytes),
            Happening::Churn => self.churn(),
            Happening::Trouble => self.trouble(),
            Happening::Start { host } => self.start(host),
            Happening::Exit { host, life } => {
                if self.process(host, life).is_some() {
                    self.kill(host);
                }
            }
            Happening::Heal { one, other } => self.blocked[one][other] -= 1,
        }
    }

    fn process(&mut self, host: usize, life: u64) -> Option<&mut Process> {
        self.hosts[host].process.as_mut().filter(|process| process.life == life)
    }

    // ---- Processes ----

    fn start(&mut self, host: usize) {
        if self.hosts[host].process.is_some() {
            return;
        }
        self.counter += 1;
        let (life, now) = (self.counter, self.instant());
        let millis = 1_000_000 + self.now.as_millis() as u64;
        // Its clock was set back, and its data directory is lost.
        let set_back = self.sabotage == Sabotage::None && self.random.chance(10);
        let entry = &mut self.hosts[host];
        entry.incarnation = match self.sabotage {
            Sabotage::ReuseIncarnation if entry.incarnation.0 > 0 => entry.incarnation,
            _ if set_back => Incarnation(500_000 + life),
            _ => Incarnation(millis.max(entry.incarnation.0 + 1)),
        };
        let me = ReplicaId { name: entry.name.clone(), incarnation: entry.incarnation };
        let mut content = entry.saved.clone();
        match self.random.below(0..4) {
            _ if self.sabotage == Sabotage::ReuseIncarnation => {
                let thing = Kept { value: Some(b"thing".to_vec()), stamp: Stamp(1) };
                content = vec![BTreeMap::from([(b"other".to_vec(), thing)]); SETS.len()];
            }
            // No data directory: all is lost.
            _ if set_back => content.iter_mut().for_each(BTreeMap::clear),
            0 => content.iter_mut().for_each(BTreeMap::clear),
            // Some of it has expired.
            1 => content.iter_mut().for_each(|set| {
                set.pop_first();
            }),
            _ => {}
        }
        let process = Process::start(life, me.clone(), self.profile.config.clone(), content, now);
        self.hosts[host].process = Some(process);
        for set in 0..SETS.len() {
            self.history.entry((me.clone(), SetId(set as u8))).or_default();
        }
        self.record_heads(host);
        self.drain(host);
        let delay = self.random.millis(0..200);
        self.at(delay, Happening::GossipRound { host, life });
        self.at(delay, Happening::PingRound { host, life });
    }

    fn kill(&mut self, host: usize) {
        let Some(process) = self.hosts[host].process.take() else { return };
        add(&mut self.coverage, process.node.counters());
        self.hosts[host].saved = process.truth;
        // The operating system resets the connections of a dead process, if the network lets it.
        for peer in process.connections.into_keys() {
            if self.blocked[host][peer] == 0 && self.random.chance(80) {
                self.close(peer, host);
            }
        }
    }

    fn close(&mut self, host: usize, peer: usize) {
        let now = self.instant();
        if let Some(process) = &mut self.hosts[host].process
            && let Some(connection) = process.connections.remove(&peer)
        {
            process.node.handle_link_down(&connection.peer, now);
            self.drain(host);
        }
    }

    /// Owners' states are noted as they come about, for all copies to be compared with.
    fn record_heads(&mut self, host: usize) {
        let Some(process) = &self.hosts[host].process else { return };
        for (set, head) in process.node.heads() {
            let history = self.history.entry((process.node.me().clone(), set)).or_default();
            if history.last().is_none_or(|last| last.seq < head.seq) {
                history.push(head);
            }
        }
    }

    // ---- What a node wants ----

    /// Carries out what a node wants after something was put into it.
    fn drain(&mut self, host: usize) {
        let restart = self.drain_events(host);
        self.record_applied(host);
        let Some(process) = &mut self.hosts[host].process else { return };
        let messages: Vec<_> = std::iter::from_fn(|| process.node.poll_transmit()).collect();
        let (life, tick_at) = (process.life, process.node.poll_timeout());
        for (peer, message) in messages {
            self.send(host, &peer, &message);
        }
        if let Some(at) = tick_at {
            let at = at.saturating_duration_since(self.epoch).max(self.now);
            let Some(process) = &mut self.hosts[host].process else { return };
            if process.tick_at.is_none_or(|before| before > at) {
                process.tick_at = Some(at);
                self.at(at - self.now, Happening::Tick { host, life });
            }
        }
        if let Some(after) = restart {
            self.restart_lane(host, after);
        }
    }

    /// Lets the application see what the node has to say. An incarnation if the node must begin a new lane after it.
    fn drain_events(&mut self, host: usize) -> Option<Incarnation> {
        self.record_heads(host);
        let Some(process) = &mut self.hosts[host].process else { return None };
        let events: Vec<_> = std::iter::from_fn(|| process.node.poll_event()).collect();
        let restart = events.iter().find_map(|event| match event {
            Event::RestartLane { after, .. } => Some(*after),
            _ => None,
        });
        for event in events {
            self.handle_event(host, event);
        }
        restart
    }

    fn handle_event(&mut self, host: usize, event: Event) {
        let Some(process) = &mut self.hosts[host].process else { return };
        match event {
            Event::Changed { set, replica, change } => {
                process.note_change(set, replica.clone(), change);
                let Some(applied) = process.node.applied(set, &replica) else { return };
                let recorded = &self.history[&(replica.clone(), set)];
                let expected = recorded.binary_search_by_key(&applied.seq, |head| head.seq);
                if self.sabotage == Sabotage::None && expected.is_ok_and(|index| recorded[index] != applied) {
                    self.violations.push(format!("host {host} has {applied} of {replica}, which never was"));
                }
            }
            Event::Settled { set, seq, missed } => {
                process.settled += 1;
                self.check_settled(host, set, seq, &missed);
            }
            Event::Diverged { .. } => self.alarms += 1,
            Event::Conflict { older, newer } => {
                self.violations.push(format!("conflict of {older} and {newer}"));
            }
            Event::RestartLane { .. } | Event::Member { .. } | Event::Propagated { .. } => {}
            Event::Won { set, winner, replaced } => {
                let me = process.node.me();
                let is_mine = |winner: &Winner| winner.replica.name == me.name;
                self.claims_lost += u64::from(!is_mine(&winner) && replaced.as_deref().is_some_and(is_mine));
                self.note_winner(host, set, replaced.as_deref(), Some(&winner));
            }
            Event::Cleared { set, replaced } => self.note_winner(host, set, Some(&replaced), None),
        }
    }

    fn note_winner(&mut self, host: usize, set: SetId, before: Option<&Winner>, after: Option<&Winner>) {
        if self.sabotage == Sabotage::MissOneWinner && !self.sabotaged {
            self.sabotaged = true;
            return;
        }
        let Some(process) = &mut self.hosts[host].process else { return };
        if !process.note_winner(set, before, after) {
            self.violations.push(format!("host {host} had another winner before than {before:?}"));
        }
    }

    fn restart_lane(&mut self, host: usize, after: Incarnation) {
        self.restarts += 1;
        self.hosts[host].incarnation.0 = (after.0 + 1).max(1_000_000 + self.now.as_millis() as u64);
        let (incarnation, now) = (self.hosts[host].incarnation, self.instant());
        let Some(process) = &mut self.hosts[host].process else { return };
        process.node.restart_lane(incarnation, now);
        process.membership.restart(process.node.me());
        process.dialing.clear();
        for peer in std::mem::take(&mut process.connections).into_keys() {
            self.close(peer, host);
        }
        self.drain(host);
    }
}

pub fn add(sum: &mut Counters, more: &Counters) {
    sum.delta_staged += more.delta_staged;
    sum.delta_gap += more.delta_gap;
    sum.delta_duplicate += more.delta_duplicate;
    sum.delta_applied += more.delta_applied;
    sum.repair_range_origin += more.repair_range_origin;
    sum.repair_range_peer += more.repair_range_peer;
    sum.repair_snapshot_origin += more.repair_snapshot_origin;
    sum.repair_snapshot_peer += more.repair_snapshot_peer;
    sum.divergence_detected += more.divergence_detected;
    sum.settle_timeouts += more.settle_timeouts;
    sum.acks_relayed += more.acks_relayed;
    sum.superseded += more.superseded;
    sum.forgotten += more.forgotten;
    sum.messages_invalid += more.messages_invalid;
}
