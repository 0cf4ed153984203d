"""gpt-oss's vocabularies, fetched at the first chat request unless a folder holds them.

Offline and without TIKTOKEN_ENCODINGS_BASE the start succeeds and /health says 200, but every chat
fails. The lab's two files stand in for the real ones (3.6 and 1.7 MB); others are refused, as the
real loader refuses files with a wrong checksum.
"""

import hashlib
import os
from pathlib import Path

from .errors import Refused

SOURCE = "https://openaipublic.blob.core.windows.net/encodings"
CHECKSUMS = {
    "o200k_base.tiktoken": "0398df1d1f1d24bef91a458276f6554a3a2dfb75e9b4c8d6d8628de944c4a81f",
    "cl100k_base.tiktoken": "b23e5e2e043255f2d3fc6a2110896a442975dc71f38c060b9af005d8b00b0f0e",
}
"""SHA-256 of the files that lab.models writes."""


def load_vocabularies() -> None:
    """Check the files in the folder that TIKTOKEN_ENCODINGS_BASE names.

    Raises:
        Refused: there is no such folder (the download fails), or a file is wrong.
    """
    folder = os.environ.get("TIKTOKEN_ENCODINGS_BASE")
    if not folder:
        raise Refused(
            "error downloading or loading vocab file: failed to download or load vocab file",
            "internal_error",
        )
    for name, checksum in CHECKSUMS.items():
        try:
            content = Path(folder, name).read_bytes()
        except OSError as error:
            raise Refused(
                f"error downloading or loading vocab file: {error.strerror}: {folder}/{name}",
                "internal_error",
            ) from error
        if hashlib.sha256(content).hexdigest() != checksum:
            raise Refused("error downloading or loading vocab file: checksum mismatch", "internal_error")
