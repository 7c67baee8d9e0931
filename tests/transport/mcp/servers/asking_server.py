"""A server of the handshake era over pipes that asks its client things. Standard library only, to start in no time.

A tool yields the questions that it has at the same time, and gets their answers.
"""

import json
import os
import sys

FORM = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
NAME = ("elicitation/create", {"message": "What is your name?", "requestedSchema": FORM})
SAMPLE = {"messages": [{"role": "user", "content": {"type": "text", "text": "hi"}}], "maxTokens": 5}
MODEL = ("sampling/createMessage", SAMPLE)
ROOTS = ("roots/list", {})
TASK = {"taskId": "t1", "status": "working", "createdAt": "", "lastUpdatedAt": "", "ttl": 60_000}
seen = {"initialize": {}, "roots_changed": 0, "cancelled": 0, "watched": [], "level": ""}


def ask_name(_arguments):
    (answer,) = yield [NAME]
    if "error" in answer:
        return f"no name: {answer['error']['message']}"
    return f"Hello {answer['result']['content']['name']}" if answer["result"]["action"] == "accept" else "Goodbye"


def ask_by_name(arguments):
    """Asks two things at once by the names that it was given."""
    first, second = yield [(*NAME, name) for name in arguments["names"]]
    return f"{first['result']['content']['name']} and {second['result']['content']['name']}"


def ask_all(_arguments):
    name, roots = yield [NAME, ROOTS]
    (model,) = yield [MODEL]
    facts = (name["result"]["content"]["name"], roots["result"]["roots"][0]["uri"], model["result"]["content"]["text"])
    return " ".join(facts)


def ask_for_ever(_arguments):
    while True:
        yield [ROOTS]


def die_asking(_arguments):
    yield [NAME]
    os._exit(3)


def announce(_arguments):
    """Says things that belong to no call."""
    yield from ()
    write({"method": "notifications/message", "params": {"level": "debug", "data": "secret"}})
    write({"method": "notifications/message", "params": {"level": "error", "data": "overheard"}})
    write({"method": "notifications/tools/list_changed"})
    write({"method": "notifications/elicitation/complete", "params": {"elicitationId": "e1"}})
    return "announced"


def touch(_arguments):
    """Changes the resource, and says so where it was subscribed to."""
    yield from ()
    for uri in seen["watched"]:
        write({"method": "notifications/resources/updated", "params": {"uri": uri}})
    return "touched"


def finish(_arguments):
    """Says that its task is done."""
    yield from ()
    write({"method": "notifications/tasks/status", "params": {**TASK, "status": "completed"}})
    return "finished"


def ask_later(_arguments):
    """Answers at once, and asks when no call of it is under way."""
    global later
    later = True
    yield from ()
    return "in a moment"


def look(_arguments):
    """Answers at once with what the server has seen."""
    yield from ()
    return json.dumps({**seen, "pid": os.getpid()})


TOOLS = (announce, ask_name, ask_by_name, ask_all, ask_for_ever, ask_later, die_asking, finish, look, touch)
TOOLS = {tool.__name__: tool for tool in TOOLS}
running = {}  # request id -> (generator, the ids of its questions, their answers by id)
asked_by = {}  # id of a question -> request id
last_id = 0
later = False


def write(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def go_on(request_id, generator, answers):
    global last_id, later
    try:
        questions = generator.send(answers)
    except StopIteration as end:
        running.pop(request_id, None)
        write({"id": request_id, "result": {"content": [{"type": "text", "text": end.value}]}})
        if later:
            later = False
            write({"id": "later", "method": "roots/list"})
        return
    ids = []
    for method, params, *names in questions:
        last_id += 1
        question_id = names[0] if names else last_id
        ids.append(question_id)
        asked_by[question_id] = request_id
        write({"id": question_id, "method": method, "params": params})
    running[request_id] = (generator, ids, {})


def answered(message):
    if message["id"] == "later":
        seen["later"] = "result" if "result" in message else message["error"]["message"]
        return
    request_id = asked_by.pop(message["id"], None)
    if request_id in running:
        generator, ids, answers = running[request_id]
        answers[message["id"]] = message
        if len(answers) == len(ids):
            go_on(request_id, generator, [answers[i] for i in ids])


def cancelled(request_id):
    if request_id in running:
        seen["cancelled"] += 1
        _, ids, _ = running.pop(request_id)
        for number in ids:
            write({"method": "notifications/cancelled", "params": {"requestId": number}})


for line in sys.stdin:
    message = json.loads(line)
    method, params = message.get("method"), message.get("params") or {}
    if method is None:
        answered(message)
    elif method == "notifications/roots/list_changed":
        seen["roots_changed"] += 1
    elif method == "notifications/cancelled":
        cancelled(params["requestId"])
    elif "id" not in message:
        pass
    elif method == "initialize":
        seen["initialize"] = params
        info = {"name": "asking", "version": "1"}
        result = {"protocolVersion": params["protocolVersion"], "serverInfo": info}
        result["capabilities"] = {"tools": {}, "logging": {}, "resources": {"subscribe": True}}
        write({"id": message["id"], "result": result})
    elif method == "tools/list":
        tools = [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]
        if "sampling" not in seen["initialize"]["capabilities"]:
            tools = [tool for tool in tools if tool["name"] != "ask_all"]
        write({"id": message["id"], "result": {"tools": tools}})
    elif method in ("resources/subscribe", "resources/unsubscribe"):
        seen["watched"] = [uri for uri in seen["watched"] if uri != params["uri"]]
        seen["watched"] += [params["uri"]] if method == "resources/subscribe" else []
        write({"id": message["id"], "result": {}})
    elif method == "logging/setLevel":
        seen["level"] = params["level"]
        write({"id": message["id"], "result": {}})
    elif method == "tools/call" and "task" in params:
        write({"id": message["id"], "result": {"task": TASK}})
    elif method == "tools/call":
        go_on(message["id"], TOOLS[params["name"]](params.get("arguments")), None)
    else:
        write({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})
