"""The benchmarks work: every measurement at its smallest, the frame's figures, and no process is left behind.

No speed is asserted: that is the purpose of `make bench`, on a machine that does nothing else.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from router.core.signing.form import parse_form
from router.core.signing.twilio import Verifier, base_urls
from tests.benchmarks import load, webhooks
from tests.benchmarks.__main__ import MEASUREMENTS, make_parser, scale_of
from tests.benchmarks.beside import Build, make_build
from tests.benchmarks.express import SOURCE
from tests.benchmarks.frame import BenchmarkError, Column, Contender, Figure, Measurement, Report, Scale, measure
from tests.benchmarks.processes import (
    MEASURED,
    SHARED,
    Processes,
    cpu_seconds,
    shared_cores,
)
from tests.benchmarks.report import render
from tests.benchmarks.targets import NEEDS, NOT_MEASURED, TARGETS, render_targets, rows
from tests.support.accounts import TOKEN
from tests.support.source import ROOT, SHIPPED
from tests.support.waiting import deadline, scaled, until

TINY = Scale(rounds=1, seconds=0.1, customers=20)


def measurement_of(speeds):
    """Return a measurement of contenders whose turns have these values one after the other, and the order of turns."""
    turns = []

    def contender(name):
        values = iter([0.0, *speeds[name]])  # the first turn warms up

        async def take_turn(_):
            turns.append(name)
            return {"speed": next(values)}

        return Contender(name, name.upper(), take_turn)

    @asynccontextmanager
    async def opened(_):
        yield [contender(name) for name in speeds]

    ratio = Figure("ratio", "ours / limit", "speed", "ours", "limit", at_least=0.4)
    return Measurement("fake", "Fake", (Column("speed", "per second"),), (ratio,), opened), turns


async def test_a_ratio_is_divided_within_each_round_before_the_median():
    """A machine that is half as fast in one round changes no ratio."""
    measurement, _ = measurement_of({"ours": [50.0, 25.0, 60.0], "limit": [100.0, 50.0, 100.0]})
    report = await measure(measurement, Scale(rounds=3), lambda _: None)
    figure = report.as_json()["figures"]["ratio"]
    assert (figure["median"], figure["min"], figure["max"]) == (0.5, 0.5, 0.6)
    assert figure["met"]
    assert report.as_json()["contenders"]["ours"]["metrics"]["speed"]["median"] == 50.0


async def test_turns_are_interleaved_and_each_contender_is_first_once():
    """Two rounds of two contenders begin with a different one each, after one turn each that does not count."""
    measurement, turns = measurement_of({"ours": [1.0, 1.0], "limit": [1.0, 1.0]})
    await measure(measurement, Scale(rounds=2), lambda _: None)
    assert turns == ["ours", "limit", "ours", "limit", "limit", "ours"]


async def test_the_table_names_contenders_ratios_and_targets():
    """The output has the contenders, their values, and whether a target is met."""
    measurement, _ = measurement_of({"ours": [30.0], "limit": [100.0]})
    text = render(await measure(measurement, Scale(rounds=1), lambda _: None))
    assert "LIMIT" in text
    assert "100 (100 .. 100)" in text
    assert [line.split()[-5:] for line in text.splitlines() if "ours /" in line] == [["0.3", ">=", "0.4", "not", "met"]]


@pytest.mark.parametrize(
    "senders",
    [
        pytest.param(webhooks.Senders(20), id="usual"),
        pytest.param(webhooks.Senders(20, 7_000, "15557650002", "http://127.0.0.1:8080"), id="another"),
    ],
)
def test_prepared_webhooks_are_authentic_and_all_different(senders):
    """Each has a MessageSid of its own, the addresses of its senders, and the signature that the router expects."""
    verifier = Verifier(base_urls(senders.base), (TOKEN,))
    seen, customers = set(), set()
    for number in range(50):
        body = senders.form(7, number)
        pairs = parse_form(body)
        verifier.verify_form(webhooks.PATH.encode(), pairs, senders.signature(7, number).decode())
        seen.add(dict(pairs)[b"MessageSid"])
        customers.add(int(dict(pairs)[b"From"][5:]))
        assert dict(pairs)[b"To"] == b"+" + senders.recipient.encode()
        assert len(body) == webhooks.SIZE
    assert len(seen) == 50
    assert customers == set(range(senders.first, senders.first + 20))


async def test_the_generator_counts_refusals_and_reads_responses_in_pieces():
    """A response other than 2xx is counted, even if it comes in two parts."""

    async def refuse(reader, writer):
        while await reader.read(65536):
            writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-")
            await writer.drain()
            await asyncio.sleep(0)
            writer.write(b"Length: 2\r\n\r\nno")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    order = {"port": port, "connections": 2, "seconds": 5, "run": 1, "requests": 10}
    order |= {"senders": {"customers": 1}}
    async with server:
        result = await asyncio.to_thread(load.run, order)
    assert (result["requests"], result["refused"]) == (10, 10)
    assert 0 < result["p50_ms"] <= result["p99_ms"]


async def test_a_process_that_ends_fails_the_run_with_the_end_of_its_log(tmp_path):
    """A wait ends with the process that it depends on."""
    async with Processes(tmp_path) as processes:
        command = ("-c", "import sys; sys.exit('out of luck')")
        await processes.start("unlucky", *command)
        with pytest.raises(BenchmarkError, match=r"unlucky ended with status 1:\nout of luck"):
            await processes.until("it works", lambda: False)


_SPIN = "import time\nwhile time.process_time() < 0.4: pass\nprint('spun', flush=True)\ninput()\n"
_PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_SPIN!r}])"


async def test_without_another_build_nothing_is_said_of_one():
    """A figure whose contender did not take part is left out of the table, and has no value."""
    measurement, _ = measurement_of({"ours": [30.0], "limit": [100.0]})
    beside = Figure("beside", "ours / the other build", "speed", "ours", "before", at_most=1)
    report = await measure(replace(measurement, figures=(beside,)), Scale(rounds=1), lambda _: None)
    assert "the other build" not in render(report)
    assert report.as_json()["figures"]["beside"] == {"label": "ours / the other build"}


def test_a_commit_that_is_not_there_is_named():
    """The error says which option is wrong."""
    with pytest.raises(BenchmarkError, match="--beside: no commit 0000000"):
        make_build("0000000", lambda _: None)


@pytest.mark.processes
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the children in /proc")
async def test_the_cpu_time_of_a_process_is_that_of_its_children_too(tmp_path):
    """A parent that computes nothing has the CPU time of its child."""
    async with Processes(tmp_path) as processes:
        parent = await processes.start("parent", "-c", _PARENT, has_pipes=True)
        assert await parent.process.stdout.readline() == b"spun\n"
        assert cpu_seconds(parent.pid) > 0.3  # in ticks of 10 ms; the parent uses a few of them
        parent.process.stdin.close()
        await parent.process.wait()
        assert cpu_seconds(parent.pid) is None


@pytest.mark.processes
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot keep a process on a core")
@pytest.mark.parametrize(("place", "cores"), [(MEASURED, 1), (SHARED, shared_cores()), (None, None)])
async def test_a_process_has_the_cores_of_its_place(tmp_path, place, cores):
    """One core of its own, the shared ones, or all cores of this program."""
    all_cores = os.sched_getaffinity(0)
    async with Processes(tmp_path) as processes:
        command = ("-c", "input()")
        child = await processes.start("child", *command, place=place, has_pipes=True)
        found = os.sched_getaffinity(child.pid)
    assert found <= all_cores
    assert len(found) == (cores or len(all_cores))


@pytest.mark.processes
async def test_settings_of_the_shell_are_not_measured(tmp_path, monkeypatch):
    """A variable of this process that would change the router does not reach the processes of a measurement."""
    monkeypatch.setenv("ROUTER_BATCH", "1")
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere")
    async with Processes(tmp_path) as processes:
        child = await processes.start("child", "-c", "import os; print(dict(os.environ))", environment={"PORT": "1"})
        assert await child.wait() == 0
    assert "'PORT': '1'" in child.text
    assert "ROUTER_BATCH" not in child.text
    assert "REDIS_URL" not in child.text


def test_a_large_run_has_a_million():
    """A usual one has a tenth of that, and a quick one fewer."""
    numbers = [scale_of(make_parser().parse_args(each)).of_million() for each in ([], ["--large"], ["--quick"])]
    assert numbers == [100_000, 1_000_000, 16_667]


def test_explicit_options_win_over_quick():
    """`--quick` sets only the options that are not given."""
    scale = scale_of(make_parser().parse_args(["--quick", "--rounds", "7"]))
    assert scale.rounds == 7
    assert scale.seconds < Scale().seconds


async def test_a_swallowed_cancellation_ends_the_run_anyway():
    """A library that swallows a cancellation cannot delay Ctrl-C until the end of a turn."""
    begun = asyncio.Event()

    async def take_turn(_):
        begun.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            await asyncio.sleep(30)

    @asynccontextmanager
    async def opened(_):
        yield [Contender("stubborn", "stubborn", take_turn)]

    measuring = asyncio.create_task(measure(Measurement("fake", "Fake", (), (), opened), Scale(), lambda _: None))
    await begun.wait()
    measuring.cancel()
    async with deadline(5):
        with pytest.raises(asyncio.CancelledError):
            await measuring


async def test_a_figure_that_was_not_measured_is_neither_met_nor_missed():
    """Each target has its row, in order, with a note for figures that the run left out."""
    found = rows({}, MEASUREMENTS)
    assert [row["what"] for row in found] == [target.what for target in TARGETS]
    assert {row["note"] for row in found} == {NOT_MEASURED}
    assert all(row["target"] and row["met"] is None for row in found)
    assert render_targets(found).count(NOT_MEASURED) == len(TARGETS)


@pytest.mark.parametrize(("seconds", "verdict"), [(1.4, "met"), (1.6, "NOT MET")])
async def test_a_target_is_judged_by_the_median(seconds, verdict):
    """The row has the spread of the figure and a verdict, except for targets that only `make soak` can judge."""
    start = next(one for one in MEASUREMENTS if one.name == "start")
    whole = next(one for one in MEASUREMENTS if one.name == "whole")
    samples = [{"ready_s": value} for value in (0.1, seconds, 9.0)]
    held = [{"receiver_mib": 80.0, "so_far": 20_000.0}, {"receiver_mib": 200.0, "so_far": 40_000.0}]
    reports = {
        "start": Report(start, {"receive": ""}, {"receive": samples, "work": []}),
        "whole": Report(whole, {"ours": ""}, {"ours": held, "pair": [{}, {}]}),
    }
    found = rows(reports, MEASUREMENTS)
    *_, receiver, worker, ready = found
    assert ready["measured"] == {"median": seconds, "min": 0.1, "max": 9.0}
    assert render_targets(found).splitlines()[-1].endswith(f"  {verdict}")
    assert (receiver["met"], receiver["measured"]["median"]) == (None, 140.0)
    assert receiver["note"].startswith("after 40,000 events")
    assert worker["note"] == NOT_MEASURED


async def test_a_missing_contender_of_a_target_is_explained():
    """The row says what its contender needs if the measurement ran without it."""
    whole = next(one for one in MEASUREMENTS if one.name == "whole")
    found = rows({"whole": Report(whole, {"ours": ""}, {"ours": [{}]})}, MEASUREMENTS)
    notes = {row["what"]: row["note"] for row in found}
    assert notes["the whole way, events/s / Express with BullMQ"] == NEEDS["express"]
    assert notes["the whole way, events/s / hand-written pair"] == NOT_MEASURED


@pytest.mark.parametrize(("known", "note"), [(100_000.0, "with 100,000; `--large`: a million"), (1e6, "")])
async def test_a_target_of_a_million_says_how_many_there_were(known, note):
    """A usual run has a tenth of them, which stands beside the verdict."""
    measurement = next(one for one in MEASUREMENTS if one.name == "known")
    samples = {"many": [{"per_second": 95.0, "known": known}], "few": [{"per_second": 100.0, "known": known / 10}]}
    found = rows({"known": Report(measurement, dict.fromkeys(samples, ""), samples)}, MEASUREMENTS)
    row = next(one for one in found if one["met"])
    assert row["note"] == note
    assert f"  met {note}".rstrip() in render_targets(found)


def test_packages_of_express_are_pinned_without_an_address():
    """Each package has its version and digest, and nothing says from where it comes."""
    text = (SOURCE / "packages-lock.json").read_text()
    packages = {name: row for name, row in orjson.loads(text)["packages"].items() if name}
    assert orjson.loads((SOURCE / "packages.json").read_bytes())["dependencies"].keys() <= {
        name.removeprefix("node_modules/") for name in packages
    }
    assert all(row["version"] and row["integrity"].startswith("sha512-") for row in packages.values())
    assert "://" not in text


#: Contenders whose packages tests do not install.
NOT_HERE = {"express"}
#: This commit as if it were another one.
THIS_BUILD = Build(ROOT, SHIPPED, sys.executable)


@pytest.mark.processes
@pytest.mark.real
@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda one: one.name)
async def test_every_measurement_runs(measurement):
    """At its smallest, all contenders have all metrics of the table, and all figures exist."""
    report = await measure(measurement, replace(TINY, beside=THIS_BUILD), lambda _: None)
    result = orjson.loads(orjson.dumps(report.as_json()))
    assert set(result["contenders"]) == set(report.labels)
    for contender in result["contenders"].values():
        assert len(contender["rounds"]) == TINY.rounds
        assert contender["metrics"][measurement.columns[0].metric]["median"] > 0
    for figure in measurement.figures:
        assert figure.name in result["figures"]
        if {figure.of, figure.over} & NOT_HERE:
            continue
        assert {figure.of, figure.over or figure.of} <= set(report.labels)
        assert result["figures"][figure.name]["median"] >= 0
    assert measurement.title in render(report)


@pytest.mark.processes
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the children in /proc")
def test_an_interrupted_run_leaves_no_process_behind():
    """Ctrl-C in the middle of a turn ends every process that was started; the exit status is 130."""
    command = [sys.executable, "-m", "tests.benchmarks", "--only", "receiver", "--seconds", "20"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        while "warming up" not in process.stderr.readline():
            assert process.poll() is None
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(signal.SIGINT)
        _, output = process.communicate(timeout=scaled(30))
    finally:
        process.terminate()  # nothing happens if it has ended; a kill would leave its children behind
    assert process.returncode == 130, output
    assert len(children) == 5  # Redis, the generator and three receivers
    asyncio.run(until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children)))
