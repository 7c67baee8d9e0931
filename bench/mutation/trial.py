"""Tries mutants out inside one pytest session: everything is imported and collected once, each mutant is a fork.

In the fork the functions of the real module get the code of the mutated one, and the collected tests run until one
fails. A mutant that is noticed costs some milliseconds that way, instead of an interpreter and an import.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import os
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from .changes import ROOT, Mutant

PASSED, FAILED, HUNG = range(3)
MUTANT_S = 300
LONG_TEST_S = 15
TEST_S = 8
"""A mutant that hangs is the dearest: most tests take some milliseconds, those in `LONG` some seconds."""
LONG = ("oracle", "machine")


class Trials:
    """A pytest plugin that runs the tests once per mutant instead of once."""

    def __init__(
        self,
        mutants: Sequence[Mutant],
        likely: Callable[[Mutant], str],
        jobs: int,
        on_outcome: Callable[[Mutant, str], None],
    ) -> None:
        self.mutants, self.likely, self.jobs, self.on_outcome = mutants, likely, jobs, on_outcome
        self.passes_without = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Takes the place of pytest's own loop."""
        self.passes_without = _wait_for(*_fork(session, None, "")) == "survived"
        if not self.passes_without:
            return True
        waiting, running = list(reversed(self.mutants)), {}
        while waiting or running:
            while waiting and len(running) < self.jobs:
                mutant = waiting.pop()
                pid, deadline = _fork(session, mutant, self.likely(mutant))
                running[pid] = mutant, deadline
            for pid, (mutant, deadline) in list(running.items()):
                outcome = _poll(pid, deadline)
                if outcome:
                    del running[pid]
                    self.on_outcome(mutant, outcome)
            time.sleep(0.005)
        return True


def run(trials: Trials, tests: Sequence[str]) -> None:
    """Runs all trials. Raises SystemExit when the tests fail without a mutant."""
    os.chdir(ROOT)
    # A failure is all we want to know: neither its smallest form nor its like for the next time.
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutants", phases=phases, database=None)
    hypothesis.settings.load_profile("mutants")
    options = ["-q", "-s", "--maxfail=1", "-p", "no:cacheprovider", f"--timeout={LONG_TEST_S}", "-o", "addopts="]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # for hypothesis, imported above
    pytest.main([*options, *tests], plugins=[trials])
    if not trials.passes_without:
        raise SystemExit("expected the tests to pass without a mutant, but they do not")


def _fork(session: pytest.Session, mutant: Mutant | None, likely: str) -> tuple[int, float]:
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        code = FAILED
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            if mutant is not None:
                put_in(mutant)
                session.items.sort(key=lambda item: likely not in item.path.name)
            for item in session.items:
                if not any(word in item.path.name for word in LONG):
                    item.add_marker(pytest.mark.timeout(TEST_S))
            code = _run(session)
        finally:
            os._exit(code)
    return pid, time.monotonic() + MUTANT_S


def _run(session: pytest.Session) -> int:
    from _pytest.main import pytest_runtestloop

    hung = _Hung()
    session.config.pluginmanager.register(hung)
    try:
        pytest_runtestloop(session)
    except session.Failed:
        return HUNG if hung.seen else FAILED
    return FAILED if session.testsfailed else PASSED


class _Hung:
    """Notices whether a test failed by running out of time, which may be the machine's fault."""

    seen = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seen = self.seen or (report.failed and "Timeout (>" in report.longreprtext)


def _poll(pid: int, deadline: float) -> str:
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        return {PASSED: "survived", HUNG: "hung"}.get(os.waitstatus_to_exitcode(status), "killed")
    if time.monotonic() < deadline:
        return ""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "hung"


def _wait_for(pid: int, deadline: float) -> str:
    while not (outcome := _poll(pid, deadline)):
        time.sleep(0.01)
    return outcome


# -- code ------------------------------------------------------------------------------------------------
def put_in(mutant: Mutant) -> None:
    """Gives the functions of the real module the mutated code."""
    name = mutant.file.removesuffix(".py").replace("/", ".")
    real = importlib.import_module(name)
    spec = importlib.util.spec_from_loader(name, None, origin=str(ROOT / mutant.file))
    assert spec is not None
    mutated = importlib.util.module_from_spec(spec)
    exec(compile(mutant.source, str(ROOT / mutant.file), "exec"), mutated.__dict__)  # our own source
    twins = dict(_functions(mutated))
    for (owner, attribute), function in _functions(real):
        twin = twins[owner, attribute]
        function.__defaults__, function.__kwdefaults__ = twin.__defaults__, twin.__kwdefaults__
        if function.__code__.co_freevars == twin.__code__.co_freevars:
            function.__code__ = twin.__code__
        elif owner:  # a method that does not need super() any more
            cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
            closure = tuple(cells[free] for free in twin.__code__.co_freevars)
            code, defaults = twin.__code__, twin.__defaults__
            setattr(getattr(real, owner), attribute, types.FunctionType(code, vars(real), attribute, defaults, closure))


def _functions(module: types.ModuleType) -> Iterator[tuple[tuple[str, str], Any]]:
    """The functions and methods that are written in a module, by class and name."""
    file = str(Path(module.__spec__.origin or "")) if module.__spec__ else ""
    for name, value in list(vars(module).items()):
        if inspect.isfunction(value) and value.__module__ == module.__name__:
            yield ("", name), value
        elif inspect.isclass(value) and value.__module__ == module.__name__ and value.__name__ == name:
            for attribute, member in list(vars(value).items()):
                for function in _behind(member):
                    if function.__code__.co_filename == file:
                        yield (name, attribute), function


def _behind(member: Any) -> Iterator[types.FunctionType]:
    if isinstance(member, staticmethod | classmethod):
        member = member.__func__
    elif isinstance(member, property):
        member = member.fget
    if inspect.isfunction(member):
        yield member
