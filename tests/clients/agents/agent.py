"""Does with Paho or aiomqtt what it is told on standard input: a JSON object a line, answered by one on standard output.

Which library it is, is the only argument. What the objects mean is said in ../agent.rs.
"""

import importlib
import json
import sys
import traceback

library = importlib.import_module(f"{sys.argv[1]}_client")
clients = {}


def handle(request):
    name, op = request.pop("client"), request.pop("op")
    if op == "connect":
        clients[name] = library.Client(request)
        return clients[name].answer()
    if op in ("disconnect", "lose_power"):
        return getattr(clients.pop(name), op)()
    return getattr(clients[name], op)(request)


for line in sys.stdin:
    try:
        answer = {"ok": handle(json.loads(line)) or {}}
    except Exception:
        answer = {"error": traceback.format_exc()}
    print(json.dumps(answer), flush=True)
