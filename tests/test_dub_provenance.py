"""What outputs say about themselves: XMP that FFmpeg reads back, C2PA that its own library validates."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import av
import numpy as np
import pytest
from dub_clips import steady, write_clip, write_speech

from common.errors import UserError
from common.media import VideoReader
from stage2_dubber.dub.inputs import check_request
from stage2_dubber.dub.job import Composite
from stage2_dubber.dub.outputs import JobOutputs
from stage2_dubber.dub.request import DubRequest
from stage2_dubber.dub.resume.folder import passing_folder

c2pa = pytest.importorskip("c2pa", reason="c2pa-python is not installed: pip install -e .[c2pa]")
from certificates import write_credentials  # noqa: E402

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
CONSENT = 'Written consent of "Ada & Ben" <10 March 2026>, für alle Sprachen'
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
SUFFIXES = [".mp4", ".m4v", ".mov", ".mkv", ".webm"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("provenance")
    write_clip(folder / "clip.mp4", steady(12, 25))
    write_speech(folder / "speech.wav", 0.5)
    write_credentials(folder)
    return folder


def written(folder: Path, output: Path, video: str = "clip.mp4", **options: Any) -> Path:
    """What a job writes around its model, with no edit at all."""
    request = DubRequest.of(folder / video, folder / "speech.wav", output, **options)
    inputs = check_request(request)
    with VideoReader(request.video, samples=True) as reader:
        unchanged = (Composite(frame, frame.image) for frame in reader)
        with passing_folder(output) as work:
            JobOutputs(request, inputs, work, np.arange(len(reader))).write(unchanged)
    return output


def packets(path: Path) -> list[tuple[int, int | None, bytes]]:
    with av.open(str(path)) as container:
        return [(p.stream.index, p.pts, bytes(p)) for p in container.demux() if p.size]


def xmp(path: Path) -> str | None:
    options = {"export_xmp": "1"} if path.suffix in (".mp4", ".m4v", ".mov") else {}
    with av.open(str(path), options=options) as container:
        return next((value for key, value in container.metadata.items() if key.lower() == "xmp"), None)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_outputs_say_that_they_are_dubs(folder: Path, tmp_path: Path, suffix: str) -> None:
    first, second = (
        written(folder, tmp_path / name / f"out{suffix}", consent=CONSENT) for name in ("one", "two")
    )
    plain = written(folder, tmp_path / f"plain{suffix}", provenance=False)
    assert first.read_bytes() == second.read_bytes()
    assert packets(first) == packets(plain)
    found = xmp(first)
    assert found is not None and xmp(plain) is None and b"xmpmeta" not in plain.read_bytes()
    root = ElementTree.fromstring(found.encode())
    description = next(root.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description"))
    assert description.attrib[f"{IPTC}DigitalSourceType"] == SOURCE_TYPE
    assert description.attrib[f"{IPTC}AISystemUsed"] == "BootDub"
    terms = description.find("{http://ns.adobe.com/xap/1.0/rights/}UsageTerms")
    assert terms is not None and "".join(terms.itertext()) == CONSENT


def test_the_comparison_says_it_too(folder: Path, tmp_path: Path) -> None:
    written(folder, tmp_path / "out.mp4", side_by_side=tmp_path / "beside.mov")
    assert SOURCE_TYPE in (xmp(tmp_path / "beside.mov") or "")


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_certificate_signs_a_manifest(folder: Path, tmp_path: Path, suffix: str) -> None:
    keys = {"c2pa_cert": folder / "chain.pem", "c2pa_key": folder / "key.pem"}
    signed = written(folder, tmp_path / f"out{suffix}", consent=CONSENT, **keys)
    plain = written(folder, tmp_path / f"plain{suffix}", provenance=False)
    assert packets(signed) == packets(plain)
    assert SOURCE_TYPE in (xmp(signed) or "")
    reader = c2pa.Reader(str(signed))
    assert reader.get_validation_state() == "Valid"
    manifest = reader.get_active_manifest()
    assert manifest["title"] == signed.name
    assertions = {item["label"]: item["data"] for item in manifest["assertions"]}
    opened, edited = assertions["c2pa.actions.v2"]["actions"]
    assert (opened["action"], edited["digitalSourceType"]) == ("c2pa.opened", SOURCE_TYPE)
    assert assertions["cawg.metadata"]["xmpRights:UsageTerms"] == CONSENT
    assert [item["relationship"] for item in manifest["ingredients"]] == ["parentOf"]


def test_the_history_of_a_signed_source_is_kept(folder: Path, tmp_path: Path) -> None:
    keys = {"c2pa_cert": folder / "chain.pem", "c2pa_key": folder / "key.pem"}
    written(folder, folder / "signed.mp4", overwrite=True, **keys)
    again = written(folder, tmp_path / "again.mp4", video="signed.mp4", **keys)
    reader = c2pa.Reader(str(again))
    assert reader.get_validation_state() == "Valid"
    assert len(json.loads(reader.json())["manifests"]) == 2


def test_a_source_that_c2pa_does_not_know_has_no_parent(folder: Path, tmp_path: Path) -> None:
    write_clip(folder / "clip.mkv", steady(12, 25))
    keys = {"c2pa_cert": folder / "chain.pem", "c2pa_key": folder / "key.pem"}
    reader = c2pa.Reader(str(written(folder, tmp_path / "out.mp4", video="clip.mkv", **keys)))
    assert reader.get_validation_state() == "Valid"
    assert not reader.get_active_manifest().get("ingredients")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"provenance": False, "consent": "Ada"}, "--no-provenance leaves out"),
        (
            {"provenance": False, "c2pa_cert": "chain.pem", "c2pa_key": "key.pem"},
            "--no-provenance leaves out",
        ),
        ({"consent": "  "}, "--consent is empty"),
        ({"consent": "Ada\x1b[2J"}, "--consent holds control characters"),
        ({"c2pa_cert": "chain.pem"}, "belong together"),
        ({"c2pa_cert": "chain.pem", "c2pa_key": "missing.pem"}, "does not exist"),
        ({"c2pa_cert": "chain.pem", "c2pa_key": "speech.wav"}, "no private key in PEM"),
        ({"c2pa_cert": "chain.pem", "c2pa_key": "other/key.pem"}, r"can be signed with .*chain\.pem"),
        ({"c2pa_cert": "clip.mp4", "c2pa_key": "key.pem"}, r"can be signed with .*clip\.mp4"),
    ],
)
def test_what_cannot_be_said_or_signed_is_refused_before_the_work(
    folder: Path, tmp_path: Path, options: dict[str, Any], match: str
) -> None:
    (folder / "other").mkdir(exist_ok=True)
    write_credentials(folder / "other")
    for name in ("c2pa_cert", "c2pa_key"):
        if name in options:
            options[name] = folder / options[name]
    with pytest.raises(UserError, match=match):
        written(folder, tmp_path / "out.mp4", **options)
    assert not list(tmp_path.iterdir())


def test_containers_without_manifests_are_refused(folder: Path, tmp_path: Path) -> None:
    keys = {"c2pa_cert": folder / "chain.pem", "c2pa_key": folder / "key.pem"}
    with pytest.raises(UserError, match=r"cannot hold a signed statement \(C2PA\): name it \.mp4 or \.mov"):
        written(folder, tmp_path / "out.mkv", **keys)
