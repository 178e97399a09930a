"""The routes; what they share with sync.so's API has its names and shapes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

from bootdub.serve.dubbing import CONTACT_SHEET, REPORT, output_name
from bootdub.serve.job_options import options_of, options_of_upload
from bootdub.serve.metrics import metrics_text
from bootdub.serve.record import JobState, StopReason, StoredJob
from bootdub.serve.schemas import GenerateRequest, Generation, GenerationSettings, Refusal
from bootdub.serve.service import Service
from common.errors import UserError

_Responses = dict[int | str, dict[str, Any]]
_BAD: _Responses = {401: {"model": Refusal}, 422: {"model": Refusal}}
_MAKES: _Responses = {
    **_BAD,
    400: {"model": Refusal},
    408: {"model": Refusal},
    413: {"model": Refusal},
    429: {"model": Refusal},
}
_FINDS: _Responses = {**_BAD, 404: {"model": Refusal}}

router = APIRouter()


@router.post("/v2/generate", status_code=201, responses=_MAKES)
def generate(body: GenerateRequest, request: Request) -> Generation:
    """Ask for a dub of files in the service's folder, or of URLs."""
    service = _service(request)
    asked = options_of(body, service.settings)
    return _added(request, asked, body.webhook_url, service.store.new_folder())


@router.post("/v2/generate/upload", status_code=201, responses=_MAKES)
def generate_upload(
    request: Request,
    video: Annotated[UploadFile, File(description="The clip to dub.")],
    audio: Annotated[UploadFile, File(description="The new speech.")],
    options: Annotated[str, Form(max_length=20_000_000, description="JSON, as in /v2/generate.")] = "{}",
    model: Annotated[str | None, Form()] = None,
    webhook_url: Annotated[str | None, Form(alias="webhookUrl")] = None,
    output_file_name: Annotated[str | None, Form(alias="outputFileName")] = None,
) -> Generation:
    """Ask for a dub of files that are sent along (multipart/form-data)."""
    service = _service(request)
    given = {"model": model, "webhookUrl": webhook_url, "outputFileName": output_file_name}
    wanted = GenerationSettings.model_validate({**given, "options": _parsed(options)})
    names = [f"{kind}{_suffix(file)}" for kind, file in (("video", video), ("audio", audio))]
    asked = options_of_upload(wanted, service.settings, *names)
    id = service.store.new_folder()
    for name, file in zip(names, (video, audio), strict=True):
        _save(file, service.store.job_folder(id) / name, service.settings.most_bytes)
    return _added(request, asked, wanted.webhook_url, id)


@router.get("/v2/generations", responses=_BAD)
def generations(
    request: Request,
    status: Annotated[list[JobState] | None, Query(description="Only those.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[Generation]:
    """The newest jobs first."""
    service, owner = _service(request), request.state.owner
    return [service.shown(job, _base(request)) for job in service.store.jobs(owner, status or (), limit)]


@router.get("/v2/generate/{id}", responses=_FINDS)
def generation(id: str, request: Request) -> Generation:
    """How a job stands."""
    return _service(request).shown(_job(request, id), _base(request))


@router.post("/v2/generate/{id}/cancel", responses={**_FINDS, 409: {"model": Refusal}})
def cancel(id: str, request: Request) -> Generation:
    """End a job. One that is being done has ended some seconds later."""
    job, store = _job(request, id), _service(request).store
    if job.state.ended:
        raise HTTPException(409, f"The job has ended already: it is {job.state.value}.")
    store.stop(id, StopReason.canceled)
    return generation(id, request)


@router.delete("/v2/generate/{id}", status_code=204, responses={**_FINDS, 409: {"model": Refusal}})
def remove(id: str, request: Request) -> Response:
    """Remove an ended job and all its files."""
    if not _job(request, id).state.ended:
        raise HTTPException(409, "The job has not ended: cancel it first.")
    _service(request).store.remove(id)
    return Response(status_code=204)


def _file_response(content: str) -> _Responses:
    json = content == "application/json"
    schema = {"type": "object"} if json else {"type": "string", "format": "binary"}
    return {**_FINDS, 200: {"content": {content: {"schema": schema}}}}


@router.get("/v2/generate/{id}/output", response_class=FileResponse, responses=_file_response("video/*"))
def output(id: str, request: Request) -> FileResponse:
    """The dubbed video."""
    job = _job(request, id)
    name = output_name(job.asked)
    shown = f"{job.asked['name'] or id}{Path(name).suffix}"
    return FileResponse(_made(request, job, name), filename=shown, content_disposition_type="inline")


@router.get(
    "/v2/generate/{id}/contact-sheet", response_class=FileResponse, responses=_file_response("image/png")
)
def contact_sheet(id: str, request: Request) -> FileResponse:
    """A picture of source and dubbed faces, where it was asked for."""
    return FileResponse(_made(request, _job(request, id), CONTACT_SHEET))


@router.get(
    "/v2/generate/{id}/report", response_class=FileResponse, responses=_file_response("application/json")
)
def report(id: str, request: Request) -> FileResponse:
    """What was left alone and why, who drew the rest, what the output lost."""
    return FileResponse(_made(request, _job(request, id), REPORT))


@router.get("/health", responses={503: {"model": Refusal}})
def health(request: Request) -> dict[str, str]:
    """Whether the service does jobs: its store answers and its workers run."""
    service = _service(request)
    service.store.counts()
    if service.supervisor is not None and not service.supervisor.pids:
        raise HTTPException(503, "No worker runs.")
    return {"status": "ok"}


@router.get(
    "/metrics",
    response_class=Response,
    responses={401: {"model": Refusal}, 200: {"content": {"text/plain": {}}}},
)
def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    return Response(metrics_text(_service(request)), media_type="text/plain; version=0.0.4; charset=utf-8")


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _base(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _job(request: Request, id: str) -> StoredJob:
    """The job, where the request's key asked for it; signed links have none."""
    try:
        return _service(request).store.get(id, request.state.owner)
    except KeyError as error:
        raise HTTPException(404, "There is no such job.") from error


def _made(request: Request, job: StoredJob, name: str) -> Path:
    path = _service(request).store.job_folder(job.id) / name
    if job.state is not JobState.completed or not path.is_file():
        raise HTTPException(404, f"The job has no such file: it is {job.state.value}.")
    return path


def _added(request: Request, asked: dict[str, Any], webhook: str | None, id: str) -> Generation:
    service = _service(request)
    job = service.store.add(asked, request.state.owner, webhook, id=id, most=service.settings.queue)
    return service.shown(job, _base(request))


def _parsed(options: str) -> Any:
    try:
        return json.loads(options)
    except (ValueError, RecursionError) as error:
        raise UserError("The options are no JSON: mend them.") from error


def _suffix(file: UploadFile) -> str:
    suffix = Path(file.filename or "").suffix.lower()
    return suffix if suffix[1:].isascii() and suffix[1:].isalnum() and len(suffix) < 8 else ""


def _save(file: UploadFile, target: Path, most_bytes: int) -> None:
    if (file.size or 0) > most_bytes:
        raise HTTPException(413, f"A file is larger than {most_bytes / 1e6:g} MB: send a smaller one.")
    with target.open("wb") as stream:
        shutil.copyfileobj(file.file, stream, 1 << 20)
