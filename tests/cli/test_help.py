"""--help: options by topic, examples that can be typed, commands by what they are for."""

from __future__ import annotations

import os
import shlex

import click
import pytest

from ckpt2saved.cli import main
from ckpt2saved.cli.help import Purpose, Topic
from tests.support.command_line import call

LONG = ["bump-version", "evaluate", "export", "serving-config", "verify"]


def commands():
    for name, command in sorted(main.commands.items()):
        if isinstance(command, click.Group):
            for part in command.commands.values():
                yield f"{name} {part.name}", part
        else:
            yield name, command


def help_of(name):
    command = dict(commands())[name]
    parent = click.Context(main, info_name="ckpt2saved")
    with click.Context(command, info_name=name, parent=parent, terminal_width=80) as context:
        return command.get_help(context)


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_every_help_fits_80_columns_and_ends_with_an_example(name):
    """A line that is too long for one goes on after a backslash."""
    text = help_of(name)
    assert [line for line in text.splitlines() if len(line) > 80] == []
    last = text.rpartition("\n\n")[2].splitlines()
    assert last[0] in ("Example:", "Examples:") and last[1].startswith(f"  ckpt2saved {name} ")


@pytest.mark.parametrize("name", [name for name, _ in commands()])
def test_every_example_is_a_command_line(name):
    """With options that exist, values that they take and all that is required."""
    command = dict(commands())[name]
    examples = [(topic, line) for topic, lines in command.examples.items() for line in lines]
    assert examples
    for topic, line in examples:
        context = command.make_context(name, shlex.split(line))
        given = [
            parameter
            for parameter in command.params
            if context.get_parameter_source(parameter.name) == click.core.ParameterSource.COMMANDLINE
        ]
        assert topic is None or topic in [getattr(parameter, "topic", None) for parameter in given], line


@pytest.mark.parametrize("name", LONG)
def test_a_long_help_is_divided_by_topic(name):
    """Every option of a command with many has a topic, and every topic an example of this command."""
    command = dict(commands())[name]
    topics = [option.topic for option in command.params if isinstance(option, click.Option)]
    assert None not in topics
    without = set(topics) - set(command.examples)
    assert without <= {Topic.OUTPUT}
    text = help_of(name)
    assert "\nOptions:" not in text
    places = [text.index(f"\n{topic.value}:\n") for topic in Topic if topic in topics]
    assert places == sorted(places) and text.count("  Example: ckpt2saved") == len(set(topics) - without)


def test_a_short_help_is_one_list():
    """Topics of three options would only be in the way."""
    text = help_of("list")
    assert "\nOptions:\n" in text and Topic.OUTPUT.value not in text


def test_without_arguments_there_is_a_short_page():
    """It fits a terminal, begins with the three that are needed first, and names every command."""
    done = call()
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 80
    first = done.stdout.partition(f"{Purpose.FIRST.value}:\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in first.splitlines() if line[2] != " "] == ["inspect", "export", "serving-config"]
    assert first.count("    ckpt2saved ") == 3
    assert [name for name in main.commands if name not in done.stdout] == []


def test_the_page_of_all_commands_lists_each_once():
    """By what they are for."""
    text = call("--help").stdout
    names = [line.split()[0] for line in text.splitlines() if line.startswith("  ") and line[2:3].isalpha()]
    assert [names.count(name) for name in main.commands] == [1] * len(main.commands)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["exprt"], "No such command 'exprt'. Did you mean export?"),
        (["bump_verison"], "Did you mean bump-version?"),
        (["export", "--chekpoint", "x"], "No such option: --chekpoint"),
    ],
)
def test_what_is_misspelt_is_told_with_what_was_meant(arguments, message):
    """In every release of click."""
    done = call(*arguments)
    assert done.returncode == 2 and message in done.stdout.replace("option '--chekpoint'.", "option: --chekpoint")
    assert "export" in done.stdout or "bump-version" in done.stdout


def test_a_shell_completes_options_and_commands():
    """As click does it, for the names in groups as well."""
    for words, number, expected in (("ckpt2saved exp", 1, "plain,export"), ("ckpt2saved export --warm", 2, "--warmup")):
        environment = {"_CKPT2SAVED_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
        os.environ.update(environment)
        try:
            assert expected in call().stdout
        finally:
            for name in environment:
                del os.environ[name]
