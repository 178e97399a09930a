"""Models on disk: the public key format, packages, adapters."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from model_toys import called, tiny_codec, tiny_inputs, tiny_transformer
from safetensors.torch import load_file, save_file

from common.diffusion.config import DiffusionConfig
from common.errors import UserError
from common.files import read_json, write_json
from common.geometry import GeometryConfig
from common.models.adapters import Adapter, AdapterSwitch, add_adapter, load_adapter, save_adapter
from common.models.convert import from_public_state_dict, to_public_state_dict
from common.models.package import load_package, save_package
from common.models.package_info import PackageInfo, read_info
from common.models.transformer import DubbingTransformer
from common.speech.config import SpeechConfig


def info(**changes: object) -> PackageInfo:
    base = PackageInfo(
        stage=2,
        phase="structure",
        geometry=GeometryConfig(crop_size=32, clip_frames=9, motion_latents=1),
        speech=SpeechConfig(encoder="mel", channels=6),
        diffusion=DiffusionConfig(num_steps=3),
        speech_fingerprint="abc",
        training={"steps": 7},
    )
    return replace(base, **changes)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------ public key format


@pytest.mark.parametrize("text_tokens", [0, 512])
def test_public_format_round_trip(text_tokens: int) -> None:
    model = tiny_transformer(text_tokens=text_tokens)
    public = to_public_state_dict(model.state_dict())
    assert "blocks.1.audio_attn.o.weight" in public
    assert "time_projection.1.bias" in public
    assert "blocks.0.ffn.2.weight" in public
    assert ("text_embedding.2.weight" in public) == (text_tokens > 0)
    config, state = from_public_state_dict(public, num_heads=2, audio_heads=2)
    again = DubbingTransformer(**config)
    again.load_state_dict(state)
    inputs = tiny_inputs()
    if text_tokens:
        inputs["text"] = torch.randn(1, 4, 10)
    with torch.no_grad():
        assert torch.equal(model(**called(inputs)), again(**called(inputs)))


def test_geometry_is_read_off_the_tensors_with_the_channels_of_stage_one() -> None:
    model = tiny_transformer(condition_channels=3, num_layers=3)
    config, _ = from_public_state_dict(to_public_state_dict(model.state_dict()), num_heads=2, audio_heads=2)
    for name in (
        "dim",
        "num_layers",
        "ffn_dim",
        "freq_dim",
        "latent_channels",
        "condition_channels",
        "audio_dim",
    ):
        assert config[name] == model.config[name]


def test_a_wrong_tensor_is_named() -> None:
    public = to_public_state_dict(tiny_transformer().state_dict())
    missing = {k: v for k, v in public.items() if k != "blocks.1.self_attn.q.bias"}
    with pytest.raises(UserError, match=r"model\.st lacks the tensor blocks\.1\.self_attn\.q\.bias"):
        from_public_state_dict(missing, num_heads=2, audio_heads=2, source="model.st")
    with pytest.raises(UserError, match=r"foreign tensor vae\.conv"):
        from_public_state_dict(public | {"vae.conv": torch.zeros(1)}, num_heads=2, audio_heads=2)
    misshapen = public | {"blocks.0.norm4.weight": torch.zeros(7)}
    with pytest.raises(UserError, match=r"norm4\.weight is \(7,\)"):
        from_public_state_dict(misshapen, num_heads=2, audio_heads=2)
    with pytest.raises(UserError, match=r"patch_embedding\.weight"):
        from_public_state_dict({"conv.weight": torch.zeros(1)})


# --------------------------------------------------------------------------------------------------- packages


def test_package_round_trip(tmp_path: Path) -> None:
    model, codec = tiny_transformer(text_tokens=4), tiny_codec()
    context = torch.randn(1, 4, 10)
    save_package(tmp_path / "m", info(), model, codec, context)
    package = load_package(tmp_path / "m", stage=2)
    assert package.info == replace(info(), vae_fingerprint=codec.fingerprint)
    assert read_info(tmp_path / "m") == package.info
    assert package.context is not None
    assert torch.equal(package.context, context)
    inputs = tiny_inputs() | {"text": context}
    with torch.no_grad():
        assert torch.equal(package.transformer(**called(inputs)), model(**called(inputs)))
    assert not package.transformer.training
    assert not any(p.requires_grad for p in package.transformer.parameters())
    assert package.codec.fingerprint == codec.fingerprint


def test_package_holds_given_weights_and_narrow_types(tmp_path: Path) -> None:
    model, codec = tiny_transformer(), tiny_codec()
    average = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    save_package(tmp_path / "m", info(), model, codec, weights=average, dtype=torch.bfloat16)
    stored = load_file(tmp_path / "m" / "transformer" / "diffusion_pytorch_model.safetensors")
    assert stored["blocks.0.self_attn.to_q.weight"].dtype == torch.bfloat16
    assert stored["time_projection.weight"].dtype == torch.float32  # timesteps need the precision
    torch.testing.assert_close(stored["time_projection.weight"], average["time_projection.weight"])
    package = load_package(tmp_path / "m", dtype=torch.bfloat16)
    assert package.transformer.blocks[0].self_attn.to_q.weight.dtype == torch.bfloat16
    assert package.transformer.time_projection.weight.dtype == torch.float32
    assert model.blocks[0].self_attn.to_q.weight.dtype == codec.dtype == torch.float32


def test_packages_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    save_package(folder, info(), tiny_transformer(), tiny_codec())
    with pytest.raises(UserError, match="stage 2"):
        load_package(folder, stage=1)
    package = load_package(folder)
    package.require_speech("mel", "abc")
    with pytest.raises(UserError, match="whisper"):
        package.require_speech("whisper+wav2vec2", "abc")
    with pytest.raises(UserError, match="xyz"):
        package.require_speech("mel", "xyz")
    with pytest.raises(UserError, match="no model package"):
        load_package(tmp_path)

    content = read_json(folder / "bootdub.json")
    changes = [
        ({"format": 99}, "format 99"),
        ({"speech": content["speech"] | {"channels": 7}}, "speech channels"),
        ({"geometry": content["geometry"] | {"crop_size": 40}}, "40 pixels"),
        ({"vae_fingerprint": "0"}, "autoencoder"),
        ({"geometry": {"nonsense": 1}}, "damaged"),
    ]
    for change, message in changes:
        write_json(folder / "bootdub.json", content | change)
        with pytest.raises(UserError, match=message):
            load_package(folder)
    write_json(folder / "bootdub.json", {k: v for k, v in content.items() if k != "phase"})
    with pytest.raises(UserError, match="damaged"):
        load_package(folder)


@pytest.mark.parametrize("damage", ["lacks", "foreign", "truncated", "absent", "other geometry"])
def test_a_damaged_transformer_is_refused(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "m"
    save_package(folder, info(), tiny_transformer(), tiny_codec())
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    if damage == "lacks":
        state.pop("blocks.0.norm4.weight")
    elif damage == "foreign":
        state["stranger"] = torch.zeros(1)
    elif damage == "other geometry":
        state["head.head.weight"] = torch.zeros(3, 3)
    save_file(state, file, metadata={"format": "pt"})
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:1000])
    elif damage == "absent":
        file.unlink()
    with pytest.raises(UserError):
        load_package(folder)


# --------------------------------------------------------------------------------------------------- adapters


def with_adapter(name: str, seed: int) -> DubbingTransformer:
    model = tiny_transformer()
    add_adapter(model, name, rank=2, alpha=2, targets=["self_attn.to_q", "audio_attn.to_out.0", "ffn.net.2"])
    torch.manual_seed(seed)
    for key, parameter in model.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(parameter)
    return model


def test_only_the_adapter_is_trained() -> None:
    model = with_adapter("lip", 1)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all(".lora_" in name for name in trained)
    with pytest.raises(UserError, match="nonsense"):
        add_adapter(tiny_transformer(), "lip", 2, 2, ["nonsense"])


def test_adapters_come_back_with_their_range_and_act_only_there(tmp_path: Path) -> None:
    inputs = tiny_inputs()
    plain = tiny_transformer()
    outputs = {}
    for seed, (name, span) in enumerate({"lip": (0.4, 0.8), "texture": (0.0, 0.5)}.items()):
        model = with_adapter(name, seed)
        save_adapter(model, Adapter(name, span), tmp_path / f"{name}.safetensors")
        with torch.no_grad():
            outputs[name] = model(**called(inputs))
    model = tiny_transformer()
    adapters = [load_adapter(model, tmp_path / f"{name}.safetensors") for name in ("lip", "texture")]
    assert adapters == [Adapter("lip", (0.4, 0.8)), Adapter("texture", (0.0, 0.5))]
    switch = AdapterSwitch(model, adapters)
    with torch.no_grad():
        outputs["none"] = plain(**called(inputs))
        for t, expected in [(1.0, "none"), (0.8, "lip"), (0.6, "lip"), (0.2, "texture"), (0.9, "none")]:
            switch(t)
            torch.testing.assert_close(model(**called(inputs)), outputs[expected])
        switch(0.45)  # both
        both = model(**called(inputs))
    assert not any(torch.allclose(both, output) for output in outputs.values())


def test_package_carries_adapters_and_the_bare_weights(tmp_path: Path) -> None:
    model, codec = with_adapter("lip", 1), tiny_codec()
    lip = Adapter("lip", (0.4, 0.8))
    save_package(tmp_path / "m", info(phase="lip", adapters=(lip,)), model, codec)
    stored = load_file(tmp_path / "m" / "transformer" / "diffusion_pytorch_model.safetensors")
    assert stored.keys() == tiny_transformer().state_dict().keys()
    package = load_package(tmp_path / "m")
    assert package.info.adapters == (lip,)
    switch, inputs = package.adapter_switch(), tiny_inputs()
    with torch.no_grad():
        switch(0.5)
        torch.testing.assert_close(package.transformer(**called(inputs)), model(**called(inputs)))
        switch(0.9)
        torch.testing.assert_close(
            package.transformer(**called(inputs)), tiny_transformer()(**called(inputs))
        )


def test_files_that_are_no_adapter_of_this_model_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "lip.safetensors"
    save_adapter(with_adapter("lip", 1), Adapter("lip"), file)
    with pytest.raises(UserError, match="fits no layer"):
        load_adapter(tiny_transformer(dim=48), file)
    with pytest.raises(UserError, match="absent"):
        load_adapter(tiny_transformer(), tmp_path / "absent.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="no adapter"):
        load_adapter(tiny_transformer(), tmp_path / "other.safetensors")
