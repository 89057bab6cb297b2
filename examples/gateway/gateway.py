"""An HTTP API and a web page that read pictures of pages, in front of one TF Serving: see README.md.

python examples/gateway/gateway.py MODEL [--mode parts] [--recogniser MODEL]
MODEL is the address of a model, grpc://HOST:8500/v1/models/NAME or http://HOST:8501/v1/models/NAME, or a directory.
"""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
from flask import Flask, Response, jsonify, request
from in_process import Files
from PIL import Image
from uploads import Unread, accepted, as_png, pixels, uploaded
from werkzeug.exceptions import HTTPException

from ckpt2saved.client import Client
from ckpt2saved.client.line_crops import cropped_lines
from ckpt2saved.client.reading_order import reading_order
from ckpt2saved.errors import Ckpt2SavedError, UsageError
from ckpt2saved.requests.pictures import PICTURES_OF_A_REQUEST, status_text

MODES = ("page", "parts")
CONTENT_POLICY = "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'"


class Reader:
    """Reads pages: with the signature `page`, or with those of a detector and a recogniser, lines cropped between."""

    def __init__(self, model: str, mode: str, recogniser: str) -> None:
        if mode not in MODES or (recogniser and mode == "page"):
            raise UsageError(f"mode {mode}: expected {' or '.join(MODES)}; a recogniser of its own with parts only")
        self._detects = mode == "parts"
        self._model = opened(model)
        self._recogniser = opened(recogniser) if recogniser else self._model

    def lines(self, content: bytes, picture: Image.Image) -> List[Dict[str, Any]]:
        """The lines of a picture: text, scores and corners, clockwise from the top left; raises Unread."""
        answer = self._model.predict("picture_lines" if self._detects else "page", {"image_bytes": [content]})
        status = int(answer["status"][0])
        if status:
            found = f"the model can't read this picture: {status_text(status)}; send another one, as PNG or JPEG"
            raise Unread(413 if status == 3 else 400, found, status=status)
        quads, scores = answer["quads"][0][: int(answer["count"][0])], answer["scores"][0]
        if self._detects:
            texts, text_scores = self._texts(picture, quads)
        else:
            texts, text_scores = answer["text"][0], answer["text_scores"][0]
        return [
            {
                "text": texts[line].decode("utf-8", "replace"),
                "score": round(float(scores[line]), 4),
                "text_score": round(float(text_scores[line]), 4) if math.isfinite(text_scores[line]) else None,
                "quad": [round(float(value), 1) for value in quads[line]],
            }
            for line in reading_order(quads)
        ]

    def _texts(self, picture: Image.Image, quads: np.ndarray) -> Tuple[Sequence[bytes], Sequence[float]]:
        """The texts of the lines and their scores."""
        parts = parts_of(cropped(picture, quads))
        answers = [self._recogniser.predict("text", {"image_bytes": part}) for part in parts]
        return [text for one in answers for text in one["text"]], [score for one in answers for score in one["score"]]

    def problems(self) -> List[str]:
        """What is not served."""
        clients = [one for one in {self._model, self._recogniser} if isinstance(one, Client)]
        states = {one.address: [version.state for version in one.status(timeout=5)] for one in clients}
        return [f"{name}: no version is AVAILABLE: {one}" for name, one in states.items() if "AVAILABLE" not in one]


def cropped(picture: Image.Image, quads: np.ndarray) -> List[bytes]:
    """Each line, cut out and turned upright, as a PNG file."""
    return [as_png(Image.fromarray(line)) for line in cropped_lines(pixels(picture), quads)] if len(quads) else []


def parts_of(lines: Sequence[bytes]) -> List[List[bytes]]:
    """As many lines at a time as a server with batching takes in one request."""
    return [list(lines[at : at + PICTURES_OF_A_REQUEST]) for at in range(0, len(lines), PICTURES_OF_A_REQUEST)]


def opened(place: str) -> Any:
    """A client, which threads share; of a directory, its files."""
    return Client(place, timeout=60) if "://" in place else Files(place)


def create_app(model: str, mode: str = "page", recogniser: str = "") -> Flask:
    """The application, for gunicorn and flask; raises Ckpt2SavedError or ValueError for what it can't open."""
    app = Flask(__name__)
    reader = Reader(model, mode, recogniser)

    @app.get("/")
    def page() -> Response:
        return app.send_static_file("index.html")

    @app.post("/read")
    def read() -> Response:
        content, picture = accepted(uploaded(request))
        return jsonify(status=0, width=picture.width, height=picture.height, lines=reader.lines(content, picture))

    @app.get("/healthz")
    def healthz() -> Tuple[Response, int]:
        problems = reader.problems()
        return (jsonify(error="; ".join(problems)), 503) if problems else (jsonify(status="ok"), 200)

    @app.errorhandler(Exception)
    def failed(error: Exception) -> Tuple[Response, int]:
        if isinstance(error, Unread):
            return jsonify(error=str(error), **error.fields), error.code
        if isinstance(error, Ckpt2SavedError):
            return jsonify(error=str(error)), 502
        if isinstance(error, HTTPException):
            return jsonify(error=f"{request.method} {request.path}: {error.description}"), error.code or 500
        app.logger.exception("%s %s", request.method, request.path)
        return jsonify(error="an error of the gateway itself; its log has the reason"), 500

    @app.after_request
    def protected(response: Response) -> Response:
        response.headers.update({"Content-Security-Policy": CONTENT_POLICY, "X-Content-Type-Options": "nosniff"})
        return response

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("model", help="address of a model on a TF Serving, or a directory that is run in this process")
    parser.add_argument("--mode", choices=MODES, default="page", help="one request a page, or one for each part")
    parser.add_argument("--recogniser", default="", help="the model with the signature text, if it is another one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5000)
    options = parser.parse_args()
    try:
        app = create_app(options.model, options.mode, options.recogniser)
    except (Ckpt2SavedError, ValueError) as error:
        sys.exit(f"gateway: {error}")
    app.run(options.host, options.port, threaded=True)


if __name__ == "__main__":
    main()
