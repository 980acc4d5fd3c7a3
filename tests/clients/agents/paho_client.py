"""Paho: callbacks put what happens into queues, where it is waited for."""

import queue

import paho.mqtt.client as mqtt
import properties

PATIENCE = 20


class Client:
    def __init__(self, options):
        self.five = options["version"] == 5
        self.connected, self.subscribed, self.unsubscribed, self.messages, self.left = (queue.Queue() for _ in range(5))
        self.client = client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=options["id"],
            protocol=mqtt.MQTTv5 if self.five else mqtt.MQTTv311,
            transport="websockets" if options["transport"] in ("ws", "wss") else "tcp",
            reconnect_on_failure=False,
            **({} if self.five else {"clean_session": options["clean"]}),
        )
        client.on_connect = lambda c, u, flags, reason, found: self.connected.put((flags, reason, found))
        client.on_subscribe = lambda c, u, mid, reasons, p: self.subscribed.put([r.value for r in reasons])
        client.on_unsubscribe = lambda c, u, mid, reasons, p: self.unsubscribed.put(mid)
        client.on_message = lambda c, u, message: self.messages.put(message)
        client.on_disconnect = lambda c, u, flags, reason, p: self.left.put(reason.value)
        if options["transport"] in ("tls", "wss"):
            client.tls_set(options["ca"])
        if options.get("user"):
            client.username_pw_set(options["user"], options["password"])
        will = options.get("will")
        if will:
            client.will_set(will["topic"], will["payload"], will["qos"], will["retain"])
        more = {"clean_start": options["clean"], "properties": properties.of_connect(options)} if self.five else {}
        client.connect("localhost", options["port"], keepalive=options["keep_alive"], **more)
        client.loop_start()
        self.flags, self.reason, self.found = self.connected.get(timeout=PATIENCE)

    def answer(self):
        assigned = getattr(self.found, "AssignedClientIdentifier", None)
        return {"present": self.flags.session_present, "reason": self.reason.value, "assigned": assigned}

    def subscribe(self, wanted):
        if self.five:
            options, more = properties.options_of_subscribe(wanted), properties.of_subscribe(wanted)
            self.client.subscribe(wanted["filter"], options=options, properties=more)
        else:
            self.client.subscribe(wanted["filter"], wanted["qos"])
        return {"reason": self.subscribed.get(timeout=PATIENCE)[0]}

    def unsubscribe(self, wanted):
        self.client.unsubscribe(wanted["filter"])
        self.unsubscribed.get(timeout=PATIENCE)

    def publish(self, messages):
        sent = []
        for message in messages["messages"]:
            more = {"properties": properties.of_publish(message)} if self.five else {}
            sent.append(self.client.publish(message["topic"], message["payload"], message["qos"], message["retain"], **more))
        for message in sent:
            message.wait_for_publish(PATIENCE)
            assert message.is_published(), "no acknowledgement"

    def message(self, _):
        message = self.messages.get(timeout=PATIENCE)
        return properties.describe(message.topic, message)

    def ended(self, _):
        return {"reason": self.left.get(timeout=PATIENCE)}

    def disconnect(self):
        self.client.disconnect()
        self.left.get(timeout=PATIENCE)
        self.client.loop_stop()

    def lose_power(self):
        self.client.loop_stop()
        self.client.socket().close()
