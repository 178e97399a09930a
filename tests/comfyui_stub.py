"""As much of ComfyUI as nodes see of it: modules, values, and a runner of workflows.

ComfyUI is no package that can be installed. Names and shapes are those of its V1 nodes, of
``comfy_api.latest`` and of the JSON that its page saves.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import av
import numpy as np
import pytest
import torch

WIDGETS = ("STRING", "INT", "FLOAT", "BOOLEAN")
CONTROLLED = ("seed", "noise_seed")  # beside such a number the page puts one more widget


class Interrupted(Exception):
    """What ComfyUI raises in a node when somebody presses Cancel."""


@dataclass
class VideoComponents:
    images: torch.Tensor
    frame_rate: Fraction
    audio: dict[str, Any] | None = None


class VideoFromFile:
    """A VIDEO that is a file, or a part of it."""

    def __init__(self, file: str, *, start_time: float = 0, duration: float = 0) -> None:
        self._file, self._window = file, (float(start_time), float(duration))

    def get_stream_source(self) -> str:
        return self._file

    def get_active_trim_window(self) -> tuple[float, float]:
        return self._window

    def get_components(self) -> VideoComponents:
        with av.open(self._file) as container:
            rate = container.streams.video[0].average_rate
            images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        first = round(self._window[0] * rate)
        last = first + round(self._window[1] * rate) if self._window[1] else len(images)
        return VideoComponents(torch.from_numpy(np.stack(images[first:last])).float() / 255, Fraction(rate))

    def save_to(self, path: str, format: str = "auto", codec: str = "auto", metadata: Any = None) -> None:
        parts = self.get_components()
        with av.open(path, "w") as container:
            stream = container.add_stream("libx264", rate=parts.frame_rate)
            stream.height, stream.width = parts.images.shape[1:3]
            stream.pix_fmt = "yuv420p"
            for image in parts.images:
                frame = av.VideoFrame.from_ndarray((image * 255).byte().numpy(), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())


class ProgressBar:
    told: ClassVar[list[tuple[int, int]]] = []

    def __init__(self, total: int) -> None:
        self.total = total

    def update_absolute(self, value: int, total: int | None = None) -> None:
        self.told.append((value, total or self.total))


@dataclass
class Comfy:
    """The stub's state.

    Attributes:
        folder: inputs, outputs and files that pass.
        interrupted: Cancel was pressed.
        saved: what output nodes were given.
    """

    folder: Path
    interrupted: bool
    saved: dict[str, Any]

    def nodes(self) -> dict[str, type]:
        """ComfyUI's own, those that the example uses."""
        comfy = self

        class LoadVideo:
            RETURN_TYPES, FUNCTION = ("VIDEO",), "run"

            @classmethod
            def INPUT_TYPES(cls) -> Any:
                return {"required": {"file": (["clip.mp4"], {"video_upload": True})}}

            def run(self, file: str) -> tuple[Any]:
                return (VideoFromFile(str(comfy.folder / file)),)

        class LoadAudio:
            RETURN_TYPES, FUNCTION = ("AUDIO",), "run"

            @classmethod
            def INPUT_TYPES(cls) -> Any:
                return {"required": {"audio": (["speech.wav"], {"audio_upload": True})}}

            def run(self, audio: str) -> tuple[Any]:
                with av.open(str(comfy.folder / audio)) as container:
                    rate = container.streams.audio[0].rate
                    sound = [frame.to_ndarray() for frame in container.decode(audio=0)]
                samples = torch.from_numpy(np.concatenate(sound, axis=1)).float() / 2**15
                return ({"waveform": samples[None], "sample_rate": rate},)

        class SaveVideo:
            RETURN_TYPES, FUNCTION, OUTPUT_NODE = (), "run", True

            @classmethod
            def INPUT_TYPES(cls) -> Any:
                kinds = {"filename_prefix": ("STRING", {}), "format": (["auto"],), "codec": (["auto"],)}
                return {"required": {"video": ("VIDEO",), **kinds}}

            def run(self, **values: Any) -> tuple[()]:
                comfy.saved["video"] = values["video"]
                return ()

        class PreviewImage:
            RETURN_TYPES, FUNCTION, OUTPUT_NODE = (), "run", True

            @classmethod
            def INPUT_TYPES(cls) -> Any:
                return {"required": {"images": ("IMAGE",)}}

            def run(self, images: Any) -> tuple[()]:
                comfy.saved["images"] = images
                return ()

        return {kind.__name__: kind for kind in (LoadVideo, LoadAudio, SaveVideo, PreviewImage)}


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Comfy:
    """Put the stub's modules where nodes import them from."""
    comfy = Comfy(folder, False, {})

    def stop() -> None:
        if comfy.interrupted:
            raise Interrupted

    modules: dict[str, dict[str, Any]] = {
        "comfy_api": {},
        "comfy_api.latest": {"InputImpl": type("InputImpl", (), {"VideoFromFile": VideoFromFile})},
        "comfy": {},
        "comfy.utils": {"ProgressBar": ProgressBar},
        "comfy.model_management": {"throw_exception_if_processing_interrupted": stop},
        "folder_paths": {"get_temp_directory": lambda: str(folder / "temp")},
    }
    for name, values in modules.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    return comfy


def sockets(kind: type) -> dict[str, Any]:
    """Name -> type of all inputs of a node; a list of choices is a type, too."""
    asked = kind.INPUT_TYPES()  # type: ignore[attr-defined]
    return {name: spec[0] for part in asked.values() for name, spec in part.items()}


def is_widget(kind: Any) -> bool:
    return isinstance(kind, list) or kind in WIDGETS


def run_workflow(workflow: dict[str, Any], known: dict[str, type]) -> dict[int, tuple[Any, ...]]:
    """Check a saved workflow against the nodes' sockets, and run it; the results of each node."""
    made: dict[int, tuple[Any, ...]] = {}
    links = {link[0]: link for link in workflow["links"]}
    for node in sorted(workflow["nodes"], key=lambda one: one["order"]):
        kind = known[node["type"]]
        asked, given = sockets(kind), dict[str, Any]()
        for place, entry in enumerate(node["inputs"]):
            assert asked[entry["name"]] == entry["type"], (node["type"], entry)
            _, source, slot, target, at, carried = links[entry["link"]]
            origin = next(one for one in workflow["nodes"] if one["id"] == source)
            assert (target, at, carried) == (node["id"], place, entry["type"])
            assert known[origin["type"]].RETURN_TYPES[slot] == carried  # type: ignore[attr-defined]
            given[entry["name"]] = made[source][slot]
        values = list(node["widgets_values"])
        for name, form in asked.items():
            if is_widget(form):
                given[name] = values.pop(0)
                assert not isinstance(form, list) or given[name] in form, (node["type"], name)
                if name in CONTROLLED:
                    assert values.pop(0) in ("fixed", "increment", "decrement", "randomize")
        required = kind.INPUT_TYPES()["required"]  # type: ignore[attr-defined]
        assert set(required) <= set(given), node["type"]
        returned = kind.RETURN_TYPES  # type: ignore[attr-defined]
        assert [(out["name"], out["type"]) for out in node["outputs"]] == list(
            zip(getattr(kind, "RETURN_NAMES", returned), returned, strict=True)
        )
        made[node["id"]] = getattr(kind(), kind.FUNCTION)(**given)  # type: ignore[attr-defined]
        assert len(made[node["id"]]) == len(returned)
    return made
