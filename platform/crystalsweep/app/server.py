"""The routes of the page and of what it asks, and the socket they are served on."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response

from crystalsweep.app.answer import completion_json, crystal_json
from crystalsweep.app.guard import MIN_TOKEN, Guard, is_loopback, told
from crystalsweep.app.page import page
from crystalsweep.app.reading import read_upload
from crystalsweep.app.request import CompletionRequest, MistakenError, UploadRequest
from crystalsweep.app.turns import BusyError, Turns
from crystalsweep.inference.known import Known
from crystalsweep.inference.restorer import Restorer

WAITING = 8
"""Requests that wait while another is served."""

_log = logging.getLogger(__name__)


def build_app(restorer: Restorer, token: str | None = None, known: Known | None = None) -> FastAPI:
    """Return the application. Crystals are neither kept nor logged.

    Args:
        restorer: What completes them; one request at a time.
        token: What the API asks for; None where only this machine may ask.
        known: Crystals to name the nearest of.
    """
    app = FastAPI(title="crystalsweep", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, token=token)
    html, network, readers = page(), Turns(WAITING), Turns(WAITING)

    @app.get("/", response_class=HTMLResponse)
    def show() -> str:
        return html

    @app.get("/api/model")
    def model() -> dict[str, Any]:
        return model_json(restorer)

    @app.post("/api/read")
    def read(request: UploadRequest) -> dict[str, Any]:
        with readers.taken():
            upload = read_upload(request.name, request.content, request.supercell)
        crystals = [{"crystal": crystal_json(each), "notes": each.notes} for each in upload.partials]
        return {"crystals": crystals, "notes": upload.notes}

    @app.post("/api/complete")
    def complete(request: CompletionRequest) -> dict[str, Any]:
        with network.taken():
            return completed(restorer, request, known)

    app.add_exception_handler(MistakenError, _mistaken)
    app.add_exception_handler(BusyError, _busy)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(Exception, _failed)
    return app


def completed(restorer: Restorer, request: CompletionRequest, known: Known | None = None) -> dict[str, Any]:
    """Return what a request is answered. Raises `MistakenError` where it cannot be fulfilled."""
    partial = request.partial()
    question = request.question(partial, restorer.critic_weight)
    try:
        completion = restorer.complete(
            partial.crystal,
            decode=partial.decoded_by(question.decode),
            constraints=question.constraints,
            top_k=question.top_k,
            keep_positions=question.keep_positions,
        )
    except ValueError as error:
        raise MistakenError([("", str(error))]) from error
    told = partial.told_with(completion.first(question.top))
    return completion_json(told, partial, request.crystal.crystal(), known)


def model_json(restorer: Restorer) -> dict[str, Any]:
    """Return what is told of the model: what it was loaded by, its network and its training."""
    return {
        "name": restorer.told,
        "stage": restorer.info.stage,
        "network": restorer.generator.backbone.config.name,
        "parameters": sum(each.numel() for each in restorer.generator.parameters()),
        "calibrated": restorer.calibration is not None,
    }


def require_guarded(host: str, token: str | None) -> None:
    """Raise `ValueError` where others could reach the page without a token, or the token can be guessed."""
    if token is not None and len(token) < MIN_TOKEN:
        raise ValueError(
            f"--token has {len(token)} characters; give at least {MIN_TOKEN}, as `openssl rand -hex 16` does"
        )
    if token is None and not is_loopback(host):
        raise ValueError(
            f"--host {host} lets others reach the page: give --token too, or leave --host out and let them come by "
            "ssh -L 8765:127.0.0.1:8765"
        )


def listen(host: str, port: int) -> socket.socket:
    """Return a socket to serve on; port 0 takes a free one. Raises `ValueError` where it cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ValueError(f"{host} port {port} cannot be served on ({error.strerror}); give another --port") from error


def serve(app: FastAPI, at: socket.socket) -> None:
    """Serve until Ctrl-C."""
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, ws="none", proxy_headers=False
    )
    with suppress(KeyboardInterrupt):  # which uvicorn raises again once all is closed
        uvicorn.Server(config).run(sockets=[at])


def _mistaken(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, MistakenError)
    return told(422, error.errors)


def _busy(request: Request, error: Exception) -> Response:
    del request
    return told(503, [("", str(error))])


def _malformed(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, RequestValidationError)
    return told(422, [(_field(each["loc"]), each["msg"]) for each in error.errors()[:5]])


def _field(place: Sequence[Any]) -> str:
    """Return the field of a request that an error is in: the first name after `body`."""
    return next((part for part in place[1:] if isinstance(part, str)), "")


def _failed(request: Request, error: Exception) -> Response:
    del request
    return told(
        500, [("", f"it could not be done ({type(error).__name__}); the terminal of `crystalsweep app` says more")]
    )
