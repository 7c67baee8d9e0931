"""What test tools wrote: read within limits, kept with the version, never trusted."""

import os
from pathlib import Path

import pytest
from delivering import Node, server, stage

from henslowe.actors.pipeline import kept
from henslowe.actors.pipeline.plan import plan_stages
from henslowe.actors.pipeline.reports import (
    BYTES_MAX,
    FAILURES_MAX,
    Coverage,
    FailedTest,
    Findings,
    TestTotals,
    read_coverage,
    read_junit,
)
from henslowe.actors.pipeline.workdir import Workdir, add_artifacts
from henslowe.config.manifest import Reports, read_manifest
from henslowe.errors import StageFailed
from henslowe.storage import Archive

JUNIT = b"""<?xml version="1.0" encoding="utf-8"?>
<testsuites name="all"><testsuite name="pytest" tests="4">
<testcase classname="test_sums" name="test_one" time="0.1"/>
<testcase classname="test_sums" name="test_two"><failure message="assert 3 == 4">the trace</failure></testcase>
<testcase classname="test_sums" name="test_three"><error>only text</error></testcase>
<testcase classname="test_sums" name="test_four"><skipped message="not now"/></testcase>
</testsuite></testsuites>"""
COBERTURA = b"""<?xml version="1.0"?>
<!DOCTYPE coverage SYSTEM "http://cobertura.sourceforge.net/xml/coverage-04.dtd">
<coverage line-rate="0.75" %s><packages><package><classes><class>
<methods><method><lines><line number="1" hits="1"/></lines></method></methods>
<lines><line number="1" hits="1"/><line number="2" hits="0"/></lines>
</class></classes></package></packages></coverage>"""


def test_totals_and_failing_tests_are_read() -> None:
    assert read_junit(JUNIT) == TestTotals(
        4,
        2,
        1,
        (FailedTest("test_sums::test_two", "assert 3 == 4"), FailedTest("test_sums::test_three", "only text")),
    )


def test_the_reports_of_node_nest_suites_and_are_read_as_well() -> None:
    nested = b"""<testsuites><testsuite name="words"><testsuite name="inner"><testcase name="counts" classname="test"/>
        </testsuite></testsuite><testcase name="fails" classname="test"><failure type="x" message="no"/></testcase>
        </testsuites>"""
    assert read_junit(nested) == TestTotals(2, 1, 0, (FailedTest("fails", "no"),))


def test_many_failures_are_counted_and_the_first_are_named() -> None:
    one = b'<testcase name="t"><failure message="' + b"x" * 5_000 + b'"/></testcase>'
    totals = read_junit(b"<testsuite>" + one * 100 + b"</testsuite>")
    assert (totals.total, totals.failed, len(totals.failures)) == (100, 100, FAILURES_MAX)
    assert len((totals + totals).failures) == FAILURES_MAX
    assert len(totals.failures[0].message) < 500


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><testsuite>&b;</testsuite>', "no declaration of entit"),
        (b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><testsuite>&a;</testsuite>', "no declaration"),
        (b'<!DOCTYPE x [<!ENTITY %% a SYSTEM "http://127.0.0.1/">%%a;]><testsuite/>'.replace(b"%%", b"%"), "no decl"),
        (b"<testsuite>" + b"<a>" * 100, "at most 64 deep"),
        (b"<testsuite", "cannot parse it"),
        (b"", "cannot parse it"),
        (b"<html></html>", "expected <testsuites> or <testsuite>"),
        (b'<?xml version="1.0" encoding="no-such"?><testsuite/>', "cannot parse it"),
        (b" " * (BYTES_MAX + 1), "at most 16 MiB"),
    ],
)
def test_rubbish_and_attacks_are_refused(data: bytes, words: str) -> None:
    with pytest.raises(StageFailed, match=words):
        read_junit(data)


@pytest.mark.parametrize(
    ("data", "coverage"),
    [
        (COBERTURA % b'lines-valid="8" lines-covered="6"', Coverage(8, 6)),
        (COBERTURA % b"", Coverage(2, 1)),
        (b"TN:\nSF:a.js\nDA:1,1\nLF:10\nLH:7\nend_of_record\nSF:b.js\nLF:2\nLH:2\nend_of_record\n", Coverage(12, 9)),
    ],
)
def test_coverage_is_read_from_either_form(data: bytes, coverage: Coverage) -> None:
    assert read_coverage(data) == coverage


@pytest.mark.parametrize(
    "data", [b"no report", b"<html/>", b'<coverage lines-valid="-1" lines-covered="x"/>', b"LF:1e9\nend_of_record\n"]
)
def test_what_is_no_report_of_coverage_is_refused(data: bytes) -> None:
    with pytest.raises(StageFailed):
        read_coverage(data)


def test_findings_survive_the_cache() -> None:
    for findings in (Findings(), Findings(read_junit(JUNIT)), Findings(read_junit(JUNIT), Coverage(3, 2))):
        assert Findings.from_dict(findings.as_dict()) == findings
    assert Findings(coverage=Coverage(3, 2)).as_dict()["coverage"]["percent"] == 66.7
    assert Coverage().percent == 100.0


def test_a_stage_that_names_its_coverage_keeps_its_detected_junit(tmp_path: Path) -> None:
    def planned(toml: str) -> Reports:
        (tmp_path / "service.toml").write_text(f"[stages.test]\n{toml}")
        stages = plan_stages(read_manifest(tmp_path, "hello"), timeout_s=1)
        return next(stage.reports for stage in stages if stage.name == "test")

    (tmp_path / "server.py").write_text("")
    (tmp_path / "test_it.py").write_text("")
    detected = planned("").junit
    assert detected
    assert planned('reports = { coverage = "c.xml" }') == Reports(junit=detected, coverage=("c.xml",))
    assert planned('run = "make test"') == Reports()
    assert planned("reports = { junit = [] }") == Reports()


# -- what is kept ----------------


@pytest.fixture
def work(tmp_path: Path) -> Workdir:
    made = Workdir(tmp_path / "run")
    for folder in (made.src, made.tmp, made.pack):
        folder.mkdir(parents=True)
    return made


def test_reports_are_laid_beside_the_build_by_stage(work: Workdir, tmp_path: Path) -> None:
    (work.src / "out").mkdir()
    (work.src / "out/junit.xml").write_bytes(JUNIT)
    (work.tmp / "lcov.info").write_text("LF:4\nLH:1\nend_of_record\n")
    (work.src / "out/page.html").write_text("x")
    reports = Reports(junit=("out/*.xml",), coverage=("{tmp}/lcov.info",), files=("*.html",))
    findings, notes = kept.collect(work, "test", reports)
    assert (findings.tests, findings.coverage, notes) == (read_junit(JUNIT), Coverage(4, 1), [])
    archive = Archive(tmp_path / "archive")
    build = kept.put(archive, work.kept)
    assert [entry.path for entry in archive.build(build).files if entry.digest] == [
        "test/lcov.info",
        "test/out/junit.xml",
        "test/out/page.html",
    ]
    assert list(work.pack.iterdir()) == []


def test_a_report_that_is_missing_or_broken_is_told_and_no_more(work: Workdir) -> None:
    (work.src / "junit.xml").write_text("<oops")
    findings, notes = kept.collect(work, "test", Reports(junit=("junit.xml",), coverage=("none.xml",)))
    assert findings == Findings()
    assert "cannot use junit.xml as JUnit XML: cannot parse it" in notes[0]
    assert notes[1] == "no report: expected coverage at none.xml, got no such file"


def test_what_is_too_much_is_left_out(work: Workdir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "FILES_MAX", 1)
    for name in ("a.txt", "b.txt"):
        (work.src / name).write_text("x")
    _, notes = kept.collect(work, "test", Reports(files=("*.txt",)))
    assert [path.name for path in (work.kept / "test").iterdir()] == ["a.txt"]
    assert "b.txt is not kept" in notes[0]


def test_a_link_that_leaves_the_run_is_neither_kept_nor_built(work: Workdir, tmp_path: Path) -> None:
    secret = tmp_path / "admin.token"
    secret.write_text("secret")
    (work.src / "junit.xml").symlink_to(secret)
    (work.src / "fifo.xml").parent.mkdir(exist_ok=True)
    os.mkfifo(work.src / "fifo.xml")
    kept.collect(work, "test", Reports(junit=("*.xml",)))
    assert not work.kept.exists()
    assert add_artifacts(work, ("*.xml",)) is not None
    assert list(work.pack.iterdir()) == []


# -- in a run ----------------

FAILING = "def test_sums():\n    assert 1 + 1 == 3\n"


async def test_failing_tests_are_in_the_facts_of_the_version_that_failed(node: Node) -> None:
    node.change({"server.py": server(), "test_it.py": FAILING})
    broken = await node.broken()
    assert broken.stage == "test"
    tests = broken.metadata["stages"]["test"]["tests"]
    assert (tests["total"], tests["failed"]) == (1, 1)
    assert tests["failures"][0]["name"] == "test_it::test_sums"
    assert "assert (1 + 1) == 3" in tests["failures"][0]["message"]
    names = [entry.path for entry in node.store.archive.build(broken.metadata["kept"]).files if entry.digest]
    assert names == ["test/junit-pytest.xml"]


async def test_reports_come_back_with_a_replayed_stage_and_are_not_served(node: Node) -> None:
    toml = stage("check", "cp report.txt j.xml", reports='{ junit = "j.xml" }', inputs='["report.txt"]')
    report = "<testsuite><testcase name='a'/></testsuite>"
    node.change({"server.py": server(), "service.toml": toml, "report.txt": report})
    first = await node.built()
    node.change({"notes.md": "x"})
    second = await node.built()
    assert second.metadata["stages"]["check"]["cached"]
    for built in (first, second):
        assert built.metadata["stages"]["check"]["tests"]["total"] == 1
        entries = node.store.archive.build(built.metadata["kept"]).files
        assert [entry.path for entry in entries if entry.digest] == ["check/j.xml"]
        assert not (Path(built.metadata["root"]) / "j.xml").exists()
    assert (first.metadata["by"], first.metadata["why"]) == ("edit", "changed: server.py, service.toml, report.txt")
