"""Packets of a track that wait until an output has come to their time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from av.container import OutputContainer
from av.packet import Packet


class WaitingPackets:
    """Hands packets over to an output in their order, each when its time has come.

    Args:
        packets: made when they are asked for.
        stamp: a packet's time in ticks of its time base; None: it goes with the packet before.
        container: the output.
    """

    def __init__(
        self, packets: Iterator[Packet], stamp: Callable[[Packet], int | None], container: OutputContainer
    ) -> None:
        self._packets, self._stamp, self._container = packets, stamp, container
        self._next: Packet | None = None

    def advance(self, until: float) -> None:
        """Hand over the packets that begin before ``until`` (seconds on the output's clock)."""
        while True:
            packet = self._next if self._next is not None else next(self._packets, None)
            self._next = None
            if packet is None:
                return
            stamp = self._stamp(packet)
            if stamp is not None and float(stamp * packet.time_base) >= until:
                self._next = packet
                return
            self._container.mux(packet)


def shown_first(packet: Packet) -> int | None:
    """When it is presented, else when it is decoded."""
    return packet.pts if packet.pts is not None else packet.dts


def decoded_first(packet: Packet) -> int | None:
    """When it is decoded, else when it is presented."""
    return packet.dts if packet.dts is not None else packet.pts
