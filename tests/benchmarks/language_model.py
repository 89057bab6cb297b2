"""Measures how many errors a language model avoids: `evaluate` of versions with and without one, on damaged pictures.

python -m tests.benchmarks.language_model [--checkpoint DIR --charset FILE --lines FILE.tsv --corpus FILE]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "crnn"
CORPUS_LINES, CORPUS_SEED = 20000, 4_000_001


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, default=EXAMPLE / "checkpoint")
    parser.add_argument("--charset", type=Path, default=EXAMPLE / "charset.txt")
    parser.add_argument("--lines", type=Path, default=EXAMPLE / "unseen.tsv", help="labelled pictures")
    parser.add_argument("--corpus", type=Path, help="text (default: 20,000 lines as the example is trained on)")
    damages = [(0.0, 0.0), (1.0, 0.0), (1.5, 0.0), (0.0, 15.0), (0.0, 30.0), (1.0, 15.0)]
    parser.add_argument(
        "--damage", type=damage, nargs="*", default=damages, help="BLUR,NOISE: radius in pixels, gray levels of noise"
    )
    parser.add_argument("--beam-width", type=int, default=10)
    parser.add_argument("--weight", type=float, nargs="*", default=[0.4], help="bigram_weight (0.4)")
    parser.add_argument("--bonus", type=float, default=0.0, help="bigram_bonus (0)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        corpus = arguments.corpus or example_corpus(scratch / "corpus.txt")
        options = [("beam_width 1", {"beam_width": 1})]
        options.append((f"beam_width {arguments.beam_width}", {"beam_width": arguments.beam_width}))
        for weight in arguments.weight:
            bigrams = {"bigrams": corpus, "bigram_weight": weight, "bigram_bonus": arguments.bonus}
            options.append((f"bigram_weight {weight}", dict({"beam_width": arguments.beam_width}, **bigrams)))
        versions = []
        for number, (name, given) in enumerate(options):
            versions.append((name, export(arguments, scratch / f"models-{number}", given)))
        print("blur, noise | decoder | character error rate | errors | lines read exactly")
        for blur, noise in arguments.damage:
            lines = damaged(arguments.lines, scratch / f"damaged-{blur}-{noise}", blur, noise)
            for name, base in versions:
                print(f"{blur:g}, {noise:g} | {name} | {evaluated(base, lines)}", flush=True)


def damage(text: str) -> tuple:
    blur, noise = text.split(",")
    return float(blur), float(noise)


def example_corpus(file: Path) -> Path:
    """Lines of the example's kind, none of them among those that it is measured on."""
    sys.path.insert(0, str(EXAMPLE))
    from texts import held_out_lines, training_line

    random, held_out = np.random.RandomState(CORPUS_SEED), held_out_lines()
    lines = [training_line(random, held_out) for _ in range(CORPUS_LINES)]
    file.write_text("".join(line + "\n" for line in lines), "utf-8")
    return file


def damaged(labels: Path, folder: Path, radius: float, noise: float) -> Path:
    """The labelled pictures, blurred and with noise, and their labels file."""
    folder.mkdir()
    random = np.random.RandomState(0)
    rows = []
    for number, line in enumerate(labels.read_text("utf-8").splitlines()):
        path, _, text = line.partition("\t")
        picture = Image.open(labels.parent / path).convert("RGB").filter(ImageFilter.GaussianBlur(radius))
        pixels = np.asarray(picture, "float32")
        pixels = pixels + noise * random.standard_normal(pixels.shape[:2])[:, :, None]
        Image.fromarray(pixels.clip(0, 255).round().astype("uint8")).save(str(folder / f"{number}.png"))
        rows.append(f"{number}.png\t{text}\n")
    (folder / "labels.tsv").write_text("".join(rows), "utf-8")
    return folder / "labels.tsv"


def export(arguments: argparse.Namespace, base: Path, options: dict) -> Path:
    command = ["export", "-q", "-m", "crnn", "-c", str(arguments.checkpoint), "-o", str(base), "--no-parity"]
    for name, value in dict(options, charset=arguments.charset).items():
        command += ["--option", f"{name}={value}"]
    ckpt2saved(command)
    return base


def evaluated(base: Path, lines: Path) -> str:
    found = json.loads(ckpt2saved(["evaluate", str(base), "--lines", str(lines), "--json", "-q"]))
    return f"{found['cer']:.2%} | {found['edits']} of {found['characters']} | {found['exact']} of {found['lines']}"


def ckpt2saved(arguments: list) -> str:
    done = subprocess.run([sys.executable, "-m", "ckpt2saved", *arguments], stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"failed: {arguments}")
    return done.stdout.decode("utf-8")


if __name__ == "__main__":
    main()
