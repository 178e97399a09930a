"""Signed statements: a C2PA manifest inside the output, with the user's certificate.

``c2pa-python`` is asked for only where a certificate is given (``pip install bootdub[c2pa]``).
"""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from common.errors import UserError
from common.files import require_file
from common.partial import owned_file
from stage2_dubber.dub.provenance.statement import Statement

_FORMATS = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime"}
_SOURCES = {**_FORMATS, ".avi": "video/avi"}
_PARENT = "source"
# A source may name an address where its own manifest lies: it is not asked.
_SETTINGS = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}


@dataclass(frozen=True)
class Credentials:
    """Who signs.

    Attributes:
        certificate: PEM file with the signer's certificate first and those of its issuers after it.
        key: PEM file with the private key, not encrypted.
    """

    certificate: Path
    key: Path

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of the files that take a manifest."""
        return tuple(_FORMATS)

    def check(self, statement: Statement, video: Path, output: Path) -> None:
        """Find out before the work whether a manifest can be made: a trial is signed in memory.

        Raises:
            UserError: c2pa-python is not installed, the files are no certificate and key that fit each
                other, or the output cannot hold a manifest.
        """
        if output.suffix.lower() not in _FORMATS:
            raise UserError(
                f"The output '{output}' cannot hold a signed statement (C2PA): name it .mp4 or .mov, or "
                "leave --c2pa-cert away."
            )
        c2pa = _library()
        trial = io.BytesIO()
        try:
            _builder(c2pa, statement, output.name, video)
            context = c2pa.Context(c2pa.Settings.from_dict(_SETTINGS))
            builder = c2pa.Builder(statement.manifest(output.name, None), context)
            builder.sign(self._signer(c2pa), "audio/wav", io.BytesIO(_SILENCE), trial)
        except c2pa.C2paError as error:
            raise self._refusal(error) from error

    def sign(self, path: Path, statement: Statement, title: str, video: Path) -> None:
        """Put the signed manifest into the finished file ``path``; its samples stay as they are.

        Raises:
            UserError: it cannot be signed or written.
        """
        c2pa = _library()
        with owned_file(path.parent, path.suffix) as signed:
            try:
                with path.open("rb") as given, signed.open("w+b") as target:
                    _builder(c2pa, statement, title, video).sign(
                        self._signer(c2pa), _FORMATS[path.suffix.lower()], given, target
                    )
                # Copied and not renamed: the file's owner holds a lock on it.
                shutil.copyfile(signed, path)
            except c2pa.C2paError as error:
                raise self._refusal(error) from error
            except OSError as error:
                raise UserError(
                    f"The output in '{path.parent}' cannot be written ({error.strerror}): free some space."
                ) from error

    def _signer(self, c2pa: ModuleType) -> Any:
        certificate = require_file(self.certificate, "certificate").read_bytes()
        key = require_file(self.key, "key of the certificate").read_bytes()
        return c2pa.Signer.from_info(c2pa.C2paSignerInfo(self._algorithm(key), certificate, key, None))

    def _algorithm(self, key: bytes) -> str:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            private = load_pem_private_key(key, None)
        except (TypeError, ValueError, UnsupportedAlgorithm) as error:
            raise UserError(
                f"The key '{self.key}' is no private key in PEM without a password: export it so."
            ) from error
        if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.key_size in _CURVES:
            return _CURVES[private.curve.key_size]
        if isinstance(private, ed25519.Ed25519PrivateKey):
            return "ed25519"
        if isinstance(private, rsa.RSAPrivateKey):
            return "ps256"
        raise UserError(
            f"The key '{self.key}' is of a kind that C2PA does not take: use an elliptic curve (P-256, "
            "P-384, P-521), Ed25519 or RSA."
        )

    def _refusal(self, error: Exception) -> UserError:
        return UserError(
            f"No statement (C2PA) can be signed with the certificate '{self.certificate}' ({error}): give "
            "the signer's certificate, then its issuers', and the key that belongs to it."
        )


_CURVES = {256: "es256", 384: "es384", 521: "es512"}
_SILENCE = (
    b"RIFF\x2c\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\x08\0\0\0"
    + bytes(8)
)


def _library() -> ModuleType:
    try:
        import c2pa
    except ImportError as error:
        raise UserError(
            "--c2pa-cert needs c2pa-python, which is not installed: pip install 'bootdub[c2pa]'."
        ) from error
    return c2pa


def _builder(c2pa: ModuleType, statement: Statement, title: str, video: Path) -> Any:
    """A manifest about to be signed; the source is its parent, with its own manifest where it has one."""
    kind = _SOURCES.get(video.suffix.lower())
    context = c2pa.Context(c2pa.Settings.from_dict(_SETTINGS))
    builder = c2pa.Builder(statement.manifest(title, None if kind is None else _PARENT), context)
    if kind is not None:
        ingredient = {"title": video.name, "relationship": "parentOf", "label": _PARENT}
        with video.open("rb") as source:
            builder.add_ingredient(json.dumps(ingredient), kind, source)
    return builder
