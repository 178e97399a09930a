"""The statement about a dub, as an XMP packet and as the manifest of C2PA.

The same request gives the same packet: nothing of the day, the machine or chance goes into it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from common.errors import UserError

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's term for recordings of which a trained model has made a part."""
TOOL = "BootDub"
DESCRIPTION = "The mouths of people in this video were changed by a model to follow other speech."
SPOKEN = "The speech and the mouths of people in this video were made by a model."

_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_RIGHTS = "http://ns.adobe.com/xap/1.0/rights/"
_IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"


@dataclass(frozen=True)
class Statement:
    """What is said.

    Attributes:
        consent: the user's words about who has agreed; None: nothing is said.
        speaks: whether a model made the speech, too.
    """

    consent: str | None = None
    speaks: bool = False

    @property
    def description(self) -> str:
        """What was done."""
        return SPOKEN if self.speaks else DESCRIPTION

    def check(self) -> None:
        """Raises:
        UserError: the consent is empty, or holds characters that XML cannot."""
        if self.consent is not None and not self.consent.strip():
            raise UserError("--consent is empty: write who has agreed to the dub, or leave it away.")
        if self.consent is not None and _FORBIDDEN.search(self.consent):
            raise UserError("--consent holds control characters: write plain text.")

    def xmp(self) -> str:
        """The XMP packet."""
        tool = f"{TOOL} {version('bootdub')}"
        attributes = {
            "xmp:CreatorTool": tool,
            "Iptc4xmpExt:DigitalSourceType": SOURCE_TYPE,
            "Iptc4xmpExt:AISystemUsed": TOOL,
            "Iptc4xmpExt:AISystemVersionUsed": version("bootdub"),
        }
        spaces = {
            "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
            "dc": "http://purl.org/dc/elements/1.1/",
            "xmp": "http://ns.adobe.com/xap/1.0/",
            "xmpRights": _RIGHTS,
            "Iptc4xmpExt": _IPTC,
        }
        names = "".join(f" xmlns:{name}={quoteattr(address)}" for name, address in spaces.items())
        values = "".join(f" {name}={quoteattr(value)}" for name, value in attributes.items())
        content = _text("dc:description", self.description)
        if self.consent is not None:
            content += _text("xmpRights:UsageTerms", self.consent)
        return (
            '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
            f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF{names}>'
            f'<rdf:Description rdf:about=""{values}>{content}</rdf:Description></rdf:RDF></x:xmpmeta>'
            '<?xpacket end="r"?>'
        )

    def manifest(self, title: str, parent: str | None) -> dict[str, Any]:
        """The manifest's definition for :class:`c2pa.Builder`.

        Args:
            title: the output's name.
            parent: label of the ingredient that is the source; None: it has none.
        """
        agent = {"name": TOOL, "version": version("bootdub")}
        edited = {
            "action": "c2pa.edited",
            "digitalSourceType": SOURCE_TYPE,
            "softwareAgent": agent,
            "description": self.description,
        }
        # The first action must be one of these two.
        first: dict[str, Any] = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE}
        if parent is not None:
            first = {"action": "c2pa.opened", "parameters": {"ingredientIds": [parent]}}
        metadata = {
            "@context": {"Iptc4xmpExt": _IPTC, "xmpRights": _RIGHTS},
            "Iptc4xmpExt:DigitalSourceType": SOURCE_TYPE,
            **({} if self.consent is None else {"xmpRights:UsageTerms": self.consent}),
        }
        return {
            "claim_generator_info": [agent],
            "title": title,
            "assertions": [
                {"label": "c2pa.actions.v2", "data": {"actions": [first, edited]}},
                {"label": "cawg.metadata", "data": metadata},
            ],
        }


def _text(name: str, value: str) -> str:
    """A property with one text, of no particular language."""
    return f'<{name}><rdf:Alt><rdf:li xml:lang="x-default">{escape(value)}</rdf:li></rdf:Alt></{name}>'
