"""Gateways and clients that the tests share, and the table of what the recordings came to."""

import collections
import pathlib

import anthropic
import openai
import pytest

import gateway
import talk


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> pathlib.Path:
    return tmp_path_factory.mktemp("portcullis")


@pytest.fixture(scope="session")
def demo_and_key(folder):
    running, key = gateway.demo(folder / "demo")
    yield running, key
    running.process.stop()


@pytest.fixture(scope="session")
def demo(demo_and_key) -> gateway.Gateway:
    """`portcullis demo`, with all plugins."""
    return demo_and_key[0]


@pytest.fixture(scope="session")
def key(demo_and_key) -> str:
    """The key that the demo printed."""
    return demo_and_key[1]


@pytest.fixture(scope="session")
def openai_client(demo, key) -> openai.OpenAI:
    return openai.OpenAI(base_url=demo.openai_url, api_key=key, max_retries=0, timeout=30)


@pytest.fixture(scope="session")
def anthropic_client(demo, key) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=demo.address, api_key=key, max_retries=0, timeout=30)


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def stream(request) -> bool:
    return request.param


@pytest.fixture(params=talk.PROVIDERS)
def provider(request) -> str:
    """The connection that answers: with either client, all four pairs."""
    return request.param


@pytest.fixture(scope="session")
def lab(demo, folder):
    """Starts gateways with a configuration of their own before the demo's provider; `lab(name, configuration)`."""
    running = []

    def start(name: str, configuration: str = "") -> gateway.Gateway:
        running.append(gateway.serve(folder / name, gateway.demo_providers(demo) + configuration))
        return running[-1]

    yield start
    for one in running:
        one.process.stop()


# --- the recordings' table ------------------------------------------------------------------------------------------

TABLE: dict = collections.defaultdict(collections.Counter)


def pytest_runtest_logreport(report):
    row = dict(report.user_properties).get("recorded")
    if row and (report.when == "call" or report.failed):
        # An expected failure is reported as skipped.
        TABLE[tuple(row)]["explained" if hasattr(report, "wasxfail") else report.outcome] += 1


def pytest_terminal_summary(terminalreporter):
    if not TABLE:
        return
    terminalreporter.section("recordings")
    line = "{:<21} {:<10} {:<20} {:>7} {:>7} {:>9}".format
    terminalreporter.write_line(line("provider", "client", "mode", "passed", "failed", "explained"))
    for row, counts in sorted(TABLE.items()):
        terminalreporter.write_line(line(*row, counts["passed"], counts["failed"], counts["explained"]))
