//! Packets and messages as events: everything that helps to understand what went on, and no secret. Passwords and data of
//! authentication are never in it; payloads, and the values of user properties, only as far as they are asked for.

use super::event::{Happening, TraceEvent, cut, reason_text};
use crate::codec::packet::{
    Ack, Connect, Packet, PropertySet, ProtocolVersion, Publish, QoS, ReasonCodes, RetainHandling,
    SubscriptionOptions,
};
use crate::message::Application;

/// Most filters of a packet that are told one by one.
const FILTERS_MAX: usize = 32;

/// A packet that was received from a client or sent to it, with at most so many bytes of a payload.
pub fn packet(event: Happening, client: &str, packet: &Packet<'_>, payload_max: usize) -> TraceEvent {
    let mut told = TraceEvent::of(event, client);
    told.packet = Some(name(packet).to_owned());
    match packet {
        Packet::Connect(packet) => connect(told, packet, payload_max),
        Packet::ConnAck(packet) => {
            let told = told.because(packet.reason).with("session_present", packet.session_present);
            properties(told, &packet.properties, payload_max)
        }
        Packet::Publish(packet) => publish(told, packet, payload_max),
        Packet::PubAck(packet)
        | Packet::PubRec(packet)
        | Packet::PubRel(packet)
        | Packet::PubComp(packet) => {
            let Ack { packet_id, reason, properties: set } = packet;
            told.packet_id = Some(packet_id.get());
            properties(told.because(*reason), set, payload_max)
        }
        Packet::Subscribe(packet) => {
            told.packet_id = Some(packet.packet_id.get());
            let filters = packet.filters.iter().map(|(filter, options)| subscription(filter, *options));
            told.filters = filters.take(FILTERS_MAX).collect();
            properties(told.with_more(packet.filters.len()), &packet.properties, payload_max)
        }
        Packet::Unsubscribe(packet) => {
            told.packet_id = Some(packet.packet_id.get());
            told.filters = packet.filters.iter().take(FILTERS_MAX).map(|filter| cut(filter)).collect();
            properties(told.with_more(packet.filters.len()), &packet.properties, payload_max)
        }
        Packet::SubAck(packet) | Packet::UnsubAck(packet) => {
            let ReasonCodes { packet_id, reasons, properties: set } = packet;
            told.packet_id = Some(packet_id.get());
            told.reasons = reasons.iter().take(FILTERS_MAX).map(|reason| reason_text(*reason)).collect();
            properties(told.with_more(reasons.len()), set, payload_max)
        }
        Packet::PingReq | Packet::PingResp => told,
        Packet::Disconnect(packet) => {
            properties(told.because(packet.reason), &packet.properties, payload_max)
        }
        Packet::Auth(packet) => properties(told.because(packet.reason), &packet.properties, payload_max),
    }
}

/// A message on its way, told of a client if there is one.
pub fn message(
    event: Happening,
    client: Option<&str>,
    application: &Application<'_>,
    payload_max: usize,
) -> TraceEvent {
    let mut told = TraceEvent { event, client: client.map(cut), ..TraceEvent::default() };
    told.topic = Some(cut(application.topic.as_str()));
    told.qos = Some(application.qos as u8);
    told.retain = Some(application.retain);
    told.payload_size = Some(application.payload.len());
    told.payload = payload(application.payload, payload_max);
    properties(told, application.properties, payload_max)
}

impl TraceEvent {
    /// Says how many filters there are, where not all are told.
    fn with_more(self, filters: usize) -> TraceEvent {
        if filters > FILTERS_MAX { self.with("filters_in_all", filters) } else { self }
    }
}

fn name(packet: &Packet<'_>) -> &'static str {
    match packet {
        Packet::Connect(_) => "CONNECT",
        Packet::ConnAck(_) => "CONNACK",
        Packet::Publish(_) => "PUBLISH",
        Packet::PubAck(_) => "PUBACK",
        Packet::PubRec(_) => "PUBREC",
        Packet::PubRel(_) => "PUBREL",
        Packet::PubComp(_) => "PUBCOMP",
        Packet::Subscribe(_) => "SUBSCRIBE",
        Packet::SubAck(_) => "SUBACK",
        Packet::Unsubscribe(_) => "UNSUBSCRIBE",
        Packet::UnsubAck(_) => "UNSUBACK",
        Packet::PingReq => "PINGREQ",
        Packet::PingResp => "PINGRESP",
        Packet::Disconnect(_) => "DISCONNECT",
        Packet::Auth(_) => "AUTH",
    }
}

fn connect(told: TraceEvent, connect: &Connect<'_>, payload_max: usize) -> TraceEvent {
    let version = match connect.version {
        ProtocolVersion::V310 => "3.1",
        ProtocolVersion::V311 => "3.1.1",
        ProtocolVersion::V500 => "5.0",
    };
    let mut told = told
        .with("protocol", version)
        .with("clean_start", connect.clean_start)
        .with("keep_alive", connect.keep_alive_secs)
        .with_some("username", connect.username)
        .with_some("password", connect.password.map(|_| "hidden"));
    if let Some(will) = &connect.will {
        told = told
            .with("will_topic", will.topic.as_str())
            .with("will_qos", will.qos as u8)
            .with("will_retain", will.retain)
            .with("will_payload_size", will.payload.len())
            .with_some("will_payload", payload(will.payload, payload_max))
            .with_some("will_delay", will.properties.will_delay_interval_secs)
            .with_some("will_expiry", will.properties.message_expiry_interval_secs);
    }
    properties(told, &connect.properties, payload_max)
}

fn publish(mut told: TraceEvent, publish: &Publish<'_>, payload_max: usize) -> TraceEvent {
    told.topic = publish.topic.map(|topic| cut(topic.as_str()));
    told.packet_id = publish.packet_id.map(|id| id.get());
    told.qos = Some(publish.qos as u8);
    told.retain = Some(publish.retain);
    told.dup = (publish.qos > QoS::AtMostOnce).then_some(publish.dup);
    told.payload_size = Some(publish.payload.len());
    told.payload = payload(publish.payload, payload_max);
    properties(told, &publish.properties, payload_max)
}

fn subscription(filter: &str, options: SubscriptionOptions) -> String {
    let mut text = format!("{} qos={}", cut(filter), options.qos as u8);
    for (set, name) in
        [(options.no_local, " no-local"), (options.retain_as_published, " retain-as-published")]
    {
        text.push_str(if set { name } else { "" });
    }
    text.push_str(match options.retain_handling {
        RetainHandling::Send => "",
        RetainHandling::SendIfNew => " retained-if-new",
        RetainHandling::DoNotSend => " no-retained",
    });
    text
}

/// The beginning of a payload, if any of it is asked for.
fn payload(payload: &[u8], max: usize) -> Option<String> {
    let shown = &payload[..payload.len().min(max)];
    (max > 0).then(|| {
        let more = if shown.len() < payload.len() { "…" } else { "" };
        format!("{}{more}", String::from_utf8_lossy(shown))
    })
}

fn properties(told: TraceEvent, set: &PropertySet<'_>, payload_max: usize) -> TraceEvent {
    let identifiers: Vec<String> = set.subscription_identifiers.iter().map(ToString::to_string).collect();
    let user = match set.user_properties.as_slice() {
        [] => None,
        pairs if payload_max == 0 => {
            let names: Vec<&str> = pairs.iter().map(|(name, _)| *name).collect();
            Some(names.join(" "))
        }
        pairs => {
            let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
            Some(pairs.join(" "))
        }
    };
    told.with_some("payload_is_text", set.payload_format_indicator)
        .with_some("message_expiry", set.message_expiry_interval_secs)
        .with_some("content_type", set.content_type)
        .with_some("response_topic", set.response_topic.map(|topic| topic.as_str()))
        .with_some("correlation_data_size", set.correlation_data.map(<[u8]>::len))
        .with_some("subscription_identifiers", Some(identifiers.join(" ")).filter(|text| !text.is_empty()))
        .with_some("session_expiry", set.session_expiry_interval_secs)
        .with_some("assigned_client_identifier", set.assigned_client_identifier)
        .with_some("server_keep_alive", set.server_keep_alive_secs)
        .with_some("authentication_method", set.authentication_method)
        .with_some("authentication_data", set.authentication_data.map(|_| "hidden"))
        .with_some("response_information", set.response_information)
        .with_some("server_reference", set.server_reference)
        .with_some("reason_string", set.reason_string)
        .with_some("receive_maximum", set.receive_maximum)
        .with_some("topic_alias_maximum", set.topic_alias_maximum)
        .with_some("topic_alias", set.topic_alias)
        .with_some("maximum_qos", set.maximum_qos.map(|qos| qos as u8))
        .with_some("retain_available", set.retain_available)
        .with_some("maximum_packet_size", set.maximum_packet_size)
        .with_some("user_properties", user)
}
