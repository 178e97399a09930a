"""The service's API."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Match

from bootdub.serve.gate import Gate, queue_full, refused
from bootdub.serve.http_client import PublicHttpClient
from bootdub.serve.rounds import Rounds
from bootdub.serve.routes import router
from bootdub.serve.service import Service
from bootdub.serve.store import QueueFull
from bootdub.serve.webhooks import call_webhooks
from common.errors import UserError

_WEBHOOK_SECONDS = 1.0

log = logging.getLogger("bootdub.serve")


def create_app(service: Service, client: PublicHttpClient | None = None) -> FastAPI:
    """The API of a service; its workers and webhooks run while it does.

    Args:
        client: calls webhooks; None: as the settings allow.
    """
    http = client or PublicHttpClient(service.settings.hosts)

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[None]:
        webhooks = Rounds(
            _WEBHOOK_SECONDS,
            lambda: call_webhooks(service.store, http, service.secret, service.shown_plainly),
        )
        webhooks.start()
        if service.supervisor is not None:
            service.supervisor.start()
        yield
        if service.supervisor is not None:
            service.supervisor.stop()
        webhooks.stop()

    # The usual page of documentation loads scripts from another host.
    app = FastAPI(title="BootDub", version="2", lifespan=running, docs_url=None, redoc_url=None)
    app.state.service = service
    app.include_router(router)
    app.add_middleware(Gate, service=service)
    app.add_exception_handler(UserError, _user_error)
    app.add_exception_handler(QueueFull, _queue_full)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(ValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _fault)
    return app


def _user_error(request: Request, error: Exception) -> JSONResponse:
    return refused(422, "invalid_input", str(error))


def _queue_full(request: Request, error: Exception) -> JSONResponse:
    return queue_full()


def _invalid(request: Request, error: Exception) -> JSONResponse:
    """One sentence per fault, with its place in the request."""
    assert isinstance(error, (RequestValidationError, ValidationError))
    found = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()[:10]]
    return refused(422, "invalid_request", "; ".join(found))


def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    words = {
        400: "invalid_request",
        404: "not_found",
        405: "no_such_method",
        408: "too_slow",
        409: "conflict",
    }
    code = words.get(error.status_code, "too_large" if error.status_code == 413 else "refused")
    headers = dict(error.headers or {})
    if error.status_code == 405 and (methods := _methods(request)):
        headers["Allow"] = ", ".join(methods)
    return refused(error.status_code, code, str(error.detail), headers)


def _methods(request: Request) -> list[str]:
    """What its path takes; the router itself names the methods of the path's first route alone."""
    routes = [route for route in router.routes if isinstance(route, APIRoute)]
    paths = [route.path for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({method for route in routes if route.path in paths[:1] for method in route.methods or ()})


def _fault(request: Request, error: Exception) -> JSONResponse:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return refused(500, "internal_error", "The service has failed; its log says more.")
