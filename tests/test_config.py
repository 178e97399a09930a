"""Typed configurations: layers, overrides, and refusals that name the key and the file."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.autoencoder.config import AutoencoderRunConfig
from common.config import load_config, to_yaml
from common.config_arguments import add_config_arguments, parse_config_arguments
from common.data.writer import ShardWriter
from common.errors import UserError
from common.face.config import FaceConfig
from common.geometry import GeometryConfig
from common.lip_shapes.config import LipLabelingConfig, LipTrainingConfig
from common.mouth_painter.config import PainterTrainingConfig
from common.phonetics.config import PhoneticLabelingConfig, PhoneticTrainingConfig
from common.sync_expert.config import SyncTrainingConfig
from common.training.describe import describe
from stage1_generator.config import Stage1Config
from stage2_dubber.config import Stage2Config
from stage2_dubber.distillation.config import StudentConfig
from stage2_dubber.joint.config import JointTrainingConfig

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


@dataclass
class Root(Stage2Config):
    face: FaceConfig = field(default_factory=FaceConfig)


@pytest.fixture
def layer(tmp_path):
    def write(text: str, name: str = "layer.yaml") -> Path:
        file = tmp_path / name
        file.write_text(text)
        return file

    return write


def test_later_layers_win_and_overrides_last(layer):
    first = layer("train: {seed: 1, max_steps: 10, learning_rate: 1e-4}", "a.yaml")
    second = layer("train: {seed: 2}\nface: {options: {box: [1, 2, 3, 4]}}", "b.yaml")
    config = load_config(Root, [first, second], ["train.max_steps=7", "data.shards=[x,y]"])
    assert (config.train.seed, config.train.max_steps, config.train.learning_rate) == (2, 7, 1e-4)
    assert config.data.shards == ["x", "y"] and config.face.options == {"box": [1, 2, 3, 4]}
    assert config.train.grad_clip == 1.0


def test_yaml_truth_words_are_words_where_a_word_is_wanted():
    config = load_config(Root, overrides=["train.init_from=no", "train.output=on"])
    assert (config.train.init_from, config.train.output) == ("no", "on")
    assert load_config(Root, overrides=["train.keep_adapters=no"]).train.keep_adapters is False


def test_words_in_files_are_read_as_on_the_command_line(layer):
    text = "train: {sample_expert: no, output: Off, init_from: on, keep_adapters: no}\nphase: {name: lip}"
    train = load_config(Root, [layer(text)]).train
    assert (train.sample_expert, train.output, train.init_from) == ("no", "Off", "on")
    assert train.keep_adapters is False
    # Values whose type nobody knows stay what YAML says.
    assert load_config(Root, [layer("face: {options: {flip: no}}")]).face.options == {"flip": False}
    with pytest.raises(UserError, match="mixed_precision is 'yes'"):
        load_config(Root, [layer("train: {mixed_precision: yes}")])


@settings(max_examples=6, deadline=None)
@given(
    word=st.sampled_from(["yes", "No", "ON", "off", "True", "false"]), quote=st.sampled_from(["", "'", '"'])
)
def test_a_file_and_the_command_line_agree(tmp_path_factory, word, quote):
    file = tmp_path_factory.mktemp("config") / "word.yaml"
    file.write_text(f"vae: {{path: {quote}{word}{quote}}}")
    config = load_config(Root, [file])
    assert config.vae.path == word and config == load_config(Root, [], [f"vae.path={word}"])


def test_here_is_the_folder_of_the_file(layer, tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    text = 'vae: {path: "${here:../models/x}"}\ntrain: {seed: 3, output: "${vae.path}/${train.seed}"}'
    first = layer(text, "sub/a.yaml")
    second = layer('data: {shards: ["${here:.}/pairs", plain]}', "b.yaml")
    monkeypatch.chdir(tmp_path / "sub")
    config = load_config(Root, ["a.yaml", second])
    assert config.vae.path == str(tmp_path / "models" / "x")
    assert config.train.output == str(tmp_path / "models" / "x" / "3")
    assert config.data.shards == [str(tmp_path / "pairs"), "plain"]
    assert load_config(Root, [first]).vae.path == config.vae.path


def test_here_has_no_meaning_on_the_command_line():
    with pytest.raises(UserError, match="here"):
        load_config(Root, [], ["vae.path=${here:x}"])


def test_the_tiny_autoencoder_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (Path(load_config(Root, [CONFIGS / "tiny.yaml"]).vae.path) / "config.json").is_file()


def test_defaults_are_the_public_geometry():
    public = load_config(Root, [CONFIGS / "wan5b.yaml"])
    assert public.model.gradient_checkpointing  # how it is trained, no part of the geometry
    assert public == load_config(Root, [], ["model.gradient_checkpointing=true"])


def test_tiny_agrees_with_itself():
    config = load_config(Root, [CONFIGS / "tiny.yaml"])
    assert config.geometry.clip_frames == 25 and config.speech.encoder == "mel"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train: {lerning_rate: 1}", ["train.lerning_rate", "train.learning_rate"]),
        ("trian: {seed: 1}", ["unknown key trian", "valid key is train"]),
        ("learning_rate: 1", ["unknown key learning_rate", "train.learning_rate"]),
        ("model: {crop_size: 96}", ["model.crop_size", "geometry.crop_size"]),
        ("train: {seed: soon}", ["train.seed", "'soon'"]),
        ("model: {patch_size: [1, 2, x]}", ["model.patch_size", "'x'"]),
        ("train: 3", ["train must hold keys"]),
        ("- 1", ["mapping of sections"]),
        ("train: [", ["not readable"]),
    ],
)
def test_bad_files_are_refused_in_one_line(layer, text, words):
    file = layer(text)
    with pytest.raises(UserError) as error:
        load_config(Root, [file])
    message = str(error.value)
    assert message.startswith(f"{file}: ") and "\n" not in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.sede=1", ["the command line", "train.seed"]),
        ("train.seed=x", ["the command line", "train.seed"]),
        ("train.seed", ["key=value"]),
        ("speech.channels=80", ["model.audio_channels is 2048", "speech.channels is 80"]),
        ("vae.z_dim=16", ["model.latent_channels is 48"]),
        ("geometry.clip_frames=24", ["geometry.clip_frames", "multiple of 4"]),
        ("geometry.crop_size=500", ["geometry.crop_size is 500"]),
        ("geometry.motion_latents=20", ["geometry.motion_latents"]),
        ("model.num_heads=7", ["model.dim is 3072", "model.num_heads"]),
        ("train.micro_batch_size=3", ["train.global_batch_size"]),
        ("train.context_parallel=0", ["train.context_parallel"]),
        ("train.context_parallel=5", ["model.num_heads is 24", "train.context_parallel (5)"]),
        ("train.context_parallel=24", ["20 latent frames"]),
        ("train.mixed_precision=fp16", ["auto, float32, bfloat16"]),
        ("train.mixed_precision=bf16", ["which is called bfloat16 now"]),
        ("train.mixed_precision=no", ["which is called float32 now"]),
        ("phase.active_range=[0.5,0.2]", ["phase.active_range"]),
        ("data.weights=[1]", ["data.weights"]),
        ("train.output=${nothing.here}", ["cannot be resolved"]),
    ],
)
def test_bad_values_are_refused_in_one_line(override, words):
    with pytest.raises(UserError) as error:
        load_config(Root, [], [override])
    message = str(error.value)
    assert all(word in message for word in words) and "\n" not in message, message


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.yaml: no such configuration file"):
        load_config(Root, [tmp_path / "nowhere.yaml"])


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    rate=st.floats(1e-8, 1.0),
    frames=st.integers(3, 40),
    shards=st.lists(st.text("ab/ _-.'#:é", min_size=1, max_size=8), max_size=3),
)
def test_yaml_round_trip(tmp_path_factory, seed, rate, frames, shards):
    config = load_config(Root)
    config.train.seed, config.train.learning_rate = seed, rate
    config.geometry.clip_frames, config.data.shards = 4 * frames + 1, shards
    file = tmp_path_factory.mktemp("config") / "all.yaml"
    file.write_text(to_yaml(config), encoding="utf-8")
    assert load_config(Root, [file]) == config


@pytest.mark.parametrize(
    "line",
    [
        "--config a.yaml b.yaml train.seed=3 --dry-run",
        "--dry-run --config a.yaml b.yaml train.seed=3",
        "--config a.yaml b.yaml --dry-run train.seed=3",
        "--config a.yaml --config b.yaml --dry-run train.seed=3",
        "train.seed=3 --config a.yaml b.yaml --dry-run",
    ],
)
def test_command_line(line):
    parser = argparse.ArgumentParser()
    add_config_arguments(parser)
    args = parse_config_arguments(parser, line.split())
    assert [str(file) for file in args.config] == ["a.yaml", "b.yaml"]
    assert args.overrides == ["train.seed=3"] and args.dry_run
    again = parse_config_arguments(parser, [])
    assert again.config == [] and again.overrides == [] and not again.dry_run


def test_strangers_on_the_command_line_are_refused():
    parser = argparse.ArgumentParser()
    add_config_arguments(parser)
    with pytest.raises(SystemExit) as stop:
        parse_config_arguments(parser, ["--cofnig", "a.yaml"])
    assert stop.value.code == 2


def test_describe_gives_the_public_numbers(tmp_path):
    shards = tmp_path / "shards"
    with ShardWriter(shards, "part", 2, {}) as writer:
        for number in range(5):
            writer.add(f"k{number}", {"meta.json": b"{}"})
    config = load_config(Root, [], [f"data.shards=[{shards}]", "train.max_steps=10"])
    built_on = []

    def build() -> torch.nn.Module:
        layer = torch.nn.Linear(10, 10)
        built_on.append(layer.weight.device.type)
        return layer

    text = describe(config, {"transformer": build}, world_size=4)
    for words in (
        "77 frames of 512x512 px",
        "72 frames (2 motion latents = 5 frames)",
        "(48, 20, 32, 32)",
        "tokens per latent frame  256",
        "10,240 = 5,120 reference + 5,120 target",
        "8 features x 2048",
        "parameters, transformer  110",
        "5 samples in 3 shards",
        "256 = 1 micro x 64 accumulation x 4 world",
        "10 steps, 2,560 samples seen = 512.00 epochs",
        "all parameters, active for t in [0, 1]",
    ):
        assert words in text, text
    assert built_on == ["meta"]


@pytest.mark.parametrize(
    ("scales", "calls"),
    [((2.0, 7.0), 2 * 4 * 3), ((1.0, 3.0), 2 * 4 * 2), ((2.0, 2.0), 2 * 4 * 2), ((1.0, 1.0), 2 * 4)],
)
def test_describe_counts_the_branches_that_the_sampler_runs(scales: tuple[float, float], calls: int) -> None:
    words = ["diffusion.num_steps=4", "diffusion.passes=2", "diffusion.dynamic_schedule=false"]
    words += [f"diffusion.reference_scale={scales[0]}", f"diffusion.audio_scale={scales[1]}"]
    assert f"2 x 4 steps, {calls} model calls" in describe(load_config(Root, [], words))


def test_describe_counts_references_of_the_temporal_layout():
    config = load_config(Root, [], ["model.reference_layout=temporal", "geometry.clip_frames=25"])
    assert "1,792 target + 256 per reference frame" in describe(config)
    assert "2,816 = 1,024 reference + 1,792 target" in describe(config, reference_frames=4)


def test_describe_refuses_what_would_fail_later(tmp_path):
    with pytest.raises(UserError, match="times 3 processes"):
        describe(load_config(Root), world_size=3)
    shared = load_config(Root, [], ["train.context_parallel=2"])
    assert "256 = 1 micro x 64 accumulation x 4 groups of 2" in describe(shared, world_size=8)
    with pytest.raises(UserError, match="does not divide the 5 processes"):
        describe(shared, world_size=5)
    with pytest.raises(UserError, match="times 3 groups of 2 processes"):
        describe(shared, world_size=6)
    with pytest.raises(UserError, match="no shard index"):
        describe(load_config(Root, [], [f"data.shards=[{tmp_path}]"]))


def test_schemas_may_lack_sections():
    @dataclass
    class Small:
        work: str = "outputs"
        geometry: GeometryConfig = field(default_factory=GeometryConfig)

    config = load_config(Small, [], ["work=here"])
    assert config.work == "here" and "77 frames" in describe(config)
    with pytest.raises(UserError, match="unknown key model"):
        load_config(Small, [CONFIGS / "tiny.yaml"])


LAYERS = [
    (Stage1Config, ["tiny", "stage1", "stage1_tiny"]),
    (Stage1Config, ["small", "stage1", "small_stage1"]),
    (Stage1Config, ["wan5b", "stage1"]),
    (Stage1Config, ["wan5b", "stage1", "adapt_pairs"]),
    (Stage2Config, ["tiny", "stage2_structure", "stage2_tiny"]),
    (Stage1Config, ["small", "edidub_small", "stage1", "small_stage1", "edidub_small_stage1"]),
    (Stage2Config, ["small", "edidub_small", "stage2_lip", "small_stage2", "edidub_small_stage2"]),
    (Stage2Config, ["small", "stage2_structure", "small_stage2", "edidub_srd"]),
    (Stage1Config, ["small", "stage1", "small_stage1", "refine_own_mouths_pairs", "base"]),
    (Stage2Config, ["small", "stage2_structure", "small_stage2", "refine_own_mouths", "base"]),
    (Stage2Config, ["small", "stage2_lip", "losses_lip", "small_stage2"]),
    (Stage2Config, ["wan5b", "stage2_texture", "losses_texture"]),
    (Stage2Config, ["wan5b", "adapt"]),
    (StudentConfig, ["tiny", "distill", "distill_tiny"]),
    (StudentConfig, ["small", "distill", "small_distill"]),
    (StudentConfig, ["wan5b", "distill", "distill_two_steps", "wan5b_distill"]),
    (AutoencoderRunConfig, ["tiny_autoencoder"]),
    (AutoencoderRunConfig, ["small_autoencoder"]),
    (LipLabelingConfig, ["small_speech_labels"]),
    (LipTrainingConfig, ["small_speech", "small_speech_teacher"]),
    (PhoneticLabelingConfig, ["small_phonetics_labels"]),
    (PhoneticTrainingConfig, ["small_phonetics"]),
    (Stage1Config, ["stage1", "painter_faces"]),
    (PainterTrainingConfig, ["painter"]),
    (PainterTrainingConfig, ["painter", "adapt_mouths"]),
    (SyncTrainingConfig, ["sync", "sync_tiny"]),
    (JointTrainingConfig, ["ltx2_tiny", "ltx2_base"]),
    (JointTrainingConfig, ["ltx2_tiny", "ltx2_lora", "ltx2_lora_tiny"]),
    (JointTrainingConfig, ["ltx2_19b", "ltx2_lora", "ltx2_generated"]),
]


@pytest.mark.parametrize(("schema", "names"), LAYERS, ids=["-".join(names) for _, names in LAYERS])
def test_shipped_files_are_read_by_their_commands(schema: type, names: list[str]) -> None:
    load_config(schema, [CONFIGS / f"{name}.yaml" for name in names])


def test_every_shipped_file_is_read_by_a_command() -> None:
    assert {name for _, names in LAYERS for name in names} == {file.stem for file in CONFIGS.glob("*.yaml")}


@pytest.mark.parametrize("size", ["tiny", "small"])
def test_the_autoencoder_is_trained_in_the_shape_that_its_size_names(size: str) -> None:
    own = load_config(AutoencoderRunConfig, [CONFIGS / f"{size}_autoencoder.yaml"])
    whole = load_config(Stage2Config, [CONFIGS / f"{size}.yaml"], ["vae.path=''"])
    assert own.vae == whole.vae
    assert own.geometry.crop_size == whole.geometry.crop_size
    assert own.geometry.clip_frames == whole.geometry.clip_frames


@pytest.mark.parametrize("schema", [LipTrainingConfig, PhoneticTrainingConfig, SyncTrainingConfig])
@pytest.mark.parametrize("key", ["lip_window", "drop_audio", "loss_of", "face_weight", "init_from"])
def test_settings_of_the_dubbing_model_are_refused_by_other_trainings(schema: type, key: str) -> None:
    with pytest.raises(UserError, match=rf"unknown key train\.{key}"):
        load_config(schema, [], [f"train.{key}=0"])


def test_a_section_of_another_command_is_refused_with_those_that_are_read() -> None:
    with pytest.raises(UserError, match=r"small\.yaml: unknown key model; this command reads vae, geometry"):
        load_config(AutoencoderRunConfig, [CONFIGS / "small.yaml"])
    with pytest.raises(UserError, match="unknown key face"):
        load_config(Stage2Config, [], ["face.detector=box"])
    with pytest.raises(UserError, match="unknown key lip_shapes"):
        load_config(Stage1Config, [], ["lip_shapes.silence=0"])
