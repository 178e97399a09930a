"""AlexNet's convolutions, the backbone of LPIPS "alex" (Krizhevsky 2014, one weird trick)."""

from __future__ import annotations

from torch import Tensor, nn


class AlexNet(nn.Module):
    """Features after each of the five ReLUs. Names: ``features.N`` of torchvision's state dict."""

    channels = (64, 192, 384, 256, 256)
    _relus = (1, 4, 7, 9, 11)

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
        )

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """(B, 3, H, W), normalised -> five maps (B, C, h, w)."""
        maps = []
        for i, layer in enumerate(self.features):
            pictures = layer(pictures)
            if i in self._relus:
                maps.append(pictures)
        return maps
