//! Packets in a line each, the way tests write them down.

use rumormq::codec::packet::{Ack, ConnAck, Packet, Publish, ReasonCode, ReasonCodes};

/// `NAME IDENTIFIER REASON ...`, without what is not set, so that most lines are short.
pub fn describe(packet: &Packet<'_>) -> String {
    match packet {
        Packet::ConnAck(connack) => describe_connack(connack),
        Packet::Publish(publish) => describe_publish(publish),
        Packet::PubAck(ack) => describe_ack("PUBACK", ack),
        Packet::PubRec(ack) => describe_ack("PUBREC", ack),
        Packet::PubRel(ack) => describe_ack("PUBREL", ack),
        Packet::PubComp(ack) => describe_ack("PUBCOMP", ack),
        Packet::SubAck(answer) => describe_reasons("SUBACK", answer),
        Packet::UnsubAck(answer) => describe_reasons("UNSUBACK", answer),
        Packet::PingResp => "PINGRESP".to_owned(),
        Packet::Disconnect(disconnect) => format!("DISCONNECT {}", describe_reason(disconnect.reason)),
        other => format!("{other:?}"),
    }
}

fn describe_connack(connack: &ConnAck<'_>) -> String {
    let mut line = format!("CONNACK {}", describe_reason(connack.reason));
    if connack.session_present {
        line.push_str(" present");
    }
    if let Some(secs) = connack.properties.session_expiry_interval_secs {
        line.push_str(&format!(" expiry={secs}"));
    }
    line
}

fn describe_publish(publish: &Publish<'_>) -> String {
    let topic = publish.topic.map_or("", |topic| topic.as_str());
    let mut words = vec!["PUBLISH".to_owned()];
    words.extend(publish.packet_id.map(|id| id.to_string()));
    words.extend([format!("q{}", publish.qos as u8), topic.to_owned(), describe_payload(publish.payload)]);
    words.extend(publish.dup.then(|| "dup".to_owned()));
    words.extend(publish.retain.then(|| "retain".to_owned()));
    let set = &publish.properties;
    let mut identifiers = set.subscription_identifiers.clone();
    identifiers.sort_unstable(); // Their order says nothing [MQTT-3.3.4-4].
    words.extend(identifiers.iter().map(|id| format!("id={id}")));
    words.extend(set.topic_alias.map(|alias| format!("alias={alias}")));
    words.extend(set.message_expiry_interval_secs.map(|secs| format!("expiry={secs}")));
    words.extend(set.payload_format_indicator.map(|utf8| format!("utf8={utf8}")));
    words.extend(set.content_type.map(|content_type| format!("type={content_type}")));
    words.extend(set.response_topic.map(|topic| format!("response={topic}")));
    words.extend(set.correlation_data.map(|data| format!("correlation={}", describe_payload(data))));
    words.extend(set.user_properties.iter().map(|(name, value)| format!("{name}:{value}")));
    words.join(" ")
}

fn describe_payload(payload: &[u8]) -> String {
    match std::str::from_utf8(payload) {
        Ok("") => "\"\"".to_owned(),
        Ok(text) if text.len() <= 40 => text.to_owned(),
        _ => format!("[{} bytes]", payload.len()),
    }
}

fn describe_ack(name: &str, ack: &Ack<'_>) -> String {
    match ack.reason {
        ReasonCode::Success => format!("{name} {}", ack.packet_id),
        reason => format!("{name} {} {}", ack.packet_id, describe_reason(reason)),
    }
}

fn describe_reasons(name: &str, answer: &ReasonCodes<'_>) -> String {
    let reasons = answer.reasons.iter().map(|&reason| format!(" {}", describe_reason(reason)));
    format!("{name} {}{}", answer.packet_id, reasons.collect::<String>())
}

fn describe_reason(reason: ReasonCode) -> String {
    format!("{:#04x}", reason as u8)
}
