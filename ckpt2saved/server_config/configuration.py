"""The steps of `serving-config`: check models, make files, compare them with existing ones, write them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Dict, Iterator, Mapping, Optional, Sequence, Tuple

from ckpt2saved.compatibility.image import DEFAULT, Image, find_image
from ckpt2saved.errors import NotServable, ServingError, UsageError
from ckpt2saved.errors.problem import Note, Problem, texts
from ckpt2saved.files.replacing import write_files
from ckpt2saved.server_config import compose, docker, kserve, kubernetes
from ckpt2saved.server_config.accuracy_proof import check_proof
from ckpt2saved.server_config.batching import check_batching
from ckpt2saved.server_config.change import check_labels, existing_files, what_changes
from ckpt2saved.server_config.client_advice import client_advice
from ckpt2saved.server_config.config_files import (
    BATCHING,
    MODELS,
    MONITORING,
    batching_config,
    models_config,
    monitoring_config,
)
from ckpt2saved.server_config.cpus import available_cpus
from ckpt2saved.server_config.devices import Gpus
from ckpt2saved.server_config.models import MODELS_IN_SERVER, Model, find_models, not_for_gpus
from ckpt2saved.server_config.mounts import Mount, absolute, check_mounts, find_mount
from ckpt2saved.server_config.policy import LATEST, Label, Policy
from ckpt2saved.server_config.pulling import SYNC_IMAGE, VOLUME, NamedUrl, Pulling, checked_sources, last_name, pulled
from ckpt2saved.server_config.server import GRPC_PORT, REST_PORT, Server
from ckpt2saved.server_config.settings import ServerSettings
from ckpt2saved.server_config.tuning import Chosen, SpeedOptions, choose_settings
from ckpt2saved.server_config.version_batching import with_parameters, without_parameters

STARTERS = DOCKER, COMPOSE, KUBERNETES, KSERVE = "docker", "compose", "kubernetes", "kserve"
_CONFIG_IN_SERVER = "/config"


_Starters = Tuple[Dict[str, str], Dict[str, str], Tuple[str, ...]]


@dataclass(frozen=True)
class ConfigurationOptions:
    """Options of `serving-config` other than the models."""

    output_dir: Path
    starters: Tuple[str, ...] = (DOCKER,)
    serving: str = DEFAULT
    mounts: Tuple[Mount, ...] = ()
    policies: Tuple[Tuple[Optional[str], Policy], ...] = ()
    labels: Tuple[Tuple[Optional[str], Label], ...] = ()
    speed: SpeedOptions = SpeedOptions()
    batched_signatures: Tuple[str, ...] = ()
    gpus: Optional[Gpus] = None
    nvidia_runtime: bool = False
    cpus: Optional[float] = None
    port: int = GRPC_PORT
    rest_port: int = REST_PORT
    name: str = "tensorflow-serving"
    volume_claim: Optional[str] = None
    sources: Tuple[NamedUrl, ...] = ()  # in place of directories
    sync_image: str = SYNC_IMAGE
    restart: bool = False  # the server will be restarted with the files


@dataclass(frozen=True)
class Configuration:
    """Files to be written, and their effects."""

    server: Server
    files: Mapping[str, str]  # in the order in which they are written
    start: Mapping[str, str]  # docker, compose, kubernetes or kserve -> the line for a shell
    docker_command: Tuple[str, ...]
    notes: Tuple[Note, ...]
    changes: Tuple[str, ...]
    reasons: Tuple[str, ...]  # for the settings
    advice: Tuple[str, ...]  # for clients

    def write(self) -> None:
        """Write the files; models.config is last, so that everything it refers to exists."""
        write_files(self.server.directory, self.files)


def parse_target(text: str) -> str:
    """Parse a value of `--for`: docker, compose, kubernetes, kserve, or a release of TF Serving."""
    if text not in STARTERS:
        try:
            find_image(text)
        except UsageError:
            raise ValueError(
                f"{text!r} is none of {', '.join(STARTERS)}, nor a release of TF Serving that is known here, as 1.14,"
                f" {DEFAULT} or 2.19.0"
            ) from None
    return text


def split_targets(targets: Sequence[str], serving: Optional[str] = None) -> Tuple[Tuple[str, ...], str]:
    """Return the starters and the release of TF Serving among the values of `--for`."""
    starters = tuple(target for target in targets if target in STARTERS)
    releases = dict.fromkeys([target for target in targets if target not in STARTERS] + ([serving] if serving else []))
    if len(releases) > 1:
        raise UsageError(f"--for: one release of TF Serving is expected, not {' and '.join(releases)}")
    return starters or (DOCKER,), (list(releases) or [DEFAULT])[0]


def configure(directories: Sequence[str], options: ConfigurationOptions) -> Configuration:
    """Check everything and return the contents of the files, without writing them."""
    image = find_image(options.serving)
    if not options.sources:
        if KSERVE in options.starters:
            raise UsageError("--for kserve: only with --from URL, which KServe copies")
        return _configured(image, directories, options, None)
    if DOCKER in options.starters:
        raise UsageError("--from: only with --for compose, --for kubernetes or --for kserve, which start a side-car")
    if options.labels:
        raise UsageError(
            "--label: not with --from: a new pod has the newest versions alone, and a server refuses all of"
            " models.config for a label of another one"
        )
    versions = _pulled_versions(options.policies)
    sources = checked_sources(options.sources)
    with pulled(sources, versions) as folder:
        names = [f"{source.name}={folder / last_name(source.url)}" for source in sources]
        mounted = replace(options, mounts=(*options.mounts, Mount(folder, MODELS_IN_SERVER, VOLUME)))
        pulling = Pulling(tuple(source.url for source in sources), versions, options.sync_image)
        return _configured(image, names, mounted, pulling)


def _pulled_versions(policies: Sequence[Tuple[Optional[str], Policy]]) -> int:
    """Return the number of versions that the side-car pulls into an empty directory."""
    if any(policy.kind != LATEST for _, policy in policies):
        raise UsageError("--versions: with --from only latest or latest:2, since the newest versions are pulled")
    return max([policy.count for _, policy in policies], default=1)


def _configured(
    image: Image, directories: Sequence[str], options: ConfigurationOptions, pulling: Optional[Pulling]
) -> Configuration:
    if options.labels and not image.accepts_first_labels:
        raise UsageError(
            f"--label: TF Serving {image.version} does not start on a configuration with labels; leave them out, or"
            " take --serving 2.2 or later"
        )
    check_mounts(options.mounts)
    models = find_models(directories, options.mounts, options.policies, options.labels)
    if pulling is not None:
        urls = {last_name(url): url for url in pulling.urls}
        models = tuple(replace(model, url=urls[model.directory.name]) for model in models)
    directory = absolute(options.output_dir)
    _check_outside(directory, models)
    # The directory, not its files: a server would never see what replaces a file that is mounted by itself.
    config_mount = find_mount(directory, options.mounts) or Mount(directory, _CONFIG_IN_SERVER)
    chosen = _chosen(options, image, models)
    settings = chosen.settings
    server = Server(
        name=options.name,
        image=image,
        models=models,
        directory=directory,
        config_mount=config_mount,
        settings=settings,
        batches_per_model=options.speed.batching_per_model,
        gpus=options.gpus,
        cpus=options.cpus,
        port=options.port,
        rest_port=options.rest_port,
        pulling=pulling,
    )
    _check_all_mounts(server, options)
    reasons = chosen.reasons
    if settings.mixed_precision is not None:
        trial = replace(server, name=f"{server.name}-trial", port=server.port + 10, rest_port=server.rest_port + 10)
        trial = replace(trial, settings=replace(settings, batching=None), batches_per_model=False)
        reasons += (check_proof(options.speed.accuracy, docker.trial_command(trial)),)
    notes = _check_batching(models, options, chosen)
    config_files = {} if options.starters == (KSERVE,) else _config_files(models, settings)
    files, start, command = _starters(server, config_files, options)
    files.update(config_files)
    before = existing_files(files, server)
    if config_files and not options.restart:
        check_labels(before, files, server)
    return Configuration(
        server=server,
        files=files,
        start=start,
        docker_command=command,
        notes=notes,
        changes=what_changes(before, files, server) if config_files else (),
        reasons=(*reasons, *_further_reasons(server, options)),
        advice=client_advice(models, settings, chosen.rows),
    )


def _further_reasons(server: Server, options: ConfigurationOptions) -> Iterator[str]:
    if options.speed.batching_per_model and server.settings.batching is not None:
        yield from without_parameters(server.models)
    if server.gpus is not None:
        yield from not_for_gpus(server.models)
    if KSERVE in options.starters:
        yield kserve.REASON


def _check_outside(directory: Path, models: Sequence[Model]) -> None:
    for model in models:
        if directory == model.directory or model.directory in directory.parents:
            raise ServingError(
                f"--output-dir: {directory} lies in the directory of model {model.name}, where a server looks for"
                " versions; expected a directory of its own"
            )


def _check_all_mounts(server: Server, options: ConfigurationOptions) -> None:
    unused = [mount for mount in options.mounts if mount not in server.mounts]
    if unused:
        raise UsageError(
            "--mount: HOST is a directory that holds models or --output-dir",
            [Problem("unused-mount", str(mount.host), "contains none of them") for mount in unused],
        )
    check_mounts(server.mounts)
    if KUBERNETES in options.starters:  # Kubernetes mounts a ConfigMap
        check_mounts(server.model_mounts + (Mount(server.directory, kubernetes.CONFIG_DIR),))


def _chosen(options: ConfigurationOptions, image: Image, models: Sequence[Model]) -> Chosen:
    """Choose the settings; batching that measurements propose, and that would break answers, is left out."""
    cpus = options.cpus
    if cpus is None and not {KUBERNETES, KSERVE} & set(options.starters):  # whose nodes are other machines
        cpus = available_cpus()
    has_gpu = options.gpus is not None
    chosen = choose_settings(options.speed, image, cpus, is_limit=options.cpus is not None, has_gpu=has_gpu)
    if cpus is None:
        unknown = "threads: left to the server, which takes all CPUs of its node: give --cpus N"
        chosen = replace(chosen, reasons=(*chosen.reasons, unknown))
    if chosen.settings.batching is None or chosen.batching_is_asked:
        return chosen
    try:
        _check_batching(models, options, chosen)
    except NotServable as error:
        unbatched = replace(chosen.settings, batching=None)
        why = "; ".join(texts(error.problems[:1]))
        return replace(chosen, settings=unbatched, reasons=(*chosen.reasons, f"no batching all the same: {why}"))
    return chosen


def _check_batching(models: Sequence[Model], options: ConfigurationOptions, chosen: Chosen) -> Tuple[Note, ...]:
    """Check the models that are batched; raises NotServable."""
    if chosen.settings.batching is None:
        return ()
    batched = [one for one in models if not options.speed.batching_per_model or with_parameters(one)]
    return check_batching(batched, _batched_signatures(options, chosen), chosen.settings.batching) if batched else ()


def _batched_signatures(options: ConfigurationOptions, chosen: Chosen) -> Tuple[str, ...]:
    """Return the signatures that clients ask for: those given, else those measured."""
    return options.batched_signatures or chosen.signatures


def _config_files(models: Sequence[Model], settings: ServerSettings) -> Dict[str, str]:
    files = {MONITORING: monitoring_config()}
    if settings.batching:
        files[BATCHING] = batching_config(settings.batching)
    files[MODELS] = models_config(models)
    return files


def _starters(server: Server, config_files: Mapping[str, str], options: ConfigurationOptions) -> _Starters:
    """Return the files that start the server, the shell commands, and the words of the docker command."""
    command = () if server.pulling else docker.docker_command(server, options.nvidia_runtime)
    files: Dict[str, str] = {}
    start: Dict[str, str] = {}
    if DOCKER in options.starters:
        files[docker.FILE] = docker.as_script(command)
        start[DOCKER] = docker.as_line(command)
    if COMPOSE in options.starters:
        files[compose.FILE] = compose.compose_file(server, options.nvidia_runtime)
        path = str(server.directory / compose.FILE)
        start[COMPOSE] = docker.as_line(["docker", "compose", "--file", path, "up", "--detach"])
    if KUBERNETES in options.starters:
        files[kubernetes.FILE] = kubernetes.manifests(server, config_files, options.volume_claim)
        path = str(server.directory / kubernetes.FILE)
        start[KUBERNETES] = docker.as_line(["kubectl", "apply", "--filename", path])
    if KSERVE in options.starters:
        files[kserve.FILE] = kserve.inference_services(server)
        path = str(server.directory / kserve.FILE)
        start[KSERVE] = docker.as_line(["kubectl", "apply", "--filename", path])
    return files, start, command
