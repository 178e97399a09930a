"""Whether and how the outputs of a job say what they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.media.xmp import append_xmp, xmp_tags
from stage2_dubber.dub.provenance.credentials import Credentials
from stage2_dubber.dub.provenance.statement import Statement


@dataclass(frozen=True)
class Provenance:
    """What is written into the outputs of a job about themselves.

    Attributes:
        statement: None: nothing.
        credentials: sign it as a C2PA manifest, too.
        video: the source.
    """

    statement: Statement | None
    credentials: Credentials | None
    video: Path

    @classmethod
    def of(
        cls,
        video: Path,
        wanted: bool,
        consent: str | None,
        certificate: Path | None,
        key: Path | None,
        speaks: bool = False,
    ) -> Provenance:
        """From what a user asks for; ``speaks``: a model makes the speech, too.

        Raises:
            UserError: the options contradict each other.
        """
        if not wanted and (consent is not None or certificate is not None or key is not None):
            raise UserError(
                "--no-provenance leaves out what --consent and --c2pa-cert would write: give one of them."
            )
        if (certificate is None) != (key is None):
            raise UserError("--c2pa-cert and --c2pa-key belong together: give both.")
        credentials = Credentials(certificate, key) if certificate is not None and key is not None else None
        return cls(Statement(consent, speaks) if wanted else None, credentials, video)

    def check(self, output: Path) -> None:
        """Find what is wrong before the work.

        Raises:
            UserError: the consent, the certificate or the output is not fit for it.
        """
        if self.statement is not None:
            self.statement.check()
            if self.credentials is not None:
                self.credentials.check(self.statement, self.video, output)

    def tags(self, suffix: str) -> tuple[tuple[str, str], ...]:
        """Tags of an output that ends in ``suffix``."""
        return () if self.statement is None else xmp_tags(suffix.lower(), self.statement.xmp())

    def seal(self, path: Path, title: str) -> None:
        """Complete a finished output before it takes its name, which is ``title``.

        Raises:
            UserError: it cannot be written or signed.
        """
        if self.statement is None:
            return
        append_xmp(path, self.statement.xmp())
        if self.credentials is not None and path.suffix.lower() in self.credentials.suffixes:
            self.credentials.sign(path, self.statement, title, self.video)

    @property
    def sentence(self) -> str:
        """What users are told."""
        if self.statement is None:
            return "The output does not say that it is a dub (--no-provenance)."
        how = "XMP" if self.credentials is None else "XMP and a signed C2PA manifest"
        consent = ", with the consent given" if self.statement.consent is not None else ""
        what = "changed the mouths" + (" and made the speech" if self.statement.speaks else "")
        return f"The output says in its metadata ({how}) that a model {what}{consent}."
