"""Values between the processes: JSON with the samples behind it, no pickle.

What a decoding process sends may be made by a hostile file, so that nothing in a message names code: data
classes of the media package are the only ones that are built.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import socket
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from common.media.planes import assembled, planes_of

_PACKAGE = "common.media."
_LENGTH = struct.Struct("<I")


def send(connection: socket.socket, kind: str, value: object = None) -> None:
    """Send one message.

    ``value``: None, truth values, numbers, text, fractions, arrays, pictures, data classes of the media
    package, and tuples of these.

    Raises:
        OSError: nobody listens any more.
    """
    samples: list[memoryview] = []
    header = json.dumps([kind, _packed(value, samples)]).encode()
    connection.sendall(_LENGTH.pack(len(header)) + header)
    for part in samples:
        connection.sendall(part)


def receive(connection: socket.socket) -> tuple[str, Any]:
    """The next message: its kind and value.

    Raises:
        EOFError: the other side has ended.
    """
    length = _LENGTH.unpack(_read(connection, bytearray(_LENGTH.size)))[0]
    kind, value = json.loads(_read(connection, bytearray(length)))

    def samples(array: NDArray) -> NDArray:
        if array.size:
            _read(connection, array.reshape(-1).view(np.uint8))
        return array

    return kind, _unpacked(value, samples)


def _read(connection: socket.socket, target: Any) -> Any:
    view = memoryview(target)
    while len(view):
        count = connection.recv_into(view)
        if count == 0:
            raise EOFError
        view = view[count:]
    return target


def _packed(value: Any, samples: list[memoryview]) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple):
        return {"tuple": [_packed(item, samples) for item in value]}
    if isinstance(value, Fraction):
        return {"fraction": [value.numerator, value.denominator]}
    if isinstance(value, np.ndarray):
        if value.size:
            samples.append(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
        return {"array": [value.dtype.str, list(value.shape)]}
    if isinstance(value, VideoFrame):
        said = [value.format.name, int(value.colorspace), int(value.color_range)]
        return {"picture": [*said, *(_packed(plane, samples) for plane in planes_of(value))]}
    if dataclasses.is_dataclass(value) and type(value).__module__.startswith(_PACKAGE):
        content = {
            item.name: _packed(getattr(value, item.name), samples) for item in dataclasses.fields(value)
        }
        return {"class": [type(value).__module__, type(value).__qualname__], "fields": content}
    raise TypeError(f"a {type(value).__name__} does not go between processes")


def _unpacked(value: Any, samples: Callable[[NDArray], NDArray]) -> Any:
    if not isinstance(value, dict):
        return value
    if "tuple" in value:
        return tuple(_unpacked(item, samples) for item in value["tuple"])
    if "fraction" in value:
        return Fraction(*value["fraction"])
    if "array" in value:
        kind, shape = value["array"]
        dtype = np.dtype(kind)
        if dtype.kind not in "biuf":
            raise ValueError(f"arrays of {kind} do not go between processes")
        return samples(np.empty(shape, dtype))
    if "picture" in value:
        name, matrix, full, *planes = value["picture"]
        picture = assembled(name, [_unpacked(plane, samples) for plane in planes])
        picture.colorspace, picture.color_range = matrix, full
        return picture
    kind = _data_class(*value["class"])
    return kind(**{name: _unpacked(item, samples) for name, item in value["fields"].items()})


def _data_class(module: str, name: str) -> type:
    if not module.startswith(_PACKAGE):
        raise ValueError(f"{module} holds no data class of the media package")
    kind = getattr(importlib.import_module(module), name)
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise ValueError(f"{module}.{name} is no data class")
    return kind


def items(connection: socket.socket) -> Iterator[tuple[str, Any]]:
    """Messages until the other side ends."""
    while True:
        try:
            yield receive(connection)
        except (EOFError, ConnectionResetError):
            return
