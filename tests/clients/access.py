"""Paho against a node with a password file and rules: what a client is told, in both protocol versions."""

import queue
import sys

import paho.mqtt.client as mqtt

PORT = int(sys.argv[1])
PATIENCE = 10


def attempt(version, username=None, password=None):
    """Connects; gives the client and the name of what the server answered."""
    answers = queue.Queue()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="gauge", protocol=version)
    client.on_connect = lambda _client, _data, _flags, reason, _properties: answers.put(str(reason))
    client.on_publish = lambda _client, _data, _id, reason, _properties: answers.put(str(reason))
    client.on_subscribe = lambda _client, _data, _id, reasons, _properties: answers.put(
        [reason.is_failure for reason in reasons]
    )
    if username is not None:
        client.username_pw_set(username, password)
    client.connect("127.0.0.1", PORT)
    client.loop_start()
    return client, answers


def expect(actual, *expected):
    assert actual in expected, f"expected one of {expected}, got {actual}"


def main():
    for version in (mqtt.MQTTv311, mqtt.MQTTv5):
        for username, password in (("alice", "guess"), ("bob", "x")):
            client, answers = attempt(version, username, password)
            expect(answers.get(timeout=PATIENCE), "Bad user name or password")
            client.loop_stop()
        client, answers = attempt(version)
        expect(answers.get(timeout=PATIENCE), "Not authorized")
        client.loop_stop()

        client, answers = attempt(version, "alice", "a secret: \u00fc")
        expect(answers.get(timeout=PATIENCE), "Success")
        client.publish("up/gauge", "x", qos=1)
        expect(answers.get(timeout=PATIENCE), "Success", "No matching subscribers")
        client.publish("up/other", "x", qos=1)
        expect(answers.get(timeout=PATIENCE), "Not authorized" if version == mqtt.MQTTv5 else "Success")
        client.subscribe([("home/a", 1), ("home/+", 1), ("other", 1)])
        expect(answers.get(timeout=PATIENCE), [False, True, True])
        client.disconnect()
        client.loop_stop()


main()
