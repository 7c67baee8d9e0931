"""The life of runs: one at a time per service, the newest state wins, nothing is left behind."""

import asyncio
import os
import shlex
import sys
from pathlib import Path

import pytest
from delivering import WAIT_S, Node, server, stage

from henslowe.actors import names
from henslowe.actors.ids import ServiceName
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import Rebuild, SourceChanged, SourceRemoved
from henslowe.actors.pipeline import executor
from henslowe.errors import NotFound


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(5.0):
        while Path(f"/proc/{pid}").exists() and "State:\tZ" not in Path(f"/proc/{pid}/status").read_text():
            await asyncio.sleep(0.01)


async def pids_in(file: Path, count: int) -> list[int]:
    async with asyncio.timeout(WAIT_S):
        while not file.exists() or len(file.read_text().split()) < count:
            await asyncio.sleep(0.01)
    return [int(word) for word in file.read_text().split()]


async def test_a_newer_change_ends_the_run_and_every_process_of_it(node: Node, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '300'])\n"
        "runaway = subprocess.Popen(['sleep', '301'], start_new_session=True)\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}} {{runaway.pid}}')\n"
        "time.sleep(300)\n"
    )
    slow = stage("slow", f"{sys.executable} hang.py")
    node.change({"server.py": server(), "hang.py": script, "service.toml": slow})
    started = await pids_in(pids, 3)

    node.change({"service.toml": ""})

    broken = await node.broken()
    assert (broken.version.number, broken.superseded) == (1, True)
    assert (await node.built()).version.number == 2
    for pid in started:
        await until_gone(pid)
    assert ("STAGE_COMPLETE", "CANCELLED") in node.said()
    assert ("PIPELINE_COMPLETE", "CANCELLED") in node.said()


async def test_of_many_changes_in_a_row_the_last_one_is_built(node: Node) -> None:
    for number in range(10):
        node.change({"server.py": server(before=f"# edit {number}")})
    async with asyncio.timeout(WAIT_S):
        while not hasattr(outcome := await node.outcome(), "build"):
            assert outcome.superseded
    assert "# edit 9" in Path(outcome.metadata["root"], "server.py").read_text()
    assert node.ended.empty()


async def test_the_same_state_told_twice_does_not_begin_again(node: Node) -> None:
    change = node.change({"server.py": server(), "service.toml": stage("slow", "sleep 0.2")})
    await node.event("STAGE_START")
    registry.via(names.PIPELINE).cast(change)
    await node.built()
    assert len(node.ledger.created) == 1


async def test_an_edit_that_the_copy_has_caught_already_does_not_begin_again(node: Node) -> None:
    folder = node.write({"server.py": server(), "service.toml": stage("slow", "sleep 0.3")})
    older = SourceChanged(ServiceName("hello"), folder, "digest of a moment ago")
    registry.via(names.PIPELINE).cast(older)
    await node.event("STAGE_START")
    node.change({})
    await node.built()
    await node.idle()
    assert len(node.ledger.created) == 1


async def test_a_state_that_is_there_already_starts_no_stage(node: Node) -> None:
    change = node.change({"server.py": server()})
    built = await node.built()
    node.ledger.sources[built.metadata["source_digest"]] = built.version
    await node.event("PIPELINE_COMPLETE")
    before = len(node.events)
    registry.via(names.PIPELINE).cast(change)
    async with asyncio.timeout(WAIT_S):
        while len(node.ledger.created) < 2:
            await asyncio.sleep(0.01)
    await node.idle()
    assert len(node.events) == before


async def test_all_stages_see_the_state_from_which_the_run_began(node: Node, tmp_path: Path) -> None:
    go = tmp_path / "go"
    waiting = stage("look", f"while [ ! -e {shlex.quote(str(go))} ]; do sleep 0.02; done; cat note.txt")
    node.change({"server.py": server(), "note.txt": "first\n", "service.toml": waiting})
    await node.event("STAGE_START")
    node.write({"note.txt": "second\n"})
    go.touch()
    built = await node.built()
    assert "first" in node.lines()
    assert Path(built.metadata["root"], "note.txt").read_text() == "first\n"


async def test_stages_get_no_secrets_and_a_home_of_their_own(node: Node, monkeypatch) -> None:
    monkeypatch.setenv("API_TOKEN", "hunter2")
    show = stage("show", 'echo "token=$API_TOKEN home=$HOME tmp=$TMPDIR extra=$EXTRA"; touch "$HOME/x" junk.txt',
                 env='{ EXTRA = "given" }')  # fmt: skip
    node.change({"server.py": server(), "service.toml": show})
    built = await node.built()
    line = next(line for line in node.lines() if line.startswith("token="))
    assert line.startswith("token= home=")
    assert "extra=given" in line
    assert os.environ["HOME"] + " " not in line
    assert not Path(built.metadata["root"], "junk.txt").exists()


async def test_nothing_is_left_of_a_run_but_its_version(node: Node) -> None:
    node.change({"server.py": server()})
    await node.built()
    await node.idle()
    assert list((node.store.data_dir / "runs").glob("*")) == []
    assert [path.name for path in (node.workspace / "archive/hello").iterdir()] == ["v1.0.0"]


async def test_a_stage_beyond_its_time_limit_is_killed(node: Node, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    slow = stage("slow", f"echo $$ > {pids}; sleep 300 & echo $! >> {pids}; wait", timeout_s="0.3")
    node.change({"server.py": server(), "service.toml": slow})
    broken = await node.broken()
    assert broken.stage == "slow"
    assert "expected an end within 0.3 s" in broken.reason
    for pid in await pids_in(pids, 2):
        await until_gone(pid)


async def test_a_stage_that_may_fail_does_not_fail_the_version(node: Node) -> None:
    node.change({"server.py": server(), "service.toml": stage("style", "echo untidy; exit 3", allow_failure="true")})
    built = await node.built()
    assert built.metadata["stages"]["style"]["status"] == "FAILED"
    complete = await node.event("STAGE_COMPLETE")
    assert (complete.data["exit_code"], complete.data["excerpt"], complete.data["allowed"]) == (3, "untidy", True)


async def test_a_program_that_does_not_exist_fails_its_stage(node: Node) -> None:
    node.change({"server.py": server(), "service.toml": "[stages.x]\nrun = ['no-such-program']\n"})
    broken = await node.broken()
    assert (broken.stage, "no-such-program" in broken.reason) == ("x", True)


async def test_stages_wait_for_what_they_need(node: Node) -> None:
    toml = stage("second", "cat made.txt", needs='["first"]') + stage("first", "sleep 0.1; echo made > made.txt")
    node.change({"server.py": server(), "service.toml": toml})
    await node.built()
    assert "made" in node.lines()


async def test_what_a_stage_makes_belongs_to_the_build_where_it_says_so(node: Node) -> None:
    toml = stage("generate", "mkdir -p gen && date +%N > gen/stamp && echo no > other", artifacts='["gen/"]')
    node.change({"server.py": server(), "service.toml": toml})
    first = Path((await node.built()).metadata["root"])
    assert (first / "gen/stamp").is_file()
    assert not (first / "other").exists()
    node.change({"server.py": server(), "service.toml": toml, "notes.md": "x"})
    await node.built()
    node.change({"notes.md": ""})
    (node.workspace / "dev/hello/notes.md").unlink()
    await node.outcome()
    node.change({})
    again = await node.built()
    assert Path(again.metadata["root"], "gen/stamp").read_text() == (first / "gen/stamp").read_text()
    assert again.metadata["stages"]["generate"]["cached"]


async def test_an_unchanged_stage_is_replayed_with_its_log(node: Node) -> None:
    look = stage("look", "echo looked at the data", inputs='["data.txt"]')
    node.change({"server.py": server(), "data.txt": "1", "service.toml": look})
    await node.built()
    node.change({"server.py": server(before="# edited")})
    second = await node.built()
    stages = second.metadata["stages"]
    assert (stages["look"]["cached"], stages["lint"]["cached"], stages["mcp-check"]["cached"]) == (True, False, False)
    assert "looked at the data" in node.lines(version=2)
    node.change({"server.py": server()})
    third = await node.built()
    assert all(report["cached"] for report in third.metadata["stages"].values())
    assert third.contract == second.contract
    node.change({"data.txt": "2"})
    assert not (await node.built()).metadata["stages"]["look"]["cached"]


async def test_a_failure_is_never_remembered(node: Node, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    node.change({"server.py": server(), "service.toml": stage("flaky", f"test -e {flag}")})
    assert (await node.broken()).stage == "flaky"
    flag.touch()
    node.change({})
    await node.built()


async def test_a_rebuild_runs_everything_again_and_says_which_version_it_is(node: Node) -> None:
    node.change({"server.py": server()})
    first = await node.built()
    version = await registry.via(names.PIPELINE).call(Rebuild("hello"), WAIT_S)
    again = await node.built()
    assert again.version == version == (first.version.service, 2)
    assert again.build == first.build
    assert again.metadata["root"] == first.metadata["root"]
    assert not any(report["cached"] for report in again.metadata["stages"].values())


async def test_a_rebuild_of_an_unknown_service_is_refused(node: Node) -> None:
    with pytest.raises(NotFound, match="cannot rebuild nowhere"):
        await registry.via(names.PIPELINE).call(Rebuild("nowhere"))


async def test_a_removed_service_ends_its_run(node: Node) -> None:
    node.change({"server.py": server(), "service.toml": stage("slow", "sleep 300")})
    await node.event("STAGE_START")
    registry.via(names.PIPELINE).cast(SourceRemoved("hello"))
    assert (await node.broken()).superseded


async def test_two_services_are_built_beside_each_other(node: Node) -> None:
    node.change({"server.py": server()}, "one")
    node.change({"server.py": server()}, "two")
    done = {(await node.built()).version.service, (await node.built()).version.service}
    assert done == {"one", "two"}


async def test_a_run_that_dies_of_the_nodes_own_fault_is_tried_again(node: Node) -> None:
    node.ledger.crashes = 1
    node.change({"server.py": server()})
    await node.built()


async def test_sources_that_could_not_be_begun_are_built_once_that_is_possible(node: Node, monkeypatch) -> None:
    monkeypatch.setattr(executor, "RETRY_S", 0.01)
    node.ledger.crashes = executor.ATTEMPTS_MAX + 2
    node.change({"server.py": server()})
    said = await node.event("PIPELINE_COMPLETE")
    assert (said.status, said.version, said.data["message"]) == ("FAILED", 0, "cannot begin: not today")
    await node.built()
    assert len([event for event in node.events if event.data.get("attempt")]) == executor.ATTEMPTS_MAX


async def test_a_new_life_of_the_executor_ends_what_the_old_one_left(node: Node, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    node.change({"server.py": server(), "service.toml": stage("slow", f"echo $$ > {pids}; sleep 300")})
    (pid,) = await pids_in(pids, 1)
    node.executor.exit("kill")
    await node.start_executor()
    await until_gone(pid)
    async with asyncio.timeout(5.0):
        while list((node.store.data_dir / "runs").glob("*")):
            await asyncio.sleep(0.01)
    node.change({"service.toml": ""})
    await node.built()


async def test_words_about_shipping_are_no_change_of_what_is_built(node: Node) -> None:
    node.change({"server.py": server()})
    await node.built()
    node.change({"service.toml": 'strategy = "canary"\n[health]\nmax_error_rate = 0.1\n'})
    built = await node.built()
    assert all(stage["cached"] for stage in built.metadata["stages"].values())
    node.change({"service.toml": 'strategy = "canary"\nversion = "2.0.0"\n'})
    await node.built()
    first, shipped, other = node.ledger.created
    assert first.source_digest == shipped.source_digest != other.source_digest
    assert (shipped.strategy, shipped.health.max_error_rate) == ("canary", 0.1)
    node.change({"service.toml": "strategi = 3\n"})
    await node.broken()
    assert node.ledger.created[-1].refused
