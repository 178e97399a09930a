"""Languages by their codes (ISO 639-1), as prompts name them."""

from __future__ import annotations

from common.errors import UserError

LANGUAGES = {
    "ar": "Arabic",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fi": "Finnish",
    "fr": "French",
    "he": "Hebrew",
    "hi": "Hindi",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sv": "Swedish",
    "th": "Thai",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "vi": "Vietnamese",
    "zh": "Chinese",
}

UNSPACED = ("ja", "th", "zh")
"""Written without spaces between words."""


def language_name(code: str) -> str:
    """In English. Raises UserError for a code that is not known."""
    if code not in LANGUAGES:
        raise UserError(f"There is no language '{code}': give one of {', '.join(LANGUAGES)}.")
    return LANGUAGES[code]
