"""What rules take away: against an oracle in the plainest words, and by what must hold for all of them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from henslowe.actors.access import Kind, Policy, Principal
from henslowe.actors.access.policy import climbs
from henslowe.config.settings import PolicyRule

names = st.sampled_from(["read", "read_all", "write", "delete", "x"])
patterns = st.lists(st.sampled_from(["*", "read*", "write", "delete", "[rw]*", "?"]), max_size=3).map(tuple)
services = st.sampled_from(["files", "git", "mail"])
principals = st.builds(
    Principal,
    st.sampled_from(["", "token:ci", "token:me", "oauth:ada", "local:root"]),
    st.sets(st.sampled_from(["mcp", "mcp:files", "mcp:git", "admin"])).map(frozenset),
    claims=st.sets(st.sampled_from(["files:write", "git:push"])).map(frozenset),
)
rules = st.builds(
    PolicyRule,
    principals=st.sampled_from([("*",), ("token:*",), ("oauth:ada",), ("anonymous",), ()]),
    services=st.sampled_from([("*",), ("files",), ("g*", "mail"), ()]),
    unless_scopes=st.sampled_from([(), ("files:write",), ("git:push", "files:write"), ("admin",)]),
    allow_tools=patterns,
    deny_tools=patterns,
    allow_prompts=patterns,
    deny_resources=patterns,
)
policies = st.dictionaries(st.sampled_from(["a", "b", "c"]), rules, max_size=3)
kinds = st.sampled_from(list(Kind))


def oracle(rules: dict[str, PolicyRule], who: Principal, service: str, kind: Kind, name: str) -> bool:
    """The same, as one would explain it."""
    if not ("mcp" in who.scopes or f"mcp:{service}" in who.scopes):
        return False
    for rule in rules.values():
        about_him = any(fnmatchcase(who.name or "anonymous", p) for p in rule.principals)
        about_it = any(fnmatchcase(service, p) for p in rule.services)
        held = rule.unless_scopes and all(s in who.claims or who.may(s) for s in rule.unless_scopes)
        if not (about_him and about_it) or held:
            continue
        allow, deny = getattr(rule, f"allow_{kind}s"), getattr(rule, f"deny_{kind}s")
        if any(fnmatchcase(name, p) for p in deny) or not any(fnmatchcase(name, p) for p in allow):
            return False
    return True


@given(policies, principals, services, kinds, names)
def test_the_decision_is_the_one_that_the_words_say(
    rules: dict[str, PolicyRule], who: Principal, service: str, kind: Kind, name: str
) -> None:
    assert Policy.of(rules).permit(who).allows(service, kind, name) == oracle(rules, who, service, kind, name)


@given(policies, rules, principals, services, st.tuples(st.sampled_from(["a", "b", "d"]), kinds, names))
def test_one_more_rule_never_opens_anything(
    rules: dict[str, PolicyRule], rule: PolicyRule, who: Principal, service: str, asked: tuple[str, Kind, str]
) -> None:
    key, kind, name = asked
    rules.pop(key, None)
    before = Policy.of(rules).permit(who).allows(service, kind, name)
    after = Policy.of({**rules, key: rule}).permit(who).allows(service, kind, name)
    assert before or not after


@given(policies, principals, services, kinds, names)
def test_the_order_of_rules_means_nothing(
    rules: dict[str, PolicyRule], who: Principal, service: str, kind: Kind, name: str
) -> None:
    backwards = dict(reversed(rules.items()))
    one, other = (Policy.of(each).permit(who).refusal(service, kind, name) for each in (rules, backwards))
    assert one == other


@given(policies, principals, services, kinds, names)
def test_a_refusal_names_a_rule_that_refuses_or_the_scope_that_is_missing(
    rules: dict[str, PolicyRule], who: Principal, service: str, kind: Kind, name: str
) -> None:
    refusal = Policy.of(rules).permit(who).refusal(service, kind, name)
    if refusal is None:
        return
    if refusal.policy:
        alone = {refusal.policy: rules[refusal.policy]}
        assert not Policy.of(alone).permit(who).allows(service, kind, name)
        assert refusal.scopes == rules[refusal.policy].unless_scopes
    else:
        assert refusal.scopes == (f"mcp:{service}",)


@given(principals, services, kinds, names)
def test_without_rules_scopes_alone_decide(who: Principal, service: str, kind: Kind, name: str) -> None:
    permit = Policy().permit(who)
    assert permit.allows(service, kind, name) == permit.service(service)
    assert permit.everything == ("mcp" in who.scopes)


@given(policies.filter(bool), principals)
def test_where_others_may_see_less_nothing_is_everybodys(rules: dict[str, PolicyRule], who: Principal) -> None:
    assert not Policy.of(rules).permit(who).everything


@pytest.mark.parametrize(
    "uri",
    [
        "file:///public/../etc/passwd",
        "file:///public/%2e%2e/etc/passwd",
        "file:///public/%252e%252e/etc/passwd",
        "file:///public/..%2fetc",
        "file:///public/..\\etc",
        "file:///public/..",
        "file:///a%25252525252e",
    ],
)
def test_a_uri_that_climbs_is_refused_wherever_uris_are_told_apart(uri: str) -> None:
    who = Principal("token:ci", frozenset({"mcp"}))
    watched: Any = [{"allow_resources": ("file:///public/*",)}, {"deny_resources": ("file:///secret/*",)}]
    for given_fields in watched:
        policy = Policy.of({"p": PolicyRule(**given_fields)})
        assert not policy.permit(who).allows("files", Kind.RESOURCE, uri)
    assert Policy.of({"p": PolicyRule(deny_tools=("x",))}).permit(who).allows("files", Kind.RESOURCE, uri)


@pytest.mark.parametrize("uri", ["file:///a/b", "file:///a/..b", "note://x?q=1", "a...b", ""])
def test_dots_within_a_name_do_not_climb(uri: str) -> None:
    assert not climbs(uri)


def test_an_issuers_scopes_are_taken_by_its_words_and_not_by_ours() -> None:
    """To us `mcp` covers `mcp:write`, the scope of a service; to an issuer that may be something else altogether."""
    policy = Policy.of({"p": PolicyRule(deny_tools=("send",), unless_scopes=("mcp:write",))})
    ours = Principal("token:ci", frozenset({"mcp"}))
    theirs = Principal("oauth:ada", frozenset({"mcp"}), claims=frozenset({"mcp:basic"}), audiences=frozenset({"x"}))
    enough = Principal("oauth:ada", frozenset({"mcp"}), claims=frozenset({"mcp:write"}), audiences=frozenset({"x"}))
    allowed = [policy.permit(who).allows("mail", Kind.TOOL, "send") for who in (ours, theirs, enough)]
    assert allowed == [True, False, True]


def test_what_a_client_can_get_scopes_for_is_listed_and_not_allowed() -> None:
    policy = Policy.of(
        {
            "never": PolicyRule(deny_tools=("delete",)),
            "step-up": PolicyRule(deny_tools=("send",), unless_scopes=("mail.send",)),
        }
    )
    theirs = policy.permit(Principal("oauth:ada", frozenset({"mcp"}), audiences=frozenset({"x"})))
    ours = policy.permit(Principal("token:ci", frozenset({"mcp"})))
    for permit, listed in ((theirs, ["look", "send"]), (ours, ["look"])):
        names = ["delete", "look", "send"]
        assert [n for n in names if permit.lists(permit.refusal("mail", Kind.TOOL, n))] == listed
        assert [n for n in names if permit.allows("mail", Kind.TOOL, n)] == ["look"]
    other = policy.permit(Principal("oauth:ada", frozenset({"mcp:files"}), audiences=frozenset({"x"})))
    assert not other.lists(other.refusal("mail", Kind.TOOL, "send")), "a service that no scope opens is not shown"
