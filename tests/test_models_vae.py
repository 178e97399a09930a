"""The video codec: shapes, statistics, gradients, refusals, and converters of the original formats."""

from pathlib import Path

import numpy as np
import pytest
import torch
from model_toys import tiny_codec, tiny_vae_config

from common.autoencoder.checkpointing import decode_checkpointed
from common.autoencoder.codec import VideoCodec, build_vae, load_vae
from common.autoencoder.pixels import to_frames, to_video
from common.autoencoder.stream import Tiling
from common.errors import UserError

KINDS = {
    "2.1": {},
    "2.1 without patch": {"patch_size": 1, "in_channels": 3, "out_channels": 3, "dim_mult": [1, 1, 2, 2],
                          "temperal_downsample": [False, True, True]},
    "2.2": {"is_residual": True, "dim_mult": [1, 1, 2, 2], "scale_factor_spatial": 16,
            "temperal_downsample": [False, True, True]},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_of_every_kind(kind: str) -> None:
    codec = tiny_codec(**KINDS[kind])
    video = torch.rand(1, 3, 5, 32, 48) * 2 - 1
    latents = codec.encode(video)
    stride = codec.stride[1]
    assert latents.shape == (1, codec.channels, 2, 32 // stride, 48 // stride)
    decoded = codec.decode(latents)
    assert decoded.shape == video.shape
    assert decoded.abs().max() <= 1
    assert latents.dtype == decoded.dtype == torch.float32


def test_latents_are_normalised_by_the_stored_statistics() -> None:
    codec = tiny_codec()
    video = torch.rand(1, 3, 5, 16, 16) * 2 - 1
    raw = codec.encode(video)
    mean, std = torch.arange(4.0), torch.tensor([1.0, 2.0, 3.0, 4.0])
    decoded = codec.decode(raw)
    codec.vae.register_to_config(latents_mean=mean.tolist(), latents_std=std.tolist())
    view = (1, 4, 1, 1, 1)
    torch.testing.assert_close(codec.encode(video), (raw - mean.view(view)) / std.view(view))
    torch.testing.assert_close(codec.decode(codec.encode(video)), decoded, atol=1e-5, rtol=1e-5)


def test_the_first_latent_frame_does_not_see_later_frames() -> None:
    codec = tiny_codec()
    video = torch.rand(1, 3, 9, 16, 16) * 2 - 1
    torch.testing.assert_close(codec.encode(video)[:, :, :1], codec.encode(video[:, :, :1]))
    torch.testing.assert_close(codec.encode(video)[:, :, :2], codec.encode(video[:, :, :5]))


def test_gradients_pass_through_the_decoder_but_not_into_it() -> None:
    codec = tiny_codec()
    latents = torch.randn(1, 4, 2, 2, 2, requires_grad=True)
    codec.decode_with_grad(latents).mean().backward()
    assert latents.grad is not None
    assert latents.grad.abs().sum() > 0
    assert all(p.grad is None for p in codec.vae.parameters())
    assert not codec.decode(latents).requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_again_in_the_backward_pass_changes_the_memory_alone(kind: str) -> None:
    # Double precision: norms of nearly equal values blow single roundings up.
    vae = tiny_codec(**KINDS[kind]).vae.double()
    torch.manual_seed(0)
    latents = torch.randn(2, vae.config.z_dim, 4, 2, 2, dtype=torch.float64) * 0.5
    weights = torch.randn(2, 3, 13, 2 * vae.config.scale_factor_spatial, 2 * vae.config.scale_factor_spatial)
    videos, gradients, kept = [], [], []
    for decode in (lambda values: vae.decode(values).sample, lambda values: decode_checkpointed(vae, values)):
        own = latents.clone().requires_grad_()
        sizes: list[int] = []

        def note(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            video = decode(own)
        (video * weights).sum().backward()
        assert own.grad is not None
        videos.append(video.detach())
        gradients.append(own.grad)
        kept.append(sum(sizes))
    torch.testing.assert_close(*videos)
    torch.testing.assert_close(*gradients)
    assert all(gradients[1][:, :, frame].any() for frame in range(4))
    assert kept[1] < 0.2 * kept[0]


def test_the_codec_decodes_the_same_video_in_bounded_memory() -> None:
    codec = tiny_codec()
    latents = torch.randn(2, codec.channels, 3, 2, 2, requires_grad=True)
    video = codec.decode_with_grad(latents, checkpointing=True)
    torch.testing.assert_close(video, codec.decode(latents), rtol=1e-4, atol=1e-4)
    video.sum().backward()
    assert latents.grad is not None and latents.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_frames_pass_piece_by_piece_as_they_do_at_once(kind: str) -> None:
    codec = tiny_codec(**KINDS[kind])
    frames = np.random.default_rng(0).integers(0, 256, (2, 9, 32, 48, 3), dtype=np.uint8)
    whole = codec.vae.encode(to_video(frames)).latent_dist.mode()
    latents = codec.encode_frames(frames)
    torch.testing.assert_close(latents, whole)
    torch.testing.assert_close(latents, codec.encode(to_video(frames)), rtol=0, atol=0)
    video = codec.vae.decode(whole).sample
    pieces = list(codec.decode_pieces(latents))
    assert [piece.shape[2] for piece in pieces] == [1, 4, 4]
    torch.testing.assert_close(torch.cat(pieces, dim=2), video)
    np.testing.assert_array_equal(codec.decode_frames(latents), to_frames(torch.cat(pieces, dim=2)))


def test_wide_pictures_are_decoded_in_tiles_that_agree_where_they_do_not_see_their_edges() -> None:
    vae = tiny_codec().vae
    latents = torch.randn(1, 4, 3, 14, 6) * 0.5
    whole = VideoCodec(vae).decode(latents)
    tiling = Tiling(whole=64, tile=64, overlap=16)
    tiled = VideoCodec(vae, tiling=tiling).decode(latents)
    assert tiled.shape == whole.shape == (1, 3, 9, 112, 48)
    # The tiny decoder's attention sees the whole tile, so nothing agrees exactly; but no tile is misplaced.
    near = (tiled - whole).abs().mean()
    far = (tiled.roll(8, dims=3) - whole).abs().mean()
    assert 0 < near < 0.3 * far
    for row in (47, 48, 63, 64):  # edges of tiles: no jump beyond what the picture itself does there
        jump = (tiled[..., row + 1, :] - tiled[..., row, :]).abs().mean()
        assert jump < 2 * (whole[..., row + 1, :] - whole[..., row, :]).abs().mean() + 0.02


@pytest.mark.parametrize("shape", [(1, 3, 4, 16, 16), (1, 3, 5, 20, 16), (1, 3, 5, 16, 12)])
def test_videos_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError):
        tiny_codec().encode(torch.zeros(shape))


def test_fingerprint_tells_weights_and_statistics_but_not_precision(tmp_path: Path) -> None:
    codec = tiny_codec()
    mark = codec.fingerprint
    assert mark == tiny_codec().fingerprint != tiny_codec(seed=1).fingerprint
    codec.vae.save_pretrained(tmp_path / "vae")
    assert VideoCodec(load_vae(tmp_path / "vae")).fingerprint == mark
    assert VideoCodec(load_vae(tmp_path / "vae", torch.bfloat16)).fingerprint == mark
    other = tiny_codec()
    other.vae.register_to_config(latents_mean=[1.0] * 4, latents_std=[1.0] * 4)
    assert other.fingerprint != mark


def test_autocast_gives_nearly_the_same() -> None:
    codec = tiny_codec()
    video = torch.rand(1, 3, 5, 16, 16) * 2 - 1
    exact = codec.encode(video)
    narrow = VideoCodec(codec.vae, autocast=torch.bfloat16).encode(video)
    assert narrow.dtype == torch.float32
    assert (exact - narrow).abs().max() < 0.05 * exact.abs().max()


def test_a_stored_autoencoder_must_be_the_configured_one(tmp_path: Path) -> None:
    codec = tiny_codec()
    codec.vae.save_pretrained(tmp_path / "vae")
    loaded = build_vae(tiny_vae_config(path=str(tmp_path / "vae")))
    assert VideoCodec(loaded).fingerprint == codec.fingerprint
    with pytest.raises(UserError, match="num_res_blocks"):
        build_vae(tiny_vae_config(path=str(tmp_path / "vae"), num_res_blocks=2))
    with pytest.raises(UserError, match="nowhere"):
        build_vae(tiny_vae_config(path=str(tmp_path / "nowhere")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"in_channels": 3}, "in_channels"),
        ({"scale_factor_spatial": 16}, "scale_factor_spatial"),
        ({"temperal_downsample": [True, False]}, "temperal_downsample"),
    ],
)
def test_contradictory_configurations_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_vae(tiny_vae_config(**change))
