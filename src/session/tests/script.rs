//! A transcript of one session, run and compared line by line.
//!
//! | line | meaning |
//! |---|---|
//! | `> PACKET ID ...` | the client sends it |
//! | `< PACKET ID ...` | the session answers it, read back through the codec |
//! | `* EVENT ...` | something else happens to the session, see [`Script::event`] |
//! | `= ...` | what the session told its broker about the line before |
//!
//! Only `>` and `*` lines are run; they write the `<` and `=` lines anew, and the result must be the script itself.
//! Messages go to the topic `t` unless they say otherwise, which then is printed. Options stand behind the fixed words, in the order in which they are printed.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::ack_ring::{Owed, Slot};
use super::super::frames::Frames;
use super::super::outbox::MAX_SLICES;
use super::super::portable::SessionState;
use super::super::{Delivery, Incoming, Negotiated, Session, SessionLimits};
use crate::codec;
use crate::codec::packet::{Ack, Packet, PacketId, PropertySet, ProtocolVersion, Publish, QoS, ReasonCode};
use crate::message::{Application, PublishId};
use crate::topic::Topic;

/// Runs a script against a session with default limits.
pub fn run(script: &str) {
    run_with(SessionLimits::default(), script);
}

/// Runs a script against a session with these limits.
#[track_caller]
pub fn run_with(limits: SessionLimits, script: &str) {
    let expected: Vec<&str> = script.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let actual = transcript(limits, &expected);
    assert_eq!(expected.join("\n"), actual.join("\n"), "\nthe session did otherwise (right)");
}

/// What comes of the lines of a script.
pub fn transcript(limits: SessionLimits, script: &[&str]) -> Vec<String> {
    let mut runner = Script {
        session: Session::new(Arc::new(limits)),
        now: Instant::now(),
        stalled: false,
        slots: Vec::new(),
        actual: Vec::new(),
        published: 0,
    };
    for line in script {
        match line.split_at(1) {
            (">", packet) => runner.packet(line, packet.trim()),
            ("*", event) => runner.event(line, event.trim()),
            ("<" | "=", _) => {}
            _ => panic!("a script line begins with one of > < * =: {line}"),
        }
    }
    runner.actual
}

struct Script {
    session: Session,
    now: Instant,
    /// The socket takes nothing.
    stalled: bool,
    /// Publishes that wait for confirmations, by packet identifier.
    slots: Vec<(PacketId, Slot)>,
    actual: Vec<String>,
    /// Messages so far: each has a name of its own.
    published: u64,
}

impl Script {
    /// `PUBLISH ID q1|q2 [pending=N] [refused]`: routed by the broker where new, and acknowledged after N confirmations.
    /// `PUBACK|PUBREC|PUBREL|PUBCOMP ID [0xNN]`.
    fn packet(&mut self, line: &str, packet: &str) {
        self.actual.push(line.to_owned());
        let words: Vec<&str> = packet.split_whitespace().collect();
        let packet_id: PacketId = words[1].parse().expect("a packet identifier");
        let refused = words.contains(&"0x80");
        let reason = if refused { ReasonCode::UnspecifiedError } else { ReasonCode::Success };
        let ack = Ack { packet_id, reason, properties: Default::default() };
        match words[0] {
            "PUBLISH" => self.publish(packet_id, &words[2..]),
            "PUBACK" => self.session.handle_puback(&ack, self.now),
            "PUBREC" => self.session.handle_pubrec(&ack, self.now),
            "PUBREL" => self.session.handle_pubrel(&ack),
            "PUBCOMP" => self.session.handle_pubcomp(&ack, self.now),
            other => panic!("no script packet: {other}"),
        }
        self.read_outbox();
    }

    fn publish(&mut self, packet_id: PacketId, options: &[&str]) {
        let qos = qos(options[0]);
        let incoming = self.session.handle_publish(qos, packet_id);
        if incoming != Incoming::New {
            return self.actual.push(format!("= {incoming:?}"));
        }
        let refused = options.contains(&"refused");
        let reason = if refused { ReasonCode::QuotaExceeded } else { ReasonCode::Success };
        let pending = option(options, "pending=").unwrap_or(0);
        let slot = self.session.acknowledge(Owed { packet_id, qos, reason }, pending);
        self.slots.extend(slot.map(|slot| (packet_id, slot)));
    }

    /// - `connect [v3.1.1] [receive=N] [size=N] [aliases=N]`: with that Receive Maximum, Maximum Packet Size and Topic
    ///   Alias Maximum; our own Receive Maximum is announced to 5.0 clients alone
    /// - `lost`: the connection
    /// - `move`: the session goes to another node, as bytes; its connection is lost
    /// - `absorb q1|q2 PAYLOAD...`: these messages were held for the session where it has just arrived, the first of them
    ///   under the name of the last one that it has queued itself
    /// - `message q0|q1|q2 PAYLOAD [topic=NAME] [times=N] [retain] [expiry=SECS] [granted=q0|q1] [id=N]...`: a subscription
    ///   matches one; a number as payload is that many bytes
    /// - `confirm ID`: a confirmation of another node for that publish
    /// - `stall`, `drain`: the socket takes nothing; everything
    /// - `note`: from now on publishes are noted; `noted`: prints which are, by number
    /// - `elsewhere ID...`: another copy of the session has sent messages of QoS 2 under these
    /// - `wait SECS`
    /// - `state`: prints the session's counters
    fn event(&mut self, line: &str, event: &str) {
        self.actual.push(line.to_owned());
        let words: Vec<&str> = event.split_whitespace().collect();
        match words[0] {
            "connect" => self.connect(&words),
            "lost" => self.session.handle_disconnected(),
            "move" => self.move_away(),
            "absorb" => self.absorb(&words),
            "message" => self.message(&words),
            "confirm" => {
                let packet_id: PacketId = words[1].parse().expect("a packet identifier");
                let of = |(id, slot): &(PacketId, Slot)| (*id == packet_id).then_some(*slot);
                let slot = self.slots.iter().rev().find_map(of).expect("a publish that waits");
                self.session.confirm(slot);
            }
            "elsewhere" => {
                let ids = words[1..].iter().map(|word| word.parse().expect("a packet identifier"));
                self.session.release_elsewhere(ids.collect());
            }
            "note" => self.session.note_publishes(),
            "noted" => {
                let mut numbers: Vec<u64> = self
                    .session
                    .noted()
                    .into_iter()
                    .flat_map(|noted| noted.iter())
                    .map(|publish| publish.number)
                    .collect();
                numbers.sort_unstable();
                self.actual.push(format!("= {numbers:?}"));
            }
            "stall" => self.stalled = true,
            "drain" => self.stalled = false,
            "wait" => self.now += Duration::from_secs(words[1].parse().expect("seconds")),
            "state" => self.actual.push(format!(
                "= in flight {}, queued {}, unacknowledged {}, expired {}",
                self.session.inflight(),
                self.session.queued(),
                self.session.unacknowledged(),
                self.session.take_expired()
            )),
            other => panic!("no script event: {other}"),
        }
        self.read_outbox();
    }

    fn move_away(&mut self) {
        self.session.handle_disconnected();
        let bytes = postcard::to_stdvec(&self.session.export(self.now)).expect("it can be written");
        let state: SessionState = postcard::from_bytes(&bytes).expect("it can be read");
        let bytes = postcard::to_stdvec(&self.session.bequeath(1, 1, &[], self.now)).expect("as well");
        let succession = postcard::from_bytes(&bytes).expect("it can be read");
        let (limits, accept) = (self.session.limits.clone(), &|_| unreachable!("no groups here"));
        self.session = Session::import(state, limits, accept, self.now).expect("it is one");
        self.session.inherit(succession, 2, false, accept, self.now);
    }

    fn absorb(&mut self, words: &[&str]) {
        let mut held = Script {
            session: Session::new(self.session.limits.clone()),
            now: self.now,
            stalled: false,
            slots: Vec::new(),
            actual: Vec::new(),
            published: self.published - 1,
        };
        for payload in &words[2..] {
            held.message(&["message", words[1], payload]);
        }
        self.published = held.published;
        self.session.absorb(held.session, self.now);
    }

    fn connect(&mut self, words: &[&str]) {
        let old = words.contains(&"v3.1.1");
        let limits = self.session.limits.clone();
        let asked: NonZeroU16 = option(words, "receive=").unwrap_or(NonZeroU16::MAX);
        self.session.handle_connected(Negotiated {
            version: if old { ProtocolVersion::V311 } else { ProtocolVersion::V500 },
            max_packet_size: option(words, "size=").unwrap_or(u32::MAX),
            receive_maximum: asked.min(limits.max_inflight).get(),
            announced_receive_maximum: (!old).then_some(limits.receive_maximum.get()),
            topic_alias_maximum: option(words, "aliases=").unwrap_or(0),
            problem_information: true,
        });
        self.stalled = false;
        self.session.resume(self.now);
    }

    fn message(&mut self, words: &[&str]) {
        let payload = words[2].parse().map_or(words[2].as_bytes().to_vec(), |size| vec![b'x'; size]);
        let identifiers: Vec<NonZeroU32> =
            words.iter().filter_map(|word| word.strip_prefix("id=")?.parse().ok()).collect();
        let properties = PropertySet::default();
        let topic: Option<String> = option(words, "topic=");
        let application = Application {
            topic: Topic::new(topic.as_deref().unwrap_or("t")).expect("a topic"),
            payload: &payload,
            backing: None,
            qos: qos(words[1]),
            retain: words.contains(&"retain"),
            properties: &properties,
            expires_at: option(words, "expiry=").map(|secs| self.now + Duration::from_secs(secs)),
        };
        let granted = words.iter().find_map(|word| word.strip_prefix("granted="));
        let delivery = Delivery {
            qos: granted.map_or(QoS::ExactlyOnce, qos),
            retain: words.contains(&"retain"),
            identifiers: &identifiers,
            ticket: None,
        };
        let mut scratch = Vec::new();
        for _ in 0..option(words, "times=").unwrap_or(1) {
            self.published += 1;
            let publish = PublishId { origin: 1, number: self.published };
            let mut frames = Frames::new(&application, &mut scratch, self.now).named(Some(publish));
            let delivered = self.session.deliver(&mut frames, delivery);
            self.actual.push(format!("= {delivered:?}"));
        }
    }

    /// Writes out what the outbox holds, until the session has nothing more to say.
    fn read_outbox(&mut self) {
        while !self.stalled && !self.session.outbox().is_empty() {
            let version = self.session.negotiated().expect("without a connection nothing is written").version;
            let bytes = take_bytes(&mut self.session);
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let length = codec::frame_len(rest, u32::MAX).expect("a frame").expect("whole");
                let packet = codec::decode(&rest[..length], version).expect("a packet");
                self.actual.push(format!("< {}", describe(&packet)));
                rest = &rest[length..];
            }
            self.session.handle_drained(self.now);
        }
    }
}

/// Everything in the session's outbox, as a socket would get it.
pub fn take_bytes(session: &mut Session) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !session.outbox().is_empty() {
        let mut slices = [std::io::IoSlice::new(&[]); MAX_SLICES];
        let count = session.outbox().slices(&mut slices);
        let from = bytes.len();
        slices[..count].iter().for_each(|slice| bytes.extend_from_slice(slice));
        let written = bytes.len() - from;
        session.outbox().advance(written);
    }
    bytes
}

fn describe(packet: &Packet<'_>) -> String {
    match packet {
        Packet::Publish(publish) => describe_publish(publish),
        Packet::PubAck(ack) => describe_ack("PUBACK", ack),
        Packet::PubRec(ack) => describe_ack("PUBREC", ack),
        Packet::PubRel(ack) => describe_ack("PUBREL", ack),
        Packet::PubComp(ack) => describe_ack("PUBCOMP", ack),
        other => format!("{other:?}"),
    }
}

fn describe_publish(publish: &Publish<'_>) -> String {
    let mut words = vec!["PUBLISH".to_owned()];
    words.extend(publish.packet_id.map(|id| id.to_string()));
    words.push(format!("q{}", publish.qos as u8));
    words.push(match std::str::from_utf8(publish.payload) {
        Ok(text) if text.len() < 20 => text.to_owned(),
        _ => publish.payload.len().to_string(),
    });
    let topic = publish.topic.map(|topic| topic.as_str()).filter(|topic| *topic != "t");
    words.extend(topic.map(|topic| format!("topic={topic}")));
    words.extend(publish.properties.topic_alias.map(|alias| format!("alias={alias}")));
    words.extend(publish.dup.then(|| "dup".to_owned()));
    words.extend(publish.retain.then(|| "retain".to_owned()));
    words.extend(publish.properties.message_expiry_interval_secs.map(|secs| format!("expiry={secs}")));
    words.extend(publish.properties.subscription_identifiers.iter().map(|id| format!("id={id}")));
    words.join(" ")
}

fn describe_ack(name: &str, ack: &Ack<'_>) -> String {
    match ack.reason {
        ReasonCode::Success => format!("{name} {}", ack.packet_id),
        reason => format!("{name} {} {:#04x}", ack.packet_id, reason as u8),
    }
}

fn qos(word: &str) -> QoS {
    match word {
        "q0" => QoS::AtMostOnce,
        "q1" => QoS::AtLeastOnce,
        "q2" => QoS::ExactlyOnce,
        other => panic!("no QoS: {other}"),
    }
}

fn option<T: std::str::FromStr>(words: &[&str], name: &str) -> Option<T> {
    words.iter().find_map(|word| word.strip_prefix(name)?.parse().ok())
}
