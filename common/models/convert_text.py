"""The empty prompt's states from the umt5 text encoder (R; docs/notation.md §2), never held in memory whole.

The encoder has 5.7 billion parameters and is needed once: its blocks are read, applied and dropped in turn.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import AutoTokenizer, UMT5Config
from transformers.models.umt5.modeling_umt5 import UMT5Block, UMT5LayerNorm

from common.errors import UserError
from common.models.stored import Shaped, StoredTensor
from common.models.tensor_names import check_tensors

CONTEXT_TOKENS = 512
"""Length of the context; zeros follow the prompt's own tokens (R)."""

# Within a block: (name in the original Wan file, name in transformers).
_BLOCK = {
    "norm1": "layer.0.layer_norm",
    "attn.q": "layer.0.SelfAttention.q",
    "attn.k": "layer.0.SelfAttention.k",
    "attn.v": "layer.0.SelfAttention.v",
    "attn.o": "layer.0.SelfAttention.o",
    "pos_embedding.embedding": "layer.0.SelfAttention.relative_attention_bias",
    "norm2": "layer.1.layer_norm",
    "ffn.gate.0": "layer.1.DenseReluDense.wi_0",
    "ffn.fc1": "layer.1.DenseReluDense.wi_1",
    "ffn.fc2": "layer.1.DenseReluDense.wo",
}
_OUTER = {"token_embedding.weight": "shared.weight", "norm.weight": "encoder.final_layer_norm.weight"}
_TIED = "encoder.embed_tokens.weight"  # in files of transformers a second name of shared.weight


def to_transformers_name(name: str) -> str:
    """Name in transformers' UMT5EncoderModel of a tensor of the original; others come back unchanged."""
    if name in _OUTER:
        return _OUTER[name]
    if (match := re.fullmatch(r"blocks\.(\d+)\.(.+)\.weight", name)) and match[2] in _BLOCK:
        return f"encoder.block.{match[1]}.{_BLOCK[match[2]]}.weight"
    return name


def map_text_encoder(
    state: Mapping[str, Shaped], source: str = "The text encoder"
) -> tuple[UMT5Config, dict[str, str]]:
    """(configuration, name in ``state`` by transformers' name) of an encoder in either naming.

    Looks at shapes only. Raises UserError that names the first tensor that is missing, foreign or misshapen.
    """
    names = {to_transformers_name(name): name for name in state}
    if _TIED in names:
        names.setdefault("shared.weight", names[_TIED])
        del names[_TIED]
    first = "encoder.block.0.layer."
    needed = [
        "shared.weight",
        f"{first}0.SelfAttention.q.weight",
        f"{first}0.SelfAttention.relative_attention_bias.weight",
        f"{first}1.DenseReluDense.wi_0.weight",
    ]
    for name in needed:
        if name not in names or len(state[names[name]].shape) != 2 or 0 in state[names[name]].shape:
            raise UserError(f"{source} lacks the tensor {name} of a umt5 encoder; choose another file.")
    embedding, query, bias, inner = (state[names[name]].shape for name in needed)
    layers = [int(match[1]) for name in names if (match := re.match(r"encoder\.block\.(\d+)\.", name))]
    config = UMT5Config(  # type: ignore[call-arg]  # attn_implementation is for every configuration
        vocab_size=embedding[0],
        d_model=embedding[1],
        d_kv=query[0] // bias[1],
        d_ff=inner[0],
        num_layers=max(layers) + 1,
        num_heads=bias[1],
        relative_attention_num_buckets=bias[0],
        is_encoder_decoder=False,
        use_cache=False,
        attn_implementation="eager",
    )
    expected = {
        "shared.weight": embedding,
        "encoder.final_layer_norm.weight": torch.Size(embedding[1:]),
        **{
            f"encoder.block.{number}.{name}": tensor.shape
            for number in range(config.num_layers)
            for name, tensor in _block(config, 0).state_dict().items()
        },
    }
    check_tensors(
        state,
        names,
        expected,
        source,
        lacks=" of a umt5 encoder; it is incomplete.",
        foreign="it is no umt5 encoder.",
        misshapen=("", "the file contradicts its own geometry."),
    )
    return config, names


def prompt_tokens(tokenizer: Path, prompt: str = "") -> list[int]:
    """The tokens of ``prompt`` with the end mark, by the tokenizer in a folder.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    # transformers makes an empty tokenizer where there is neither.
    if not any((tokenizer / name).is_file() for name in ("tokenizer.json", "spiece.model")):
        raise UserError(
            f"{tokenizer}: no tokenizer there (neither tokenizer.json nor spiece.model); fetch the folder "
            "that belongs to the text encoder."
        )
    try:
        tokens = AutoTokenizer.from_pretrained(str(tokenizer), local_files_only=True)(prompt)["input_ids"]
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{tokenizer}: the tokenizer cannot be read ({reason}); fetch it again.") from error
    if not 0 < len(tokens) <= CONTEXT_TOKENS:
        raise UserError(
            f"{tokenizer}: gives {len(tokens)} tokens for the prompt, expected 1 to {CONTEXT_TOKENS}; "
            "fetch the tokenizer of umt5."
        )
    return [int(token) for token in tokens]


@torch.no_grad()
def prompt_context(state: Mapping[str, StoredTensor], tokens: list[int], source: str) -> torch.Tensor:
    """The states of a prompt: (1, 512, text_dim) float32, zeros after its own tokens.

    Padding is masked in the encoder, so that only the prompt's own tokens need to pass through it. One block
    is in memory at a time, computed in float32 from what the file stores.

    Raises:
        UserError: the file does not fit, as in :func:`map_text_encoder`; a token is outside its vocabulary;
            or its weights lead to values that are no numbers.
    """
    config, names = map_text_encoder(state, source)
    if max(tokens) >= config.vocab_size:
        raise UserError(
            f"{source}: has {config.vocab_size} words, but its tokenizer gives number {max(tokens)}; they do "
            "not belong together."
        )
    table = state[names["shared.weight"]]
    hidden = torch.cat([table.rows(token, token + 1) for token in tokens]).float()[None]
    for number in range(config.num_layers):
        prefix = f"encoder.block.{number}."
        block = _block(config, number)
        own = {name: state[names[prefix + name]].load().float() for name in block.state_dict()}
        block.load_state_dict(own, assign=True)
        hidden = block.eval()(hidden)
    norm = UMT5LayerNorm(config.d_model, eps=config.layer_norm_epsilon)
    norm.weight.copy_(state[names["encoder.final_layer_norm.weight"]].load().float())
    hidden = norm(hidden)
    if not hidden.isfinite().all():
        raise UserError(f"{source}: gives no numbers (NaN or infinity) for the prompt; fetch it again.")
    return torch.nn.functional.pad(hidden, (0, 0, 0, CONTEXT_TOKENS - len(tokens)))


def _block(config: UMT5Config, number: int) -> UMT5Block:
    with torch.device("meta"):
        return UMT5Block(config, layer_idx=number)
