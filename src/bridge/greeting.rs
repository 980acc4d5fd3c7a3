//! What a bridge says to each side before it relays: CONNECT and SUBSCRIBE, and what it makes of CONNACK. Pure.

use std::num::NonZeroU16;
use std::time::Duration;

use super::relay::Peer;
use crate::broker::BRIDGE_MARK;
use crate::codec;
use crate::codec::packet::{
    ConnAck, Packet, PacketId, Properties, ProtocolVersion, QoS, RetainHandling, Subscribe,
    SubscriptionOptions,
};

/// Unacknowledged messages that a broker gets which does not say how many it takes.
pub const RECEIVE_MAXIMUM: NonZeroU16 = NonZeroU16::new(100).unwrap();
/// No message bears it before all others are under way.
const SUBSCRIBE_ID: PacketId = PacketId::MAX;
/// What 3.1.1 brokers that know of bridges look for in the protocol level: they send a bridge nothing that it sent.
const BRIDGE_BIT: u8 = 0x80;

/// What the other broker takes.
pub struct Accepted {
    /// What the relay has to know.
    pub peer: Peer,
    /// Unacknowledged messages at a time.
    pub receive_maximum: NonZeroU16,
    /// Highest QoS.
    pub maximum_qos: QoS,
    /// Time between signs of life.
    pub keep_alive: Duration,
}

impl Accepted {
    /// What a CONNACK says.
    pub fn of(connack: &ConnAck<'_>, version: ProtocolVersion, keep_alive: Duration) -> Accepted {
        let said = &connack.properties;
        let cluster = said.user_properties.iter().find(|(name, _)| *name == BRIDGE_MARK);
        let server_keep_alive = said.server_keep_alive_secs.map(|secs| Duration::from_secs(secs.into()));
        Accepted {
            peer: Peer {
                version,
                max_packet_size: said.maximum_packet_size.map_or(u32::MAX, |size| size.get()),
                retain: said.retain_available != Some(false),
                cluster: cluster.map(|(_, name)| (*name).to_owned()),
            },
            receive_maximum: said.receive_maximum.unwrap_or(RECEIVE_MAXIMUM),
            maximum_qos: said.maximum_qos.unwrap_or(QoS::ExactlyOnce),
            keep_alive: server_keep_alive.filter(|time| !time.is_zero()).unwrap_or(keep_alive),
        }
    }
}

/// A SUBSCRIBE for these filters; none for none. Messages keep their retain flag, and retained ones come for what is new.
pub fn subscribe(filters: &[(String, QoS)], maximum_qos: QoS, version: ProtocolVersion) -> Option<Vec<u8>> {
    let options = |qos: QoS| SubscriptionOptions {
        qos: qos.min(maximum_qos),
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::SendIfNew,
    };
    let filters: Vec<_> = filters.iter().map(|(filter, qos)| (filter.as_str(), options(*qos))).collect();
    let subscribe = Subscribe { packet_id: SUBSCRIBE_ID, filters, properties: Properties::NONE };
    (!subscribe.filters.is_empty()).then(|| encode(&Packet::Subscribe(subscribe), version))
}

/// A packet of the bridge's own, which fits any version.
pub fn encode(packet: &Packet<'_>, version: ProtocolVersion) -> Vec<u8> {
    let mut frame = Vec::new();
    // Only texts longer than MQTT's would not fit, and there the other side hangs up on an empty one.
    let _ = codec::encode(packet, version, u32::MAX, &mut frame);
    frame
}

/// Says in a CONNECT of 3.1.1 that a bridge connects.
pub fn set_bridge_bit(connect: &mut [u8]) {
    let length_bytes = connect.iter().skip(1).take_while(|byte| **byte & 0x80 != 0).count() + 1;
    // Behind the fixed header and the protocol name with its length.
    if let Some(level) = connect.get_mut(1 + length_bytes + 6) {
        *level |= BRIDGE_BIT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::packet::Connect;

    #[test]
    fn the_bit_is_in_the_protocol_level() {
        let id = "x".repeat(200);
        for client_id in ["c", &id] {
            let connect = Connect {
                version: ProtocolVersion::V311,
                clean_start: true,
                keep_alive_secs: 0,
                client_id,
                will: None,
                username: None,
                password: None,
                properties: Properties::NONE,
            };
            let plain = encode(&Packet::Connect(Box::new(connect)), ProtocolVersion::V311);
            let mut marked = plain.clone();
            set_bridge_bit(&mut marked);
            let changed: Vec<_> = plain.iter().zip(&marked).filter(|(a, b)| a != b).collect();
            assert_eq!(changed, [(&4, &0x84)]);
        }
    }

    #[test]
    fn what_is_not_said_is_assumed() {
        let connack = ConnAck {
            session_present: false,
            reason: crate::codec::packet::ReasonCode::Success,
            properties: Properties::NONE,
        };
        let accepted = Accepted::of(&connack, ProtocolVersion::V311, Duration::from_secs(9));
        assert_eq!((accepted.receive_maximum, accepted.maximum_qos), (RECEIVE_MAXIMUM, QoS::ExactlyOnce));
        assert_eq!(accepted.keep_alive, Duration::from_secs(9));
        assert!(accepted.peer.retain && accepted.peer.cluster.is_none());
    }
}
