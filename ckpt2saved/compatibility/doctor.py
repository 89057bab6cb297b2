"""The diagnosis of the `doctor` command: environment, matching servers, and their fit for a SavedModel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

from ckpt2saved.compatibility.cuda import Driver, find_driver, in_image, oldest_driver
from ckpt2saved.compatibility.demands import Demands, read_demands
from ckpt2saved.compatibility.environment import Environment, client_command, examine_environment
from ckpt2saved.compatibility.fit import (
    Misfit,
    contrib_ops,
    find_misfits,
    fitting_images,
    linked_text,
    ops_for_gpu,
    releases_text,
)
from ckpt2saved.compatibility.image import Image, ServerKind, find_device, find_server_kind, known_images
from ckpt2saved.compatibility.requirements import release
from ckpt2saved.errors import NotCompatible
from ckpt2saved.errors.problem import details, texts
from ckpt2saved.graph.kernel_table import Device
from ckpt2saved.graph.op_table import shipped_table
from ckpt2saved.versions import find_version


@dataclass(frozen=True)
class SavedModelFit:
    """A SavedModel, and what each requested release of TF Serving lacks for it."""

    demands: Demands
    misfits: Mapping[Image, Tuple[Misfit, ...]]  # () where it fits; the oldest release first
    device: Device  # of the servers
    fitting: Mapping[Device, Tuple[Image, ...]]  # among all known releases
    contrib: Mapping[str, str]  # its ops of tf.contrib, and which servers have them
    for_gpu: Tuple[str, ...]  # its ops that need a server with a GPU


@dataclass(frozen=True)
class Diagnosis:
    """The result of diagnose()."""

    environment: Environment
    driver: Driver
    asked: Optional[ServerKind]  # the release that was asked about
    images: Tuple[Image, ...]  # that go with the environment, or the one that was asked about
    saved_model: Optional[SavedModelFit]

    def raise_if_misfit(self) -> None:
        """Raise NotCompatible if the SavedModel fits none of the requested releases."""
        if self.saved_model is None or not all(self.saved_model.misfits.values()):
            return
        path = self.saved_model.demands.directory
        if self.asked is None:
            raise NotCompatible(f"{path}: it fits no known release of TF Serving on the {self.saved_model.device}")
        fitting = releases_text([image.minor for image in self.saved_model.fitting[self.asked.device]])
        found = f"it does not fit TF Serving {self.asked.image.version}"
        raise NotCompatible(f"{path}: {found}; it fits {fitting or 'none'}")


def diagnose(
    saved_model: Optional[Path] = None, serving: Optional[str] = None, for_device: Optional[str] = None
) -> Diagnosis:
    """Examine this environment, and a SavedModel against one release of TF Serving or, by default, all."""
    asked = None if serving is None else find_server_kind(serving, for_device)
    device = find_device(for_device) if asked is None else asked.device
    fit = None if saved_model is None else _fit(read_demands(find_version(saved_model)), asked, device)
    environment = examine_environment()
    images = (asked.image,) if asked else _matching(environment)
    return Diagnosis(environment=environment, driver=find_driver(), asked=asked, images=images, saved_model=fit)


def as_content(diagnosis: Diagnosis) -> Dict[str, Any]:
    """Return the JSON content of a diagnosis."""
    environment, fit = diagnosis.environment, diagnosis.saved_model
    here = environment.tensorflow
    return {
        "python": {"version": environment.python, "executable": environment.executable},
        "tensorflow": here
        and {
            "package": here.flavour,
            "version": here.version,
            "directory": str(here.directory),
            "cuda": here.cuda_versions and here.cuda_versions.cuda,
            "cudnn": here.cuda_versions and here.cuda_versions.cudnn,
        },
        "problems": texts(environment.problems),
        "problem_details": details(environment.problems),
        "driver": {
            "version": diagnosis.driver.version,
            "gpus": list(diagnosis.driver.gpus),
            "remark": diagnosis.driver.reason,
        },
        "images": [_image_content(image, diagnosis) for image in diagnosis.images],
        "client": {
            "installed": environment.client and environment.client.version,
            "install": client_command(here),
        },
        "saved_model": fit and _fit_content(fit),
    }


def _fit(demands: Demands, asked: Optional[ServerKind], device: Device) -> SavedModelFit:
    table = shipped_table()
    misfits = {one: find_misfits(demands, known_images(), table, one) for one in Device}
    of_images = misfits[device] if asked is None else find_misfits(demands, [asked.image], table, device)
    return SavedModelFit(
        demands=demands,
        misfits=of_images,
        device=device,
        fitting={one: fitting_images(found) for one, found in misfits.items()},
        contrib={op: linked_text(table.linking(op)) for op in contrib_ops(demands, table)},
        for_gpu=ops_for_gpu(demands),
    )


def _matching(environment: Environment) -> Tuple[Image, ...]:
    """Return the images of TensorFlow's release and of newer ones, which load its graphs; else the newest image."""
    images = known_images()
    if environment.tensorflow is None:
        return images
    matching = tuple(one for one in images if release(one.minor) >= release(environment.tensorflow.minor))
    return matching or images[-1:]


def _image_content(image: Image, diagnosis: Diagnosis) -> Dict[str, Any]:
    versions = in_image(image.version)
    return {
        "version": image.version,
        "tag": image.tag(gpu=False),
        "gpu_tag": image.tag(gpu=True),
        "cuda": versions.cuda,
        "cudnn": versions.cudnn,
        "oldest_driver": oldest_driver(versions.cuda),
        "driver_suffices": diagnosis.driver.runs(versions.cuda) if diagnosis.driver.version else None,
    }


def _fit_content(fit: SavedModelFit) -> Dict[str, Any]:
    return {
        "path": str(fit.demands.directory),
        "tensorflow": fit.demands.tensorflow,
        "nodes": fit.demands.nodes,
        "contrib_ops": list(fit.contrib),
        "gpu_ops": list(fit.for_gpu),
        "device": fit.device.value,
        "fits": [image.minor for image in fit.fitting[fit.device]],
        "fits_on": {device.value: [image.minor for image in fit.fitting[device]] for device in Device},
        "serving": {
            image.minor: {
                "version": image.version,
                "fits": not misfits,
                "misfits": [dict(misfit._asdict(), nodes=list(misfit.nodes)) for misfit in misfits],
            }
            for image, misfits in fit.misfits.items()
        },
    }
