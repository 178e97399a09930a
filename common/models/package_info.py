"""What a model package says about itself: ``bootdub.json``, read and written without any weights."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, get_type_hints

from common.diffusion.config import DiffusionConfig
from common.errors import UserError
from common.files import read_json, write_json
from common.geometry import TEMPORAL_STRIDE, GeometryConfig
from common.models.conventions import Conventions
from common.models.ltx2.settings import FRAME_STRIDE, JointSettings
from common.own_mouths.config import Renderer
from common.speech.config import SpeechConfig

FORMAT = 1
METADATA_FILE = "bootdub.json"
CONTEXT_FILE = "context.safetensors"
SPEECH_FOLDER = "speech"

RELEASED_PHASE = "released"
"""The phase of a package that was published to dub with."""

BASE_PHASE = "base"
"""The phase of a package whose audio layers are fresh: training starts there."""


class ModelTask(str, Enum):
    """What a model makes of the clip that it is shown."""

    edit = "edit"
    """Lips that follow other speech."""
    refine = "refine"
    """Sharp lips of those that another model has drawn."""
    refine_own_mouths = "refine_own_mouths"
    """Film of frames that own mouths have drawn."""


@dataclass(frozen=True)
class Adapter:
    """An adapter of the transformer: its peft name and the closed range of noise levels in which it acts."""

    name: str
    active_range: tuple[float, float] = (0.0, 1.0)

    def acts_at(self, sigma: float) -> bool:
        return self.active_range[0] <= sigma <= self.active_range[1]


@dataclass(frozen=True)
class PackageInfo:
    """Content of ``bootdub.json``.

    stage: 1 (generator) or 2 (editor). phase: the last training phase. speech_fingerprint and vae_fingerprint
    identify the encoders that the transformer was trained on. renderer: what draws new mouths unless a job
    says otherwise (stage 2). conventions: how clips are cut and joined and noise is drawn (stage 2).
    training: free facts (steps, data, seed). joint: how LTX-2 is used; None: the model is the dubbing
    transformer. task: what the model is for (stage 2). lip_resolution: to how many pixels of the crop's
    side lips are brought down before they are refined, at least and at most; only of models that do so.
    """

    stage: int
    phase: str
    geometry: GeometryConfig
    speech: SpeechConfig
    diffusion: DiffusionConfig
    speech_fingerprint: str = ""
    vae_fingerprint: str = ""
    adapters: tuple[Adapter, ...] = ()
    renderer: Renderer = Renderer.editor
    conventions: Conventions = field(default_factory=Conventions)
    training: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT
    joint: JointSettings | None = None
    task: ModelTask = ModelTask.edit
    lip_resolution: tuple[int, int] | None = None

    @property
    def frame_stride(self) -> int:
        """Pixel frames of a latent frame."""
        return TEMPORAL_STRIDE if self.joint is None else FRAME_STRIDE


def write_info(folder: Path, info: PackageInfo) -> None:
    """Write the metadata into the folder of a package that is being made."""
    write_json(folder / METADATA_FILE, _to_json(info))


def read_info(folder: Path | str) -> PackageInfo:
    """The metadata of a package; no weights are read. Raises UserError where it is missing or damaged."""
    folder = Path(folder)
    if not (folder / METADATA_FILE).is_file():
        raise UserError(
            f"{folder}: no model package there (no {METADATA_FILE}); check the path of the model."
        )
    content = read_json(folder / METADATA_FILE)
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise UserError(
            f"{folder / METADATA_FILE}: the package has format {found}, this program reads {FORMAT}; "
            "use a matching version."
        )
    try:
        return PackageInfo(
            stage=int(content["stage"]),
            phase=str(content["phase"]),
            geometry=GeometryConfig(**content["geometry"]),
            speech=_placed(folder, SpeechConfig(**content["speech"])),
            diffusion=DiffusionConfig(**content["diffusion"]),
            speech_fingerprint=str(content["speech_fingerprint"]),
            vae_fingerprint=str(content["vae_fingerprint"]),
            adapters=tuple(Adapter(item["name"], tuple(item["range"])) for item in content["loras"]),
            renderer=Renderer(content.get("renderer", Renderer.editor)),
            conventions=_conventions(content.get("conventions", {})),
            training=dict(content["training"]),
            joint=_joint(folder, content["joint"]) if "joint" in content else None,
            **_task(content),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder / METADATA_FILE}: damaged or made by hand ({error}); make it again."
        ) from error


def _conventions(content: dict[str, Any]) -> Conventions:
    """Those of a package that says none are ours."""
    kinds = get_type_hints(Conventions)
    return Conventions(**{name: kinds[name](value) for name, value in content.items()})


def _task(content: dict[str, Any]) -> dict[str, Any]:
    """Of a package that says none: it edits."""
    task = ModelTask(content.get("task", ModelTask.edit))
    if task is not ModelTask.refine:
        return {"task": task}
    least, most = (int(side) for side in content["lip_resolution"])
    return {"task": task, "lip_resolution": (least, most)}


def _joint(folder: Path, content: dict[str, Any]) -> JointSettings:
    """A package that brings its LTX-2 names it relative to itself: it may be moved."""
    settings = JointSettings.read(content)
    return replace(settings, model=str(folder / settings.model))


def adapter_file(name: str) -> str:
    return f"lora_{name}.safetensors"


def _placed(folder: Path, speech: SpeechConfig) -> SpeechConfig:
    """A package that brings its speech encoder says no path: it may be moved."""
    own = folder / SPEECH_FOLDER
    return replace(speech, path=str(own)) if not speech.path and own.is_dir() else speech


def _to_json(info: PackageInfo) -> dict[str, Any]:
    return {
        "format": info.format,
        "stage": info.stage,
        "phase": info.phase,
        "geometry": info.geometry,
        "speech": info.speech,
        "speech_fingerprint": info.speech_fingerprint,
        "diffusion": info.diffusion,
        "vae_fingerprint": info.vae_fingerprint,
        "loras": [
            {"name": adapter.name, "file": adapter_file(adapter.name), "range": list(adapter.active_range)}
            for adapter in info.adapters
        ],
        "renderer": info.renderer.value,
        **({} if info.conventions == Conventions() else {"conventions": info.conventions}),
        "training": info.training,
        **({} if info.joint is None else {"joint": info.joint}),
        **({} if info.task is ModelTask.edit else {"task": info.task.value}),
        **({} if info.lip_resolution is None else {"lip_resolution": list(info.lip_resolution)}),
    }
