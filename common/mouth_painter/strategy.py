"""Training of the painter: absolute errors, and a critic that tells painted mouths from filmed ones.

An error alone rewards the mean of what may be inside of a mouth, which is a brown blur; whose teeth they are
cannot be known from closed lips, but that they are teeth can. As of pix2pixHD (Wang et al. 2018, section 3.2)
the painter is also brought near to the critic's features of what was filmed. Both are trained in turn.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.data.dataset import ShardDataset
from common.data.labelled import labelling_step
from common.errors import UserError
from common.files import atomic_dir
from common.mouth_painter.config import PainterTrainingConfig
from common.mouth_painter.label import STEP
from common.mouth_painter.samples import CollateMouths, OpenMouths
from common.own_mouths.painting.model import MouthPainter
from common.own_mouths.painting.network import PatchCritic, load_painter
from common.own_mouths.painting.patch import PLANES
from common.training.losses import with_gradient
from common.training.record import short_name
from common.training.strategy import SampleLosses

PAINTER, CRITIC = "painter", "critic"
"""Names of submodules, and so of tensors in checkpoints."""

_NOISE = 0.02
"""Of the filmed patches in whose neighbourhood the critic is to be steady, 0 to 1."""
_RAMP = 100
"""Steps over which the critic's word comes to its full weight."""


class PaintingNetworks(nn.Module):
    """The painter and its critic in one module, for the trainer; calls name the network that is meant."""

    def __init__(self, painter: MouthPainter, critic: PatchCritic | None) -> None:
        super().__init__()
        self.painter = painter
        if critic is not None:
            self.critic = critic

    def forward(self, net: str, value: Tensor) -> Any:
        return getattr(self, net)(value)


class PainterStrategy:
    """The painter's training, for the trainer of the stages."""

    def __init__(self, config: PainterTrainingConfig, dataset: ShardDataset) -> None:
        """Raises UserError where the data are not open mouths."""
        self.config, self.dataset = config, dataset
        for index in dataset.indices:
            if labelling_step(index) != STEP:
                raise UserError(
                    f"'{index.folder}' holds no open mouths: name the shards of "
                    "`python -m common.mouth_painter.label` in data.shards."
                )

    def build_model(self) -> nn.Module:
        settings = self.config.painter
        critic = PatchCritic(3 + PLANES, settings.critic_widths) if settings.critic_weight else None
        painter = MouthPainter(settings.widths)
        if settings.init_from:
            start = load_painter(settings.init_from)
            if list(start.widths) != list(settings.widths):
                raise UserError(
                    f"painter.init_from: the painter in '{settings.init_from}' has the widths "
                    f"{list(start.widths)}, not {list(settings.widths)}: set painter.widths to these."
                )
            painter.load_state_dict(start.state_dict())
        self._networks = PaintingNetworks(painter, critic)
        return self._networks

    def is_packaged(self, name: str) -> bool:
        return name.startswith(f"{PAINTER}.")

    def trains_packaged(self, step: int) -> bool:
        """Every second step is the critic's, from when it begins."""
        settings = self.config.painter
        return not settings.critic_weight or step < settings.alone or step % 2 == 1

    def rate_at(self, step: int) -> float:
        return 1.0

    def collate(self) -> CollateMouths:
        return CollateMouths(self.config.train.seed, self.config.painter.told_fine)

    def prepare(self, micro: OpenMouths, device: torch.device) -> OpenMouths:
        return micro.to(device)

    def loss(self, model: nn.Module, inputs: OpenMouths) -> SampleLosses:
        losses = self._painter_loss if self.trains_packaged(inputs.step) else self._critic_loss
        loss, parts = losses(model, inputs)
        # There is no noise level here: all samples fall into one bucket.
        return SampleLosses(loss, torch.zeros(len(loss), device=loss.device), parts)

    def identity(self) -> dict[str, Any]:
        data = [index.meta for index in self.dataset.indices]
        painter = asdict(self.config.painter)
        if start := painter.pop("init_from"):
            painter["init_from"] = short_name(start)
        return {"stage": "painter", "painter": painter, "data": data}

    def save_package(self, model: nn.Module, folder: Any) -> None:
        """The painter alone, in half precision."""
        assert isinstance(model, PaintingNetworks)
        painter = MouthPainter(self.config.painter.widths)
        painter.load_state_dict(model.painter.state_dict())
        with atomic_dir(folder) as temporary:
            painter.half().save_pretrained(temporary)

    def _painter_loss(self, model: nn.Module, inputs: OpenMouths) -> tuple[Tensor, dict[str, Tensor]]:
        settings, mask, filmed = self.config.painter, inputs.mask, inputs.filmed
        made = torch.lerp(filmed, model(PAINTER, inputs.planes).float(), mask)
        pixels = _mean((made - filmed).abs(), mask)
        edges = sum(
            (made.diff(dim=axis) - filmed.diff(dim=axis)).abs().sum(dim=(1, 2, 3)) for axis in (2, 3)
        ) / (made.shape[1] * mask.sum(dim=(1, 2, 3)))
        loss = settings.pixel_weight * (pixels + 0.5 * edges)
        parts = {"l1": pixels.detach()}
        if settings.critic_weight and inputs.step >= settings.alone:
            told, gradient = self._told(made, inputs)
            weight = min(1.0, (inputs.step - settings.alone + 1) / _RAMP)
            loss = loss + weight * with_gradient(told, made, gradient)
            parts["told"] = told
        return loss, parts

    def _told(self, made: Tensor, inputs: OpenMouths) -> tuple[Tensor, Tensor]:
        """(B,) what the critic says, and its derivative by ``made``; the critic itself has no gradient."""
        settings = self.config.painter
        with torch.enable_grad():
            sample = made.detach().requires_grad_()
            both = torch.cat([self._seen(sample, inputs), self._seen(inputs.filmed, inputs)])
            # Past the wrapper of a training in many processes, which takes what a step calls last for all
            # that it learns: in the painter's step that is the painter.
            logits, features = self._networks(CRITIC, both)
            painted, _ = logits.float().chunk(2)
            told = settings.critic_weight * _mean_of(functional.softplus(-painted), inputs.mask)
            for layer in features:
                here, there = layer.float().chunk(2)
                distance = _mean_of((here - there.detach()).abs().mean(dim=1), inputs.mask)
                told = told + settings.feature_weight * distance
            (gradient,) = torch.autograd.grad(told.sum(), sample)
        return told.detach(), gradient

    def _critic_loss(self, model: nn.Module, inputs: OpenMouths) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            made = torch.lerp(inputs.filmed, model(PAINTER, inputs.planes).float(), inputs.mask)
        noise = torch.stack(
            [
                torch.randn(inputs.filmed.shape[1:], generator=draw.generator(self.config.train.seed, "near"))
                for draw in inputs.draws
            ]
        ).to(made)
        near = inputs.filmed + _NOISE * noise * inputs.mask
        seen = torch.cat([self._seen(picture, inputs) for picture in (inputs.filmed, made, near)])
        logits, _ = model(CRITIC, seen)
        true, painted, moved = logits.float().chunk(3)
        steady = self.config.painter.steadiness * (true - moved).square()
        each = functional.softplus(-true) + functional.softplus(painted) + steady
        right = 0.5 * ((true > 0).float() + (painted < 0).float())
        return _mean_of(each, inputs.mask), {"critic_right": _mean_of(right, inputs.mask).detach()}

    def _seen(self, picture: Tensor, inputs: OpenMouths) -> Tensor:
        """What the critic sees: a patch and all that is known of it."""
        colours, others = inputs.planes[:, :3], inputs.planes[:, 3:]
        return torch.cat([4 * (picture - 0.5), 4 * (colours - 0.5), others], dim=1)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """(B,) means of (B, C, H, W) over the mask (B, 1, H, W)."""
    return (values * mask).sum(dim=(1, 2, 3)) / (values.shape[1] * mask.sum(dim=(1, 2, 3)).clamp_min(1))


def _mean_of(values: Tensor, mask: Tensor) -> Tensor:
    """(B,) means of (B, h, w) over the mask (B, 1, H, W), in whatever steps the values are."""
    weight = functional.interpolate(mask, values.shape[1:], mode="area")[:, 0]
    return (values * weight).sum(dim=(1, 2)) / weight.sum(dim=(1, 2)).clamp_min(1e-3)
