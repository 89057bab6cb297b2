# ckpt2saved with the CPU build of TensorFlow: docker build --tag ckpt2saved .
# PYTHON and TENSORFLOW choose other releases: --build-arg PYTHON=3.7 --build-arg TENSORFLOW=1.15.5
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
COPY . /source
WORKDIR /source
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

# The side-car of a server, without TensorFlow: docker build --target sync --tag ckpt2saved:sync .
FROM python:${PYTHON}-slim AS sync
COPY --from=build /wheels /wheels
RUN python -m pip install --no-cache-dir "$(echo /wheels/*.whl)[s3,gcs,azure]" \
    && ckpt2saved --version
# An empty volume that is mounted at /models gets this owner.
RUN useradd --create-home --uid 1000 ckpt2saved \
    && mkdir /models \
    && chown 1000 /models
LABEL org.opencontainers.image.title="ckpt2saved sync" org.opencontainers.image.licenses="Apache-2.0"
USER 1000
WORKDIR /models
ENTRYPOINT ["ckpt2saved"]
CMD ["--help"]

FROM python:${PYTHON}-slim
ARG TENSORFLOW=2.21.0
COPY --from=build /wheels /wheels
RUN python -m pip install --no-cache-dir "$(echo /wheels/*.whl)[cpu,evaluate,serving]" \
        "$(python -c 'import sys; print("tensorflow" if sys.version_info < (3, 8) else "tensorflow-cpu")')==$TENSORFLOW" \
    && ckpt2saved --version
# What is written belongs to this user where `docker run --user` names no other.
RUN useradd --create-home --uid 1000 ckpt2saved
LABEL org.opencontainers.image.title="ckpt2saved" org.opencontainers.image.licenses="Apache-2.0"
USER 1000
WORKDIR /work
ENTRYPOINT ["ckpt2saved"]
CMD ["--help"]
