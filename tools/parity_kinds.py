"""The kinds of golden folders that tools/parity.py compares with, and what computes their outputs."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from parity_ltx2 import DERIVED, JointCases
from safetensors.torch import save_file
from transformers import Wav2Vec2Config, Wav2Vec2Model

from common.autoencoder.codec import VideoCodec
from common.diffusion.config import DiffusionConfig
from common.diffusion.flow import FlowMatching
from common.diffusion.guidance import Guidance
from common.diffusion.sampler import EulerSampler, build_sampler
from common.face.release_crops import plan_release_crops, smooth_landmarks
from common.geometry import frames_to_latents
from common.models.conditions import ModelConditions
from common.models.convert import from_public_state_dict
from common.models.convert_vae import from_original_vae
from common.models.convert_whisper import from_openai_whisper
from common.models.ltx2.convert import write_transformer
from common.models.transformer import DubbingTransformer
from common.speech.hubert import HubertEncoder, with_tail
from common.speech.pretrained import PretrainedEncoder
from common.speech.windows import audio_windows

FORWARD_TOLERANCE = 1e-4
SAMPLER_TOLERANCE = 1e-3

TINY_WAV2VEC2 = Wav2Vec2Config(
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=16,
    conv_dim=(8,) * 7,
    num_conv_pos_embeddings=4,
    num_conv_pos_embedding_groups=2,
)

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Golden:
    """A golden folder: its configuration, three tensor files, and where it lies."""

    config: Mapping[str, Any]
    weights: Tensors
    inputs: Tensors
    outputs: Tensors
    folder: Path = Path()


@dataclass(frozen=True)
class ParityKind:
    """keys: entries of ``config.json`` that tell the kind. compute: outputs by name.

    tolerances: of outputs, or of all that end in .NAME, where it is not :data:`FORWARD_TOLERANCE`. clamped:
    outputs that are compared within [-1, 1]. weights: whether the folder has any. left_out: how the names of
    outputs begin that nothing here computes. derived: inputs that are computed and compared as well, where
    the folder has them.
    """

    keys: frozenset[str]
    compute: Callable[[Golden], Tensors]
    tolerances: Mapping[str, float] = field(default_factory=dict)
    clamped: frozenset[str] = frozenset()
    weights: bool = True
    left_out: tuple[str, ...] = ()
    derived: frozenset[str] = frozenset()

    def tolerance(self, output: str) -> float:
        """The largest difference that is allowed."""
        return self.tolerances.get(output.rpartition(".")[2], FORWARD_TOLERANCE)


def compute_xdub(golden: Golden) -> Tensors:
    """The transformer, its audio projector, the schedules and both samplers."""
    inputs, model = golden.inputs, _public_model(golden)
    noise, motion = inputs["noise"], inputs["motion_latents"]
    given = ModelConditions(
        audio_features=inputs["audio_feats"], reference=inputs["ref_latents"], text=inputs["context"]
    )
    moving = replace(given, motion=motion)
    started = noise.clone()
    started[:, :, : motion.shape[2]] = motion
    guidance = Guidance(reference_scale=2.5, audio_scale=10.0, dynamic=True)
    flow = FlowMatching(shift=5.0)
    sampler = EulerSampler(flow, guidance, num_steps=golden.config["steps"], border=1)
    grid = torch.linspace(0, 1, 101, dtype=torch.float64).tolist()
    return {
        "audio_embedding": model.audio_embedding(given.audio_features),
        "forward_t637": model(noise, torch.tensor([637.0]), given),
        "forward_t250_motion": model(started, torch.tensor([250.0]), moving),
        "timesteps_30_shift5": flow.model_timestep(flow.sigmas(30)[:-1]),
        "ref_guidance_schedule_scale2.5_t0to1": torch.tensor([guidance.scales(t)[0] for t in grid]),
        "sample": sampler.sample(model, noise, given),
        "sample_motion": sampler.sample(model, noise, moving),
    }


def _public_model(golden: Golden) -> DubbingTransformer:
    cfg = golden.config["cfg"]
    arguments, state = from_public_state_dict(
        golden.weights, num_heads=cfg["heads"], audio_heads=cfg["aheads"], source="weights.safetensors"
    )
    model = DubbingTransformer(**arguments)
    model.load_state_dict(state)
    return model.eval()


def compute_vae38(golden: Golden) -> Tensors:
    """The Wan2.2 autoencoder through the codec: normalised latents, and the video decoded from them."""
    statistics = golden.inputs["latents_mean"], golden.inputs["latents_std"]
    codec = VideoCodec(from_original_vae(golden.weights, *statistics, source="weights.safetensors"))
    latents = codec.encode(golden.inputs["video"])
    return {"latents": latents, "decoded": codec.decode(latents)}


def compute_whisper(golden: Golden) -> Tensors:
    """Whisper's half of the speech features in the release's hard 30 s windows, cut per latent frame."""
    config = golden.config
    heads = config["n_audio_head"]
    whisper = from_openai_whisper(golden.weights, heads, source="weights.safetensors")
    with tempfile.TemporaryDirectory() as folder:
        whisper.save_pretrained(Path(folder) / "whisper")
        # The features are made together with those of wav2vec2, on which this folder says nothing.
        Wav2Vec2Model(TINY_WAV2VEC2).save_pretrained(Path(folder) / "wav2vec2")
        encoder = PretrainedEncoder(folder, chunking="release")
    features = encoder.encode(golden.inputs["audio"].numpy())[:, : config["n_audio_state"]]
    latent_frames = frames_to_latents(config["num_frames"])
    outputs = {
        f"window_start{start}": torch.from_numpy(audio_windows(features, start, latent_frames))
        for start in config["starts"]
    }
    return {"features_last": torch.from_numpy(features), **outputs}


def compute_tbdub(golden: Golden) -> Tensors:
    """The transformer on HuBERT features, the samplers of teacher and student, and two clips joined."""
    config, inputs = golden.config, golden.inputs
    model = _public_model(golden)
    teacher, student = (_tbdub_sampler(config[name]) for name in ("teacher", "student"))
    steps, motion = config["teacher"], inputs["motion_latents"]
    # (T, layers, channels): the layer runs fastest in what the transformer takes.
    features = inputs["hubert_features"].transpose(1, 2).flatten(1)
    windows = [audio_windows(features, start, config["f"])[None] for start in config["starts"]]
    given = ModelConditions(windows[0], inputs["ref_latents"], inputs["context"])
    moving = replace(given, motion=motion)
    noise = inputs["noise"]
    started = noise.clone()
    started[:, :, : motion.shape[2]] = motion
    first = student.sample(model, noise, moving)
    following = ModelConditions(
        windows[1], inputs["ref_latents_clip2"], inputs["context"], motion=first[:, :, -motion.shape[2] :]
    )
    second = student.sample(model, inputs["noise_clip2"], following)
    grid = torch.linspace(0, 1, 101, dtype=torch.float64).tolist()
    scales = [teacher.guidance.scales(t) for t in grid]
    outputs = {
        "audio_embedding": model.audio_embedding(given.audio_features),
        "teacher_sample": teacher.sample(model, noise, given),
        "teacher_sample_motion": teacher.sample(model, noise, moving),
        "student_sample": student.sample(model, noise, given),
        "student_sample_motion": first,
        "student_clip2": second,
        "student_assembled": torch.cat([first, second[:, :, motion.shape[2] :]], dim=2),
        f"ref_guidance_schedule_scale{steps['ref_scale']}_t0to1": torch.tensor([s[0] for s in scales]),
        f"audio_guidance_schedule_scale{steps['audio_scale']}_t0to1": torch.tensor([s[1] for s in scales]),
    }
    for time in (637, 250):
        told = torch.tensor([float(time)])
        outputs[f"forward_t{time}"] = model(noise, told, given)
        outputs[f"forward_t{time}_motion"] = model(started, told, moving)
    for name, count, shift in (("teacher", 30, 5), ("student", 2, 1)):
        flow = FlowMatching(float(shift))
        sigmas = flow.sigmas(count)[:-1]
        outputs[f"{name}_sigmas_{count}_shift{shift}"] = sigmas
        times = flow.model_timestep(sigmas)
        outputs[f"{name}_timesteps_{count}_shift{shift}"] = times
        outputs[f"{name}_timesteps_{count}_shift{shift}_bf16"] = times.bfloat16().float()
    return outputs


def _tbdub_sampler(settings: Mapping[str, Any]) -> EulerSampler:
    """The teacher's, or, where no scales are said, the student's: one branch, the border at the end."""
    guided = "audio_scale" in settings
    config = DiffusionConfig(
        num_steps=settings["steps"],
        shift=settings["shift"],
        reference_scale=settings.get("ref_scale", 1.0),
        audio_scale=settings.get("audio_scale", 1.0),
        audio_floor=settings.get("audio_floor", 0.0),
        border=settings["border"],
        border_at_end=not guided,
    )
    return build_sampler(config)


def compute_hubert(golden: Golden) -> Tensors:
    """The tail of the sound, the features of both, and their windows."""
    config = dict(golden.config)
    said = config.pop("golden")
    audio = golden.inputs["audio"].numpy()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "hubert"
        place.mkdir()
        (place / "config.json").write_text(json.dumps(config))
        save_file(golden.weights, place / "model.safetensors", metadata={"format": "pt"})
        encoder = HubertEncoder(folder, chunking="release")
    features = encoder.encode(audio)
    outputs = {
        f"window_start{start}": torch.from_numpy(audio_windows(features, start, said["latent_frames"]))
        for start in said["starts"]
    }
    tail = with_tail(audio)[len(audio) - 8 : len(audio) - 8 + golden.outputs["padded_tail"].numel()]
    return {"padded_tail": torch.from_numpy(tail), "features": torch.from_numpy(features), **outputs}


def compute_boxes(golden: Golden) -> Tensors:
    """The squares of the X-Dub release for landmarks of whole clips, and what they are made from."""
    outputs = {}
    for name, clip in golden.config["clips"].items():
        width, height = clip["width"], clip["height"]
        planned = plan_release_crops(golden.inputs[name].numpy(), width, height)
        smoothed = smooth_landmarks(golden.inputs[name].double().numpy(), width, height)
        outputs[f"{name}.landmarks_smoothed"] = torch.from_numpy(smoothed * [width, height])
        outputs[f"{name}.boxes_before_planning"] = torch.from_numpy(planned.faces)
        outputs[f"{name}.boxes"] = torch.from_numpy(planned.boxes)
    return outputs


def compute_ltx2(golden: Golden) -> Tensors:
    """The joint transformer of LTX-2, its conditioning, LoRA, sampler, guidance and loss."""
    with tempfile.TemporaryDirectory() as folder:  # weights come and go as those of a real model do
        write_transformer(Path(folder), golden.weights, golden.config["diffusers_config"])
        return JointCases(
            golden.config, golden.inputs, Path(folder), golden.folder / "lora.safetensors"
        ).compute(golden.outputs.keys())


TBDUB_SAMPLES = (
    *("teacher_sample", "teacher_sample_motion", "student_sample", "student_sample_motion"),
    *("student_clip2", "student_assembled"),
)
KINDS = {
    "tbdub": ParityKind(
        frozenset({"cfg", "teacher", "student"}),
        compute_tbdub,
        dict.fromkeys(TBDUB_SAMPLES, SAMPLER_TOLERANCE),
    ),
    # Windows that are encoded one by one are an option of the release alone.
    "hubert": ParityKind(
        frozenset({"model_type", "golden", "conv_dim"}), compute_hubert, left_out=("perchunk_",)
    ),
    "boxes": ParityKind(
        frozenset({"clips"}),
        compute_boxes,
        {"landmarks_smoothed": 1e-2, "boxes_before_planning": 1e-2, "boxes": 1.0},
        weights=False,
    ),
    "xdub": ParityKind(
        frozenset({"cfg", "steps"}),
        compute_xdub,
        {"sample": SAMPLER_TOLERANCE, "sample_motion": SAMPLER_TOLERANCE},
    ),
    "vae38": ParityKind(
        frozenset({"dec_dim", "z_dim", "dim_mult"}), compute_vae38, clamped=frozenset({"decoded"})
    ),
    "ltx2": ParityKind(frozenset({"diffusers_config", "cases"}), compute_ltx2, derived=DERIVED),
    "whisper": ParityKind(frozenset({"n_audio_state", "n_audio_head", "starts"}), compute_whisper),
}
