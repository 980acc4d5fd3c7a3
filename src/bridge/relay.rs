//! What a bridge does with each packet of either side. Pure: frames in, bytes for the two connections out.

use super::topics::Topics;
use crate::broker::BRIDGE_MARK;
use crate::codec::packet::{Ack, Packet, Properties, PropertySet, ProtocolVersion, Publish, QoS, ReasonCode};
use crate::codec::{self, DecodeError};
use crate::topic::Topic;

/// What this side speaks with the bridge.
pub const LOCAL_VERSION: ProtocolVersion = ProtocolVersion::V500;

/// What is known of the other broker, once it has accepted the bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What is spoken with it.
    pub version: ProtocolVersion,
    /// Largest packet it takes.
    pub max_packet_size: u32,
    /// Whether it takes retained messages.
    pub retain: bool,
    /// The name of its cluster, if it is one that tells.
    pub cluster: Option<String>,
}

/// Passes packets on between this side and the other.
pub struct Relay {
    outward: Topics,
    inward: Topics,
    /// The name of this side's cluster.
    cluster: String,
    /// What messages that come to it are marked with.
    arrival: String,
    peer: Peer,
    /// Bytes for the other broker.
    pub to_remote: Vec<u8>,
    /// Bytes for this node.
    pub to_local: Vec<u8>,
    /// What was passed on, or not, since it was last looked at.
    pub counts: Counts,
    here: Here,
}

/// What this node takes.
#[derive(Clone, Copy, Debug)]
pub struct Here {
    /// Its largest packet.
    pub max_packet_size: u32,
    /// Whether it takes retained messages.
    pub retain: bool,
}

/// What a relay has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages for the other broker.
    pub outward: u64,
    /// Messages from it.
    pub inward: u64,
    /// Messages that had been where they were to go.
    pub loops: u64,
    /// Messages that the other broker does not take, for they are too large.
    pub too_large: u64,
    /// Messages of a topic that is not bridged.
    pub unmatched: u64,
    /// Messages that the other broker refused.
    pub refused: u64,
    /// Messages that this node refused.
    pub refused_here: u64,
}

/// Why a relay ends.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// It sends what is not MQTT.
    #[error("{side} sends no MQTT: {error}")]
    Undecodable {
        /// Who.
        side: &'static str,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// It ends the connection.
    #[error("{side} disconnects the bridge: {reason:?}")]
    Disconnected {
        /// Who.
        side: &'static str,
        /// Why.
        reason: ReasonCode,
    },
}

/// Whom a packet comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Local,
    Remote,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Side::Local => "this node",
            Side::Remote => "the other broker",
        }
    }
}

impl Relay {
    /// A relay between this cluster and a broker that has accepted the bridge.
    pub fn new(outward: Topics, inward: Topics, cluster: String, peer: Peer, here: Here) -> Relay {
        let (to_remote, to_local, counts) = (Vec::new(), Vec::new(), Counts::default());
        let arrival = arrival(&cluster);
        Relay { outward, inward, cluster, arrival, peer, to_remote, to_local, counts, here }
    }

    /// A whole packet of this node.
    pub fn handle_local(&mut self, frame: &[u8]) -> Result<(), RelayError> {
        self.handle(Side::Local, frame, LOCAL_VERSION)
    }

    /// A whole packet of the other broker.
    pub fn handle_remote(&mut self, frame: &[u8]) -> Result<(), RelayError> {
        self.handle(Side::Remote, frame, self.peer.version)
    }

    /// Asks the other broker for a sign of life.
    pub fn ping(&mut self) {
        self.send(Side::Remote, &Packet::PingReq);
    }

    fn handle(&mut self, from: Side, frame: &[u8], version: ProtocolVersion) -> Result<(), RelayError> {
        let side = from.name();
        let packet =
            codec::decode(frame, version).map_err(|error| RelayError::Undecodable { side, error })?;
        let to = if from == Side::Local { Side::Remote } else { Side::Local };
        match &packet {
            Packet::Publish(publish) => self.handle_publish(from, publish),
            Packet::PubAck(ack) => {
                self.count_refused(from, ack.reason);
                self.pass_on(to, Packet::PubAck, ack);
            }
            Packet::PubRec(ack) => {
                self.count_refused(from, ack.reason);
                self.pass_on(to, Packet::PubRec, ack);
            }
            Packet::PubRel(ack) => self.pass_on(to, Packet::PubRel, ack),
            Packet::PubComp(ack) => self.pass_on(to, Packet::PubComp, ack),
            Packet::SubAck(answer) => {
                for reason in answer.reasons.iter().filter(|reason| reason.is_error()) {
                    tracing::warn!(
                        ?reason,
                        "{side} refuses the bridge a subscription: allow it there, or take the topic out of [[bridge]]"
                    );
                }
            }
            Packet::Disconnect(disconnect) => {
                return Err(RelayError::Disconnected { side, reason: disconnect.reason });
            }
            // Answers that need none, and what a broker does not send.
            _ => {}
        }
        Ok(())
    }

    fn handle_publish(&mut self, from: Side, publish: &Publish<'_>) {
        let users = &publish.properties.user_properties;
        let (topics, to) = match from {
            Side::Local => (&self.outward, Side::Remote),
            Side::Remote => (&self.inward, Side::Local),
        };
        let peer = self.peer.cluster.as_deref();
        let seen = match from {
            // What has come here and not left may go on.
            Side::Local => {
                has_mark(users, &self.cluster)
                    || peer.is_some_and(|peer| has_mark(users, peer) || has_mark(users, &arrival(peer)))
            }
            Side::Remote => has_mark(users, &self.cluster) || has_mark(users, &self.arrival),
        };
        let name = publish.topic.and_then(|topic| topics.rename(topic));
        let topic = name.as_deref().and_then(|name| Topic::new(name).ok());
        let Some(topic) = topic.filter(|_| !seen) else {
            match seen {
                true => self.counts.loops += 1,
                false => self.counts.unmatched += 1,
            }
            return self.settle(from, publish);
        };
        let mut set = PropertySet::clone(&publish.properties);
        set.subscription_identifiers = Vec::new();
        set.topic_alias = None;
        let marks = match from {
            Side::Local => [None, Some(self.cluster.as_str())],
            Side::Remote => [peer.filter(|peer| !has_mark(users, peer)), Some(self.arrival.as_str())],
        };
        set.user_properties.extend(marks.into_iter().flatten().map(|mark| (BRIDGE_MARK, mark)));
        let retain = publish.retain && if to == Side::Local { self.here.retain } else { self.peer.retain };
        let passed_on = Publish { topic: Some(topic), retain, properties: set.into(), ..publish.clone() };
        let (out, version, limit) = match to {
            Side::Local => (&mut self.to_local, LOCAL_VERSION, self.here.max_packet_size),
            Side::Remote => (&mut self.to_remote, self.peer.version, self.peer.max_packet_size),
        };
        match (codec::encode(&Packet::Publish(passed_on), version, limit, out), to) {
            (Ok(()), Side::Remote) => self.counts.outward += 1,
            (Ok(()), Side::Local) => self.counts.inward += 1,
            (Err(_), _) => {
                self.counts.too_large += 1;
                self.settle(from, publish);
            }
        }
    }

    /// Ends the delivery of a message that is not passed on.
    fn settle(&mut self, from: Side, publish: &Publish<'_>) {
        let Some(packet_id) = publish.packet_id else { return };
        let ack = |reason| Ack { packet_id, reason, properties: Properties::NONE };
        // An error ends the exchange of QoS 2 at once. 3.1.1 has no errors; there PUBREL follows, and this node, which does
        // not know of the message, answers it.
        let answer = match publish.qos {
            QoS::ExactlyOnce => Packet::PubRec(ack(ReasonCode::ImplementationSpecificError)),
            _ => Packet::PubAck(ack(ReasonCode::Success)),
        };
        self.send(from, &answer);
    }

    fn pass_on(&mut self, to: Side, packet: fn(Ack<'static>) -> Packet<'static>, ack: &Ack<'_>) {
        let ack = Ack { packet_id: ack.packet_id, reason: ack.reason, properties: Properties::NONE };
        self.send(to, &packet(ack));
    }

    fn count_refused(&mut self, by: Side, reason: ReasonCode) {
        match by {
            _ if !reason.is_error() => {}
            Side::Local => self.counts.refused_here += 1,
            Side::Remote => self.counts.refused += 1,
        }
    }

    /// Sends a packet of a few bytes, which fits whatever the limits are.
    fn send(&mut self, to: Side, packet: &Packet<'_>) {
        let _ = match to {
            Side::Local => codec::encode(packet, LOCAL_VERSION, u32::MAX, &mut self.to_local),
            Side::Remote => codec::encode(packet, self.peer.version, u32::MAX, &mut self.to_remote),
        };
    }
}

/// Whether a message bears this mark. Each cluster that it leaves by a bridge is named in it by a user property, and each
/// that it comes to by one, as [`arrival`] says. 3.1.1 has no such properties: there, messages are not marked.
fn has_mark(users: &[(&str, &str)], mark: &str) -> bool {
    users.iter().any(|&(name, value)| name == BRIDGE_MARK && value == mark)
}

/// The mark of a cluster that a message has come to. Such a message may leave it, one that has left it before may not.
fn arrival(cluster: &str) -> String {
    format!(">{cluster}")
}

#[cfg(test)]
mod tests;
