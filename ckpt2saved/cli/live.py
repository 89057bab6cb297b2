"""The printing of a published version, and of the answers of the server that it waits for."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Dict, Iterator, Optional

import click

from ckpt2saved.cli.invocation import UntilInterrupted, print_json, printed, warn
from ckpt2saved.errors import Ckpt2SavedError

if TYPE_CHECKING:  # slow to import
    from ckpt2saved.console.narration import Narration
    from ckpt2saved.console.report import Record


class Published(UntilInterrupted):
    """The narration of a command that publishes a version: it prints the directory once it is published."""

    def __init__(self, say: Narration, record: Record, as_json: bool) -> None:
        super().__init__(say)
        self.version: Any = None  # the published one
        self._narration = say
        self._record = record
        self._as_json = as_json

    def published(self, version: Any) -> None:
        """Print the directory at once, because it is published even if the wait for the server fails."""
        is_old = getattr(version, "is_unchanged", False)
        outcome = "`{}` has the same files" if is_old else "would publish `{}`" if version.dry_run else "published `{}`"
        self._record.outcome = outcome.format(version.path)
        self._record.is_done = not version.dry_run
        self.version = None if is_old else version
        if not self._as_json:
            with self._narration.paused(), printed("" if version.dry_run or is_old else f"{version.path} is published"):
                click.echo(str(version.path))

    def finish(self, version: Any) -> None:
        """Report the result of the command."""
        if version.server is not None:
            self._record.outcome += f", live on {version.server.address}"
        if self._as_json:
            with printed("" if version.dry_run else f"{version.path} is published"):
                print_json({**version.as_content(), **_server_content(version.server)})


@contextlib.contextmanager
def publishing(say: Published, address: Any, as_json: bool) -> Iterator[None]:
    """Context for a command that publishes: an error after that says what was published, and warns to run it again."""
    try:
        yield
    except BaseException as error:
        version = say.version
        if version is None or version.dry_run:
            raise
        done = f"{version.path} is published"
        if as_json and isinstance(error, Ckpt2SavedError):
            server = _server_content(getattr(error.version, "server", None))
            with printed(done):
                print_json({**version.as_content(), **(server or _unasked_content(address, error))})
        if getattr(error, "exit_code", 1) == 1:
            from ckpt2saved.files.shell_words import for_shell

            warn(
                f"{done}; running this again would publish it twice; ckpt2saved verify"
                f" {for_shell(version.path)} --server checks it again"
            )
        raise


def _unasked_content(address: Any, error: Ckpt2SavedError) -> Dict[str, Any]:
    from ckpt2saved.errors.problem import Problem, details, texts

    problems = [Problem("not-live", "", error.message), *error.problems]
    return {"server": {"address": str(address), "problems": texts(problems), "problem_details": details(problems)}}


def _server_content(report: Optional[Any]) -> Dict[str, Any]:
    if report is None:
        return {}
    from ckpt2saved.answers.server_answers import as_content

    return {"server": as_content(report)}
