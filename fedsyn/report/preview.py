"""Small copies of figures, for places that keep them in a database."""

import io
from pathlib import Path
from typing import IO

from PIL import Image


def preview(figure: Path | IO[bytes], width: int = 900, colours: int = 64) -> bytes:
    """The PNG of a figure (a file, or an open one), at most `width` pixels wide, in a palette of `colours`."""
    image = Image.open(figure).convert("RGB")
    image.thumbnail((width, image.height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.quantize(colours, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
