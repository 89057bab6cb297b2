"""The command `predict`."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, List, Optional, Sequence, Tuple, Union

import click

from ckpt2saved.cli.help import Purpose, Topic
from ckpt2saved.cli.invocation import command, narration, prepare_tensorflow, print_json
from ckpt2saved.cli.model_place import place_argument, place_options
from ckpt2saved.cli.options import PathType, called, gpu_option, json_option, option, quiet_option
from ckpt2saved.errors import Ckpt2SavedError, NotAnswered, NotRead

if TYPE_CHECKING:  # slow to import
    from ckpt2saved.client.address import ModelAddress

_MOST_LISTED = 20  # problems in the message at the end


@command(
    "predict",
    Purpose.CHECKS,
    {None: ["models/crnn line1.png line2.png", "http://localhost:8501/v1/models/ocr page.png --draw read.png"]},
)
@place_argument
@click.argument("files", nargs=-1, metavar="FILE...")
@option(
    "--signature",
    metavar="NAME",
    help="Signature to send the files to. Default: the one that takes files of this kind.",
)
@option("--stdin", "from_stdin", is_flag=True, help="Read paths of files from stdin, one a line, as FILE - does.")
@option(
    "--batch-size",
    "--batch",
    "batch_size",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    metavar="N",
    help="Pictures of one request. Fewer are sent if a server refuses so many.",
)
@option(
    "--draw",
    "drawing",
    type=PathType(),
    metavar="FILE.png",
    help="Draw the boxes or lines of one picture on it. Needs Pillow.",
)
@gpu_option(Topic.LOADER)
@place_options
@json_option
@quiet_option
def predict(
    place: Union[Path, ModelAddress],
    files: Sequence[str],
    from_stdin: bool,
    drawing: Optional[Path],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Send pictures or arrays to a version, or to a model on a server, and print what it answers.

    VERSION_DIR is a version, BASE its base directory (the newest complete version), and URL a model on a running TF
    Serving: http://HOST:8501/v1/models/NAME or grpc://HOST:8500/v1/models/NAME, with /versions/N for one version.

    FILE is a picture, whose bytes are sent as they are to an input of strings, or numpy arrays: a .npz file with an
    array for each input, or a .npy file for a signature of one input. A directory stands for the pictures in it, and -
    for paths that are read from stdin, one a line.

    On a terminal the result is a table. Otherwise, or with --quiet, it is a line for each file: path, tab, text.

    Exit code 3: the model could not read some of the pictures. Exit code 1: some files got no answer.
    """
    prepare_tensorflow(options["gpu"])
    import ckpt2saved
    from ckpt2saved.requests.files import STDIN, given_paths

    arguments = list(files) + [STDIN] * from_stdin
    if not arguments:
        raise click.UsageError("no files; expected pictures, .npy or .npz files, or - for paths that stdin lists")
    paths = given_paths(arguments, sys.stdin.buffer if STDIN in arguments else ())
    drawn = [] if drawing is None else _only_one(drawing, paths)
    with narration("predict", quiet=quiet) as say:
        found = called(ckpt2saved.predict, place, drawn or paths, progress=say, **options)
        chosen = found.signature
        say("model", f"{found.model}, signature {chosen.name}")
        if drawing is not None:
            from ckpt2saved.answers.drawn_page import check_drawable, draw_page

            check_drawable(chosen)
        shown = _Shown(chosen, as_json, is_table=sys.stdout.isatty() and not quiet)
        say.begin(f"loading {found.model}")
        try:
            for prediction in found:
                shown.add(prediction)
                if drawing is not None and prediction.answers is not None and not prediction.unread:
                    count = draw_page(Path(drawn[0]), prediction.answers, drawing)
                    say("drawn", f"{count} on {drawing}")
                say.progress(f"{shown.count} files")
        except (Ckpt2SavedError, KeyboardInterrupt) as error:
            shown.error = error
    shown.finish({"model": found.model, "signature": chosen.name})
    shown.raise_problems()


def _only_one(drawing: Path, paths: Iterator[str]) -> List[str]:
    """The one path; raises UsageError if there are more, or if the drawing can't be one."""
    from ckpt2saved.console.drawing import check_picture_file

    check_picture_file(drawing, "--draw")
    found = list(itertools.islice(paths, 2))
    if len(found) > 1:
        raise click.UsageError("--draw: one picture is expected; found several files")
    return found


class _Shown:
    """The predictions, printed as lines at once, or as a table or JSON at the end."""

    def __init__(self, signature: Any, as_json: bool, is_table: bool) -> None:
        from ckpt2saved.answers.prediction_texts import Columns

        self.count = 0
        self.error: Optional[BaseException] = None  # what ended the requests
        self._columns = Columns(signature)
        self._as_json = as_json
        self._is_table = is_table
        self._content: List[Any] = []
        self._rows: List[Tuple[List[str], str]] = []  # cells and style
        self._has_problems = False
        self._problems: List[Any] = []
        self._unread: List[Any] = []

    def add(self, prediction: Any) -> None:
        """Keep or print the prediction; arrays are not kept for a table."""
        from ckpt2saved.answers.prediction_texts import as_content, style

        self.count += 1
        self._problems += [prediction.problem] if prediction.problem else []
        self._unread += [prediction.unread] if prediction.unread else []
        if self._as_json:
            self._content.append(as_content(prediction))
        elif self._is_table:
            self._rows.append((self._columns.cells(prediction), style(prediction)))
        else:
            line = self._columns.line(prediction)
            if line is not None:
                click.echo(line.encode("utf-8", "replace"))  # whatever the locale is

    def finish(self, where: Any) -> None:
        """Print the table or the JSON."""
        from ckpt2saved.answers.prediction_texts import problems_as_content
        from ckpt2saved.console.tables import print_rows

        if self._as_json:
            counts = {"files": self.count, "unread": len(self._unread), "unanswered": len(self._problems)}
            more = [one for one in getattr(self.error, "problems", ()) if one not in self._problems]
            problems = problems_as_content([*self._problems, *self._unread, *more])
            error = None
            if self.error is not None:
                message = getattr(self.error, "message", "interrupted")
                error = {"message": message, "exit_code": getattr(self.error, "exit_code", 1)}
            print_json({**where, **counts, "results": self._content, "error": error, **problems})
        elif self._rows:
            headings = self._columns.headings(bool(self._problems or self._unread))
            print_rows(
                headings, [cells[: len(headings)] for cells, _ in self._rows], [style for _, style in self._rows]
            )

    def raise_problems(self) -> None:
        """Raise what ended the requests, NotAnswered or NotRead."""
        if self.error is not None:
            raise self.error
        problems = [*self._problems, *self._unread]
        if problems:
            counts = ((len(self._problems), "got no answer"), (len(self._unread), "could not be read by the model"))
            found = ", ".join(f"{count} of {self.count} files {what}" for count, what in counts if count)
            first = f"; the first {_MOST_LISTED}:" if len(problems) > _MOST_LISTED else ""
            kind = NotAnswered if self._problems else NotRead
            raise kind(found + first, problems[:_MOST_LISTED])
