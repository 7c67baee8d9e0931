"""Commands that fetch what they run: read, and written again with an exact version."""

import json
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from henslowe.actors.pipeline.packages import Package, Release, Unread, as_written, compiled, read, viewed
from henslowe.cli.render import facts_lines
from henslowe.transport.admin.models.artifacts import VersionFactsReply


def package(command: str) -> Package:
    found = read(shlex.split(command))
    assert isinstance(found, Package), found
    return found


@pytest.mark.parametrize(
    ("command", "wanted", "exact"),
    [
        ("uvx mcp-time --tz UTC", "mcp-time", "uvx --from mcp-time==9 mcp-time --tz UTC"),
        ("/opt/bin/uvx mcp-time", "mcp-time", "/opt/bin/uvx --from mcp-time==9 mcp-time"),
        ("uv tool run mcp-time", "mcp-time", "uv tool run --from mcp-time==9 mcp-time"),
        ("uvx -q --python 3.12 mcp-time -p 1", "mcp-time", "uvx -q --python 3.12 --from mcp-time==9 mcp-time -p 1"),
        ("uvx time@latest", "time", "uvx --from time==9 time"),
        ("uvx 'time>=1,<3'", "time>=1,<3", "uvx --from time==9 time"),
        ("uvx 'time==1.*'", "time==1.*", "uvx --from time==9 time"),
        ("uvx 'time[tz]' x", "time[tz]", "uvx --from time[tz]==9 time x"),
        ("uvx --from time serve --from x", "time", "uvx --from time==9 serve --from x"),
        ("uvx --from=time --with tz serve", "time", "uvx --from=time==9 --with tz serve"),
        ("uvx --from 'time[tz]>1' serve", "time[tz]>1", "uvx --from time[tz]==9 serve"),
        ("npx server-time /srv", "server-time", "npx server-time@9 /srv"),
        ("npx -y @scope/server /srv", "@scope/server", "npx -y @scope/server@9 /srv"),
        ("npx -y @scope/server@latest", "@scope/server@latest", "npx -y @scope/server@9"),
        ("npx -y server@^1.2", "server@^1.2", "npx -y server@9"),
        ("npx -y server@1", "server@1", "npx -y server@9"),
        ("npx -y -- server -p x", "server", "npx -y -- server@9 -p x"),
        ("npx -y -p @scope/server serve -p x", "@scope/server", "npx -y -p @scope/server@9 serve -p x"),
        ("npx --package=server@next serve", "server@next", "npx --package=server@9 serve"),
    ],
)
def test_a_command_is_written_again_with_an_exact_version(command: str, wanted: str, exact: str) -> None:
    found = package(command)
    assert (found.wanted, found.version) == (wanted, "")
    assert shlex.join(found.at("9")).replace("'", "") == exact


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("uvx time==1.2", "time==1.2"),
        ("uvx time@1.2", "time==1.2"),
        ("uvx 'time[tz]@1.2'", "time[tz]==1.2"),
        ("uvx --from time===1.2 serve", "time==1.2"),
        ("npx -y server@1.2.3", "server@1.2.3"),
        ("npx -y @scope/server@v1.2.3-beta.1", "@scope/server@1.2.3-beta.1"),
        ("npx --package @scope/server@=1.2.3 serve", "@scope/server@1.2.3"),
    ],
)
def test_what_is_exact_is_known_to_be(command: str, named: str) -> None:
    found = package(command)
    assert found.named(found.version) == named


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("uvx git+https://example.com/a/b", "package of a registry"),
        ("uvx --from git+https://me:word@example.com/a/b serve", "an address with credentials"),
        ("uvx 'time @ https://example.com/t.whl'", "package of a registry"),
        ("uvx ./time", "package of a registry"),
        ("uvx --from /srv/time serve", "package of a registry"),
        ("uvx time@main", "a version after @"),
        ("uvx python", "an interpreter"),
        ("uvx python3.12@latest", "an interpreter"),
        ("uvx --strange time", "--strange is not known"),
        ("uvx", "nothing to run"),
        ("uvx --from time", "nothing to run"),
        ("npx github:a/b", "package of a registry"),
        ("npx a/b", "package of a registry"),
        ("npx ./server", "package of a registry"),
        ("npx server@npm:other@1", "package of a registry"),
        ("npx https://example.com/a.tgz", "package of a registry"),
        ("npx -c 'server x'", "-c is not known"),
        ("npx -p one -p two serve", "several packages"),
        ("npx -y", "nothing to run"),
        ("npx -p server", "nothing to run"),
    ],
)
def test_other_forms_are_left_alone_and_it_is_said_why(command: str, why: str) -> None:
    found = read(shlex.split(command))
    assert isinstance(found, Unread)
    assert why in found.why
    assert "word@" not in found.why


@pytest.mark.parametrize("command", ["", "python server.py", "bunx server", "uv run server.py", "uv tool list"])
def test_commands_that_fetch_nothing_that_is_known_here_are_none(command: str) -> None:
    assert read(shlex.split(command)) is None


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("uvx time==1.2", "package  time==1.2"),
        ("uvx time", "not exact, each start may fetch another: it is run as it is written; write time==VERSION"),
        ("npx -y ./server", "not exact, each start may fetch another: expected a package of a registry"),
        ("python server.py", ""),
    ],
)
def test_a_version_shows_what_a_command_that_is_run_as_written_is(command: str, shown: str) -> None:
    resolved = as_written(shlex.split(command))
    facts = {"resolved": resolved} if resolved else {}
    lines = "\n".join(facts_lines(VersionFactsReply(service="time", version=1, state="ACTIVE", facts=facts)))
    assert shown in lines
    assert ("package" in lines) is bool(shown)


def test_options_that_decide_what_is_found_go_to_the_registry_too() -> None:
    assert package("uvx -p 3.12 --index-url=https://a/b -q time").asking == ("--python=3.12", "--index-url=https://a/b")
    assert package("npx -y --registry https://a/b server").asking == ("--registry=https://a/b",)


WORDS = st.sampled_from(
    ["-y", "-q", "--from", "--with", "-p", "--package=a", "--from=b[c]", "a", "@s/a", "a@1.2.3", "a==1", "--", "-", ""]
) | st.text(max_size=8)


@given(st.sampled_from([["uvx"], ["npx"], ["uv", "tool", "run"]]), st.lists(WORDS, max_size=6))
def test_a_command_that_was_written_again_is_exact_and_keeps_its_other_words(head: list[str], rest: list[str]) -> None:
    found = read([*head, *rest])
    if isinstance(found, Package):
        again = read(found.at("4.5.6"))
        assert isinstance(again, Package)
        assert (again.version, again.name) == ("4.5.6", found.name)
        assert again.at("4.5.6") == found.at("4.5.6")
        assert again.after[-len(found.after) :] == found.after if found.after else True
        assert again.before[: len(found.before)] == found.before


def test_the_answer_of_uv_is_a_release_with_its_hashes() -> None:
    answer = [
        *("anyio==4.1 \\", "    --hash=sha256:00"),
        *("mcp-time[tz]==2026.1.post1 \\", "    --hash=sha256:aa \\", "    --hash=sha256:bb"),
        *("mcp-time-data==1 \\", "    --hash=sha256:cc"),
    ]
    for name in ("mcp-time", "MCP_Time[tz]"):
        assert compiled(name, answer) == Release("2026.1.post1", ("sha256:aa", "sha256:bb"))
    assert compiled("mcp", answer) is None
    assert compiled("mcp-time", []) is None


def viewed_of(*versions: str, latest: str) -> Release | None:
    each = [{"version": one, "dist.integrity": f"sha512-{one}", "dist-tags.latest": latest} for one in versions]
    return viewed(json.dumps(each if len(each) > 1 else each[0], indent=2).splitlines())


def test_of_several_releases_that_of_npm_is_taken() -> None:
    assert viewed_of("1.2.3", latest="1.2.3") == Release("1.2.3", ("sha512-1.2.3",))
    assert viewed_of("1.10.0", "1.9.0", "1.2.0", latest="2.0.0") == Release("1.10.0", ("sha512-1.10.0",))
    assert viewed_of("1.10.0", "1.9.0", latest="1.9.0") == Release("1.9.0", ("sha512-1.9.0",))
    beta = viewed_of("1.0.0-beta.2", "1.0.0-beta.10", latest="0.1.0")
    assert beta == Release("1.0.0-beta.10", ("sha512-1.0.0-beta.10",))
    assert viewed_of("1.0.0", "1.1.0-rc.1", latest="0.1.0") == Release("1.0.0", ("sha512-1.0.0",))


@pytest.mark.parametrize("answer", ["", "[]", "null", '{"error": {}}', '{"version": 1}', '{"version": "x"}', "{"])
def test_what_is_no_answer_of_npm_is_none(answer: str) -> None:
    assert viewed(answer.splitlines()) is None
