# apogaia on a GPU host, or with --build-arg for the CPU alone (a quarter of the size):
#   docker build -t apogaia .
#   docker build -t apogaia:cpu --build-arg LOCK=requirements.lock --build-arg BACKEND=tensorflow .
# The four folders hold the data and all products; mount those that you want to keep, and be yourself in the container:
#   mkdir -p data figures results build
#   docker run --gpus all --user "$(id -u):$(id -g)" \
#     -v "$PWD/data:/apogaia/data" -v "$PWD/figures:/apogaia/figures" \
#     -v "$PWD/results:/apogaia/results" -v "$PWD/build:/apogaia/build" \
#     apogaia make all SURVEY=mock
# Without a GPU leave out --gpus all, and add -e KERAS_BACKEND=tensorflow if the image has the CUDA packages.
# JupyterLab: docker run --gpus all -p 8888:8888 (the same --user and -v) apogaia make lab LAB="--ip 0.0.0.0"
# CUDA and cuDNN come with TensorFlow's and JAX's own packages (requirements-cuda.lock); the host provides the driver.
FROM python:3.11-slim-bookworm

RUN apt-get update \
 && apt-get install --yes --no-install-recommends make \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /apogaia
ARG LOCK=requirements-cuda.lock
# On GPUs Keras runs on JAX, which compiles training and MC dropout and takes memory as it needs it (Makefile).
# Several GPUs at once: -e KERAS_BACKEND=tensorflow. Packages are compiled now, since every container starts from here.
ARG BACKEND=jax
ENV APOGAIA_VENV=/opt/apogaia \
    LOCK=$LOCK \
    PATH=/opt/apogaia/bin:$PATH \
    KERAS_BACKEND=$BACKEND \
    XLA_PYTHON_CLIENT_PREALLOCATE=false \
    UV_COMPILE_BYTECODE=1 \
    UV_NO_CACHE=1 \
    PIP_NO_CACHE_DIR=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# The environment first, from the files that decide it: a change of the code or of a page does not install it again. The
# README is a stand-in, which the project's metadata need.
COPY pyproject.toml $LOCK requirements-uv.lock LICENSE ./
COPY tools/environment.py tools/environment.py
COPY src/apogaia/__init__.py src/apogaia/__init__.py
RUN touch README.md && python3 tools/environment.py /opt/apogaia $LOCK

COPY . .
# The files are newer than the environment now, but not others: it is told so, and make installs nothing in a container.
# Any user may run it: caches and products go to folders that all may write.
ENV HOME=/tmp/home \
    NUMBA_CACHE_DIR=/tmp/home/numba
RUN make environment PYTHON=/usr/local/bin/python3 \
 && mkdir -p data figures results build /tmp/home \
 && chmod a+rwx . data figures results build /tmp/home
USER 1000:1000

EXPOSE 8888
CMD ["make", "all"]
