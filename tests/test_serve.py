"""The API of a service: requests, keys, files, limits, webhooks, and a dub from upload to download."""

from __future__ import annotations

import hashlib
import hmac
import http.server
import ipaddress
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dub_clips import BOX, steady, write_clip, write_package, write_speech
from starlette.testclient import TestClient

from bootdub.serve.app import create_app
from bootdub.serve.dubbing import JobDubber
from bootdub.serve.http_client import PublicHttpClient
from bootdub.serve.keys import drop_key, make_key
from bootdub.serve.places import is_public
from bootdub.serve.record import JobState
from bootdub.serve.schemas import GenerateRequest
from bootdub.serve.service import Service
from bootdub.serve.settings import ServeSettings
from bootdub.serve.store import JobStore
from common.errors import UserError
from common.media import probe, write_video
from common.media.retiming import open_video
from stage2_dubber.dub.pipeline import DubPipeline

SECRET = "whsec_test"
VIDEO, AUDIO = {"type": "video", "path": "clip.mp4"}, {"type": "audio", "path": "speech.wav"}
BOTH = {"input": [VIDEO, AUDIO]}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("models") / "toy")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of .56 s and speech of .8 s in the service's folder, and a file outside."""
    folder = tmp_path_factory.mktemp("files") / "root"
    (folder / "deep").mkdir(parents=True)
    write_clip(folder / "clip.mp4", steady(14, 25))
    write_speech(folder / "speech.wav", 0.8)
    (folder.parent / "outside.mp4").write_bytes(b"not for clients")
    (folder / "link.mp4").symlink_to(folder.parent / "outside.mp4")
    return folder


@pytest.fixture(scope="module")
def load(model: Path) -> Callable[[str], DubPipeline]:
    """The toy model, whatever the preset."""
    pipeline = DubPipeline.from_pretrained(model)
    return lambda preset: pipeline


@pytest.fixture
def service(tmp_path: Path, model: Path, root: Path) -> Service:
    settings = ServeSettings(
        work=tmp_path / "work", model=model, root=root, queue=3, megabytes=1, device="cpu"
    )
    return Service(settings, JobStore(settings.work), SECRET)


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(create_app(service), base_url="http://localhost") as client:
        yield client


def refused(answer: Any, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert set(told) == {"error", "error_code"}
    for word in words:
        assert word in told["error"]


def ended(service: Service, id: str, state: JobState = JobState.completed) -> None:
    with service.store.claim() as job:
        assert job is not None and job.id == id
        service.store.finish(id, state, result={"duration": 1.5, "warnings": ["a word"]})


def test_a_job_is_asked_for_and_shown(client: TestClient, service: Service) -> None:
    options = {"sync_mode": "cut_off", "seed": 7, "face": "largest"}
    made = client.post("/v2/generate", json={**BOTH, "options": options, "outputFileName": "new"})
    assert made.status_code == 201, made.text
    job = made.json()
    assert job["status"] == "PENDING" and job["model"] == "toy" and job["input"] == [VIDEO, AUDIO]
    assert job["outputUrl"] is None and job["options"]["sync_mode"] == "cut_off"
    assert service.store.get(job["id"]).asked["dub"] == {"length": "cut-off", "seed": 7, "face": "largest"}
    assert client.get(f"/v2/generate/{job['id']}").json()["id"] == job["id"]
    assert [one["id"] for one in client.get("/v2/generations").json()] == [job["id"]]
    assert client.get("/v2/generations", params={"status": "COMPLETED"}).json() == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"input": [VIDEO, VIDEO]}, ("2 inputs of the type video",)),
        ({"input": [VIDEO, AUDIO, AUDIO]}, ("another refId",)),
        ({"input": [VIDEO, {**AUDIO, "refId": "a"}, {**AUDIO, "refId": "b"}]}, ("give segments",)),
        ({**BOTH, "model": "lipsync-2"}, ("no model 'lipsync-2'", "toy")),
        ({**BOTH, "options": {"temperature": 0.5}}, ("temperature",)),
        ({**BOTH, "options": {"num_steps": 101}}, ("num_steps",)),
        ({**BOTH, "options": {"face": "../faces.json"}}, ("face",)),
        ({**BOTH, "options": {"track": "/etc/passwd"}}, ("track",)),
        ({**BOTH, "options": {"follow_box": True}}, ("needs a box",)),
        ({**BOTH, "outputFileName": "../../x"}, ("outputFileName",)),
        ({"input": [{"type": "video"}, AUDIO]}, ("either a url or a path",)),
    ],
)
def test_requests_that_make_no_sense_are_told_why(
    client: TestClient, service: Service, body: dict[str, Any], words: tuple[str, ...]
) -> None:
    refused(client.post("/v2/generate", json=body), 422, *words)
    assert service.store.jobs() == []


@pytest.mark.parametrize(
    "path", ["../outside.mp4", "link.mp4", "deep", "deep/../../outside.mp4", "gone.mp4", "clip.mp4\0", "~/x"]
)
def test_no_path_leads_out_of_the_folder(client: TestClient, root: Path, path: str) -> None:
    for name in (path, str(root.parent / "outside.mp4")):
        body = {"input": [{"type": "video", "path": name}, AUDIO]}
        refused(client.post("/v2/generate", json=body), 422, "no file")


def test_a_method_that_a_path_does_not_take_is_answered_with_those_that_it_does(client: TestClient) -> None:
    paths = {"/v2/generate/x": "DELETE, GET", "/v2/generate/upload": "POST", "/openapi.json": "GET, HEAD"}
    for path, methods in paths.items():
        answer = client.put(path)
        refused(answer, 405, "Method Not Allowed")
        assert set(answer.headers["allow"].split(", ")) == set(methods.split(", "))


def test_text_that_is_none_is_refused(client: TestClient) -> None:
    for path in ("\\ud800", "nan"):
        inputs = f'{{"type": "video", "path": "{path}"}}, {{"type": "audio", "path": "a", "x": NaN}}'
        body = f'{{"input": [{inputs}]}}'
        refused(client.post("/v2/generate", content=body, headers={"content-type": "application/json"}), 422)


def test_keys_open_the_service_and_separate_its_clients(client: TestClient, service: Service) -> None:
    anna, ben = (make_key(service.store.database, name) for name in ("anna", "ben"))
    stored = b"".join(path.read_bytes() for path in service.store.folder.glob("jobs.sqlite*"))
    assert anna.encode() not in stored and b"anna" in stored
    for headers in ({}, {"x-api-key": "bd_other"}, {"authorization": "Basic x"}):
        refused(client.get("/v2/generations", headers=headers), 401)
        refused(client.get("/metrics", headers=headers), 401)
    job = client.post("/v2/generate", json=BOTH, headers={"x-api-key": anna}).json()
    assert client.get(f"/v2/generate/{job['id']}", headers={"authorization": f"Bearer {anna}"}).json() == job
    refused(client.get(f"/v2/generate/{job['id']}", headers={"x-api-key": ben}), 404)
    refused(client.post(f"/v2/generate/{job['id']}/cancel", headers={"x-api-key": ben}), 404)
    assert client.get("/v2/generations", headers={"x-api-key": ben}).json() == []
    drop_key(service.store.database, "anna")
    refused(client.get("/v2/generations", headers={"x-api-key": anna}), 401)
    assert client.get("/health").json() == {"status": "ok"}


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://evil.example"}, {"host": "evil.example"}, {"origin": "null"}, {"host": "["}],
)
def test_pages_of_other_sites_reach_nothing_without_a_key(
    client: TestClient, headers: dict[str, str]
) -> None:
    refused(client.post("/v2/generate", json=BOTH, headers=headers), 401)
    assert client.get("/v2/generations", headers={"origin": "http://localhost:7860"}).status_code == 200


def test_a_service_for_other_machines_is_closed_when_its_last_key_goes(tmp_path: Path, model: Path) -> None:
    settings = ServeSettings(work=tmp_path, model=model, host="0.0.0.0")
    app = create_app(Service(settings, JobStore(tmp_path), SECRET))
    refused(TestClient(app, base_url="http://localhost").get("/v2/generations"), 401)


def test_a_full_queue_refuses_before_the_body_is_read(client: TestClient, root: Path) -> None:
    for _ in range(3):
        assert client.post("/v2/generate", json=BOTH).status_code == 201
    files = {"video": (root / "clip.mp4").open("rb"), "audio": (root / "speech.wav").open("rb")}
    for answer in (client.post("/v2/generate", json=BOTH), client.post("/v2/generate/upload", files=files)):
        refused(answer, 429, "try again later")
        assert int(answer.headers["retry-after"]) > 0


def test_large_bodies_are_refused(client: TestClient, service: Service) -> None:
    files = {"video": ("v.mp4", bytes(1_000_001)), "audio": ("a.wav", b"x")}
    refused(client.post("/v2/generate/upload", files=files), 413, "larger than 1 MB")

    def chunks() -> Iterator[bytes]:
        for _ in range(30):
            yield bytes(1_000_000)

    headers = {"content-type": "application/json"}
    refused(client.post("/v2/generate", content=bytes(20_000_001), headers=headers), 413)
    refused(client.post("/v2/generate", content=chunks(), headers=headers), 413)
    assert service.store.jobs() == []


def test_waiting_jobs_are_canceled_and_ended_ones_removed(client: TestClient, service: Service) -> None:
    id = client.post("/v2/generate", json=BOTH).json()["id"]
    refused(client.delete(f"/v2/generate/{id}"), 409, "cancel it first")
    assert client.post(f"/v2/generate/{id}/cancel").json()["status"] == "CANCELED"
    refused(client.post(f"/v2/generate/{id}/cancel"), 409, "CANCELED")
    assert client.delete(f"/v2/generate/{id}").status_code == 204
    refused(client.get(f"/v2/generate/{id}"), 404)
    assert not service.store.job_folder(id).exists()


def test_metrics_are_those_of_the_store(client: TestClient, service: Service) -> None:
    first, _ = (client.post("/v2/generate", json=BOTH).json()["id"] for _ in range(2))
    ended(service, first)
    text = client.get("/metrics").text
    assert 'bootdub_jobs{state="pending"} 1.0' in text and 'bootdub_jobs{state="completed"} 1.0' in text
    assert 'bootdub_job_seconds_count{state="completed"} 1.0' in text and "bootdub_queue_limit 3.0" in text


def dub(service: Service, load: Callable[[str], DubPipeline]) -> None:
    """What a worker does."""
    with service.store.claim() as job:
        assert job is not None
        result = JobDubber(service.settings, service.store, load)(job, lambda *told: None)
        service.store.finish(job.id, JobState.completed, result=result)


def _nothing(preset: str) -> DubPipeline:
    raise AssertionError("a job that is done is not done again")


def test_a_clip_goes_from_upload_to_download(
    client: TestClient, service: Service, root: Path, load: Callable[[str], DubPipeline]
) -> None:
    options = {"box": BOX, "renderer": "editor", "sync_mode": "loop", "contact_sheet": True}
    files = {
        "video": ("My Clip.MP4", (root / "clip.mp4").read_bytes()),
        "audio": (root / "speech.wav").open("rb"),
    }
    data = {"options": json.dumps(options), "outputFileName": "dubbed"}
    made = client.post("/v2/generate/upload", files=files, data=data)
    assert made.status_code == 201, made.text
    id = made.json()["id"]
    refused(client.get(f"/v2/generate/{id}/output"), 404, "PENDING")
    dub(service, load)
    job = client.get(f"/v2/generate/{id}").json()
    assert (
        job["status"] == "COMPLETED" and job["progress"] == 1 and job["outputDuration"] == pytest.approx(0.8)
    )
    make_key(service.store.database, "anna")  # links go without one
    video = client.get(job["outputUrl"])
    assert video.status_code == 200 and 'filename="dubbed.mp4"' in video.headers["content-disposition"]
    copy = service.store.folder / "copy.mp4"
    copy.write_bytes(video.content)
    assert probe(copy).frame_count == 20
    part = client.get(job["outputUrl"], headers={"range": "bytes=0-9"})
    assert part.status_code == 206 and part.content == video.content[:10]
    assert client.get(job["contactSheetUrl"]).content.startswith(b"\x89PNG")
    report = client.get(job["reportUrl"])
    described = client.get("/openapi.json").json()["paths"]["/v2/generate/{id}/report"]["get"]["responses"]
    assert described["200"]["content"][report.headers["content-type"]]["schema"]["type"] == "object"
    assert report.json()["dubbed_frames"] == 20
    for wrong in (
        job["outputUrl"].replace("signature=", "signature=0"),
        job["outputUrl"].replace("expires=", "expires=9"),
        job["outputUrl"].replace("/output", "/report"),
        job["outputUrl"].replace("signature=", "signature=%C3%A9"),
        f"/v2/generate/{id}/output",
    ):
        refused(client.get(wrong), 401)
    # A worker that is killed before it has noted the end leaves the report: nothing is dubbed again.
    with service.store.database.writing() as store:
        store.execute("UPDATE jobs SET state = 'PROCESSING'")
    dub(service, _nothing)
    result = service.store.get(id).result
    assert result is not None and (result["frames"], result["dubbed_frames"]) == (20, 20)


def test_what_is_wrong_with_an_input_is_told_without_the_places_of_the_service(
    client: TestClient, service: Service, load: Callable[[str], DubPipeline]
) -> None:
    files = {"video": ("v.mp4", b"no video"), "audio": ("a.wav", b"no sound")}
    id = client.post("/v2/generate/upload", files=files).json()["id"]
    with service.store.claim() as job, pytest.raises(UserError, match="is not media") as told:
        assert job is not None and job.id == id
        JobDubber(service.settings, service.store, load)(job, lambda *told: None)
    assert "'video.mp4'" in str(told.value) and str(service.store.folder) not in str(told.value)


def _segment(start: float, end: float, ref: str = "a", **more: Any) -> dict[str, Any]:
    return {"startTime": start, "endTime": end, "audioInput": {"refId": ref, **more}}


def test_a_segment_dubs_its_part_alone(
    client: TestClient, service: Service, root: Path, load: Callable[[str], DubPipeline]
) -> None:
    write_speech(service.store.folder / "own.wav", 0.56)
    body = {
        "input": [{"type": "video", "path": "spoken.mp4"}, {**AUDIO, "refId": "a"}],
        "segments": [_segment(0.04, 0.56, startTime=0.2, endTime=0.6)],
        "options": {"box": BOX, "renderer": "editor"},
    }
    write_video(
        root / "spoken.mp4",
        list(_pictures(root / "clip.mp4")),
        rate=25,
        audio_from=service.store.folder / "own.wav",
    )
    made = client.post("/v2/generate", json=body)
    assert made.status_code == 201, made.text
    dub(service, load)
    report = client.get(client.get(f"/v2/generate/{made.json()['id']}").json()["reportUrl"]).json()
    # From .04 s on for .4 s, which is all that is taken of the speech.
    assert [(one["first"], one["last"]) for one in report["drawn"]] == [(1, 10)]


def _pictures(path: Path) -> Iterator[Any]:
    with open_video(path) as reader:
        for frame in reader.frames(0):
            yield frame.image


@pytest.mark.parametrize(
    ("segments", "words"),
    [
        ([_segment(0, 1, "b")], "no input has this refId"),
        ([_segment(1, 1)], "has no length"),
        ([_segment(0, 2), _segment(1, 3)], "Two segments"),
        ([_segment(0, 1), _segment(1, 2)], "whose face"),
    ],
)
def test_segments_that_make_no_sense_are_told(client: TestClient, segments: list[Any], words: str) -> None:
    body = {"input": [VIDEO, {**AUDIO, "refId": "a"}], "segments": segments}
    refused(client.post("/v2/generate", json=body), 422, words)


def test_segments_of_several_speakers_become_cues(service: Service, client: TestClient, root: Path) -> None:
    faces = [{"active_speaker_detection": {"coordinates": place}} for place in ([10, 20], [110, 20])]
    segments = [
        {**_segment(0.3, 0.5), "optionsOverride": faces[1]},
        {**_segment(0, 0.2), "optionsOverride": faces[0]},
    ]
    body = {"input": [VIDEO, {**AUDIO, "refId": "a"}], "segments": segments}
    assert client.post("/v2/generate", json=body).status_code == 201
    kept = service.store.jobs()[0].asked["segments"]
    assert [(part["start"], part["zero"], part["face"]) for part in kept] == [
        (0, 0, "10,20"),
        (0.3, 0.3, "110,20"),
    ]


@contextmanager
def listening(
    status: list[int], body: bytes = b""
) -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """A server on this machine that answers with each status in turn: its address, and what it was sent."""
    heard: list[tuple[dict[str, str], bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers.get("content-length", 0)))
            heard.append(({name.lower(): value for name, value in self.headers.items()}, sent))
            self.send_response(status.pop(0))
            self.send_header("Location", "http://127.0.0.1/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *words: Any) -> None:
            return None

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", heard
    server.shutdown()
    server.server_close()


def anywhere(address: object) -> bool:
    return True


def test_inputs_are_fetched_from_allowed_public_hosts_alone(tmp_path: Path) -> None:
    target = tmp_path / "video"
    with listening([200, 200, 302], b"12345") as (url, heard):
        PublicHttpClient(["127.0.0.1"], permitted=anywhere).fetch(f"{url}/a?b#c", target, 5)
        assert target.read_bytes() == b"12345"
        target.unlink()
        with pytest.raises(UserError, match="larger than"):
            PublicHttpClient(["*"], permitted=anywhere).fetch(url, target, 4)
        with pytest.raises(UserError, match="answers 302"):
            PublicHttpClient(["*"], permitted=anywhere).fetch(url, target, 5)
        assert len(heard) == 3
        with pytest.raises(UserError, match="private network"):
            PublicHttpClient(["*"]).fetch(url, target, 5)
        with pytest.raises(UserError, match="asks nothing of the host"):
            PublicHttpClient(["files.example"], permitted=anywhere).fetch(url, target, 5)
        assert len(heard) == 3 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.1.1", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
        *("::1", "fe80::1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"),
    ],
)
def test_private_addresses_are_known(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    assert is_public(ipaddress.ip_address("93.184.215.14")) and is_public(
        ipaddress.ip_address("2606:4700::1")
    )


def test_a_name_that_leads_to_a_private_address_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(*words: Any, **more: Any) -> list[Any]:
        return [(2, 1, 6, "", (address, 80)) for address in ("93.184.215.14", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    with pytest.raises(UserError, match="private network"):
        PublicHttpClient(["*"]).fetch("http://two.example/", tmp_path / "x", 5)


@pytest.mark.parametrize(
    "url",
    [
        *("file:///etc/passwd", "ftp://host/x", "http:///x", "http://u:p@host/", "http://host:99999/"),
        *("http://[::1/", "https://other.example/", "http://host/\r\nX: y", "http://hóst/"),
    ],
)
def test_urls_that_may_not_be_asked_are_refused(tmp_path: Path, model: Path, root: Path, url: str) -> None:
    settings = ServeSettings(work=tmp_path, model=model, root=root, hosts=("host",))
    client = TestClient(
        create_app(Service(settings, JobStore(tmp_path), SECRET)), base_url="http://localhost"
    )
    refused(client.post("/v2/generate", json={**BOTH, "webhookUrl": url}), 422)
    refused(client.post("/v2/generate", json={"input": [{"type": "video", "url": url}, AUDIO]}), 422)
    assert client.post("/v2/generate", json={**BOTH, "webhookUrl": "https://host/x"}).status_code == 201


def test_webhooks_are_signed_and_called_until_they_are_heard(tmp_path: Path, model: Path, root: Path) -> None:
    settings = ServeSettings(
        work=tmp_path, model=model, root=root, hosts=("127.0.0.1",), public_url="https://dubs.example/"
    )
    service = Service(settings, JobStore(tmp_path), SECRET)
    with listening([503, 200]) as (url, heard):
        app = create_app(service, PublicHttpClient(settings.hosts, permitted=anywhere))
        with TestClient(app, base_url="http://localhost") as client:
            id = client.post("/v2/generate", json={**BOTH, "webhookUrl": f"{url}/done"}).json()["id"]
            ended(service, id)
            for count in (1, 2):
                end = time.monotonic() + 30
                while len(heard) < count and time.monotonic() < end:
                    time.sleep(0.02)
                if count == 1:
                    while service.store.get(id).tries < 1 and time.monotonic() < end:
                        time.sleep(0.02)
                    with service.store.database.writing() as store:  # instead of a wait of ten seconds
                        store.execute("UPDATE jobs SET next_try = 0")
            while service.store.get(id).tries < 2 and time.monotonic() < end:
                time.sleep(0.02)
    assert len(heard) == 2 and service.store.due_webhooks(100) == []
    headers, body = heard[1]
    moment, digest = (part.partition("=")[2] for part in headers["sync-signature"].split(","))
    assert digest == hmac.new(SECRET.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    told = json.loads(body)
    assert told["id"] == id and told["status"] == "COMPLETED" and told["outputDuration"] == 1.5
    assert told["outputUrl"].startswith(f"https://dubs.example/v2/generate/{id}/output?")


def test_the_description_of_the_api_holds_examples_that_are_taken(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for example in schemas["GenerateRequest"]["examples"]:
        GenerateRequest.model_validate(example)
