"""--help: options by topic, with examples; commands by what they are for."""

from __future__ import annotations

import enum
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import click

_NAME_COLUMNS = 24  # of an option; a longer one has a line of its own
_MOST_WITHOUT_TOPICS = 10  # options of a command that are listed together
_COMMAND_COLUMNS = 14  # of the names of commands
_CONTINUED = " \\"  # at the end of a line of a command
_INDENT = 4  # of the further lines of a command


class Topic(enum.Enum):
    """What an option is about, in the order of --help; the value is the heading."""

    SOURCE = "Source: the checkpoint, and the graph that it belongs to"
    SIGNATURE = "Signature: what is served"
    DECODER = "CTC decoder"
    MODELS = "Models and versions"
    LABELS = "Labelled pictures: how much of their text is read right"
    PROOF = "Proof: checks before publishing"
    WARM_UP = "Warm-up: requests that a server answers before it serves a version"
    WATCHING = "Watching: which checkpoints, and how long"
    SYNC = "Synchronization: which versions, and how long"
    PUBLISHING = "Publishing"
    BATCHING = "Batching"
    SPEED = "Speed: threads, oneDNN, and settings by measurements"
    REQUESTS = "Requests: what is sent"
    LOAD = "Load: how much at a time, and how long"
    LOADER = "Files of a version, without a server: the process that loads them"
    SERVER = "Server: a running TF Serving"
    START = "The server and how it is started"
    OUTPUT = "Output"


Examples = Mapping[Optional[Topic], Sequence[str]]  # command lines without `ckpt2saved NAME`; None: at the end


class Option(click.Option):
    """An option with a topic."""

    def __init__(self, *arguments: Any, topic: Optional[Topic] = None, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.topic = topic


class Purpose(enum.Enum):
    """What a command is for, in the order of `ckpt2saved --help`; the value is the heading."""

    FIRST = "The three to begin with"
    VERSIONS = "Versions of a model"
    CHECKS = "Checks and measurements"
    MORE = "More"


class HelpfulCommand(click.Command):
    """A command whose --help has its options by topic, if there are many, and examples."""

    def __init__(
        self,
        *arguments: Any,
        examples: Optional[Examples] = None,
        purpose: Purpose = Purpose.MORE,
        **keywords: Any,
    ) -> None:
        super().__init__(*arguments, **keywords)
        self.examples: Examples = examples or {}
        self.purpose = purpose

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, and below those of a topic its example."""
        groups = self._groups(context)
        for heading, (topic, records) in groups.items():
            with formatter.section(heading):
                first, others = records[0], records[1:]
                # As wide as in the other sections.
                formatter.write_dl([(first[0].ljust(_NAME_COLUMNS), first[1]), *others], col_max=_NAME_COLUMNS)
                for line in self.examples.get(topic, ()) if topic else ():
                    formatter.write_paragraph()
                    _write_command(formatter, f"Example: {context.command_path} {line}")

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples of the whole command, and those of topics that are not shown."""
        shown = [topic for topic, _ in self._groups(context).values()]
        lines = [line for topic, some in self.examples.items() if topic not in shown or not topic for line in some]
        if lines:
            with formatter.section("Examples" if len(lines) > 1 else "Example"):
                for line in lines:
                    _write_command(formatter, f"{context.command_path} {line}")

    def _groups(self, context: click.Context) -> Dict[str, Tuple[Optional[Topic], List[Tuple[str, str]]]]:
        """Heading -> topic, and the names and texts of its options; --help is the last one."""
        by_topic: Dict[Optional[Topic], List[Tuple[str, str]]] = {}
        topic = None
        for parameter in self.get_params(context):
            record = parameter.get_help_record(context)
            if record is not None and isinstance(parameter, click.Option):
                topic = getattr(parameter, "topic", topic)  # --help has none
                by_topic.setdefault(topic, []).append(record)
        if sum(map(len, by_topic.values())) <= _MOST_WITHOUT_TOPICS:
            return {"Options": (None, [record for records in by_topic.values() for record in records])}
        ordered = [topic for topic in (None, *Topic) if topic in by_topic]
        return {topic.value if topic else "Options": (topic, by_topic[topic]) for topic in ordered}


class HelpfulGroup(click.Group):
    """A group that lists its commands by what they are for, and without arguments those to begin with."""

    def __init__(self, *arguments: Any, purpose: Purpose = Purpose.MORE, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.purpose = purpose

    def parse_args(self, context: click.Context, args: List[str]) -> List[str]:
        """Without arguments, print a short page; exit code 2."""
        if not args and not context.resilient_parsing and Purpose.FIRST in self._by_purpose():
            formatter = context.make_formatter()
            self._write_start(context, formatter)
            click.echo(formatter.getvalue().rstrip("\n"), err=True)
            context.exit(2)
        return super().parse_args(context, args)

    def resolve_command(self, context: click.Context, args: List[str]) -> Any:
        """Find a command; of a misspelt one the error names those that are spelt alike, also in click 8.1."""
        name = args[0].replace("_", "-")
        if not context.resilient_parsing and name not in self.commands and not name.startswith("-"):
            import difflib  # slow to import

            near = difflib.get_close_matches(name, self.commands)
            context.fail(f"No such command {args[0]!r}." + (f" Did you mean {' or '.join(near)}?" if near else ""))
        return super().resolve_command(context, args)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by what they are for."""
        by_purpose = self._by_purpose()
        for purpose, commands in by_purpose.items():
            with formatter.section(purpose.value if len(by_purpose) > 1 else "Commands"):
                formatter.write_dl([(name.ljust(_COMMAND_COLUMNS), _summary(command)) for name, command in commands])

    def _by_purpose(self) -> Dict[Purpose, List[Tuple[str, click.Command]]]:
        """Commands of the first purpose in the order in which they were added, the others by name."""
        found: Dict[Purpose, List[Tuple[str, click.Command]]] = {}
        for purpose in Purpose:
            of_it = [
                (name, command)
                for name, command in self.commands.items()
                if getattr(command, "purpose", Purpose.MORE) == purpose and not command.hidden
            ]
            if of_it:
                found[purpose] = of_it if purpose == Purpose.FIRST else sorted(of_it, key=lambda item: item[0])
        return found

    def _write_start(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what to begin with, the other commands, and where more is said."""
        formatter.write_usage(context.command_path, "COMMAND [OPTIONS] [ARGUMENTS]...")
        with formatter.indentation():
            formatter.write_paragraph()
            formatter.write_text(_summary(self))
        by_purpose = self._by_purpose()
        with formatter.section(Purpose.FIRST.value):
            for name, command in by_purpose.pop(Purpose.FIRST, ()):
                formatter.write_dl([(name.ljust(_COMMAND_COLUMNS), _summary(command))])
                for line in getattr(command, "examples", {}).get(None, ())[:1]:
                    with formatter.indentation():
                        _write_command(formatter, f"{context.command_path} {name} {line}")
        with formatter.section("The others"):
            others = [
                (purpose.value, ", ".join(name for name, _ in commands)) for purpose, commands in by_purpose.items()
            ]
            formatter.write_dl(others)
        formatter.write("\n")
        formatter.write_text(f"{context.command_path} COMMAND --help says more, with examples.")


def _summary(command: click.Command) -> str:
    return " ".join((command.help or "").partition("\n\n")[0].split())


def _write_command(formatter: click.HelpFormatter, text: str) -> None:
    """Write a command that can be copied: too long a line goes on after a backslash."""
    indent = " " * formatter.current_indent
    line, begun = indent, False
    for part in _parts(text):
        if begun and len(line) + 1 + len(part) + len(_CONTINUED) > formatter.width:
            formatter.write(line + _CONTINUED + "\n")
            line, begun = indent + " " * _INDENT, False
        line, begun = line + " " * begun + part, True
    formatter.write(line + "\n")


def _parts(text: str) -> List[str]:
    """Divide a command line before its options."""
    import shlex  # slow to import

    parts: List[str] = []
    for word in shlex.split(text, posix=False):
        if not parts or word.startswith("-"):
            parts.append(word)
        else:
            parts[-1] += f" {word}"
    return parts
