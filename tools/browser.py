"""A headless Chromium, spoken to over its DevTools protocol: enough to look at the finished book and to print it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import websocket

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--mute-audio",
    "--no-first-run", "--disable-extensions", "--allow-file-access-from-files", "--remote-allow-origins=*",
    "--remote-debugging-port=0",
)  # fmt: skip
ANSWER_SECONDS = 300  # a whole book is one page when it is printed


class BrowserError(Exception):
    """The browser did not start, or a page of ours did what it should not."""


def program() -> str | None:
    """Where Chromium is: what the variable CHROMIUM says, nothing if empty, or else a program on the path."""
    if "CHROMIUM" in os.environ:
        return os.environ["CHROMIUM"] or None
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


class Page:
    """One tab. errors: what its scripts threw and what its console called an error, since it was opened."""

    def __init__(self, socket: websocket.WebSocket, session: str) -> None:
        self.errors: list[str] = []
        self._socket, self._session, self._last = socket, session, 0
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and wait for its answer; what the page reports meanwhile is kept."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters, "sessionId": self._session}
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == self._last and answer.get("sessionId") == self._session:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self._heard(answer)

    def _heard(self, event: dict[str, Any]) -> None:
        about = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]).split("\n")[0])
        elif event.get("method") == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.errors.append(about["entry"]["text"])
        elif event.get("method") == "Runtime.consoleAPICalled" and about["type"] == "error":
            self.errors.append(" ".join(str(part.get("value", "")) for part in about["args"]))

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        answer = self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise BrowserError(str(answer["exceptionDetails"].get("exception", {}).get("description")))
        return answer["result"].get("value")

    def open(self, path: Path) -> None:
        """Load a file and wait until it is complete, its formulas included."""
        self.errors.clear()
        self.ask("Page.navigate", url=path.resolve().as_uri())
        deadline = time.monotonic() + ANSWER_SECONDS
        while self.evaluate("document.readyState") != "complete":
            if time.monotonic() > deadline:
                raise BrowserError(f"{path} did not load in {ANSWER_SECONDS} s")
            time.sleep(0.05)
        self.evaluate("window.MathJax?.startup?.promise?.then(() => true)")

    def width(self, pixels: int, height: int = 900) -> None:
        self.ask("Emulation.setDeviceMetricsOverride", width=pixels, height=height, deviceScaleFactor=1, mobile=False)

    def pdf(self, **options: Any) -> bytes:
        return base64.b64decode(self.ask("Page.printToPDF", **options)["data"])

    def picture(self) -> bytes:
        return base64.b64decode(self.ask("Page.captureScreenshot", captureBeyondViewport=False)["data"])


@contextmanager
def browser() -> Iterator[Page]:
    """A page of a browser of our own, which ends with the block. Raises BrowserError where it does not start."""
    found = program()
    if not found:
        raise BrowserError("no Chromium: install it, or name it in the variable CHROMIUM")
    with tempfile.TemporaryDirectory(prefix="afli-browser-", ignore_cleanup_errors=True) as profile:
        command = [found, *OPTIONS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            socket = websocket.create_connection(address(process, Path(profile)), timeout=ANSWER_SECONDS)
            socket.send(json.dumps({"id": 0, "method": "Target.createTarget", "params": {"url": "about:blank"}}))
            target = answer(socket)["targetId"]
            attach = {"targetId": target, "flatten": True}
            socket.send(json.dumps({"id": 0, "method": "Target.attachToTarget", "params": attach}))
            yield Page(socket, answer(socket)["sessionId"])
            socket.close()
        finally:
            process.terminate()
            process.wait()


def address(process: subprocess.Popen[bytes], profile: Path) -> str:
    """Where a browser that was just started listens; it writes that into its profile."""
    port = profile / "DevToolsActivePort"
    deadline = time.monotonic() + 60
    while not port.exists() or port.read_text().count("\n") < 1:
        if process.poll() is not None or time.monotonic() > deadline:
            raise BrowserError("Chromium did not start")
        time.sleep(0.05)
    number, path = port.read_text().split("\n")[:2]
    return f"ws://127.0.0.1:{number}{path}"


def answer(socket: websocket.WebSocket) -> dict[str, Any]:
    while True:
        message = json.loads(socket.recv())
        if message.get("id") == 0:
            return message["result"]
