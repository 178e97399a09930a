"""Telling a client's own server that a job has ended, signed as sync.so signs."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import logging
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bootdub.serve.http_client import PublicHttpClient
from bootdub.serve.record import StoredJob
from bootdub.serve.store import JobStore
from common.errors import UserError
from common.files import atomic_path

SECRET_VARIABLE = "BOOTDUB_WEBHOOK_SECRET"
SIGNATURE_HEADER = "Sync-Signature"
MOST_TRIES = 8
_FIRST_WAIT = 10.0

log = logging.getLogger("bootdub.serve")


def webhook_secret(folder: Path) -> str:
    """What webhooks are signed with: the environment's, else that of the folder, made at the first call."""
    given = os.environ.get(SECRET_VARIABLE)
    if given:
        return given
    path = folder / "webhook.secret"
    if not path.is_file():
        with atomic_path(path) as temporary:
            temporary.write_text("whsec_" + secrets.token_urlsafe(32) + "\n", encoding="ascii")
        path.chmod(0o600)
    return path.read_text(encoding="ascii").strip()


def signature(secret: str, body: bytes, moment: int) -> str:
    """``t=SECONDS,v1=HMAC``: SHA-256 over the seconds since 1970, a dot and the body."""
    digest = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


def call_webhooks(
    store: JobStore, client: PublicHttpClient, secret: str, shown: Callable[[StoredJob], dict[str, Any]]
) -> None:
    """Call those that are due; who gives no answer of 2xx is called again, later and later.

    Args:
        shown: a job as the API shows it.
    """
    for job in store.due_webhooks(MOST_TRIES):
        body = json.dumps(shown(job), ensure_ascii=False).encode()
        headers = {
            "Content-Type": "application/json",
            SIGNATURE_HEADER: signature(secret, body, int(time.time())),
        }
        try:
            delivered = 200 <= client.post(str(job.webhook), body, headers) < 300
        except (UserError, OSError, http.client.HTTPException) as error:
            log.warning("the webhook of job %s: %s", job.id, error)
            delivered = False
        store.called(job.id, None if delivered else time.time() + _FIRST_WAIT * 2**job.tries)
