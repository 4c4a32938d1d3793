# apogaia on a GPU host. The four folders hold the data and all products; mount those that you want to keep:
#   docker build -t apogaia .
#   docker run --gpus all \
#     -v "$PWD/data:/apogaia/data" -v "$PWD/figures:/apogaia/figures" \
#     -v "$PWD/results:/apogaia/results" -v "$PWD/build:/apogaia/build" \
#     apogaia make all SURVEY=mock
# JupyterLab: docker run --gpus all -p 8888:8888 (the same -v) apogaia make lab LAB="--ip 0.0.0.0 --allow-root"
# CUDA and cuDNN come with TensorFlow's and JAX's own packages (requirements-cuda.lock); the host provides the driver.
FROM python:3.11-slim-bookworm

RUN apt-get update \
 && apt-get install --yes --no-install-recommends make git \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /apogaia
# Keras runs on JAX, which compiles training and MC dropout for the GPU and takes its memory as it needs it (Makefile).
# Several GPUs at once: -e KERAS_BACKEND=tensorflow. Packages are compiled now, since every container starts from here.
ENV APOGAIA_VENV=/opt/apogaia \
    LOCK=requirements-cuda.lock \
    PATH=/opt/apogaia/bin:$PATH \
    KERAS_BACKEND=jax \
    XLA_PYTHON_CLIENT_PREALLOCATE=false \
    UV_COMPILE_BYTECODE=1 \
    UV_NO_CACHE=1 \
    PIP_NO_CACHE_DIR=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# The environment first, so that a change of the code does not install it again.
COPY Makefile pyproject.toml requirements-cuda.lock requirements-uv.lock README.md LICENSE ./
COPY tools/environment.py tools/environment.py
COPY src/apogaia/__init__.py src/apogaia/__init__.py
RUN make environment PYTHON=/usr/local/bin/python3

COPY . .

EXPOSE 8888
CMD ["make", "all"]
