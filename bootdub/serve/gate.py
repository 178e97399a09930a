"""What every request passes before its body is read: the key, the room in the queue, the size."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bootdub.serve.keys import owner_of
from bootdub.serve.links import is_signed
from bootdub.serve.record import JobState
from bootdub.serve.settings import is_local

if TYPE_CHECKING:
    from bootdub.serve.service import Service

OPEN = ("/health", "/openapi.json")
UPLOAD = "/v2/generate/upload"
_MAKES_JOBS = ("/v2/generate", UPLOAD)
_JSON_BYTES = 20_000_000
_BODY_SECONDS = 60.0
RETRY_SECONDS = 30


class Gate:
    """Refuses requests without a key (401), with a full queue (429), with too large (413) or too slow (408) a
    body. ``scope["state"]["owner"]`` is the name of the key then, None for a signed link.

    Args:
        app: what is behind.
        service: whose keys and limits count.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        refusal = await run_in_threadpool(self._refusal, scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        upload = scope["path"] == UPLOAD
        most = 2 * self._service.settings.most_bytes + _JSON_BYTES if upload else _JSON_BYTES
        await self._app(scope, _Body(scope, receive, most), send)

    def _refusal(self, scope: Scope) -> JSONResponse | None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        key = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ") or None
        open = is_local(self._service.settings.host) and _from_here(headers)
        owner = owner_of(self._service.store.database, key, open)
        query = scope["query_string"].decode("latin-1")
        link = scope["method"] in ("GET", "HEAD") and is_signed(scope["path"], query, self._service.secret)
        if owner is None and not link:
            return refused(401, "unauthorized", "A key is needed: send it as x-api-key.")
        scope.setdefault("state", {})["owner"] = None if link else owner
        if scope["method"] == "POST" and scope["path"] in _MAKES_JOBS:
            waiting = self._service.store.counts()[JobState.pending]
            if waiting >= self._service.settings.queue:
                return queue_full()
        return None


def _from_here(headers: dict[str, str]) -> bool:
    """Whether a request is not of another site's page, which a browser on this machine would let through."""
    try:
        names = [headers.get("host", ""), urlsplit(headers.get("origin", "//localhost")).netloc]
        return all(is_local(urlsplit(f"//{name}").hostname or "") for name in names)
    except ValueError:
        return False


def queue_full() -> JSONResponse:
    """The answer where no more jobs may wait."""
    return refused(
        429, "queue_full", "As many jobs wait as may: try again later.", {"Retry-After": str(RETRY_SECONDS)}
    )


def refused(status: int, code: str, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An answer that says why not. ``ascii`` alone: what a request holds may be no text."""
    body = {"error": sentence.encode("ascii", "backslashreplace").decode(), "error_code": code}
    return JSONResponse(body, status, headers)


class _Body:
    """Hands a request's body on, as far as it is neither too large nor too slow."""

    def __init__(self, scope: Scope, receive: Receive, most: int) -> None:
        self._receive, self._most = receive, most
        self._size, self._whole = 0, False
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        self._announced = int(lengths[0]) if lengths and lengths[0].isdigit() else 0

    async def __call__(self) -> Message:
        if self._whole:
            return await self._receive()
        if self._announced > self._most:
            raise HTTPException(413, f"The body is larger than {self._most / 1e6:g} MB: send less.")
        try:
            message = await asyncio.wait_for(self._receive(), _BODY_SECONDS)
        except asyncio.TimeoutError as error:
            raise HTTPException(408, "The body came too slowly: send it again.") from error
        self._size += len(message.get("body", b""))
        if self._size > self._most:
            raise HTTPException(413, f"The body is larger than {self._most / 1e6:g} MB: send less.")
        self._whole = not message.get("more_body", False)
        return message
