//! The network: gossip rounds, links and what travels over them.

use std::time::Duration;

use rumormq_gossip::{Hello, MemberState, Message, ReplicaId};

use super::{Happening, Sabotage, World};
use crate::process::Connection;

const GOSSIP_EVERY: Duration = Duration::from_millis(200);
const PING_EVERY: Duration = Duration::from_millis(500);
const SILENT_LINK_CUT_AFTER: Duration = Duration::from_secs(3);
const DIAL_EVERY: Duration = Duration::from_millis(300);

impl World {
    /// Puts something on its way, unless it is lost; sometimes twice.
    fn travel(&mut self, from: usize, to: usize, make: impl Fn() -> Happening) {
        let times = 1 + usize::from(self.random.chance(self.profile.duplication));
        for _ in 0..times {
            self.travel_once(from, to, make());
        }
    }

    /// Puts something on its way, unless it is lost.
    fn travel_once(&mut self, from: usize, to: usize, happening: Happening) {
        if self.blocked[from][to] > 0 || self.random.chance(self.profile.loss) {
            return;
        }
        let (least, most) = self.profile.latency_micros;
        let latency = match self.profile.reorder {
            true => self.random.micros(least..most),
            false => Duration::from_micros(least as u64),
        };
        self.at(latency, happening);
    }

    pub(super) fn gossip_round(&mut self, host: usize, life: u64) {
        let now = self.now;
        let instant = self.instant();
        let Some(process) = self.process(host, life) else { return };
        let (me, heads) = (process.node.me().clone(), process.node.heads());
        let status = process.status;
        process.membership.beat(&me, status, heads);
        let table = process.membership.table().clone();
        for observation in process.membership.observations(&me, now) {
            process.node.handle_observation(observation, instant);
        }
        self.drain(host);
        for _ in 0..3 {
            let to = self.random.below(0..self.hosts.len());
            if to != host {
                self.travel(host, to, || Happening::Gossip { to, table: table.clone() });
            }
        }
        self.at(GOSSIP_EVERY, Happening::GossipRound { host, life });
    }

    pub(super) fn dial(&mut self, one: usize, other: usize) {
        self.at(DIAL_EVERY, Happening::Dial { one, other });
        let linked = |host: usize, peer| {
            self.hosts[host].process.as_ref().map(|process| process.connections.contains_key(&peer))
        };
        let (Some(one_linked), Some(other_linked)) = (linked(one, other), linked(other, one)) else { return };
        let (Some(one_wants), Some(other_wants)) = (self.wants(one, other), self.wants(other, one)) else {
            return;
        };
        // Who has noticed that the link is gone dials.
        let (from, to) = match (one_linked, other_linked) {
            (true, true) => return self.close_spare(one, other),
            _ if !one_wants && !other_wants => return,
            (false, _) => (one, other),
            (true, false) => (other, one),
        };
        self.counter += 1;
        let connection = self.counter;
        if let Some(process) = &mut self.hosts[from].process {
            process.dialing.insert(to, connection);
        }
        self.greet(from, to, connection, false);
    }

    /// Whether a host dials another one, if it runs.
    fn wants(&mut self, host: usize, peer: usize) -> Option<bool> {
        let now = self.instant();
        let name = self.hosts[peer].name.clone();
        let node = &mut self.hosts[host].process.as_mut()?.node;
        node.review_links(now);
        let members = node.members(now);
        // Whom it does not know, or takes for dead, it may have been told to join.
        let mut live = members.iter().filter(|member| member.state.is_some_and(MemberState::is_live));
        Some(node.wants_link(&name) || !live.any(|member| member.replica.name == name))
    }

    /// Either end may end a link that neither needs.
    fn close_spare(&mut self, one: usize, other: usize) {
        let now = self.instant();
        for (host, peer) in [(one, other), (other, one)] {
            let Some(process) = &self.hosts[host].process else { continue };
            let connection = process.connections.get(&peer);
            if connection.is_some_and(|connection| process.node.is_spare(&connection.peer, now)) {
                self.spare_links_ended += 1;
                self.close(host, peer);
                self.close(peer, host);
            }
        }
    }

    fn greet(&mut self, from: usize, to: usize, connection: u64, is_reply: bool) {
        let now = self.instant();
        let Some(process) = &self.hosts[from].process else { return };
        let (peer, hello) = (process.node.me().clone(), Box::new(process.node.hello(now)));
        // Twice would be two connections.
        self.travel_once(from, to, Happening::Greeting { from, to, connection, peer, hello, is_reply });
    }

    pub(super) fn greeting(
        &mut self,
        from: usize,
        to: usize,
        id: u64,
        peer: ReplicaId,
        hello: Hello,
        is_reply: bool,
    ) {
        let (instant, now) = (self.instant(), self.now);
        let Some(process) = &mut self.hosts[to].process else { return };
        let newer = process.connections.get(&from).is_none_or(|connection| connection.id < id);
        let expected = !is_reply || process.dialing.get(&from) == Some(&id);
        if !newer || !expected {
            return;
        }
        if let Some(old) = process.connections.remove(&from) {
            process.node.handle_link_down(&old.peer, instant);
        }
        // The greeting must be of the state before the link is up, as a real one is.
        if !is_reply {
            self.greet(to, from, id, true);
        }
        let Some(process) = &mut self.hosts[to].process else { return };
        assert!(process.node.handle_link_up(peer.clone(), hello, instant), "there is room for all");
        process.node.allow_beats(&peer);
        process.connections.insert(from, Connection { id, peer, since: now, last_pong: now });
        self.drain(to);
    }

    pub(super) fn ping_round(&mut self, host: usize, life: u64) {
        let sent = self.now;
        let Some(process) = self.process(host, life) else { return };
        let connections = process.connections.iter();
        let connections: Vec<_> =
            connections.map(|(peer, connection)| (*peer, connection.id, connection.last_pong)).collect();
        for (to, connection, last_pong) in connections {
            if sent - last_pong > SILENT_LINK_CUT_AFTER {
                self.close(host, to);
            } else {
                let ping = || Happening::Ping { from: host, to, connection, sent, is_pong: false };
                self.travel(host, to, ping);
            }
        }
        self.at(PING_EVERY, Happening::PingRound { host, life });
    }

    pub(super) fn ping(&mut self, from: usize, to: usize, id: u64, sent: Duration, is_pong: bool) {
        let (instant, now) = (self.instant(), self.now);
        let Some(process) = &mut self.hosts[to].process else { return };
        let connection = process.connections.get_mut(&from).filter(|connection| connection.id == id);
        let Some(connection) = connection else { return };
        if is_pong {
            connection.last_pong = now;
            process.node.handle_pong(&connection.peer, now - sent, instant);
            self.drain(to);
        } else {
            let pong = || Happening::Ping { from: to, to: from, connection: id, sent, is_pong: true };
            self.travel(to, from, pong);
        }
    }

    pub(super) fn send(&mut self, from: usize, peer: &ReplicaId, message: &Message) {
        let Some(process) = &self.hosts[from].process else { return };
        let found = process.connections.iter().find(|(_, connection)| connection.peer == *peer);
        let Some((to, connection)) = found.map(|(to, connection)| (*to, connection.id)) else { return };
        let mut message = message.clone();
        if self.sabotage == Sabotage::SkipOneRemove
            && self.alarms == 0
            && let Message::Delta(delta) = &mut message
            && !delta.interval.removed.is_empty()
        {
            delta.interval.removed.remove(0);
            self.sabotaged = true;
        }
        let bytes = postcard::to_stdvec(&message).expect("every message can be written");
        if let Message::Delta(delta) = &message {
            let limit = self.profile.config.max_delta_bytes + 150;
            if bytes.len() > limit && delta.interval.added.len() > 1 {
                self.violations.push(format!("{} bytes in a delta, {limit} allowed", bytes.len()));
            }
        }
        self.travel(from, to, || Happening::Deliver { from, to, connection, bytes: bytes.clone() });
    }

    pub(super) fn deliver(&mut self, from: usize, to: usize, id: u64, bytes: &[u8]) {
        let now = self.instant();
        let Some(process) = &mut self.hosts[to].process else { return };
        let connection = process.connections.get(&from).filter(|connection| connection.id == id);
        let Some(peer) = connection.map(|connection| connection.peer.clone()) else { return };
        let message = postcard::from_bytes(bytes).expect("what was written can be read");
        if let Err(error) = process.node.handle_message(&peer, message, now) {
            self.violations.push(format!("{peer} broke the protocol: {error}"));
        }
        self.drain(to);
    }
}
