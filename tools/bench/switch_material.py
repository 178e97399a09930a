"""What the switch bench measures on: a package with a clip, or random weights and noise of a given size."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.autoencoder.pixels import to_video
from common.config import load_config
from common.diffusion.config import DiffusionConfig
from common.errors import UserError
from common.face import build_detector, plan_crops, require_face, track_face
from common.geometry import ceil_clip_length, frames_to_latents, is_clip_length
from common.media import load_audio, read_frames
from common.models.adapters import AdapterSwitch
from common.models.conditions import ModelConditions
from common.models.config import ModelConfig
from common.models.package import load_package
from common.models.package_info import read_info
from common.models.speed import SpeedConfig
from common.models.switches import check_switches, place_transformer
from common.models.transformer import DubbingTransformer, build_transformer
from common.rendered.clips import ClipRequest, make_clips
from common.speech.build import build_speech_encoder
from common.speech.windows import audio_windows
from stage2_dubber.config import Stage2Config

CONFIGS = Path(__file__).resolve().parent.parent.parent / "configs"
# Of configs/wan5b.yaml, whose latents "small" keeps; "toy" is configs/tiny.yaml.
SIZES: dict[str, dict[str, Any]] = {
    "toy": {},
    "small": {"dim": 768, "num_heads": 6, "num_layers": 8, "ffn_dim": 3072, "text_tokens": 0},
    "wan5b": {},
}
DRAWN_SEED = 1_000_003  # one that no training has seen
DRAWN_SIZE = 256


@dataclass
class Loaded:
    """A model with switches on, the window that it makes, and how its latents are looked at.

    noise: (1, C, F, h, w). view: latents to what PSNR is taken of, on the CPU; peak: its largest difference.
    """

    transformer: DubbingTransformer
    conditions: ModelConditions
    noise: torch.Tensor
    before_step: AdapterSwitch | None
    view: Callable[[torch.Tensor], torch.Tensor]
    peak: float | None


class Material:
    """Loads the same model and window again and again, each time with other switches."""

    diffusion: DiffusionConfig
    psnr_of: str
    name: str

    def load(self, speed: SpeedConfig, device: torch.device, dtype: torch.dtype) -> Loaded:
        """Raises UserError where a switch needs what is not there."""
        raise NotImplementedError


class PackageMaterial(Material):
    """The first window of a clip under a package of stage 2. PSNR is of the decoded crop in [-1, 1].

    Without a clip: a drawn character, dubbed with another sentence of the same voice.
    """

    psnr_of = "decoded"

    def __init__(self, package: Path, clip: Path | None, audio: Path | None, frames: int | None) -> None:
        info = read_info(package)
        if info.stage != 2:
            raise UserError(f"{package}: the model is of stage {info.stage}, but stage 2 is needed.")
        if (clip is None) != (audio is None):
            raise UserError("--clip and --audio go together: give both or neither.")
        self.name, self.diffusion = str(package), info.diffusion
        self._package, self._info = package, info
        wanted = ceil_clip_length(frames or info.geometry.clip_frames)
        with tempfile.TemporaryDirectory() if clip is None else nullcontext() as scratch:
            track = None
            if clip is None:
                folder = Path(str(scratch))
                request = ClipRequest(DRAWN_SEED, wanted / info.geometry.fps, DRAWN_SIZE, pair=True)
                make_clips(request, folder)
                clip, audio = folder / f"{request.name}_a.mp4", folder / f"{request.name}_b.mp4"
                track = folder / f"{request.name}_a.track.safetensors"
            assert audio is not None
            pictures = read_frames(clip, count=wanted)
            if len(pictures) < wanted:
                raise UserError(f"{clip}: has {len(pictures)} frames, but {wanted} are measured: --frames.")
            detector = (
                build_detector("box", track_file=track) if track is not None else build_detector("mediapipe")
            )
            face = track_face(pictures, detector)
            require_face(face, clip)
            crops = plan_crops(face, scale=info.geometry.crop_scale, fps=info.geometry.fps)
            size = info.geometry.crop_size
            cut = [crops.extract(picture, index, size) for index, picture in enumerate(pictures)]
            self._video = to_video(np.stack(cut)[None])
            self._speech = load_audio(audio)
        self._features: torch.Tensor | None = None

    def load(self, speed: SpeedConfig, device: torch.device, dtype: torch.dtype) -> Loaded:
        package = load_package(self._package, device, dtype, stage=2, speed=speed)
        reference = package.codec.encode(self._video)
        if self._features is None:
            encoder = build_speech_encoder(self._info.speech, device)
            package.require_speech(encoder.name, encoder.fingerprint)
            audio_features = encoder.encode(self._speech)
            windows = audio_windows(audio_features, 0, reference.shape[2], self._info.speech.extra_window)
            self._features = torch.as_tensor(windows)[None]
        conditions = ModelConditions(self._features.to(device), reference, package.context)
        return Loaded(
            package.transformer,
            conditions,
            _noise(reference.shape).to(device),
            package.adapter_switch(),
            lambda latents: package.codec.decode(latents).cpu(),
            2.0,
        )


class RandomMaterial(Material):
    """Random weights and noise: times and memory are those of the size, PSNR says nothing of a trained model.

    PSNR is of the latents, against the range of the exact ones.
    """

    psnr_of = "latents"

    def __init__(self, size: str, crop: int | None, frames: int | None) -> None:
        file = CONFIGS / ("tiny.yaml" if size == "toy" else "wan5b.yaml")
        config = load_config(Stage2Config, [file])
        self.name, self.diffusion = size, config.diffusion
        self._model: ModelConfig = replace(config.model, **SIZES[size])
        side, step = crop or config.geometry.crop_size, config.vae.scale_factor_spatial
        count = frames or config.geometry.clip_frames
        if side % (step * self._model.patch_size[1]) or not is_clip_length(count):
            raise UserError(
                f"--crop must be a multiple of {step * self._model.patch_size[1]}, --frames one more than a "
                "multiple of 4."
            )
        self._shape = (1, config.vae.z_dim, frames_to_latents(count), side // step, side // step)
        self._window = 8 + 2 * config.speech.extra_window

    def load(self, speed: SpeedConfig, device: torch.device, dtype: torch.dtype) -> Loaded:
        check_switches(speed, device, dtype)
        transformer = _random_transformer(self._model, device, dtype).eval().requires_grad_(False)
        place_transformer(transformer, device, speed)
        frames, model = self._shape[2], self._model
        text = _noise((1, model.text_tokens, model.text_dim), 3).to(device) if model.text_tokens else None
        audio_features = _noise((1, frames, self._window, model.audio_channels), 2).to(device)
        conditions = ModelConditions(audio_features, _noise(self._shape, 1).to(device), text)
        noise = _noise(self._shape).to(device)
        return Loaded(transformer, conditions, noise, None, lambda latents: latents.cpu(), None)


def _random_transformer(config: ModelConfig, device: torch.device, dtype: torch.dtype) -> DubbingTransformer:
    """In main memory, as a loaded one is; drawn on ``device``, where billions of weights take seconds."""
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            transformer = build_transformer(config)
            torch.nn.init.normal_(transformer.head.head.weight, std=0.02)  # zero after a fresh start
    finally:
        torch.set_default_dtype(before)
    wide = transformer._keep_in_fp32_modules or ()
    for name, parameter in transformer.named_parameters():
        if any(part in name for part in wide):
            parameter.data = parameter.data.float()
    transformer.to("cpu")  # type: ignore[arg-type]
    return transformer


def _noise(shape: tuple[int, ...] | torch.Size, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
