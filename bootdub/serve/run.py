"""A service from its start to its end."""

from __future__ import annotations

import uvicorn

from bootdub.serve.app import create_app
from bootdub.serve.dubbing import dub_jobs
from bootdub.serve.service import Service
from bootdub.serve.settings import ServeSettings
from bootdub.serve.store import JobStore
from bootdub.serve.supervisor import Supervisor
from bootdub.serve.webhooks import webhook_secret
from bootdub.serve.worker import write_log

_CONNECTIONS = 200


def run_service(settings: ServeSettings, store: JobStore, port: int) -> None:
    """Listen until a signal to end; jobs in hand go back to the queue then."""
    write_log()
    supervisor = Supervisor(settings, store, dub_jobs)
    service = Service(settings, store, webhook_secret(settings.work), supervisor)
    # Behind a proxy the client's address is nothing that is used here: its headers are not read.
    uvicorn.run(
        create_app(service),
        host=settings.host,
        port=port,
        log_level="warning",
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=10,
        proxy_headers=False,
        server_header=False,
    )
