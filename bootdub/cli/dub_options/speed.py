"""The options of ``bootdub dub`` that trade pictures or memory for time, and the section they amount to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from bootdub.cli.dub_options.panel import option_in

if TYPE_CHECKING:
    from common.models.speed import SpeedConfig

_option = option_in("Speed and memory (docs/speed.md)")


FilesOption = Annotated[
    list[Path] | None,
    _option("--speed", help="YAML file with a section 'speed:'; later files and the options below win."),
]
BranchesOption = Annotated[
    str | None,
    _option(
        help="Guidance branches: batched (faster where the GPU is not full), sequential (least memory), "
        "or auto, which looks at the free memory."
    ),
]
IntervalOption = Annotated[
    str | None,
    _option(metavar="FROM,TO", help="Guide only for noise levels in this range, such as 0.2,0.95."),
]
CacheOption = Annotated[
    str | None,
    _option(help="Take over parts of earlier steps: none, first-block, taylorseer or taylorseer-lite."),
]
ThresholdOption = Annotated[
    float | None, _option(help="first-block: greater skips more steps and costs more (0.05).")
]
CacheIntervalOption = Annotated[
    int | None, _option(help="taylorseer: every so many steps are computed in full (3).")
]
ShortWindowsOption = Annotated[
    bool | None,
    _option(
        "--short-windows/--full-windows",
        help="Windows as short as the clip allows, where the package's are always full.",
    ),
]
CompileOption = Annotated[bool | None, _option("--compile/--no-compile", help="torch.compile the blocks.")]
AttentionOption = Annotated[
    str | None, _option(help="Attention kernel: native, xformers, flash or sage (GPU only but for native).")
]
QuantizationOption = Annotated[
    str | None,
    _option(help="8-bit weights: int8, fp8 (memory); int8-dynamic, fp8-dynamic (time, too). Needs torchao."),
]
OffloadOption = Annotated[
    bool | None,
    _option("--offload/--no-offload", help="Keep the blocks in main memory, on the GPU in turn."),
]


def read_speed(
    files: list[Path] | None, preset: Mapping[str, Any] | None = None, **options: Any
) -> SpeedConfig:
    """The ``speed`` section of ``files`` with the given options on top; None: not given.

    ``preset``: fields in whose place both stand.

    Raises:
        UserError: a file cannot be read, a key is unknown, or a value makes no sense.
    """
    from common.config import load_config
    from stage2_dubber.dub.config import DubConfig

    given = {name: value for name, value in options.items() if value is not None}
    if "guidance_interval" in given:
        given["guidance_interval"] = f"[{given['guidance_interval']}]"
    words = [f"speed.{name}={value}" for name, value in given.items()]
    return load_config(DubConfig, files or (), words, {"speed": dict(preset or {})}).speed
