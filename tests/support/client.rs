//! A plain MQTT client that does nothing on its own: tests say what it sends, and what it gets.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use rumormq::codec;
use rumormq::codec::packet::{
    Ack, Connect, Disconnect, Packet, PacketId, Properties, PropertySet, ProtocolVersion, Publish, QoS,
    ReasonCode, RetainHandling, Subscribe, SubscriptionOptions, Unsubscribe,
};
use rumormq::topic::Topic;

use super::describe::describe;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub const V310: ProtocolVersion = ProtocolVersion::V310;
pub const V311: ProtocolVersion = ProtocolVersion::V311;
pub const V500: ProtocolVersion = ProtocolVersion::V500;
pub const Q0: QoS = QoS::AtMostOnce;
pub const Q1: QoS = QoS::AtLeastOnce;
pub const Q2: QoS = QoS::ExactlyOnce;

/// A connection to a broker, and the protocol version that packets on it are read and written in.
pub struct Client<S = TcpStream> {
    stream: S,
    version: ProtocolVersion,
    input: Vec<u8>,
    /// How much of `input` is taken already.
    taken: usize,
}

/// What a client talks through. Reads and writes give up after [`PATIENCE`].
pub trait Stream: Read + Write {
    /// Ends what is sent, without a word of MQTT.
    fn ends(&mut self);
}

impl Stream for TcpStream {
    fn ends(&mut self) {
        self.shutdown(Shutdown::Write).expect("still connected");
    }
}

impl Stream for Box<dyn Stream> {
    fn ends(&mut self) {
        (**self).ends();
    }
}

/// A connection of TCP.
pub fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the broker listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout above zero");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout above zero");
    stream.set_nodelay(true).expect("a TCP socket");
    stream
}

/// One packet as it came.
pub struct Frame {
    bytes: Vec<u8>,
    version: ProtocolVersion,
}

impl Frame {
    #[track_caller]
    pub fn packet(&self) -> Packet<'_> {
        codec::decode(&self.bytes, self.version).expect("the broker sends what the codec reads")
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Client {
    /// Only the TCP connection.
    pub fn open(address: SocketAddr, version: ProtocolVersion) -> Client {
        Client::over(tcp(address), version)
    }

    /// Sends this CONNECT; the CONNACK is still to come.
    pub fn start(address: SocketAddr, connect: Connect<'_>) -> Client {
        let mut client = Client::open(address, connect.version);
        client.sends(Packet::Connect(Box::new(connect)));
        client
    }

    /// Connects, and expects to be accepted.
    #[track_caller]
    pub fn connect(address: SocketAddr, connect: Connect<'_>) -> Client {
        Client::start(address, connect).accepted()
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}

impl<S: Stream> Client<S> {
    /// Only the stream.
    pub fn over(stream: S, version: ProtocolVersion) -> Client<S> {
        Client { stream, version, input: Vec::new(), taken: 0 }
    }

    pub fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Connects through this stream, and expects to be accepted.
    #[track_caller]
    pub fn connect_over(stream: S, connect: Connect<'_>) -> Client<S> {
        let mut client = Client::over(stream, connect.version);
        client.sends(Packet::Connect(Box::new(connect)));
        client.accepted()
    }

    /// Expects a CONNACK that says so.
    #[track_caller]
    fn accepted(mut self) -> Client<S> {
        let answer = self.frame().expect("CONNACK");
        match answer.packet() {
            Packet::ConnAck(connack) if connack.reason == ReasonCode::Success => self,
            other => panic!("not accepted: {other:?}"),
        }
    }

    /// Sends a packet as it is.
    #[track_caller]
    pub fn sends(&mut self, packet: Packet<'_>) {
        self.try_sends(packet).expect("the broker reads");
    }

    #[track_caller]
    pub fn sends_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the broker reads");
    }

    /// Sends a packet that the broker may be too fast to close for.
    pub fn try_sends(&mut self, packet: Packet<'_>) -> io::Result<()> {
        let mut bytes = Vec::new();
        codec::encode(&packet, self.version, u32::MAX, &mut bytes).expect("a packet of this version");
        self.stream.write_all(&bytes)
    }

    /// Sends a publish and, for QoS 1 and 2, runs the exchange to its end.
    #[track_caller]
    pub fn publishes(&mut self, publish: Publish<'_>) {
        let qos = publish.qos;
        let id = publish.packet_id.map_or(0, PacketId::get);
        self.sends(Packet::Publish(publish));
        match qos {
            QoS::AtMostOnce => self.waits(),
            QoS::AtLeastOnce => self.gets_one_of(&[&format!("PUBACK {id}"), &format!("PUBACK {id} 0x10")]),
            QoS::ExactlyOnce => {
                self.gets_one_of(&[&format!("PUBREC {id}"), &format!("PUBREC {id} 0x10")]);
                self.sends(Packet::PubRel(ack(id)));
                self.gets(&format!("PUBCOMP {id}"));
            }
        }
    }

    /// Subscribes with packet identifier 1 and expects these reason codes.
    #[track_caller]
    pub fn subscribes(&mut self, filters: &[(&str, SubscriptionOptions)], reasons: &str) {
        self.sends(Packet::Subscribe(subscribe(1, filters)));
        self.gets(&format!("SUBACK 1 {reasons}"));
    }

    /// Unsubscribes and expects to be answered.
    #[track_caller]
    pub fn unsubscribes(&mut self, filter: &str, reason: &str) {
        self.sends(Packet::Unsubscribe(unsubscribe(1, &[filter])));
        self.gets(format!("UNSUBACK 1 {reason}").trim());
    }

    /// The next packet; none if the connection was closed.
    #[track_caller]
    pub fn frame(&mut self) -> Option<Frame> {
        loop {
            let rest = &self.input[self.taken..];
            if let Some(length) = codec::frame_len(rest, u32::MAX).expect("a frame")
                && rest.len() >= length
            {
                self.taken += length;
                return Some(Frame { bytes: rest[..length].to_vec(), version: self.version });
            }
            self.input.drain(..std::mem::take(&mut self.taken));
            let mut buffer = [0; 64 << 10];
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    assert!(self.input.is_empty(), "closed within a packet: {:x?}", self.input);
                    return None;
                }
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) if is_closed(&error) => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => panic!("nothing comes: {error}"),
            }
        }
    }

    /// The next packet is this one, as [`describe`] writes it.
    #[track_caller]
    pub fn gets(&mut self, expected: &str) {
        self.gets_one_of(&[expected]);
    }

    #[track_caller]
    pub fn gets_one_of(&mut self, expected: &[&str]) {
        match self.frame() {
            Some(frame) => {
                let actual = describe(&frame.packet());
                assert!(expected.contains(&actual.as_str()), "expected {expected:?}, got {actual}");
            }
            None => panic!("closed instead of {expected:?}"),
        }
    }

    /// The next packets are these, in any order.
    #[track_caller]
    pub fn gets_all_of(&mut self, expected: &[&str]) {
        let mut actual: Vec<String> = expected
            .iter()
            .map(|_| self.frame().map_or("closed".into(), |f| describe(&f.packet())))
            .collect();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        actual.sort_unstable();
        assert_eq!(expected, actual);
    }

    /// Everything sent so far has been handled, and nothing came but the answer to this question.
    #[track_caller]
    pub fn waits(&mut self) {
        self.sends(Packet::PingReq);
        self.gets("PINGRESP");
    }

    /// The connection ends without another packet.
    #[track_caller]
    pub fn is_closed(&mut self) {
        if let Some(frame) = self.frame() {
            panic!("expected the end, got {}", describe(&frame.packet()));
        }
    }

    /// Says goodbye; the broker has handled it when this returns.
    pub fn disconnects(self) {
        self.disconnects_with(ReasonCode::Success, None);
    }

    pub fn disconnects_with(mut self, reason: ReasonCode, expiry_secs: Option<u32>) {
        let properties =
            PropertySet { session_expiry_interval_secs: expiry_secs, ..PropertySet::EMPTY }.into();
        self.sends(Packet::Disconnect(Disconnect { reason, properties }));
        self.drain();
    }

    /// Goes without a word; the broker has noticed when this returns.
    pub fn vanishes(mut self) {
        self.stream.ends();
        self.drain();
    }

    /// Goes without a word; the broker may notice later.
    pub fn disappears(self) {}

    fn drain(&mut self) {
        while self.frame().is_some() {}
    }
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), ConnectionReset | BrokenPipe | UnexpectedEof)
}

/// A CONNECT of 5.0 with clean start and no keep alive.
pub fn connect(client_id: &str) -> Connect<'_> {
    Connect {
        version: V500,
        clean_start: true,
        keep_alive_secs: 0,
        client_id,
        will: None,
        username: None,
        password: None,
        properties: Properties::NONE,
    }
}

/// A CONNECT that asks for a session of this lifetime: resumed where there is one.
pub fn lasting(client_id: &str, expiry_secs: u32) -> Connect<'_> {
    let properties =
        PropertySet { session_expiry_interval_secs: Some(expiry_secs), ..PropertySet::EMPTY }.into();
    Connect { clean_start: false, properties, ..connect(client_id) }
}

/// A publish without flags and properties, with this packet identifier if the QoS wants one.
pub fn publish<'a>(id: u16, qos: QoS, topic: &'a str, payload: &'a str) -> Publish<'a> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: Some(Topic::new(topic).expect("a topic name")),
        packet_id: (qos != QoS::AtMostOnce).then(|| NonZeroU16::new(id).expect("not zero")),
        properties: Properties::NONE,
        payload: payload.as_bytes(),
    }
}

pub fn subscribe<'a>(id: u16, filters: &[(&'a str, SubscriptionOptions)]) -> Subscribe<'a> {
    Subscribe {
        packet_id: NonZeroU16::new(id).expect("not zero"),
        filters: filters.to_vec(),
        properties: Properties::NONE,
    }
}

/// A SUBSCRIBE whose subscriptions have this identifier.
pub fn subscribe_as<'a>(identifier: u32, filter: &'a str, options: SubscriptionOptions) -> Subscribe<'a> {
    let identifiers = vec![NonZeroU32::new(identifier).expect("not zero")];
    let set = PropertySet { subscription_identifiers: identifiers, ..PropertySet::EMPTY };
    Subscribe { properties: set.into(), ..subscribe(1, &[(filter, options)]) }
}

pub fn unsubscribe<'a>(id: u16, filters: &[&'a str]) -> Unsubscribe<'a> {
    Unsubscribe {
        packet_id: NonZeroU16::new(id).expect("not zero"),
        filters: filters.to_vec(),
        properties: Properties::NONE,
    }
}

/// Subscription options that ask for this QoS and nothing else.
pub fn options(qos: QoS) -> SubscriptionOptions {
    SubscriptionOptions {
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    }
}

pub fn ack(id: u16) -> Ack<'static> {
    Ack {
        packet_id: NonZeroU16::new(id).expect("not zero"),
        reason: ReasonCode::Success,
        properties: Properties::NONE,
    }
}
