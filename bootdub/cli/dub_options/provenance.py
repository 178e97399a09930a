"""Options about what the output says of itself, as ``bootdub dub`` takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from bootdub.cli.dub_options.panel import option_in

_option = option_in("What the output says of itself")

ProvenanceOption = Annotated[
    bool, _option("--provenance/--no-provenance", help="Say in the metadata that this is a dub.")
]
ConsentOption = Annotated[str | None, _option(help="Who has agreed to the dub; goes into the metadata.")]
C2paCertOption = Annotated[
    Path | None,
    _option(envvar="BOOTDUB_C2PA_CERT", help="Certificates (PEM) to sign a C2PA manifest with."),
]
C2paKeyOption = Annotated[
    Path | None, _option(envvar="BOOTDUB_C2PA_KEY", help="Key (PEM) of the first of them.")
]
