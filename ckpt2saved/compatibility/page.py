"""The diagnosis printed for people: environment and problems, servers, SavedModel."""

from __future__ import annotations

from itertools import groupby
from typing import List, Optional, Sequence, Tuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ckpt2saved.compatibility.cuda import cuda_versions_of, in_image, oldest_driver
from ckpt2saved.compatibility.doctor import Diagnosis, SavedModelFit
from ckpt2saved.compatibility.environment import TensorFlow, client_command
from ckpt2saved.compatibility.fit import Misfit, advice, nodes_text, releases_text
from ckpt2saved.compatibility.image import REPOSITORY, Image, ServerKind, known_images
from ckpt2saved.compatibility.requirements import release
from ckpt2saved.console.tables import print_labelled, stdout
from ckpt2saved.graph.kernel_table import Device

_MOST = 3  # problems that are named for each release, where all of them are shown


def print_diagnosis(diagnosis: Diagnosis) -> None:
    """Print the diagnosis; the SavedModel is last, so that it stays visible on a terminal."""
    console = stdout()
    _print_environment(console, diagnosis)
    _print_images(console, diagnosis)
    _print_client(console, diagnosis)
    if diagnosis.saved_model:
        _print_fit(console, diagnosis.saved_model, diagnosis)


def _print_environment(console: Console, diagnosis: Diagnosis) -> None:
    environment, driver = diagnosis.environment, diagnosis.driver
    print_labelled(console, "Python", f"{environment.python} ({environment.executable})")
    if environment.tensorflow is None:
        text = "none in this Python; for export and inspect: pip install 'ckpt2saved[cpu]', or the one of your training"
        print_labelled(console, "TensorFlow", text, "yellow")
    for number, one in enumerate(environment.tensorflows):
        text = f"{one.flavour} {one.version} (in {one.directory})"
        print_labelled(console, "TensorFlow" if number == 0 else "", text)
    for problem in environment.problems:
        print_labelled(console, "problem", problem.text, "red")
    if environment.tensorflow:
        print_labelled(console, "CUDA", _cuda(environment.tensorflow))
    if driver.version:
        gpus = ", ".join(driver.gpus) or f"no GPU is seen: {driver.reason}"
        versions = environment.tensorflow and environment.tensorflow.cuda_versions
        is_too_old = bool(versions and not driver.runs(versions.cuda))
        text = f"NVIDIA {driver.version}: {gpus}"
        if versions and is_too_old:
            text += f"; too old for CUDA {versions.cuda}, which runs on {oldest_driver(versions.cuda)} or newer"
        print_labelled(console, "driver", text, "red" if is_too_old else "")
    else:
        print_labelled(console, "driver", f"none for NVIDIA GPUs is found on this machine ({driver.reason})")


def _cuda(tensorflow: TensorFlow) -> str:
    if tensorflow.cuda_versions:
        return (
            f"{tensorflow.flavour} {tensorflow.version} requires CUDA {tensorflow.cuda_versions.cuda} and cuDNN"
            f" {tensorflow.cuda_versions.cudnn}"
        )
    text = f"not used: this build of {tensorflow.flavour} computes on the CPU"
    versions = cuda_versions_of(tensorflow.version)
    if versions:
        text += f" (builds of {tensorflow.minor} for GPUs require CUDA {versions.cuda} and cuDNN {versions.cudnn})"
    return text


def _print_images(console: Console, diagnosis: Diagnosis) -> None:
    here, newest = diagnosis.environment.tensorflow, known_images()[-1]
    console.print()
    table = _table(("TF Serving image", "with GPUs", "CUDA, cuDNN", "NVIDIA driver"))
    for versions, group in groupby(diagnosis.images, key=lambda image: in_image(image.version)):
        images = list(group)
        driver, style = f"{oldest_driver(versions.cuda)} or newer", ""
        if diagnosis.driver.version and not diagnosis.driver.runs(versions.cuda):
            driver, style = f"{driver}, not {diagnosis.driver.version}", "red"
        table.add_row(
            Text(f"{REPOSITORY}:{_versions(images, '')}"),
            Text(_versions(images, "-gpu")),
            Text(f"{versions.cuda}, {versions.cudnn}"),
            Text(driver, style=style),
        )
    console.print(table)
    console.print()
    if here and diagnosis.asked and release(here.minor) > release(diagnosis.asked.image.minor):
        text = f"TF Serving {diagnosis.asked.image.version} is older than TensorFlow {here.version}: "
        print_labelled(console, "note", text + _ask(diagnosis, diagnosis.asked.image), "yellow")
    elif here and release(here.minor) > release(newest.minor):
        text = f"no TF Serving {here.minor} is known here yet; {newest.version} is the newest, and "
        print_labelled(console, "note", text + _ask(diagnosis, newest), "yellow")


def _ask(diagnosis: Diagnosis, image: Image) -> str:
    if diagnosis.saved_model:
        return "whether it has what the SavedModel asks for is said below"
    return f"ckpt2saved doctor SAVED_MODEL --serving {image.minor} says whether it has what a SavedModel asks for"


def _versions(images: Sequence[Image], suffix: str) -> str:
    names = [image.version + suffix for image in images]
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _print_client(console: Console, diagnosis: Diagnosis) -> None:
    environment = diagnosis.environment
    here, client = environment.tensorflow, environment.client
    if client and here and not here.goes_with(client):
        return  # a problem, which is said above
    if client and environment.has_grpc:
        print_labelled(console, "client", f"{client.name} {client.version} is installed, and goes with it")
        return
    print_labelled(
        console,
        "client",
        f"{client_command(here)}  (for clients over gRPC; without --no-deps pip installs a tensorflow as well, over any"
        " that is there)",
    )


def _print_fit(console: Console, fit: SavedModelFit, diagnosis: Diagnosis) -> None:
    demands = fit.demands
    ops = len({use.op for use in demands.uses})
    by = f", written by TensorFlow {demands.tensorflow}" if demands.tensorflow else ""
    console.print()
    print_labelled(console, "SavedModel", f"{demands.directory} ({demands.nodes} nodes, {ops} ops{by})")
    for device in Device:
        if device is fit.device or fit.fitting[device] != fit.fitting[fit.device]:
            fitting = releases_text([image.minor for image in fit.fitting[device]])
            text = f"TF Serving {fitting}" if fitting else "none"
            label = "fits" if device is Device.CPU else "with a GPU"
            print_labelled(console, label, text, "green" if fitting else "red")
    for op, servers in fit.contrib.items():
        print_labelled(console, "note", f"{op}: {servers}", "yellow")
    if fit.for_gpu:
        text = "{}: TensorFlow has kernels of it for GPUs only, so that the server needs a GPU and the image {}"
        print_labelled(console, "note", text.format(", ".join(fit.for_gpu), _gpu_image(fit, diagnosis.asked)), "yellow")
    if diagnosis.asked:
        _print_misfits(console, fit, diagnosis.asked)
    elif any(fit.misfits.values()):
        _print_releases(console, fit)


def _gpu_image(fit: SavedModelFit, asked: Optional[ServerKind]) -> str:
    """Return the image for GPUs of the release that was asked about; if that one does not fit, the newest that does."""
    fitting = fit.fitting[Device.GPU]
    if asked and (not fitting or asked.image.minor in {image.minor for image in fitting}):
        return asked.image.tag(gpu=True)
    return (fitting or known_images())[-1].tag(gpu=True)


def _print_misfits(console: Console, fit: SavedModelFit, asked: ServerKind) -> None:
    misfits = fit.misfits[asked.image]
    if not misfits:
        return
    console.print()
    table = _table((f"TF Serving {asked.image.version} lacks", "why", "asked for by"))
    for misfit in misfits:
        why = misfit.reason + (misfit.remedy and f"; {misfit.remedy}")
        table.add_row(Text(misfit.subject), Text(why), Text(nodes_text(misfit.nodes, most=1)))
    console.print(table)
    console.print()
    print_labelled(console, "advice", advice(asked, fit.fitting))


def _print_releases(console: Console, fit: SavedModelFit) -> None:
    """Print one line for each range of releases that lack the same."""
    console.print()
    table = _table(("TF Serving", "fits", "what it lacks"))
    rows = [(image, misfits) for image, misfits in fit.misfits.items()]
    for subjects, group in groupby(rows, key=lambda row: tuple(misfit.subject for misfit in row[1])):
        stretch = list(group)
        releases = releases_text([image.minor for image, _ in stretch])
        table.add_row(Text(releases), Text("no" if subjects else "yes"), Text(_lacks(stretch[0][1])))
    console.print(table)


def _lacks(misfits: Tuple[Misfit, ...]) -> str:
    parts: List[str] = [f"{misfit.subject} ({nodes_text(misfit.nodes, most=1)})" for misfit in misfits[:_MOST]]
    if len(misfits) > _MOST:
        parts.append(f"and {len(misfits) - _MOST} more; doctor --serving RELEASE says all of one")
    return "\n".join(parts)


def _table(headings: Sequence[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
