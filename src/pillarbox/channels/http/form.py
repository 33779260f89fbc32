"""Requests that carry files: a form in several parts (RFC 7578)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pillarbox.domain.message import File

_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})  # https://html.spec.whatwg.org/#multipart-form-data


def form(fields: Mapping[str, str], files: Iterable[tuple[str, File]], *, token: str) -> tuple[bytes, str]:
    """
    Return a form's body and content type.

    Args:
        token: Makes the boundary, the same for every attempt.
    """
    given = [(f'name="{name.translate(_ESCAPES)}"', "", value.encode()) for name, value in fields.items()]
    for name, file in files:
        about = f'name="{name.translate(_ESCAPES)}"; filename="{file.name.translate(_ESCAPES)}"'
        given.append((about, f"Content-Type: {file.media_type}\r\n", file.data or b""))
    boundary = f"pillarbox-{token}"
    while any(boundary.encode() in data for *_, data in given):
        boundary += "x"
    pieces: list[bytes] = []
    for about, kind, data in given:
        head = f"--{boundary}\r\nContent-Disposition: form-data; {about}\r\n{kind}\r\n"
        pieces += [head.encode(), data, b"\r\n"]
    return b"".join([*pieces, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"
