"""What all parts of a running service share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from bootdub.serve.links import signed
from bootdub.serve.record import JobState, StoredJob
from bootdub.serve.schemas import Generation
from bootdub.serve.settings import ServeSettings
from bootdub.serve.store import JobStore
from bootdub.serve.supervisor import Supervisor

OUTPUT, CONTACT_SHEET, REPORT = "output", "contact-sheet", "report"
"""Last parts of the paths of a job's files."""


@dataclass(frozen=True)
class Service:
    """A service.

    Attributes:
        settings: what it was told.
        store: its jobs.
        secret: what links and webhooks are signed with.
        supervisor: of its workers; None: they run elsewhere.
    """

    settings: ServeSettings
    store: JobStore
    secret: str
    supervisor: Supervisor | None = None

    def shown(self, job: StoredJob, base: str = "") -> Generation:
        """A job as the API shows it.

        Args:
            base: what comes before the paths of its files, such as ``https://dubs.example``.
        """
        asked, result = job.asked, job.result or {}
        base = self.settings.public_url or base

        def link(file: str) -> str | None:
            if job.state is not JobState.completed:
                return None
            return base.rstrip("/") + signed(f"/v2/generate/{job.id}/{file}", self.secret)

        sources = [("video", "", asked["video"]), *(("audio", n, a) for n, a in asked["audios"].items())]
        return Generation(
            id=job.id,
            created_at=datetime.fromtimestamp(job.created, timezone.utc),
            status=job.state.value,
            model=self.settings.model.name,
            input=[_source(kind, name, place) for kind, name, place in sources],
            options=asked["options"],
            webhook_url=job.webhook,
            output_url=link(OUTPUT),
            output_duration=result.get("duration"),
            contact_sheet_url=link(CONTACT_SHEET) if asked["contact_sheet"] else None,
            report_url=link(REPORT),
            error=job.error,
            error_code=job.code,
            stage=None if job.state.ended else job.stage,
            progress=_share(job),
            warnings=result.get("warnings", []),
        )

    def shown_plainly(self, job: StoredJob) -> dict[str, Any]:
        """The same as plain JSON, for webhooks."""
        return self.shown(job).model_dump(mode="json", by_alias=True)


def _source(kind: str, name: str, place: dict[str, str]) -> dict[str, str | None]:
    shown: dict[str, str | None] = {
        "type": kind,
        **{key: place[key] for key in ("url", "path") if key in place},
    }
    return {**shown, "refId": name} if name else shown


def _share(job: StoredJob) -> float | None:
    if job.state is JobState.completed:
        return 1.0
    if job.state.ended or job.done is None or not job.total:
        return None
    return min(1.0, max(0.0, job.done / job.total))
