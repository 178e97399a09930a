"""VGG-16's convolutions, the backbone of LPIPS "vgg" (Simonyan & Zisserman 2015, configuration D)."""

from __future__ import annotations

from torch import Tensor, nn

_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16(nn.Module):
    """Features at the end of each of the five stages, before its pooling.

    Names: ``features.N`` of torchvision's state dict.
    """

    channels = (64, 128, 256, 512, 512)

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width, self._ends = 3, []
        for stage in _STAGES:
            for channels in stage:
                layers += [nn.Conv2d(width, channels, 3, padding=1), nn.ReLU()]
                width = channels
            self._ends.append(len(layers) - 1)
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers[:-1])  # without the last pooling, which is not used

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """(B, 3, H, W), normalised -> five maps (B, C, h, w)."""
        maps = []
        for i, layer in enumerate(self.features):
            pictures = layer(pictures)
            if i in self._ends:
                maps.append(pictures)
        return maps
