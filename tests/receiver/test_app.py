"""The application around the sources: the public URL, operators' routes, and requests without a route."""

import asyncio

import pytest
from aiohttp import web
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from router import __version__, metrics
from router.core.keys import RESOLVER
from router.inbound.sources import SOURCES
from router.receiver.app import REDIS, create_app, failed
from router.streams.client.embedded import free_port
from router.streams.consuming.groups import ensure_group
from router.tasks import end
from tests.receiver.conftest import settings_of
from tests.receiver.samples import URL_SAMPLES, signed, sms
from tests.support.waiting import deadline


@pytest.mark.parametrize("sample", URL_SAMPLES.values(), ids=list(URL_SAMPLES))
@pytest.mark.parametrize(
    ("configured", "signs", "status"),
    [
        ("https://hooks.example.com", "https://hooks.example.com", 200),
        ("https://hooks.example.com/", "https://hooks.example.com", 200),
        ("https://hooks.example.com", "https://hooks.example.com:443", 200),
        ("https://hooks.example.com:443", "https://hooks.example.com", 200),
        ("https://hooks.example.com:8443", "https://hooks.example.com:8443", 200),
        ("https://hooks.example.com:8443", "https://hooks.example.com", 200),
        ("https://hooks.example.com:8443", "https://hooks.example.com:443", 403),
        ("https://hooks.example.com", "https://hooks.example.com:8443", 403),
        ("http://hooks.example.com", "http://hooks.example.com:80", 200),
        ("http://hooks.example.com", "http://hooks.example.com:443", 403),
        ("https://Hooks.Example.com", "https://Hooks.Example.com", 200),
        ("https://Hooks.Example.com", "https://hooks.example.com", 403),
        ("https://ana:secret@hooks.example.com", "https://hooks.example.com", 200),
    ],
)
async def test_ports_and_spellings_of_the_public_url(start, sample, configured, signs, status):
    """A signature is valid for PUBLIC_BASE_URL as configured, with or without its port, and for no other spelling."""
    receiver = await start(PUBLIC_BASE_URL=configured)
    assert (await receiver.send(signed(sample(), base=signs))).status == status


@pytest.mark.parametrize("sample", URL_SAMPLES.values(), ids=list(URL_SAMPLES))
async def test_public_path_prefix(start, sample):
    """Behind a proxy that strips a prefix, the signature covers the public path."""
    receiver = await start(PUBLIC_BASE_URL="https://example.com/twilio/in/")
    stripped = signed(sample(), base="https://example.com/twilio/in")
    assert (await receiver.send(stripped)).status == 200
    assert (await receiver.send(signed(sample(), base="https://example.com"))).status == 403


@pytest.mark.parametrize(
    "header", ["Host", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Original-URL", "X-Forwarded-Prefix"]
)
async def test_headers_of_a_proxy_are_ignored(receiver, header):
    """The signature covers the configured URL; no header replaces its host or scheme."""
    value = {"X-Forwarded-Proto": "http", "Forwarded": "host=evil.example;proto=http"}.get(header, "evil.example")
    assert (await receiver.send(signed(sms()), **{header: value})).status == 200
    forged = signed(sms(2), base="https://evil.example")
    assert (await receiver.send(forged, **{header: value})).status == 403


@pytest.mark.parametrize(
    "path", ["/", "/webhooks", "/webhooks/", "/webhooks/sms", "/webhooks/messaging/", "/x/../y", "//"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_unknown_paths(receiver, path, method):
    """A request without a route gets an empty answer, and a log line without its path, which may hold anything."""
    answer = await receiver.send(signed(sms()).but(path=path), method)
    assert (answer.status, answer.body) == (404, b"")
    (line,) = receiver.webhooks()
    assert (line["status"], line["result"], line["source"]) == (404, "path", "none")


async def test_private_query_of_a_wrong_method_stays_private(receiver):
    """A number configured for GET sends its parameters in the URL: the log shows the mistake but no parameter."""
    request = signed(sms())
    assert (await receiver.send(request.but(path=f"{request.path}?{request.body.decode()}"), "GET")).status == 405


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_operators_routes_are_for_reading(receiver, path):
    """A POST to an operator's route is refused."""
    answer = await receiver.send(signed(sms()).but(path=path))
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


async def test_health_and_readiness_with_redis(receiver):
    """Both routes answer 200."""
    assert [(await receiver.get(path)).status for path in ("/healthz", "/readyz")] == [200, 200]


async def test_health_and_readiness_without_redis_and_spool(start):
    """Without both, the process stays alive and not ready, and does not reveal the address of Redis."""
    port = free_port()
    receiver = await start(server_url=f"redis://:hidden@127.0.0.1:{port}/0", ROUTER_SPOOL_MAX_BYTES="0")
    assert (await receiver.get("/healthz")).status == 200
    ready = await receiver.get("/readyz")
    assert ready.status == 503
    assert b"hidden" not in ready.body
    assert str(port).encode() not in ready.body


async def test_metrics_have_every_name_of_the_tables(receiver):
    """Every name in the tables of router.metrics is rendered with its meaning, in Prometheus' format."""
    await ensure_group(receiver.redis, receiver.keys.inbound(0), RESOLVER)
    await receiver.send(signed(sms()))
    answer = await receiver.get("/metrics")
    text = answer.body.decode()
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    for name, (meaning, _) in {**metrics.COUNTERS, **metrics.GAUGES}.items():
        assert f"{name}" in text
        assert meaning in text
    stream = receiver.keys.inbound(0)
    assert f'router_stream_entries{{stream="{stream}"}} 1.0' in text
    assert f'router_group_lag{{group="{RESOLVER}",stream="{stream}"}} 1.0' in text
    assert "router_event_seconds_bucket" in text


async def test_metrics_begin_before_the_first_event(start):
    """Counters are there with 0, beside the process' own figures and the version."""
    receiver = await start()
    text = (await receiver.get("/metrics")).body.decode()
    for name in SOURCES:
        assert f'router_webhooks_total{{result="duplicate",source="{name}",status="200"}} ' in text
    assert 'router_quarantined_total{reason="too-large",result="kept"} ' in text
    assert f'router_build_info{{version="{__version__}"}} 1.0' in text
    assert "\nprocess_resident_memory_bytes " in text


async def test_metrics_as_openmetrics(receiver):
    """Who asks for OpenMetrics gets a page that its parser reads."""
    answer = await receiver.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    families = {family.name for family in text_string_to_metric_families(answer.body.decode())}
    assert {"router_webhooks", "router_event_seconds", "router_build_info"} <= families


async def test_metrics_count_the_lag_that_the_server_does_not_know(receiver):
    """After an entry was deleted in the unread part of a stream, its unread entries are counted."""
    stream = receiver.keys.inbound(0)
    await ensure_group(receiver.redis, stream, RESOLVER)
    for number in range(3):
        await receiver.send(signed(sms(number)))
    (_, second, _) = [entry_id for entry_id, _ in await receiver.redis.xrange(stream)]
    await receiver.redis.xdel(stream, second)
    assert (await receiver.redis.xinfo_groups(stream))[0]["lag"] is None
    text = (await receiver.get("/metrics")).body.decode()
    assert f'router_group_lag{{group="{RESOLVER}",stream="{stream}"}} 2.0' in text


async def test_metrics_without_redis_have_no_gauges_of_it(start, receiver):
    """Gauges of an unreachable Redis are left out rather than shown with their last value."""
    await receiver.get("/metrics")
    unreachable = await start(server_url=f"redis://127.0.0.1:{free_port()}/0")
    answer = await unreachable.get("/metrics")
    assert answer.status == 200
    assert b"router_stream_entries{" not in answer.body


async def test_a_connection_that_was_passed_in_stays_open(redis, output, tmp_path):
    """A connection made by a test or by another composition root is not closed with the application."""
    runner = web.AppRunner(
        create_app(settings_of("redis://127.0.0.1:1/0", ROUTER_SPOOL_DIR=str(tmp_path)), redis=redis)
    )
    await runner.setup()
    assert runner.app[REDIS] is redis
    await runner.cleanup()
    assert await redis.ping()


async def test_a_background_task_that_ends_is_noticed(redis_url):
    """A receiver whose drainer has died would never move its spool to Redis: its process ends, and says why."""
    app = create_app(settings_of(redis_url))
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        failing = asyncio.create_task(failed(app))
        await asyncio.sleep(0)
        assert not failing.done()
        (drainer,) = [task for task in asyncio.all_tasks() if task.get_name() == "drainer"]
        await end(drainer)
        async with deadline(10):
            assert await failing == "its task drainer has ended"
    finally:
        await runner.cleanup()
