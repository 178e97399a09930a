"""LoRA adapters that act in a range of noise levels only (P; docs/notation.md §5, §6).

A file is in the format of diffusers' ``save_lora_adapter``, with one more metadata entry: where it acts.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from common.errors import UserError
from common.files import atomic_path
from common.models.package_info import Adapter
from common.models.step_cache import forget_steps
from common.models.transformer import DubbingTransformer

METADATA_KEY = "bootdub_adapter"


def add_adapter(
    model: DubbingTransformer, name: str, rank: int, alpha: float, targets: Sequence[str]
) -> None:
    """Give ``model`` a fresh, trainable adapter and freeze everything else.

    ``targets`` are endings of module names, such as "self_attn.to_q" or "ffn.net.2". Raises UserError where
    one of them names no linear layer.
    """
    names = [name for name, _ in model.named_modules()]
    for target in targets:
        if not any(name.endswith(f".{target}") for name in names):
            raise UserError(
                f"phase.lora_targets: no layer of the model is called {target!r}; correct the name."
            )
    model.requires_grad_(False)
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets))  # type: ignore[arg-type]
    with _several():
        model.add_adapter(config, adapter_name=name)


def save_adapter(model: DubbingTransformer, adapter: Adapter, path: Path) -> None:
    """Write one adapter of ``model`` to a safetensors file, whole or not at all."""
    tensors = get_peft_model_state_dict(model, adapter_name=adapter.name)
    config = {
        k: list(v) if isinstance(v, set) else v for k, v in model.peft_config[adapter.name].to_dict().items()
    }
    metadata = {
        "format": "pt",
        LORA_ADAPTER_METADATA_KEY: json.dumps(config, sort_keys=True),
        METADATA_KEY: json.dumps({"name": adapter.name, "active_range": adapter.active_range}),
    }
    with atomic_path(path) as temporary:
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, temporary, metadata)


def load_adapter(model: DubbingTransformer, path: Path) -> Adapter:
    """Attach the adapter in ``path`` to ``model``. Raises UserError where the file does not fit the model."""
    try:
        with safe_open(path, "pt") as file:
            described = (file.metadata() or {}).get(METADATA_KEY)
            shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: not readable as a safetensors file ({error}); make it again.") from error
    if described is None:
        raise UserError(f"{path}: no adapter of this program (no {METADATA_KEY} entry); choose another file.")
    fields = json.loads(described)
    adapter = Adapter(fields["name"], (fields["active_range"][0], fields["active_range"][1]))
    modules = dict(model.named_modules())
    for key, shape in shapes.items():
        name, _, side = key.partition(".lora_")
        layer = modules.get(name)
        features = getattr(layer, "in_features" if side.startswith("A") else "out_features", None)
        if features != shape[1 if side.startswith("A") else 0]:
            raise UserError(
                f"{path}: the adapter's {key} fits no layer of this model; it was made for another one."
            )
    with _several():
        model.load_lora_adapter(
            str(path.parent),
            weight_name=path.name,
            prefix=None,
            adapter_name=adapter.name,
            local_files_only=True,
        )
    return adapter


@contextmanager
def _several() -> Iterator[None]:
    """Several adapters on one model are meant here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")
        yield


class AdapterSwitch:
    """Sampler hook: turns on the adapters whose range holds sigma, and only those."""

    def __init__(self, model: DubbingTransformer, adapters: Sequence[Adapter]) -> None:
        self.model, self.adapters = model, tuple(adapters)
        self._active: list[str] | None = None

    def __call__(self, sigma: float) -> None:
        active = [adapter.name for adapter in self.adapters if adapter.acts_at(sigma)]
        if not self.adapters or active == self._active:
            return
        self._active = active
        forget_steps(self.model)  # those were made with other weights
        if active:
            self.model.enable_adapters()
            self.model.set_adapter(active)
        else:
            self.model.disable_adapters()
