"""Values between the processes: JSON with the samples behind it, no pickle.

What a decoding process sends may be made by a hostile file, so that nothing in a message names code: data
classes of the media package are the only ones that are built.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import os
import socket
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from common.media.isolation.slots import LEAST_BYTES, SlotReader, SlotWriter, places
from common.media.planes import assembled, planes_of

_PACKAGE = "common.media."
_LENGTH = struct.Struct("<I")


class Channel:
    """Messages over a connected local socket, in both directions.

    Args:
        connection: the socket.
        shared: write large samples into shared memory; the other side says with
            :meth:`SlotWriter.give_back` which slots it needs no more.
    """

    def __init__(self, connection: socket.socket, shared: bool = False) -> None:
        self.connection = connection
        self.written = SlotWriter() if shared else None
        self.read = SlotReader()

    def send(self, kind: str, value: object = None) -> None:
        """Send one message.

        ``value``: None, truth values, numbers, text, fractions, arrays, pictures, data classes of the media
        package, and tuples of these.

        Raises:
            OSError: nobody listens any more.
        """
        parts: list[NDArray[np.uint8]] = []
        packed = _packed(value, parts)
        slot: int | None = None
        descriptor: int | None = None
        if self.written is not None and sum(part.nbytes for part in parts) >= LEAST_BYTES:
            slot, descriptor = self.written.write(parts)
            parts = []
        header = json.dumps([kind, packed, slot, descriptor is not None]).encode()
        self.connection.sendall(_LENGTH.pack(len(header)) + header)
        if descriptor is not None:
            socket.send_fds(self.connection, [b"."], [descriptor])
            os.close(descriptor)
        for part in parts:
            self.connection.sendall(np.ascontiguousarray(part).data)

    def receive(self) -> tuple[str, Any]:
        """The next message: its kind and value.

        Raises:
            EOFError: the other side has ended.
        """
        length = _LENGTH.unpack(_read(self.connection, bytearray(_LENGTH.size)))[0]
        kind, packed, slot, new = json.loads(_read(self.connection, bytearray(length)))
        if new:
            _, descriptors, _, _ = socket.recv_fds(self.connection, 1, 1)
            if not descriptors:
                raise EOFError
            self.read.add(slot, descriptors[0])
        if slot is None:
            return kind, _unpacked(packed, self._copied)
        return kind, _unpacked(packed, _Taken(self.read.view(slot)))

    def messages(self) -> Iterator[tuple[str, Any]]:
        """Messages until the other side ends."""
        while True:
            try:
                yield self.receive()
            except (EOFError, ConnectionResetError):
                return

    def _copied(self, size: int) -> NDArray[np.uint8]:
        return np.frombuffer(_read(self.connection, bytearray(size)), np.uint8)


class _Taken:
    """Gives the parts of a slot, in order."""

    def __init__(self, slot: NDArray[np.uint8]) -> None:
        self._slot, self._start = slot, 0

    def __call__(self, size: int) -> NDArray[np.uint8]:
        part = self._slot[self._start : self._start + size]
        self._start += places([size])[1]
        return part


def _read(connection: socket.socket, target: Any) -> Any:
    view = memoryview(target)
    while len(view):
        count = connection.recv_into(view)
        if count == 0:
            raise EOFError
        view = view[count:]
    return target


def _packed(value: Any, samples: list[NDArray[np.uint8]]) -> Any:
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
            # Rows of bytes: what need not be copied here is not.
            rows = value.reshape(-1, value.shape[-1]) if value.ndim else value.reshape(1, 1)
            samples.append(
                (
                    rows
                    if rows.flags.c_contiguous or rows.strides[-1] == rows.itemsize
                    else np.ascontiguousarray(rows)
                ).view(np.uint8)
            )
        return {"array": [value.dtype.str, list(value.shape)]}
    if isinstance(value, VideoFrame):
        said = [value.format.name, int(value.colorspace), int(value.color_range)]
        return {"picture": [*said, *(_packed(plane, samples) for plane in planes_of(value, copy=False))]}
    if dataclasses.is_dataclass(value) and type(value).__module__.startswith(_PACKAGE):
        content = {
            item.name: _packed(getattr(value, item.name), samples) for item in dataclasses.fields(value)
        }
        return {"class": [type(value).__module__, type(value).__qualname__], "fields": content}
    raise TypeError(f"a {type(value).__name__} does not go between processes")


def _unpacked(value: Any, samples: Callable[[int], NDArray[np.uint8]]) -> Any:
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
        size = math.prod(shape) * dtype.itemsize
        return (samples(size).view(dtype) if size else np.empty(0, dtype)).reshape(shape)
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
