//! A client: its identity, what it has of its session, and its connection, if it has one. Whatever it does and sees is
//! recorded.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::io;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rumormq::codec::packet::{
    Ack, Connect, Disconnect, Packet, Properties, PropertySet, ProtocolVersion, Publish, QoS, ReasonCode,
    RetainHandling, Subscribe, SubscriptionOptions, Unsubscribe,
};
use rumormq::topic::Topic;

use super::Site;
use super::wire::Wire;
use crate::history::{
    Acked, ClientNumber, Connected, Connection, Delivered, Disconnected, Ending, Event, MessageId, Moment,
    Node, NotConnected, Published, Recorder, Sent, Subscribed, Unsubscribed, micros,
};
use crate::random::Random;

/// Longest a node may take to answer a CONNECT: it may have to wait for a session, and for routes.
const CONNACK_PATIENCE: Duration = Duration::from_secs(10);
/// A SUBACK that comes sooner was not sent because a node took too long.
const SUBACK_PROMPT: Duration = Duration::from_millis(400);
/// Lifetime of sessions that outlive their connections, in seconds.
const EXPIRY_SECS: u32 = 3600;
/// A client that has been turned away tries again so soon, and later each time.
const BACKOFF: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_millis(800);

const GOODBYE: Disconnect<'static> = Disconnect { reason: ReasonCode::Success, properties: Properties::NONE };

/// Numbers of connections; no two of a process are the same.
static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

pub struct Agent {
    pub number: ClientNumber,
    pub random: Random,
    name: String,
    version: ProtocolVersion,
    /// Whether its session outlives its connections.
    lasting: bool,
    recorder: Arc<Recorder>,
    sites: Arc<[Site]>,
    line: Option<Line>,
    /// Failures to connect since the last success.
    failures: u32,
    /// What it wants to have subscribed, and what SUBACK said it has.
    wanted: BTreeMap<String, QoS>,
    granted: BTreeSet<String>,
    /// SUBSCRIBEs and UNSUBSCRIBEs that wait for an answer, by packet identifier.
    asked: HashMap<u16, Asked>,
    /// Publishes that wait for an answer, in the order in which they were sent first.
    flights: VecDeque<Flight>,
    /// Packet identifiers of QoS 2 messages that PUBREL has yet to follow.
    received: HashSet<u16>,
    packet: u16,
    counter: u64,
}

struct Line {
    wire: Wire,
    connection: Connection,
    node: Node,
}

struct Asked {
    filter: String,
    subscribes: bool,
    at: Moment,
}

struct Flight {
    packet: u16,
    payload: String,
    published: Published,
    /// PUBREL has been sent.
    released: bool,
}

impl Agent {
    pub fn new(
        name: &str,
        version: ProtocolVersion,
        lasting: bool,
        recorder: &Arc<Recorder>,
        sites: &Arc<[Site]>,
    ) -> Agent {
        let number = recorder.client(name);
        Agent {
            number,
            random: Random::of(recorder.seed(), number as u64),
            name: name.to_owned(),
            version,
            lasting,
            recorder: recorder.clone(),
            sites: sites.clone(),
            line: None,
            failures: 0,
            wanted: BTreeMap::new(),
            granted: BTreeSet::new(),
            asked: HashMap::new(),
            flights: VecDeque::new(),
            received: HashSet::new(),
            packet: 0,
            counter: 0,
        }
    }

    /// Where it is connected.
    pub fn node(&self) -> Option<Node> {
        self.line.as_ref().map(|line| line.node)
    }

    /// How many nodes there are to go to.
    pub fn nodes(&self) -> usize {
        self.sites.len()
    }

    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Whether nothing that it asked for waits for an answer.
    pub fn is_idle(&self) -> bool {
        self.line.is_some() && self.flights.is_empty() && self.asked.is_empty()
    }

    /// What has not been answered, in words.
    pub fn waits_for(&self) -> String {
        let asked: Vec<&str> = self.asked.values().map(|asked| asked.filter.as_str()).collect();
        let flights: Vec<&Published> = self.flights.iter().map(|flight| &flight.published).collect();
        format!("{} on {:?} waits for answers to {asked:?} and {flights:?}", self.name, self.node())
    }

    /// What it has subscribed to, with or without an answer.
    pub fn wanted(&self) -> impl Iterator<Item = &str> {
        self.wanted.keys().map(String::as_str)
    }

    // Connections.

    /// Connects there. If it is connected elsewhere, that connection stays until the node there ends it, as in a takeover, or
    /// the new node has answered.
    pub fn connect(&mut self, node: Node) -> bool {
        let connection = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        let asked_at = self.recorder.now();
        let answer = self.try_connect(node);
        let at = self.recorder.now();
        // The node before may have said more by then.
        let soon = Instant::now() + Duration::from_millis(2);
        self.serve(soon);
        self.hangs_up();
        match answer {
            Ok((wire, session_present)) => {
                self.failures = 0;
                self.line = Some(Line { wire, connection, node });
                self.recorder.record(Event::Connected(Connected {
                    client: self.number,
                    connection,
                    node,
                    clean_start: !self.lasting,
                    lasting: self.lasting,
                    session_present,
                    asked_at,
                    at,
                }));
                self.resume(session_present);
                true
            }
            Err(reason) => {
                self.failures += 1;
                let tried = NotConnected { client: self.number, node, asked_at, at, reason };
                self.recorder.record(Event::NotConnected(tried));
                false
            }
        }
    }

    /// Connects somewhere, after a while if that has failed before. `home` is the only choice, if there is one.
    pub fn reconnect(&mut self, home: Option<Node>) -> bool {
        let backoff = (BACKOFF * 2u32.pow(self.failures.min(6))).min(BACKOFF_MAX);
        std::thread::sleep(backoff.mul_f64(0.5 + self.random.share() / 2.0));
        let node = home.unwrap_or_else(|| self.random.below(self.sites.len()));
        self.connect(node)
    }

    fn try_connect(&mut self, node: Node) -> Result<(Wire, bool), Option<u8>> {
        let mut wire = Wire::open(&self.sites[node], self.version).map_err(|_| None)?;
        let mut set = PropertySet::EMPTY;
        if self.lasting && self.version == ProtocolVersion::V500 {
            set.session_expiry_interval_secs = Some(EXPIRY_SECS);
        }
        let connect = Connect {
            version: self.version,
            clean_start: !self.lasting,
            keep_alive_secs: 0,
            client_id: &self.name,
            will: None,
            username: None,
            password: None,
            properties: set.into(),
        };
        wire.send(&Packet::Connect(Box::new(connect))).map_err(|_| None)?;
        let until = Instant::now() + CONNACK_PATIENCE;
        loop {
            if self.line.is_some() {
                self.turn(Instant::now() + Duration::from_millis(5));
            }
            let look = Instant::now() + Duration::from_millis(if self.line.is_some() { 5 } else { 100 });
            let Some(frame) = wire.next(look).map_err(|_| None)? else {
                if Instant::now() < until {
                    continue;
                }
                return Err(None);
            };
            return match wire.read(&frame).map_err(|_| None)? {
                Packet::ConnAck(connack) if connack.reason == ReasonCode::Success => {
                    Ok((wire, connack.session_present))
                }
                Packet::ConnAck(connack) => Err(Some(connack.reason as u8)),
                _ => Err(None),
            };
        }
    }

    /// Goes on with a session, or begins one.
    fn resume(&mut self, session_present: bool) {
        if !session_present {
            // Nobody knows what became of these, and without the session they are not sent again [MQTT-4.4.0-1].
            for flight in std::mem::take(&mut self.flights) {
                self.recorder.record(Event::Published(flight.published));
            }
            self.received.clear();
            self.granted.clear();
        }
        let missing: Vec<(String, QoS)> = self
            .wanted
            .iter()
            .filter(|(filter, _)| !self.granted.contains(*filter))
            .map(|(filter, qos)| (filter.clone(), *qos))
            .collect();
        for (filter, qos) in missing {
            self.subscribe(&filter, qos);
        }
        for at in 0..self.flights.len() {
            self.send_flight(at);
        }
    }

    /// Ends the connection without a word.
    pub fn hangs_up(&mut self) {
        self.lose(Ending::Client);
    }

    /// Ends the connection with DISCONNECT.
    pub fn leave(&mut self) {
        self.send(&Packet::Disconnect(GOODBYE));
        self.lose(Ending::Client);
    }

    /// Goes when all is over. Nothing that was owed is excused by that, so it is not recorded.
    pub fn finish(&mut self) {
        self.send(&Packet::Disconnect(GOODBYE));
        self.line = None;
        for flight in std::mem::take(&mut self.flights) {
            self.recorder.record(Event::Published(flight.published));
        }
    }

    fn lose(&mut self, why: Ending) {
        let Some(Line { connection, node, .. }) = self.line.take() else { return };
        let (client, at) = (self.number, self.recorder.now());
        for (_, asked) in self.asked.drain() {
            self.recorder.record(match asked.subscribes {
                true => Event::Subscribed(Subscribed {
                    client,
                    connection,
                    node,
                    qos: self.wanted.get(&asked.filter).map_or(2, |qos| *qos as u8),
                    filter: asked.filter,
                    asked_at: asked.at,
                    at: None,
                    unconfirmed: true,
                }),
                false => Event::Unsubscribed(Unsubscribed {
                    client,
                    connection,
                    filter: asked.filter,
                    asked_at: asked.at,
                    at: None,
                }),
            });
        }
        self.recorder.record(Event::Disconnected(Disconnected { client, connection, node, why, at }));
    }

    // What it does.

    pub fn subscribe(&mut self, filter: &str, qos: QoS) {
        self.wanted.insert(filter.to_owned(), qos);
        let options = SubscriptionOptions {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        };
        let (packet, packet_id) = self.packet_id();
        let properties = Properties::NONE;
        self.asks(packet, filter, true);
        self.send(&Packet::Subscribe(Subscribe { packet_id, filters: vec![(filter, options)], properties }));
    }

    pub fn unsubscribe(&mut self, filter: &str) {
        self.wanted.remove(filter);
        self.granted.remove(filter);
        let (packet, packet_id) = self.packet_id();
        let properties = Properties::NONE;
        self.asks(packet, filter, false);
        self.send(&Packet::Unsubscribe(Unsubscribe { packet_id, filters: vec![filter], properties }));
    }

    fn asks(&mut self, packet: u16, filter: &str, subscribes: bool) {
        if self.line.is_some() {
            let asked = Asked { filter: filter.to_owned(), subscribes, at: self.recorder.now() };
            self.asked.insert(packet, asked);
        }
    }

    /// Publishes a message of its own, if it is connected.
    pub fn publish(&mut self, topic: &str, qos: QoS, retain: bool) {
        if self.line.is_none() {
            return;
        }
        self.counter += 1;
        let id = MessageId { publisher: self.number, counter: self.counter };
        let filler = "x".repeat(self.random.below(200));
        let published =
            Published { id, topic: topic.to_owned(), qos: qos as u8, retain, sent: Vec::new(), acked: None };
        let packet = if qos == QoS::AtMostOnce { 0 } else { self.packet_id().0 };
        let payload = format!("{} {} {filler}", id.publisher, id.counter);
        self.flights.push_back(Flight { packet, payload, published, released: false });
        self.send_flight(self.flights.len() - 1);
        if qos == QoS::AtMostOnce
            && let Some(flight) = self.flights.pop_back()
        {
            self.recorder.record(Event::Published(flight.published));
        }
    }

    fn send_flight(&mut self, at: usize) {
        let now = self.recorder.now();
        let (Some(line), flight) = (&mut self.line, &mut self.flights[at]) else { return };
        let sent = if flight.released {
            line.wire.send(&Packet::PubRel(ack(NonZeroU16::new(flight.packet).expect("not zero"))))
        } else {
            let qos = QoS::from_bits(flight.published.qos).expect("a QoS");
            let publish = Publish {
                dup: !flight.published.sent.is_empty(),
                qos,
                retain: flight.published.retain,
                topic: Some(Topic::new(&flight.published.topic).expect("a topic name")),
                packet_id: NonZeroU16::new(flight.packet),
                properties: Properties::NONE,
                payload: flight.payload.as_bytes(),
            };
            flight.published.sent.push(Sent { connection: line.connection, node: line.node, at: now });
            line.wire.send(&Packet::Publish(publish))
        };
        if sent.is_err() {
            self.lose(Ending::Closed);
        }
    }

    fn send(&mut self, packet: &Packet<'_>) {
        let sent = self.line.as_mut().map(|line| line.wire.send(packet));
        if let Some(Err(_)) = sent {
            self.lose(Ending::Closed);
        }
    }

    /// One that is not in use.
    fn packet_id(&mut self) -> (u16, NonZeroU16) {
        loop {
            self.packet = self.packet.wrapping_add(1);
            let used = |flight: &Flight| flight.packet == self.packet;
            if let Some(id) = NonZeroU16::new(self.packet)
                && !self.asked.contains_key(&self.packet)
                && !self.flights.iter().any(used)
            {
                return (self.packet, id);
            }
        }
    }

    // What it is told.

    /// Handles what comes until then. False if the connection has ended.
    pub fn serve(&mut self, until: Instant) -> bool {
        while self.turn(until) {
            if Instant::now() >= until {
                return true;
            }
        }
        false
    }

    /// Handles what comes until this holds, or the time is over; says whether it holds.
    pub fn serve_until(&mut self, patience: Duration, mut holds: impl FnMut(&Agent) -> bool) -> bool {
        let until = Instant::now() + patience;
        while !holds(self) {
            let soon = (Instant::now() + Duration::from_millis(20)).min(until);
            if !self.turn(soon) || Instant::now() >= until {
                return holds(self);
            }
        }
        true
    }

    /// Handles one packet, if one comes in time. False if there is no connection any more.
    fn turn(&mut self, until: Instant) -> bool {
        let Some(line) = &mut self.line else { return false };
        match line.wire.next(until) {
            Ok(None) => true,
            Ok(Some(frame)) => match self.handle(&frame) {
                Ok(()) => self.line.is_some(),
                Err(_) => {
                    self.lose(Ending::Closed);
                    false
                }
            },
            Err(_) => {
                self.lose(Ending::Closed);
                false
            }
        }
    }

    fn handle(&mut self, frame: &[u8]) -> io::Result<()> {
        let Some(line) = &self.line else { return Ok(()) };
        match line.wire.read(frame)? {
            Packet::Publish(publish) => self.handle_publish(&publish),
            Packet::PubRel(pubrel) => {
                self.received.remove(&pubrel.packet_id.get());
                self.send(&Packet::PubComp(ack(pubrel.packet_id)));
            }
            Packet::PubAck(puback) => self.handle_taken(puback.packet_id, puback.reason),
            Packet::PubRec(pubrec) => {
                self.handle_taken(pubrec.packet_id, pubrec.reason);
                if !pubrec.reason.is_error() {
                    self.send(&Packet::PubRel(ack(pubrec.packet_id)));
                }
            }
            Packet::PubComp(pubcomp) => self.land(pubcomp.packet_id.get()),
            Packet::SubAck(suback) => {
                let reason = suback.reasons.first().map_or(0x80, |reason| *reason as u8);
                let unconfirmed = suback.properties.reason_string.is_some();
                self.handle_suback(suback.packet_id.get(), reason, unconfirmed);
            }
            Packet::UnsubAck(unsuback) => self.handle_unsuback(unsuback.packet_id.get()),
            Packet::Disconnect(disconnect) => self.lose(Ending::Told(disconnect.reason as u8)),
            _ => {}
        }
        Ok(())
    }

    fn handle_publish(&mut self, publish: &Publish<'_>) {
        let Some(line) = &self.line else { return };
        let packet = publish.packet_id.map_or(0, NonZeroU16::get);
        let is_new = publish.qos != QoS::ExactlyOnce || self.received.insert(packet);
        if is_new {
            self.recorder.record(Event::Delivered(Delivered {
                client: self.number,
                connection: line.connection,
                node: line.node,
                id: message_id(publish.payload),
                topic: publish.topic.map_or("", |topic| topic.as_str()).to_owned(),
                qos: publish.qos as u8,
                dup: publish.dup,
                retained: publish.retain,
                at: self.recorder.now(),
            }));
        }
        match (publish.qos, publish.packet_id) {
            (QoS::AtLeastOnce, Some(id)) => self.send(&Packet::PubAck(ack(id))),
            (QoS::ExactlyOnce, Some(id)) => self.send(&Packet::PubRec(ack(id))),
            _ => {}
        }
    }

    /// PUBACK or PUBREC.
    fn handle_taken(&mut self, packet: NonZeroU16, reason: ReasonCode) {
        let Some(Line { connection, node, .. }) = self.line else { return };
        let at = self.recorder.now();
        let flight = self.flights.iter_mut().find(|flight| flight.packet == packet.get());
        let Some(flight) = flight else { return };
        flight.published.acked.get_or_insert(Acked { connection, node, at, reason: reason as u8 });
        flight.released = flight.published.qos == 2 && !reason.is_error();
        if !flight.released {
            self.land(packet.get());
        }
    }

    fn land(&mut self, packet: u16) {
        let at = self.flights.iter().position(|flight| flight.packet == packet);
        if let Some(flight) = at.and_then(|at| self.flights.remove(at)) {
            self.recorder.record(Event::Published(flight.published));
        }
    }

    fn handle_suback(&mut self, packet: u16, reason: u8, unconfirmed: bool) {
        let Some(Line { connection, node, .. }) = self.line else { return };
        let Some(asked) = self.asked.remove(&packet) else { return };
        if reason > 2 {
            return;
        }
        if self.wanted.contains_key(&asked.filter) {
            self.granted.insert(asked.filter.clone());
        }
        let at = self.recorder.now();
        // 3.1.1 has no words for it; whoever was not waited for was not waited for long enough.
        let waited = self.version != ProtocolVersion::V500 && at - asked.at > micros(SUBACK_PROMPT);
        self.recorder.record(Event::Subscribed(Subscribed {
            client: self.number,
            connection,
            node,
            filter: asked.filter,
            qos: reason,
            asked_at: asked.at,
            at: Some(at),
            unconfirmed: unconfirmed || waited,
        }));
    }

    fn handle_unsuback(&mut self, packet: u16) {
        let Some(connection) = self.line.as_ref().map(|line| line.connection) else { return };
        let Some(Asked { filter, at: asked_at, .. }) = self.asked.remove(&packet) else { return };
        let at = Some(self.recorder.now());
        self.recorder.record(Event::Unsubscribed(Unsubscribed {
            client: self.number,
            connection,
            filter,
            asked_at,
            at,
        }));
    }
}

fn ack(packet_id: NonZeroU16) -> Ack<'static> {
    Ack { packet_id, reason: ReasonCode::Success, properties: Properties::NONE }
}

fn message_id(payload: &[u8]) -> Option<MessageId> {
    let mut words = std::str::from_utf8(payload).ok()?.split(' ');
    let id = MessageId { publisher: words.next()?.parse().ok()?, counter: words.next()?.parse().ok()? };
    words.next()?.bytes().all(|byte| byte == b'x').then_some(id)
}
