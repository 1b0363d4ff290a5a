"""Starts the built gateway as an operator would, and knows nothing of what the tests ask of it."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("PORTCULLIS_BIN") or ROOT / "target/debug/portcullis").resolve()
BUILT = pathlib.Path(os.environ.get("PORTCULLIS_PLUGINS") or ROOT / "target/plugins").resolve()
# A copy, so that plugins built meanwhile change nothing in a gateway under test.
COPY = tempfile.TemporaryDirectory(prefix="portcullis-plugins-")
PLUGINS = pathlib.Path(COPY.name)
for built in BUILT.glob("*.wasm"):
    shutil.copy(built, PLUGINS)
# Compiled code, kept for all tests, those in Rust too: what is under test is seldom the compiler.
CACHE = pathlib.Path(tempfile.gettempdir()) / "portcullis-tests-code"
START_SECONDS = 120
SECOND = 1.0


class Process:
    """A child that says on standard output where it is, in a line that `pattern` finds."""

    def __init__(self, arguments, log: pathlib.Path, environment=None):
        self.log = log
        self._file = open(log, "wb")
        self._child = subprocess.Popen(
            [str(argument) for argument in arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_until(self, what: str, ready):
        """Polls until `ready()` gives something, which it returns."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            found = ready()
            if found:
                return found
            if self._child.poll() is not None:
                raise RuntimeError(f"ended with {self._child.returncode} before {what}:\n{self.text()}")
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"no {what} within {START_SECONDS} s:\n{self.text()}")

    def says(self, pattern: str) -> str:
        """Waits for a line and returns what its group holds."""
        return self.wait_until(pattern, lambda: re.search(pattern, self.text())).group(1)

    def stop(self):
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
            try:
                self._child.wait(10)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        self._file.close()


class Gateway:
    """A running gateway: where it is, and keys for it. `address` has neither `/v1` nor a slash at its end."""

    def __init__(self, process: Process, address: str, config: pathlib.Path):
        self.process, self.address, self.config = process, address, config

    @property
    def openai_url(self) -> str:
        return self.address + "/v1"

    def key(self, *arguments: str) -> dict:
        """Makes a key: what `portcullis key create --json` says, the secret as `key`."""
        return json.loads(self.command("key", "create", "--json", "--name", "tests", *arguments))

    def command(self, *arguments: str) -> str:
        environment = {**os.environ, "PORTCULLIS_CONFIG": str(self.config)}
        done = subprocess.run([BINARY, *arguments], env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def receipt(self, identity: str, key: str) -> dict:
        """The receipt of a request, which is written a moment after the answer."""
        end = time.monotonic() + 10 * SECOND
        while True:
            request = urllib.request.Request(
                f"{self.address}/v1/receipts/{identity}", headers={"authorization": f"Bearer {key}"}
            )
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code != 404 or time.monotonic() > end:
                    raise
            time.sleep(0.02)


def demo(folder: pathlib.Path) -> tuple[Gateway, str]:
    """`portcullis demo`, and the key it prints."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "data"
    process = Process(
        [BINARY, "demo", "--listen", "127.0.0.1:0", "--plugins", PLUGINS, "--data", data, "--cache", CACHE, "--token-delay", "1"],
        folder / "log",
        # Only the demo provider, whatever the machine has.
        {"OPENAI_API_KEY": "", "ANTHROPIC_API_KEY": ""},
    )
    address = process.says(r"base URL +(http://\S+)/v1")
    key = process.says(r"\n +key +(\S+)")
    return Gateway(process, address, data / "portcullis.toml"), key


def serve(folder: pathlib.Path, configuration: str, plugins: pathlib.Path = PLUGINS) -> Gateway:
    """`portcullis serve` with a configuration of its own; the store and the plugins are added to it."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "portcullis.toml"
    quoted = lambda path: json.dumps(str(path))  # noqa: E731
    config.write_text(
        f"{configuration}\n[store]\npath = {quoted(folder / 'portcullis.db')}\n"
        f"[plugins]\ndirectory = {quoted(plugins)}\ncache = {quoted(CACHE)}\n"
        f"state = {quoted(folder / 'plugins-kept')}\n"
    )
    process = Process([BINARY, "serve", "--config", config, "--listen", "127.0.0.1:0"], folder / "log")
    address = "http://" + process.says(r"(127\.0\.0\.1:[1-9]\d*)")
    gateway = Gateway(process, address, config)
    process.wait_until("readiness", lambda: is_ready(address))
    return gateway


def demo_providers(running: Gateway) -> str:
    """Connections to the provider within a running demo, as the demo has them; no breaker comes between a test and its error."""
    upstream = re.search(r'base_url = "(http://[^"/]+)"', running.config.read_text()).group(1)
    text = "[routing]\nauto = ['demo/demo', 'demo-anthropic/demo']\nbreaker_failures = 1000000\n"
    for name, plugin, url in (("demo", "openai", upstream + "/v1"), ("demo-anthropic", "anthropic", upstream)):
        text += (
            f'[providers.{name}]\nplugin = "{plugin}"\nbase_url = "{url}"\nmodels = ["demo", "*"]\nonly = ["none"]\n'
            f'[[pricing.price]]\nmodel = "{name}/*"\ninput = "1.00"\noutput = "2.00"\n'
        )
    return text


def is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(address + "/readyz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False
