"""Nothing that is a secret passes; what is none does, as far as can be told."""

import json
import random
import string
import uuid

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from henslowe.config.settings import CaptureSettings
from henslowe.storage.capture.detectors import is_card, is_random
from henslowe.storage.capture.redaction import Redactor

REDACTOR = Redactor(CaptureSettings())
ROOM = 1 << 20

KEY_CHARS = string.ascii_letters + string.digits
BASE64URL = KEY_CHARS + "_-"


def made_of(alphabet, low, high):
    return st.text(alphabet, min_size=low, max_size=high)


KNOWN_SHAPES = {
    "jwt": st.builds("eyJ{}.{}.{}".format, *[made_of(BASE64URL, 10, 60)] * 3),
    "bearer": made_of(KEY_CHARS, 8, 60).map("Authorization: Bearer {}".format),
    "aws-key": made_of(string.ascii_uppercase + string.digits, 16, 16).map("AKIA{}".format),
    "github-token": made_of(KEY_CHARS, 36, 36).map("ghp_{}".format),
    "github-pat": made_of(KEY_CHARS + "_", 40, 80).map("github_pat_{}".format),
    "gitlab-token": made_of(BASE64URL, 20, 20).map("glpat-{}".format),
    "slack-token": made_of(string.digits + string.ascii_lowercase, 20, 40).map("xoxb-{}".format),
    "google-key": made_of(BASE64URL, 35, 35).map("AIza{}".format),
    "api-key": made_of(KEY_CHARS, 24, 48).map("sk_live_{}".format),
    "npm-token": made_of(KEY_CHARS, 36, 36).map("npm_{}".format),
    "private-key": made_of(BASE64URL + "\n", 40, 400).map(
        "-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----".format
    ),
    "url-password": made_of(string.ascii_uppercase + string.digits, 6, 40).map("postgres://app:{}@db.example/x".format),
}
LEFT_BY_REDACTION = f"Authorization: Bearer [redacted:assigned,{','.join(KNOWN_SHAPES)}]"
PLAIN = st.text("äöü éàß ,.\n", max_size=200)
"""Of other characters than secrets, which are then nowhere by chance."""


def secret_part(text):
    """What must be gone: without the words that only lead to it."""
    for lead in ("Authorization: Bearer ", "postgres://app:"):
        text = text.removeprefix(lead)
    return text.removesuffix("@db.example/x")


@pytest.mark.parametrize("kind", KNOWN_SHAPES)
def test_secrets_of_known_shapes_are_gone_wherever_they_are(kind):
    @settings(max_examples=40, deadline=None)
    @given(KNOWN_SHAPES[kind], PLAIN, PLAIN, st.sampled_from(["text", "list", "deep", "key", "json"]))
    def check(secret, before, after, place):
        # A word that stands there anyway is no secret that was left.
        assume(secret_part(secret) not in LEFT_BY_REDACTION)
        text = f"{before} {secret} {after}"
        value = {
            "text": text,
            "list": [1, text],
            "deep": {"a": [{"b": text}]},
            "key": {text: 1},
            "json": json.dumps({"inner": text}),
        }[place]
        clean = REDACTOR.redact({"value": value}, bytes_max=ROOM)
        shown = json.dumps(clean.value)
        assert json.dumps(secret_part(secret))[1:-1] not in shown
        assert clean.redactions >= 1
        assert "[redacted:" in shown
        assert not clean.truncated

    check()


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "Password",
        "db_password",
        "userPassword",
        "X-Api-Key",
        "apiKey",
        "OPENAI_API_KEY",
        "accessToken",
        "access_token",
        "clientSecret",
        "secret",
        "Authorization",
        "Set-Cookie",
        "sessionId",
        "aws_secret_access_key",
        "password_hash",
        "token_value",
        "credentials",
        "privateKey",
        "refreshtoken",
        "auth",
    ],
)
def test_fields_with_names_of_secrets_lose_their_values_and_keep_their_shape(name):
    clean = REDACTOR.redact({name: "hunter2", "city": "Bern"}, bytes_max=ROOM)
    assert clean.value["city"] == "Bern"
    assert clean.value[name].startswith("[redacted:")
    assert clean.value[name].endswith(":len=7]")
    nested = REDACTOR.redact({name: {"a": "hunter2", "b": ["hunter2", 5, None]}}, bytes_max=ROOM).value
    assert "hunter2" not in json.dumps(nested)
    assert nested[name]["b"][2] is None


@pytest.mark.parametrize(
    "name", ["city", "max_tokens", "tokens", "nextPageToken", "progressToken", "author", "passenger", "keyboard", "pwd"]
)
def test_fields_with_other_names_keep_their_values(name):
    assert REDACTOR.redact({name: "hunter2"}, bytes_max=ROOM).value == {name: "hunter2"}


def test_names_beside_values_count_as_names():
    headers = [{"name": "X-Auth-Token", "value": "hunter2"}, {"name": "Accept", "value": "text/plain"}]
    clean = REDACTOR.redact({"headers": headers}, bytes_max=ROOM).value["headers"]
    assert clean[0] == {"name": "X-Auth-Token", "value": "[redacted:value:len=7]"}
    assert clean[1] == headers[1]


@pytest.mark.parametrize(
    "text",
    [
        "password=hunter22",
        "password: hunter22",
        '{"password": "hunter22"}',
        r"{\"api_key\": \"hunter22\"}",
        "export API_KEY='hunter22'",
        "Cookie: hunter22",
        "--token=hunter22 --city=Bern",
    ],
)
def test_assignments_in_text_lose_their_values(text):
    clean = REDACTOR.redact_text(text)
    assert "hunter22" not in clean
    assert "[redacted:assigned:len=8]" in clean
    assert ("Bern" in clean) is ("Bern" in text)


@given(made_of(KEY_CHARS, 40, 64))
@settings(max_examples=200, deadline=None)
def test_long_words_of_chance_are_gone(key):
    if is_random(key):
        assert key not in REDACTOR.redact_text(f"the key is {key}.")


def test_nearly_all_random_keys_are_recognised_and_hardly_any_names():
    dice = random.Random(7)
    keys = ["".join(dice.choices(KEY_CHARS, k=32)) for _ in range(1_000)]
    assert sum(map(is_random, keys)) > 970
    names = [f"{first}_{second}_{number}" for first in dir(str) for second in dir(list) for number in (1, 2026)]
    assert sum(map(is_random, names)) < len(names) // 100


@pytest.mark.parametrize(
    "text",
    [
        "commit 3f786850e387550fdab836ed7e6dc881de23001b",
        str(uuid.UUID(int=0x1234567890ABCDEF1234567890ABCDEF)),
        "sha256:" + "0123456789abcdef" * 4,
        "/usr/lib/python3.11/site-packages/package/module2/file_name_3.py",
        "https://example.org/2026/11/20/how-to-write-a-server-in-10-minutes",
        "user_profiles_by_email_address_and_tenant_2026",
        "2026-11-20T14:00:00.000000+00:00",
        "1795185102223502135",
        "+41 31 123 45 67",
        "The quick brown fox jumps over the lazy dog.",
        "key: value",
    ],
)
def test_what_is_no_secret_stays(text):
    assert REDACTOR.redact_text(text) == text


@pytest.mark.parametrize(
    "number", ["4111111111111111", "5500 0000 0000 0004", "3400-0000-0000-009", "6011000000000004"]
)
def test_numbers_of_cards_are_gone_as_text_and_as_numbers(number):
    assert is_card(number)
    assert REDACTOR.redact_text(f"pay with {number} today") == f"pay with [redacted:card:len={len(number)}] today"
    digits = "".join(filter(str.isdigit, number))
    assert REDACTOR.redact([int(digits)], bytes_max=ROOM).value == [f"[redacted:card:len={len(digits)}]"]


@pytest.mark.parametrize("number", ["4111111111111112", "0000000000000000", "41111111111", "1795185102223502135"])
def test_numbers_that_are_no_cards_stay(number):
    assert REDACTOR.redact_text(f"id {number}!") == f"id {number}!"
    assert REDACTOR.redact(int(number), bytes_max=ROOM).value == int(number)


def test_rules_of_ones_own_and_rules_left_out():
    text = "badge B-12345 of ada@example.org"
    own = CaptureSettings(redact_keys=("badge_no",), redact_patterns={"badge": r"B-\d{5}"}, redact_email=True)
    clean = Redactor(own)
    assert clean.redact_text(text) == "badge [redacted:badge:len=7] of [redacted:email:len=15]"
    assert clean.redact({"badgeNo": "x"}, bytes_max=ROOM).redactions == 1
    assert REDACTOR.redact_text(text) == text
    key = "wJalrXUtnFEMI7K7MDENGZbPxRfiCYEXAMPLEKEY"
    assert key not in REDACTOR.redact_text(key)
    assert Redactor(CaptureSettings(redact_entropy=False)).redact_text(key) == key


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=30), inner, max_size=8),
    max_leaves=30,
)


@example({"SECRETKEY": 0}, 0)
@given(JSON_VALUES, st.integers(0, 400))
@settings(max_examples=200, deadline=None)
def test_any_value_is_redacted_bounded_the_same_way_each_time(value, bytes_max):
    first, again = (REDACTOR.redact(value, bytes_max=bytes_max) for _ in range(2))
    assert first == again
    shown = json.dumps(first.value, ensure_ascii=False)
    # What a cut leaves: a marker at each open level, and one string's own.
    assert len(shown) <= 8 * bytes_max + 1_500
    whole = REDACTOR.redact(value, bytes_max=ROOM)
    assert not whole.truncated
    assert REDACTOR.redact(whole.value, bytes_max=ROOM).value == whole.value


def test_a_secret_across_the_cut_is_not_cut_in_two():
    secret = "ghp_" + "aB3dE5gH7j" * 4
    for room in range(0, 60, 3):
        clean = REDACTOR.redact("x " * 8 + secret + " y" * 3_000, bytes_max=room)
        assert clean.truncated
        assert "aB3d" not in clean.value


def test_no_secret_hides_in_the_shape_of_a_marker():
    hidden = "[redacted:jwt:len=ghp_" + "aB3dE5gH7j" * 4 + "]"
    assert "aB3d" not in json.dumps(REDACTOR.redact({"text": hidden, "password": hidden}, bytes_max=ROOM).value)


def test_what_is_cut_says_so():
    clean = REDACTOR.redact({"text": "a" * 1_000, "more": list(range(1_000))}, bytes_max=100)
    assert clean.truncated
    assert clean.value["text"].endswith("[truncated:text:len=1000]")
    deep = {}
    for _ in range(200):
        deep = {"a": deep}
    assert REDACTOR.redact(deep, bytes_max=ROOM).truncated


def test_images_are_left_out_and_their_size_kept():
    content = [{"type": "image", "mimeType": "image/png", "data": "iVBORw0KGgo" * 10_000}]
    clean = REDACTOR.redact({"content": content}, bytes_max=1_000)
    assert clean.value["content"][0]["data"] == "[omitted:data:len=110000]"
    assert not clean.truncated
