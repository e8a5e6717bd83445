# ruff: noqa: E501 - payloads read best on a line of their own
"""Recordings whose headers lie, and damaged ones."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Iterator
from functools import cache

import numpy as np
import soundfile
from hostile_midi import damaged

FORMATS = (
    ("WAV", "PCM_16", ".wav"), ("WAV", "PCM_24", ".wav"), ("WAV", "FLOAT", ".wav"),
    ("WAV", "DOUBLE", ".wav"), ("WAV", "MS_ADPCM", ".wav"), ("WAV", "IMA_ADPCM", ".wav"),
    ("WAV", "GSM610", ".wav"), ("WAV", "ULAW", ".wav"), ("WAVEX", "PCM_16", ".wav"),
    ("RF64", "PCM_16", ".wav"), ("W64", "PCM_16", ".wav"), ("AIFF", "PCM_16", ".wav"),
    ("AU", "PCM_16", ".wav"), ("CAF", "ALAC_16", ".wav"), ("CAF", "PCM_16", ".wav"),
    ("FLAC", "PCM_16", ".flac"), ("FLAC", "PCM_24", ".flac"),
    ("OGG", "VORBIS", ".ogg"), ("OGG", "OPUS", ".ogg"), ("MP3", "MPEG_LAYER_III", ".mp3"),
    ("VOC", "PCM_16", ".wav"), ("IRCAM", "PCM_16", ".wav"), ("NIST", "PCM_16", ".wav"),
    ("SVX", "PCM_16", ".wav"), ("PAF", "PCM_16", ".wav"), ("MAT4", "PCM_16", ".wav"),
    ("MAT5", "PCM_16", ".wav"), ("PVF", "PCM_16", ".wav"), ("HTK", "PCM_16", ".wav"),
    ("SDS", "PCM_16", ".wav"), ("AVR", "PCM_16", ".wav"), ("XI", "DPCM_16", ".wav"),
    ("WVE", "ALAW", ".wav"), ("MPC2K", "PCM_16", ".wav"),
)  # fmt: skip


@cache
def seeds() -> dict[str, tuple[bytes, str]]:
    """Good recordings of a quarter of a second, in whatever this libsndfile writes."""
    made: dict[str, tuple[bytes, str]] = {}
    for kind, coding, suffix in FORMATS:
        rate = (
            8000
            if kind in ("WVE",) or coding == "GSM610"
            else 44100
            if kind in ("MPC2K", "XI")
            else 16_000
        )
        for channels in (1, 2):
            tone = 0.1 * np.sin(np.arange(rate // 4) / 9.0)
            stream = io.BytesIO()
            try:
                soundfile.write(
                    stream, np.stack([tone] * channels, 1), rate, format=kind, subtype=coding
                )
            except (soundfile.LibsndfileError, ValueError, TypeError):
                continue
            made[f"{kind}-{coding}-{channels}"] = stream.getvalue(), suffix
    return made


def wav(
    *, tag: int = 1, channels: int = 1, rate: int = 16_000, bits: int = 16, data: bytes = bytes(8000),
    length: int | None = None, riff: int | None = None, align: int | None = None, before: bytes = b"",
) -> bytes:  # fmt: skip
    align = channels * bits // 8 % 65536 if align is None else align
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * align % 2**32, align, bits)
    body = b"WAVE" + before + b"fmt " + struct.pack("<I", len(form)) + form
    body += b"data" + struct.pack("<I", len(data) if length is None else length) + data
    return b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body


def _floats(*values: float, kind: str = "<f4") -> bytes:
    return np.resize(np.array(values, kind), 4000).tobytes()


def tricks() -> Iterator[tuple[str, bytes]]:
    """One file each; the suffix of the label is the suffix of the file."""
    yield "empty.wav", b""
    yield "empty.mp3", b""
    yield "RIFF alone.wav", b"RIFF"
    yield "no frames.wav", wav(data=b"")
    yield "one frame.wav", wav(data=b"\1\0")
    yield "two frames.wav", wav(data=b"\1\0\2\0")
    yield "half a frame.wav", wav(data=b"\1")
    yield "silence.wav", wav()
    for channels in (0, 3, 255, 1024, 1025, 65535):
        yield f"{channels} channels.wav", wav(channels=channels, data=bytes(65535 * 2))
    yield "1024 channels, long.wav", wav(channels=1024, data=bytes(8 << 20))
    for rate in (0, 1, 7, 100, 3999, 384_000, 2**31 - 1, 2**31, 2**32 - 1):
        yield f"rate {rate}.wav", wav(rate=rate)
        yield f"rate {rate}, one frame.wav", wav(rate=rate, data=b"\1\0")
    for bits in (0, 1, 7, 12, 20, 24, 33, 64, 65535):
        yield f"{bits} bits.wav", wav(bits=bits, data=bytes(8001))
    for tag in (0, 2, 3, 6, 7, 0x11, 0x31, 0x40, 0x50, 0x55, 0x161, 0xFFFE, 0xFFFF):
        yield f"format {tag:x}.wav", wav(tag=tag)
        yield f"format {tag:x}, 4 bits.wav", wav(tag=tag, bits=4, align=256, data=bytes(9000))
    for length in (2**31 - 1, 2**31, 2**32 - 1, 8001, 7999):
        yield f"data of {length}.wav", wav(length=length)
        yield f"RIFF of {length}.wav", wav(riff=length)
    for align in (0, 1, 3, 65535):
        yield f"align {align}.wav", wav(align=align)
    for name, values in (("nan", (0.1, np.nan)), ("inf", (0.1, np.inf)), ("huge", (3e38, -3e38)),
                         ("denormal", (1e-45, -1e-45)), ("loud", (1.5, -1.5)),
                         ("all huge", (3e38,)), ("large", (1e20, -1e20))):  # fmt: skip
        for rate in (16_000, 44_100):
            yield f"float {name} {rate}.wav", wav(tag=3, bits=32, rate=rate, data=_floats(*values))
    yield "double huge.wav", wav(tag=3, bits=64, data=_floats(1e308, -1e308, kind="<f8"))
    yield (
        "ds64 of nothing.wav",
        b"RF64\xff\xff\xff\xffWAVEds64"
        + struct.pack("<IQQQI", 28, 2**63, 2**63, 2**63, 0)
        + wav()[12:],
    )
    yield (
        "ds64 table of 2^32.wav",
        b"RF64\xff\xff\xff\xffWAVEds64"
        + struct.pack("<IQQQI", 28, 2**32, 2**32, 2**32, 2**32 - 1)
        + wav()[12:],
    )
    yield "list of 2^32.wav", wav(before=b"LIST\xff\xff\xff\xffINFO")
    yield "cues 2^32.wav", wav(before=b"cue \x04\0\0\0\xff\xff\xff\xff")
    yield "peaks.wav", wav(before=b"PEAK\x04\0\0\0\xff\xff\xff\xff")
    yield "bext.wav", wav(before=b"bext" + struct.pack("<I", 2**20) + bytes(2**20))
    yield "smpl.wav", wav(before=b"smpl" + struct.pack("<I", 60) + b"\xff" * 60)
    yield "id3 of 2^28.mp3", b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(100)
    yield "id3 of garbage.mp3", b"ID3\x04\0\0\0\0\x10\0" + b"\xff" * 4000
    yield "sync of garbage.mp3", b"\xff\xfb\x90\x64" * 4000
    yield "text.mp3", b"<script>alert(1)</script>" * 400
    yield "text.wav", b"not a recording\n" * 100
    yield "zeros.mp3", bytes(100_000)
    yield "html.flac", b"<html>"
    good = seeds()
    for name, (data, suffix) in good.items():
        yield f"{name} cut{suffix}", data[: len(data) * 2 // 3]
        yield f"{name} header alone{suffix}", data[:60]
        yield f"{name} tail of FF{suffix}", data[: len(data) // 2] + b"\xff" * (len(data) // 2)
        yield f"{name} twice{suffix}", data + data
        yield f"{name} misnamed.mp3", data
    for name in ("FLAC-PCM_16-1", "FLAC-PCM_24-2"):
        flac = good[name][0]
        yield f"{name} wrong md5.flac", flac[:26] + bytes(range(16)) + flac[42:]
        for total in (0, 1, 2**36 - 1):
            packed = int.from_bytes(flac[18:26], "big") >> 36 << 36 | total
            yield (
                f"{name} of {total} samples.flac",
                flac[:18] + packed.to_bytes(8, "big") + flac[26:],
            )
        for rate in (0, 1, 2**20 - 1):
            packed = int.from_bytes(flac[18:26], "big") & (1 << 44) - 1 | rate << 44
            yield f"{name} at {rate} Hz.flac", flac[:18] + packed.to_bytes(8, "big") + flac[26:]
        yield f"{name} id3.flac", b"ID3\x04\0\0\0\0\x10\0" + bytes(2048) + flac
        yield f"{name} comment of 2^24.flac", flac[:4] + b"\x04\xff\xff\xff" + flac[4:]


def random_cases(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Damaged recordings; half of the damage is near the header."""
    rng = random.Random(seed)
    good = seeds()
    everything = [data for data, _ in good.values()]
    for _ in range(count):
        name = rng.choice(list(good))
        data, suffix = good[name]
        names = [name]
        for _ in range(rng.choice((1, 1, 2, 4, 8))):
            if rng.random() < 0.6:
                how, start = damaged(data[:120], everything, rng)
                data = start + data[120:]
            else:
                how, data = damaged(data, everything, rng)
            names.append(how)
        yield "+".join(names) + suffix, data
