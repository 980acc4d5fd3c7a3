"""aiomqtt: its coroutines run in an event loop on a thread of its own."""

import asyncio
import socket
import threading

import aiomqtt
import properties

PATIENCE = 20
LOOP = asyncio.new_event_loop()
threading.Thread(target=LOOP.run_forever, daemon=True).start()


def run(coroutine):
    return asyncio.run_coroutine_threadsafe(asyncio.wait_for(coroutine, PATIENCE), LOOP).result()


class Client:
    def __init__(self, options):
        self.five = options["version"] == 5
        run(self.connect(options))

    async def connect(self, options):
        will = options.get("will")
        more = (
            {"clean_start": options["clean"], "properties": properties.of_connect(options)}
            if self.five
            else {"clean_session": options["clean"]}
        )
        self.client = aiomqtt.Client(
            "localhost",
            options["port"],
            identifier=options["id"],
            username=options.get("user"),
            password=options.get("password"),
            protocol=aiomqtt.ProtocolVersion.V5 if self.five else aiomqtt.ProtocolVersion.V311,
            transport="websockets" if options["transport"] in ("ws", "wss") else "tcp",
            tls_params=aiomqtt.TLSParameters(ca_certs=options["ca"]) if options["transport"] in ("tls", "wss") else None,
            will=aiomqtt.Will(will["topic"], will["payload"], will["qos"], will["retain"]) if will else None,
            keepalive=options["keep_alive"],
            timeout=PATIENCE,
            **more,
        )
        await self.client.__aenter__()
        self.messages = aiter(self.client.messages)

    def answer(self):
        # The library does not tell whether a session was present, nor what the broker assigned.
        return {"present": None, "reason": 0, "assigned": None}

    def subscribe(self, wanted):
        if self.five:
            options, more = properties.options_of_subscribe(wanted), properties.of_subscribe(wanted)
            granted = run(self.client.subscribe(wanted["filter"], options=options, properties=more))
        else:
            granted = run(self.client.subscribe(wanted["filter"], wanted["qos"]))
        return {"reason": getattr(granted[0], "value", granted[0])}

    def unsubscribe(self, wanted):
        run(self.client.unsubscribe(wanted["filter"]))

    def publish(self, messages):
        run(self.publish_all(messages["messages"]))

    async def publish_all(self, messages):
        for message in messages:
            more = {"properties": properties.of_publish(message)} if self.five else {}
            await self.client.publish(
                message["topic"], message["payload"], message["qos"], message["retain"], timeout=PATIENCE, **more
            )

    def message(self, _):
        message = run(anext(self.messages))
        return properties.describe(str(message.topic), message)

    def ended(self, _):
        try:
            run(anext(self.messages))
        except aiomqtt.MqttError as error:
            # A reason code where the broker gave one.
            return {"reason": getattr(getattr(error, "rc", None), "value", None)}
        raise AssertionError("a message instead of the end")

    def disconnect(self):
        run(self.client.__aexit__(None, None, None))

    def lose_power(self):
        # The library offers no way but this to go without DISCONNECT.
        self.client._client.socket().shutdown(socket.SHUT_RDWR)
