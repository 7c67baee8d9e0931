"""One request of the conformance suite, with what a handler may do about it, and the words of an answer."""

import base64
import hashlib
import hmac
import json
import secrets
import sys

META = "io.modelcontextprotocol/"
SECRET = secrets.token_bytes(32)
listeners: dict[object, dict] = {}
"""What each open subscription wants to hear of, by its request's id."""


class Refused(Exception):
    """A JSON-RPC error."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, **({"data": data} if data is not None else {})}


class Request:
    """One request, with what a handler may do about it."""

    def __init__(self, message: dict) -> None:
        self.id = message["id"]
        self.method = message["method"]
        self.params = message.get("params") or {}
        self.meta = self.params.get("_meta") or {}
        self.arguments = self.params.get("arguments") or {}
        self.responses = self.params.get("inputResponses") or {}
        self.capabilities = self.meta.get(META + "clientCapabilities") or {}

    def progress(self, progress: int, total: int) -> None:
        if "progressToken" in self.meta:
            token = self.meta["progressToken"]
            notify("notifications/progress", {"progressToken": token, "progress": progress, "total": total})

    def log(self, text: str) -> None:
        if META + "logLevel" in self.meta:
            notify("notifications/message", {"level": "info", "data": text})

    def answered(self, *keys: str) -> bool:
        """Whether the client answered all questions with something that can be an answer."""
        return all(isinstance(self.responses.get(key), dict) and self.responses[key] for key in keys)

    def state(self) -> dict | None:
        """What `remember` put into the state that the client sends back; None without one."""
        sealed = self.params.get("requestState")
        if sealed is None:
            return None
        body, _, seal = str(sealed).partition(".")
        if not hmac.compare_digest(seal, sign(body)):
            raise Refused(-32602, "Invalid requestState")
        return json.loads(base64.urlsafe_b64decode(body))


def sign(body: str) -> str:
    return hmac.new(SECRET, body.encode(), hashlib.sha256).hexdigest()


def remember(**facts: object) -> str:
    """Facts as a state that cannot be changed by a client."""
    body = base64.urlsafe_b64encode(json.dumps(facts).encode()).decode()
    return f"{body}.{sign(body)}"


def write(message: dict) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def notify(method: str, params: dict) -> None:
    write({"method": method, "params": params})


def text(words: str, **more: object) -> dict:
    return {"content": [{"type": "text", "text": words}], **more}


def resource(uri: str, words: str, mime: str = "text/plain") -> dict:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": mime, "text": words}}


def elicit(message: str, **properties: dict) -> dict:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": schema}}


def sample(prompt: str, tokens: int = 100) -> dict:
    messages = [{"role": "user", "content": {"type": "text", "text": prompt}}]
    return {"method": "sampling/createMessage", "params": {"messages": messages, "maxTokens": tokens}}


ROOTS = {"method": "roots/list", "params": {}}
STRING = {"type": "string"}


def ask(state: str | None = None, **questions: dict) -> dict:
    result = {"resultType": "input_required", "inputRequests": questions}
    return result | ({"requestState": state} if state is not None else {})


def content_of(response: dict) -> str:
    """The words of a sampling result."""
    content = response.get("content") or {}
    blocks = content if isinstance(content, list) else [content]
    return " ".join(block.get("text", "") for block in blocks)
