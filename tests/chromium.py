"""A tab of a headless Chromium that a test clicks and types in, by Chrome's DevTools protocol."""

from __future__ import annotations

import base64
import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.browser import CHROMIUM

HEADLESS = (
    *("--headless", "--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage"),
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--hide-scrollbars"),
)
"""WebGL is drawn by the CPU."""

KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}


class Tab:
    """One page of a browser."""

    def __init__(self, socket: ClientConnection, scratch: Path) -> None:
        self._socket, self._asked = socket, 0
        self.complaints: list[str] = []
        """What the browser's console says of errors, and what the page's policy stopped."""
        self.downloads = scratch / "downloads"
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What the browser answers to a command of the protocol."""
        self._asked += 1
        self._socket.send(json.dumps({"id": self._asked, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == self._asked:
                assert "error" not in message, (method, message)
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        if message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(message["params"]["exceptionDetails"]))
        if message.get("method") == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.complaints.append(message["params"]["entry"]["text"])

    def open(self, address: str, width: int = 1280, height: int = 900) -> None:
        """Show an address in a window of a size."""
        self.size(width, height)
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def size(self, width: int, height: int) -> None:
        """Make the window so large; a narrow one is a phone's, with touch."""
        mobile = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        self.call("Emulation.setTouchEmulationEnabled", enabled=mobile)

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript gives."""
        got = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in got, got["exceptionDetails"]
        return got["result"].get("value")

    def text(self, selector: str) -> str:
        """What a reader sees of an element."""
        return str(self.value(f"document.querySelector({json.dumps(selector)}).innerText"))

    def wait(self, expression: str, seconds: float = 60) -> None:
        """Wait until an expression is true."""
        until = time.monotonic() + seconds
        while not self.value(f"Boolean({expression})"):
            assert time.monotonic() < until, f"never true: {expression}; {self.complaints}"
            time.sleep(0.05)

    def click(self, selector: str) -> None:
        """Click with the mouse in the middle of an element."""
        named = json.dumps(selector)
        self.value(f"document.querySelector({named}).scrollIntoView({{block: 'center'}})")
        box = self.value(f"document.querySelector({named}).getBoundingClientRect().toJSON()")
        self.click_at(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    def click_at(self, x: float, y: float) -> None:
        """Click with the mouse at a place of the window."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = "none" if kind == "mouseMoved" else "left"
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=1)

    def press(self, key: str, times: int = 1) -> None:
        """Press a key of `KEYS`."""
        text = {"Enter": "\r", " ": " "}.get(key, "")
        code = "Space" if key == " " else key
        for _ in range(times):
            for kind in ("keyDown", "keyUp"):
                extra = {"text": text} if text and kind == "keyDown" else {}
                self.call(
                    "Input.dispatchKeyEvent", type=kind, key=key, code=code, windowsVirtualKeyCode=KEYS[key], **extra
                )

    def type(self, text: str) -> None:
        """Type where the focus is."""
        self.call("Input.insertText", text=text)

    def upload(self, selector: str, file: Path) -> None:
        """Choose a file in a field, as in the browser's dialogue."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def downloaded(self, suffix: str) -> Path:
        """The file of this suffix, once it is complete."""
        until = time.monotonic() + 30
        while not (found := sorted(self.downloads.glob(f"*{suffix}"))):
            assert time.monotonic() < until, f"no {suffix} was saved"
            self.value("0")  # so that the browser goes on
            time.sleep(0.05)
        return found[0]

    def screenshot(self, file: Path, whole: bool = False) -> None:
        """Write what is seen, or the whole page, as a PNG."""
        got = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(got["data"]))


@contextmanager
def tab(scratch: Path) -> Iterator[Tab]:
    """An empty tab of a browser of its own."""
    assert CHROMIUM is not None
    profile = scratch / "profile"
    command = [CHROMIUM, *HEADLESS, f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
    with (scratch / "chromium.log").open("wb") as log:
        browser = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        with connect(_address(profile / "DevToolsActivePort", browser), max_size=None) as socket:
            yield Tab(socket, scratch)
    finally:
        browser.terminate()
        browser.wait(30)


def _address(told: Path, browser: subprocess.Popen[bytes]) -> str:
    until = time.monotonic() + 60
    while not (told.exists() and told.read_text().count("\n")):
        assert browser.poll() is None and time.monotonic() < until, "the browser did not start"
        time.sleep(0.05)
    port = told.read_text().split()[0]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
        pages = [each for each in json.load(answer) if each["type"] == "page"]
    return str(pages[0]["webSocketDebuggerUrl"])
