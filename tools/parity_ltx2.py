"""The cases of the golden folders of LTX-2, put together from token roles as a dub does."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.diffusion.joint import JointGuidance, joint_sigmas, sample_joint
from common.models.ltx2.conventions import CrossMask, CrossModulation, JointConventions, ReferenceTime
from common.models.ltx2.folder import load_joint_transformer
from common.models.ltx2.lora import attach_lora, read_lora
from common.models.ltx2.positions import (
    JointClip,
    audio_positions,
    reference_audio_positions,
    video_positions,
)
from common.models.ltx2.roles import JointInputs, JointVelocity, Modality, PromptStates, Role, TokenGroup
from common.models.ltx2.transformer import JointTransformer
from common.training.joint_loss import joint_weights, masked_velocity_loss

Tensors = dict[str, Tensor]

MODULATIONS = {
    "jdi": CrossModulation.own_token,
    "march": CrossModulation.other_modality,
    "head": CrossModulation.other_gate,
}
"""By the prefix of an output: whose code made it."""
GUIDANCE = JointGuidance(
    text_video=3.0, text_audio=7.0, perturbed=1.0, blocks=(1,), isolated=3.0, rescale=0.7
)
MASKS = {
    "e": CrossMask.targets,
    "e_firstframe": CrossMask.targets,
    "e_train": CrossMask.targets_and_given,
    "f": CrossMask.targets,
    "g": CrossMask.targets,
    "loss": CrossMask.targets_and_given,
}
"""Of JUST-DUB-IT's cases; all others have none."""
POSITIONS = (
    *("video_positions", "ref_video_positions_ds1", "ref_video_positions_ds2"),
    *("audio_positions", "ref_audio_same_positions", "ref_audio_negative_positions"),
)
DERIVED = frozenset(
    {
        *POSITIONS,
        "schedule_30_steps",
        *(f"{case}_mask_{way}" for case in MASKS for way in ("a2v", "v2a")),
    }
)
"""Inputs of the folder that the program makes itself."""


class JointCases:
    """All cases of one folder. model: a folder with the weights. lora: the file."""

    def __init__(self, config: Mapping[str, Any], given: Tensors, model: Path, lora: Path) -> None:
        self.sigma, self.given = float(config["sigma"]), given
        self.sigmas = [float(sigma) for sigma in config["sigmas_3_steps"]]
        _, rows, columns = config["latent_frames_height_width"]
        clip = JointClip(config["pixel_frames"], rows * 32, columns * 32, config["fps"])
        self.first_frame = rows * columns
        self.transformer = load_joint_transformer(model, JointConventions())
        self.lora, self.lora_attached = lora, False
        rope: Any = self.transformer.model.rope
        audio_rope: Any = self.transformer.model.audio_rope
        tokens, reference = clip.audio_tokens, config["reference_audio_tokens"]
        negative = reference_audio_positions(audio_rope, reference, ReferenceTime.before)
        same = reference_audio_positions(audio_rope, tokens, ReferenceTime.same)
        places = (
            video_positions(rope, clip),
            video_positions(rope, clip),
            video_positions(rope, clip.downscaled(2), downscale=2),
            audio_positions(audio_rope, tokens),
            same,
            negative,
        )
        self.positions = dict(zip(POSITIONS, places, strict=True))

    def compute(self, wanted: Collection[str]) -> Tensors:
        """Outputs by name, and what :data:`DERIVED` names."""
        found = {**self.positions, "schedule_30_steps": joint_sigmas(30)}
        names = sorted(
            {name.rsplit("/", 1)[0] for name in wanted}, key=lambda name: (name.endswith("/g"), name)
        )
        for name in names:
            if name.endswith("/g") and not self.lora_attached:  # they come last: the LoRA stays
                attach_lora(self.transformer.model, read_lora(self.lora, self.transformer.model), "golden")
                self.lora_attached = True
            version, case = name.split("/")
            found |= {f"{name}/{key}": value for key, value in self._outputs(version, case).items()}
        for case, mask in MASKS.items():
            if f"jdi/{case}/video" in wanted or f"jdi/{case}/video_step3" in wanted:
                found |= self._masks(case, mask)
        return found

    def _outputs(self, version: str, case: str) -> Tensors:
        mask = MASKS.get(case, CrossMask.none) if version == "jdi" else CrossMask.none
        model = self._model(version, mask)
        if case == "loss":
            return self._loss(model)
        if case.startswith("f"):
            return self._sample(model, self._inputs("f_refaudio" if case == "f_refaudio" else "f"))
        if case.startswith("h_"):
            return _named(self._guided(model, case))
        inputs = self._inputs({"e_nomask": "e", "g": "e" if version == "jdi" else "bd"}.get(case, case))
        return _named(model(inputs))

    def _model(self, version: str, mask: CrossMask) -> JointTransformer:
        self.transformer.conventions = JointConventions(MODULATIONS[version], mask=mask)
        return self.transformer

    def _inputs(self, case: str) -> JointInputs:
        if case == "a":
            prompt = PromptStates(self.given["video_context_2"], self.given["audio_context_2"])
            levels = self.given["sigma_2"]
            return JointInputs(
                Modality((self._group("video_2", Role.target),), levels),
                Modality((self._group("audio_2", Role.target),), levels),
                prompt,
            )
        prompt = PromptStates(self.given["video_context"], self.given["audio_context"])
        level = torch.tensor([self.sigma])
        return JointInputs(Modality(self._video(case), level), Modality(self._audio(case), level), prompt)

    def _video(self, case: str) -> tuple[TokenGroup, ...]:
        target = self._group("video_start" if case[0] == "f" else "video_noisy", Role.target)
        if case in ("c", "d_negative", "d_same"):
            return (target,)
        reference = self._group("ref_video_ds2" if case == "b_ds2" else "ref_video_ds1", Role.reference)
        if case not in ("e_firstframe", "e_train"):
            return target, reference
        cut = self.first_frame
        clean = self._group("video_clean", Role.first_frame)
        parts = (
            TokenGroup(Role.first_frame, clean.tokens[:, :cut], clean.positions[:, :, :cut]),
            TokenGroup(Role.target, target.tokens[:, cut:], target.positions[:, :, cut:]),
        )
        return (reference, *parts) if case == "e_train" else (*parts, reference)

    def _audio(self, case: str) -> tuple[TokenGroup, ...]:
        if case == "c" or case[0] == "f":
            target = self._group("audio_clean", Role.frozen)
        else:
            target = self._group("audio_noisy", Role.target)
        if case in ("d_negative", "bd", "f_refaudio"):
            return target, self._group("ref_audio", Role.reference)
        if case[0] == "e" or case == "d_same":
            reference = self._group("ref_audio_same", Role.reference)
            return (reference, target) if case == "e_train" else (target, reference)
        return (target,)

    def _group(self, name: str, role: Role) -> TokenGroup:
        places = {
            "ref_video_ds1": "ref_video_positions_ds1",
            "ref_video_ds2": "ref_video_positions_ds2",
            "ref_audio": "ref_audio_negative_positions",
            "ref_audio_same": "ref_audio_same_positions",
        }
        place = places.get(name, f"{name.partition('_')[0]}_positions")
        return TokenGroup(role, self.given[name], self.positions[place])

    def _sample(self, model: JointTransformer, inputs: JointInputs) -> Tensors:
        steps: list[Tensor] = []
        sample_joint(model, inputs, self.sigmas, told=lambda now: steps.append(now.video.groups[0].tokens))
        return {f"video_step{number}": step for number, step in enumerate(steps, 1)}

    def _guided(self, model: JointTransformer, case: str) -> JointVelocity:
        negative = PromptStates(self.given["video_context_neg"], self.given["audio_context_neg"])
        branches = GUIDANCE.branches(model, self._inputs("b_ds1"), negative)
        if case == "h_guided_x0":
            return GUIDANCE.combine(branches)
        order = ("h_pos_x0", "h_neg_x0", "h_stg_x0", "h_iso_x0")
        branch = branches[order.index(case)]
        assert branch is not None
        return branch

    def _loss(self, model: JointTransformer) -> Tensors:
        inputs = self._inputs("e_train")
        velocity = model(inputs)
        losses: Tensors = {}
        for name, predicted, modality in (
            ("video", velocity.video, inputs.video),
            ("audio", velocity.audio, inputs.audio),
        ):
            count = self.given[f"{name}_clean"].shape[1]
            truth = self.given[f"{name}_noise"] - self.given[f"{name}_clean"]
            weights = torch.ones(1, count)
            if name == "video":
                known = torch.arange(count)[None] < self.first_frame
                weights = joint_weights(self.given["loss_face_mask"].flatten(1), known)
            assert modality.groups[0].role is Role.reference
            losses[name] = masked_velocity_loss(predicted[:, -count:], truth, weights).mean()
        return {**losses, "total": losses["video"] + losses["audio"]}

    def _masks(self, case: str, mask: CrossMask) -> Tensors:
        """Which token attends to which, as the folder writes it."""
        inputs = self._inputs(case)
        seeing, hearing = _chosen(inputs.video, mask), _chosen(inputs.audio, mask)
        return {
            f"{case}_mask_a2v": seeing[:, None] & hearing[None],
            f"{case}_mask_v2a": hearing[:, None] & seeing[None],
        }


def _chosen(modality: Modality, mask: CrossMask) -> Tensor:
    count = modality.tokens.shape[1]
    indices = modality.crossing(mask)
    chosen = torch.ones(count, dtype=torch.bool) if indices is None else torch.zeros(count, dtype=torch.bool)
    return chosen if indices is None else chosen.index_fill(0, indices, True)


def _named(velocity: JointVelocity) -> Tensors:
    return {"video": velocity.video, "audio": velocity.audio}
