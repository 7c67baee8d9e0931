"""What is recorded, how much of it, and that nobody ever waits."""

import itertools

from henslowe.config.settings import CaptureSettings
from henslowe.storage.capture import Exchange, Recorder
from henslowe.storage.capture.record import about_bytes


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


def recorder(clock=None, **settings):
    numbers = itertools.count(1)
    return Recorder(
        CaptureSettings(**settings),
        lambda: (next(numbers) * 1_000, next(numbers)),
        is_developed=lambda service: service.startswith("dev"),
        monotonic=clock or Clock(),
    )


def exchange(service="dev", method="tools/call", text="x", unit="s:1"):
    answer = {"result": {"content": [{"type": "text", "text": text}]}}
    return Exchange(service, 1, "i", unit, True, "legacy", method, {"name": "t"}, answer, "ok", 0.01, False)


def offer(it, **fields):
    one = exchange(**fields)
    wanted = it.wants(one.service, one.method, one.unit)
    if wanted:
        it.record(one)
    return wanted


def test_calls_of_developed_services_are_recorded_and_others_on_demand():
    assert offer(recorder())
    assert not offer(recorder(), service="other")
    assert not offer(recorder(), method="tools/list")
    assert not offer(recorder(enabled=False))
    assert offer(recorder(services=("oth*",)), service="other")
    assert not offer(recorder(services=("oth*",)))
    assert offer(recorder(methods=("tools/list",)), method="tools/list")


def test_a_service_has_its_share_of_each_second_and_no_other_suffers():
    clock = Clock()
    it = recorder(clock, per_second_max=5)
    assert [offer(it) for _ in range(8)].count(True) == 5
    assert offer(it, service="dev2")
    assert it.counts().over_rate == 3
    clock.now_s += 0.5
    assert [offer(it) for _ in range(5)].count(True) == 2
    clock.now_s += 1_000
    assert [offer(it) for _ in range(20)].count(True) == 5


def test_large_exchanges_use_up_more_of_the_share():
    it = recorder(per_second_max=20)
    recorded = [offer(it, text="x" * 65_536) for _ in range(20)].count(True)
    assert recorded == 3


def test_a_sample_holds_whole_sessions():
    it = recorder(sample_percent=25, per_second_max=100_000)
    chosen = {unit for unit in range(2_000) if offer(it, unit=f"s:{unit}")}
    assert 400 < len(chosen) < 600
    assert {unit for unit in range(2_000) if offer(it, unit=f"s:{unit}")} == chosen
    assert it.counts().sampled_out == 2 * (2_000 - len(chosen))


def test_a_full_queue_drops_and_counts_and_takes_again_when_it_was_emptied():
    it = recorder(per_second_max=100_000, queue_bytes_max=65_536)
    for _ in range(20):
        offer(it, text="x" * 10_000)
    counts = it.counts()
    assert (counts.recorded, counts.dropped, counts.waiting) == (6, 14, 6)
    assert 60_000 < counts.waiting_bytes <= 65_536
    assert len(it.take(4)) == 4
    assert it.counts().waiting == 2
    assert len(it.take(100)) == 2
    assert it.counts().waiting_bytes == 0
    offer(it, text="x" * 10_000)
    assert it.counts().dropped == 14


def test_the_writer_is_woken_once_until_it_takes():
    it, woken = recorder(), []
    offer(it)
    it.attach(lambda: woken.append(1))
    offer(it)
    offer(it)
    assert len(woken) == 1
    assert len(it.take(100)) == 3
    offer(it)
    assert len(woken) == 2
    it.take(100)
    it.detach()
    offer(it)
    assert len(woken) == 2


def test_what_waits_is_in_the_order_of_its_calls():
    it = recorder()
    for text in "abc":
        offer(it, text=text)
    taken = it.take(100)
    assert [each.exchange.answer["result"]["content"][0]["text"] for each in taken] == ["a", "b", "c"]
    assert [each.time_ns for each in taken] == sorted(each.time_ns for each in taken)


def test_sizes_are_about_right_and_great_values_cost_no_more_to_measure():
    assert about_bytes(None) < 10
    assert 90 < about_bytes({"a": "x" * 80, "b": [1, 2]}) < 130
    assert about_bytes("x" * 10_000_000) > 10_000_000

    class Counted(list):
        seen = 0

        def __iter__(self):
            for each in super().__iter__():
                Counted.seen += 1
                yield each

    about_bytes([["x" * 10] * 3 for _ in range(200_000)])
    assert 1_000_000 < about_bytes(["x" * 10 for _ in range(100_000)]) < 3_000_000
