"""A program that behaves as Pianoteq's command line does, well or badly, for the tests.

It stands in a file of its own, beside a JSON file that says how it behaves.
"""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

SCRIPT = r"""
import json, sys, time
from pathlib import Path

here = Path(__file__)
how = json.loads(here.with_name("how.json").read_text())
args = sys.argv[1:]
with here.with_name("calls.jsonl").open("a") as log:
    log.write(json.dumps(args) + "\n")
if args == ["--help"]:
    print("Usage: pianoteq [options]\n  " + "\n  ".join(how["options"]), file=sys.stderr)
elif args == ["--version"]:
    print(how["version"])
elif args == ["--list-presets"]:
    print("\n".join(how["presets"]))
else:
    value = lambda name: args[args.index(name) + 1]
    unknown = [a for a in args if a.startswith("--") and a not in " ".join(how["options"])]
    if unknown:
        sys.exit(f"unknown option {unknown[0]}")
    import mido, numpy as np, soundfile
    midi = mido.MidiFile(value("--midi"))
    rate = how["rate"] or int(value("--rate"))
    held, notes, controls, now = {}, [], set(), 0.0
    for message in midi:
        now += message.time
        if message.type == "note_on" and message.velocity:
            held[message.note] = (now, message.velocity)
        elif message.type in ("note_on", "note_off"):
            on, velocity = held.pop(message.note)
            notes.append((on, now, message.note, velocity))
        elif message.type == "control_change":
            controls.add(message.control)
    probing = len(notes) > 88
    behave = "" if probing and how["only_clips"] else how["behave"]
    if behave == "hang":
        time.sleep(60)
    if behave == "crash":
        sys.exit("segmentation fault")
    if behave == "nothing":
        sys.exit(0)
    seconds = 1.0 if behave == "short" else now + 2.0
    audio = np.zeros(round(seconds * rate))
    for on, off, key, velocity in notes:
        if key in how["muted"]:
            continue
        begin = round((on + how["delay_s"]) * rate)
        t = np.arange(max(0, min(round((off - on) * rate), len(audio) - begin))) / rate
        tone = np.sin(2 * np.pi * 440 * 2 ** ((key - 69) / 12) * t) * np.exp(-3 * t)
        at = max(begin, 0)
        audio[at : begin + len(t)] += how["level"] * (velocity / 127) ** 2 * tone[at - begin :]
    if behave == "silence":
        audio[:] = 0
    if behave == "text":
        Path(value("--wav")).write_text("no audio")
        sys.exit(0)
    depth = value("--bit-depth") if "--bit-depth" in args else "16"
    channels = audio if "--mono" in args else np.stack([audio, audio], 1)
    soundfile.write(value("--wav"), np.clip(channels, -1, 1), rate, subtype=f"PCM_{depth}")
"""

OPTIONS = (
    "--headless", "--quiet", "--preset name", "--midi file", "--wav file", "--rate hz",
    "--bit-depth n", "--mono", "--dither ON|OFF", "--normalize", "--list-presets", "--version",
)  # fmt: skip
HOW: dict[str, Any] = {
    "options": OPTIONS, "version": "Pianoteq version 8.4.1 (fake)", "behave": "",
    "presets": ["K2 Basic", "HB Steinway Model D", "U4 Small"], "muted": [], "delay_s": 0.0,
    "level": 0.05, "rate": 0, "only_clips": True,
}  # fmt: skip


def install(folder: Path, **how: Any) -> Path:
    """Write the program and how it behaves; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pianoteq"
    path.write_text(f"#!{sys.executable}\n{SCRIPT}", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (folder / "how.json").write_text(json.dumps(HOW | how), encoding="utf-8")
    return path


def calls(path: Path) -> list[list[str]]:
    """Every command line that the program was given."""
    text = path.with_name("calls.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
