"""Makes the sound of an offer: two soft tones. `python -m tests.console.desk.make_sound` writes the file anew."""

from __future__ import annotations

import io
import math
import wave
from typing import Final

from router.console.static import FOLDER

PATH: Final = FOLDER / "desk-offer.wav"
RATE: Final = 8_000
#: Hz and seconds of each tone.
TONES: Final = ((659.25, 0.16), (880.0, 0.3))
_LOUDNESS: Final = 0.5
_FADE: Final = 0.02


def make_sound() -> bytes:
    """Return the file: 8 bits, one channel."""
    samples = bytearray()
    for pitch, seconds in TONES:
        for number in range(int(seconds * RATE)):
            at = number / RATE
            swell = min(1.0, at / _FADE, (seconds - at) / _FADE)
            fall = math.exp(-4 * at / seconds)
            samples.append(128 + round(127 * _LOUDNESS * swell * fall * math.sin(2 * math.pi * pitch * at)))
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(RATE)
        sound.writeframes(bytes(samples))
    return file.getvalue()


if __name__ == "__main__":
    PATH.write_bytes(make_sound())
