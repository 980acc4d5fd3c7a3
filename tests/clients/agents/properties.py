"""The properties of packets, in the classes that Paho and aiomqtt share."""

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

PUBLISH = {
    "alias": "TopicAlias",
    "expiry": "MessageExpiryInterval",
    "content_type": "ContentType",
    "response_topic": "ResponseTopic",
    "correlation": "CorrelationData",
    "user": "UserProperty",
}


def of_connect(options):
    properties = Properties(PacketTypes.CONNECT)
    if options.get("expiry") is not None:
        properties.SessionExpiryInterval = options["expiry"]
    return properties


def of_publish(message):
    properties = Properties(PacketTypes.PUBLISH)
    for key, name in PUBLISH.items():
        value = message.get(key)
        if value:
            setattr(properties, name, value.encode() if key == "correlation" else value)
    return properties


def of_subscribe(wanted):
    properties = Properties(PacketTypes.SUBSCRIBE)
    if wanted.get("identifier"):
        properties.SubscriptionIdentifier = wanted["identifier"]
    return properties


def options_of_subscribe(wanted):
    return SubscribeOptions(
        qos=wanted["qos"], noLocal=wanted["no_local"], retainAsPublished=wanted["retain_as_published"]
    )


def describe(topic, message):
    """A message as it came."""
    answer = {
        "topic": topic,
        "payload": message.payload.decode(),
        "qos": message.qos,
        "retain": bool(message.retain),
    }
    for key, name in PUBLISH.items():
        value = getattr(message.properties, name, None)
        if value is not None and key != "alias":
            answer[key] = value.decode() if key == "correlation" else value
    identifiers = getattr(message.properties, "SubscriptionIdentifier", [])
    answer["identifiers"] = identifiers if isinstance(identifiers, list) else [identifiers]
    return answer
