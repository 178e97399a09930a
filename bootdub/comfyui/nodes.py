"""The nodes, in ComfyUI's V1 form: a class each, with its sockets, its function and its place in the menu."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stage2_dubber.dub.faces.choice import AUTO
from stage2_dubber.dub.length.options import Length
from stage2_dubber.dub.locate import default_model_path
from stage2_dubber.dub.presets.names import AUTO_PRESET, Preset

CATEGORY = "BootDub"
PACKAGE, FACE = "BOOTDUB_PACKAGE", "BOOTDUB_FACE"
_SEED = ("INT", {"default": 0, "min": 0, "max": 2**63 - 1})
_FACE_TIP = "auto: who speaks; largest; the number of a face; or its place x,y where it is first seen"

Sockets = dict[str, dict[str, Any]]


class LoadPackage:
    """A model, loaded once for all dubs."""

    CATEGORY, FUNCTION = CATEGORY, "load"
    RETURN_TYPES, RETURN_NAMES = (PACKAGE,), ("package",)
    DESCRIPTION = "Loads a BootDub package: a folder, or the default model where none is named."

    @classmethod
    def INPUT_TYPES(cls) -> Sockets:
        presets = [AUTO_PRESET, *(preset.value for preset in Preset)]
        return {
            "required": {
                "folder": ("STRING", {"default": ""}),
                "device": (["auto", "cpu", "cuda"],),
                "preset": (presets,),
            }
        }

    def load(self, folder: str, device: str, preset: str) -> tuple[Any]:
        from stage2_dubber.dub.pipeline import DubPipeline

        place = Path(folder) if folder.strip() else default_model_path()
        return (DubPipeline.from_pretrained(place, device, preset=preset),)


class ChooseFace:
    """Shows the faces of a video, and says which is dubbed."""

    CATEGORY, FUNCTION = CATEGORY, "choose"
    RETURN_TYPES, RETURN_NAMES = (FACE, "IMAGE"), ("face", "faces")
    DESCRIPTION = "Finds the faces of a video and shows them with their numbers."

    @classmethod
    def INPUT_TYPES(cls) -> Sockets:
        return {
            "required": {"video": ("VIDEO",), "face": ("STRING", {"default": AUTO, "tooltip": _FACE_TIP})}
        }

    def choose(self, video: Any, face: str) -> tuple[str, Any]:
        import numpy as np
        import torch
        from PIL import Image

        from bootdub.comfyui.media import video_file
        from stage2_dubber.dub.faces.sheet import list_faces
        from stage2_dubber.dub.request import DubRequest

        folder = _new_folder()
        file = video_file(video, folder)
        request = DubRequest.of(file, file, folder / "out.mp4", face=face)
        found = list_faces(request, folder / "faces.json", _Progress())
        with Image.open(found.sheet) as sheet:
            shown = torch.from_numpy(np.asarray(sheet.convert("RGB"), np.float32) / 255)
        return str(found.file), shown[None]


class DubVideo:
    """A video whose mouth says other words."""

    CATEGORY, FUNCTION = CATEGORY, "dub"
    RETURN_TYPES, RETURN_NAMES = ("VIDEO",), ("video",)
    DESCRIPTION = "Dubs a video with speech; frames, times and size stay, the sound is the speech."

    @classmethod
    def INPUT_TYPES(cls) -> Sockets:
        return {
            "required": {
                "package": (PACKAGE,),
                "video": ("VIDEO",),
                "audio": ("AUDIO",),
                "length": ([length.value for length in Length],),
                "seed": _SEED,
            },
            "optional": {"face": (FACE,)},
        }

    def dub(
        self, package: Any, video: Any, audio: Any, length: str, seed: int, face: str = AUTO
    ) -> tuple[Any]:
        from comfy_api.latest import InputImpl

        from bootdub.comfyui.media import audio_file, video_file

        folder = _new_folder()
        output = folder / "dubbed.mp4"
        package(
            video_file(video, folder),
            audio_file(audio, folder),
            output,
            progress=_Progress(),
            length=length,
            seed=seed,
            face=face,
        )
        return (InputImpl.VideoFromFile(str(output)),)


class DubImages:
    """The same for a batch of pictures."""

    CATEGORY, FUNCTION = CATEGORY, "dub"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE",), ("images",)
    DESCRIPTION = "Dubs a batch of pictures with speech; as many pictures come back."

    @classmethod
    def INPUT_TYPES(cls) -> Sockets:
        return {
            "required": {
                "package": (PACKAGE,),
                "images": ("IMAGE",),
                "audio": ("AUDIO",),
                "fps": ("FLOAT", {"default": 25.0, "min": 1.0, "max": 240.0, "step": 0.001}),
                "seed": _SEED,
            },
            "optional": {"face": (FACE,)},
        }

    def dub(
        self, package: Any, images: Any, audio: Any, fps: float, seed: int, face: str = AUTO
    ) -> tuple[Any]:
        from bootdub.comfyui.media import audio_file, images_file, read_images

        folder = _new_folder()
        output = folder / "dubbed.mkv"
        package(
            images_file(images, fps, folder),
            audio_file(audio, folder),
            output,
            progress=_Progress(),
            lossless=True,
            seed=seed,
            face=face,
        )
        return (read_images(output),)


NODE_CLASS_MAPPINGS: dict[str, type] = {
    "BootDubLoadPackage": LoadPackage,
    "BootDubChooseFace": ChooseFace,
    "BootDubVideo": DubVideo,
    "BootDubImages": DubImages,
}
NODE_DISPLAY_NAME_MAPPINGS = {
    "BootDubLoadPackage": "BootDub: load package",
    "BootDubChooseFace": "BootDub: choose face",
    "BootDubVideo": "BootDub: dub video",
    "BootDubImages": "BootDub: dub images",
}


def _new_folder() -> Path:
    """Below ComfyUI's folder for passing files, which it empties itself."""
    import folder_paths

    place = Path(folder_paths.get_temp_directory())
    place.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="bootdub-", dir=place))


class _Progress:
    """ComfyUI's bar of a node; it is also asked whether somebody has pressed Cancel."""

    def __init__(self) -> None:
        from comfy.model_management import throw_exception_if_processing_interrupted
        from comfy.utils import ProgressBar

        self._stop: Callable[[], None] = throw_exception_if_processing_interrupted
        self._bar = ProgressBar
        self._stage, self._shown = "", None

    def __call__(self, stage: str, done: float, total: float | None) -> None:
        self._stop()
        if total is None:
            return
        if stage != self._stage:
            self._stage, self._shown = stage, self._bar(round(total))
        assert self._shown is not None
        self._shown.update_absolute(round(done), round(total))
