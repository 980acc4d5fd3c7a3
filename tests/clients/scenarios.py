"""Paho against two nodes of a cluster on 127.0.0.1, ports given: every function named scenario_* runs in both protocol versions."""

import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

PORT = int(sys.argv[1])
OTHER_NODE = int(sys.argv[2])
PATIENCE = 20
MESSAGES = 1000


class Client:
    """A client whose callbacks put what happens into queues, where scenarios wait for it."""

    def __init__(self, version, client_id="", lasting=False, will=None, port=PORT):
        five = version == mqtt.MQTTv5
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=version,
            **({} if five else {"clean_session": not lasting}),
        )
        self.connected, self.subscribed, self.messages, self.ended = (queue.Queue() for _ in range(4))
        self.client.on_connect = lambda c, u, flags, reason, p: self.connected.put((flags.session_present, reason))
        self.client.on_subscribe = lambda c, u, mid, reasons, p: self.subscribed.put([r.value for r in reasons])
        self.client.on_message = lambda c, u, message: self.messages.put(message)
        self.client.on_disconnect = lambda c, u, flags, reason, p: self.ended.put(reason)
        if will:
            self.client.will_set(*will)
        options = {}
        if five:
            options["clean_start"] = not lasting
            if lasting:
                options["properties"] = Properties(PacketTypes.CONNECT)
                options["properties"].SessionExpiryInterval = 100
        self.client.connect("127.0.0.1", port, keepalive=30, **options)
        self.client.loop_start()
        self.session_present, reason = self.connected.get(timeout=PATIENCE)
        assert not reason.is_failure, reason

    def subscribe(self, *filters):
        """Filters with their QoS; returns the reason codes."""
        self.client.subscribe(list(filters))
        return self.subscribed.get(timeout=PATIENCE)

    def publish(self, topic, payload, qos=1, retain=False, properties=None):
        self.client.publish(topic, payload, qos, retain, properties).wait_for_publish(PATIENCE)

    def message(self):
        return self.messages.get(timeout=PATIENCE)

    def payload(self):
        return self.message().payload.decode()

    def disconnect(self):
        self.client.disconnect()
        self.ended.get(timeout=PATIENCE)
        self.client.loop_stop()

    def lose_power(self):
        """No DISCONNECT, and no reconnect."""
        self.client.on_disconnect = None
        self.client.loop_stop()
        self.client.socket().close()


def equal(actual, expected):
    assert actual == expected, f"{actual!r} instead of {expected!r}"


def scenario_every_qos(version):
    client = Client(version)
    equal(client.subscribe(("a/+", 2)), [2])
    for qos in 0, 1, 2:
        client.publish("a/b", f"with {qos}", qos)
        message = client.message()
        equal((message.topic, message.payload, message.qos, message.retain), ("a/b", b"with %d" % qos, qos, False))
    client.disconnect()


def scenario_order(version):
    subscriber, publisher = Client(version), Client(version)
    for qos in 1, 2:
        topic = f"order/{qos}"
        subscriber.subscribe((topic, qos))
        sent = [publisher.client.publish(topic, str(n), qos) for n in range(MESSAGES)]
        equal([subscriber.payload() for _ in sent], [str(n) for n in range(MESSAGES)])
        for message in sent:
            message.wait_for_publish(PATIENCE)
    subscriber.disconnect()
    publisher.disconnect()


def scenario_across_nodes(version):
    subscriber, publisher = Client(version, port=OTHER_NODE), Client(version)
    for qos in 0, 1, 2:
        topic = f"across/{qos}"
        subscriber.subscribe((topic, qos))
        sent = [publisher.client.publish(topic, str(n), qos) for n in range(MESSAGES)]
        equal([subscriber.payload() for _ in sent], [str(n) for n in range(MESSAGES)])
        for message in sent:
            message.wait_for_publish(PATIENCE)
    assert subscriber.messages.empty(), "each came once"
    subscriber.disconnect()
    publisher.disconnect()


def scenario_retained(version):
    publisher = Client(version)
    publisher.publish("kept/1", "for later", retain=True)
    late = Client(version)
    late.subscribe(("kept/#", 1))
    message = late.message()
    equal((message.payload, message.retain), (b"for later", True))
    publisher.publish("kept/1", "", retain=True)
    equal(late.payload(), "")
    later = Client(version)
    later.subscribe(("kept/#", 1))
    publisher.publish("kept/2", "live")
    equal(later.payload(), "live")
    for client in publisher, late, later:
        client.disconnect()


def scenario_will(version):
    mourner = Client(version)
    mourner.subscribe(("wills/#", 1))
    Client(version, will=("wills/polite", "never", 1)).disconnect()
    Client(version, will=("wills/lost", "gone", 1)).lose_power()
    message = mourner.message()
    equal((message.topic, message.payload), ("wills/lost", b"gone"))
    mourner.disconnect()


def scenario_session(version):
    name = f"lasting-{version}"
    client = Client(version, name, lasting=True)
    equal(client.session_present, False)
    client.subscribe(("queue", 2))
    client.disconnect()
    publisher = Client(version)
    for qos in 1, 2:
        publisher.publish("queue", f"with {qos}", qos)
    client = Client(version, name, lasting=True)
    equal(client.session_present, True)
    equal([client.payload(), client.payload()], ["with 1", "with 2"])
    client.disconnect()
    client = Client(version, name)
    equal(client.session_present, False)
    client.disconnect()
    publisher.disconnect()


def scenario_takeover(version):
    first = Client(version, "one-of-two")
    first.client.reconnect_delay_set(1000, 1000)
    second = Client(version, "one-of-two")
    reason = first.ended.get(timeout=PATIENCE)
    if version == mqtt.MQTTv5:
        equal(reason.value, 0x8E)
    first.client.loop_stop()
    second.subscribe(("t", 0))
    second.publish("t", "still here")
    equal(second.payload(), "still here")
    second.disconnect()


def scenario_large_payload(version):
    client = Client(version)
    client.subscribe(("large", 1))
    payload = bytes(range(256)) * 3500
    client.publish("large", payload)
    assert client.message().payload == payload
    client.disconnect()


def scenario_properties(version):
    if version != mqtt.MQTTv5:
        return
    client = Client(version)
    options = SubscribeOptions(qos=1, noLocal=False, retainAsPublished=True)
    identifier = Properties(PacketTypes.SUBSCRIBE)
    identifier.SubscriptionIdentifier = 7
    client.client.subscribe("p/#", options=options, properties=identifier)
    equal(client.subscribed.get(timeout=PATIENCE), [1])
    properties = Properties(PacketTypes.PUBLISH)
    properties.ContentType = "text/plain"
    properties.CorrelationData = b"17"
    properties.ResponseTopic = "answers"
    properties.UserProperty = [("k", "1"), ("k", "2")]
    properties.MessageExpiryInterval = 1000
    client.publish("p/1", "x", properties=properties)
    got = client.message().properties
    equal(got.ContentType, "text/plain")
    equal(got.CorrelationData, b"17")
    equal(got.ResponseTopic, "answers")
    equal(got.UserProperty, [("k", "1"), ("k", "2")])
    equal(got.SubscriptionIdentifier, [7])
    assert 990 <= got.MessageExpiryInterval <= 1000
    client.disconnect()


def scenario_no_local(version):
    if version != mqtt.MQTTv5:
        return
    client, other = Client(version), Client(version)
    client.client.subscribe("mine", options=SubscribeOptions(qos=1, noLocal=True))
    client.subscribed.get(timeout=PATIENCE)
    client.publish("mine", "own")
    other.publish("mine", "of another")
    equal(client.payload(), "of another")
    client.disconnect()
    other.disconnect()


def main():
    scenarios = [function for name, function in globals().items() if name.startswith("scenario_")]
    for version, name in (mqtt.MQTTv311, "3.1.1"), (mqtt.MQTTv5, "5.0"):
        for scenario in scenarios:
            print(f"{name}: {scenario.__name__}", flush=True)
            scenario(version)


main()
