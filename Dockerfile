# apogaia on a GPU host:
#   docker build -t apogaia .
#   docker run --gpus all -v "$PWD/data:/apogaia/data" -v "$PWD/figures:/apogaia/figures" apogaia make all SURVEY=mock
# CUDA and cuDNN come with TensorFlow's own packages (requirements-cuda.lock); the host provides the driver.
FROM python:3.11-slim-bookworm

RUN apt-get update \
 && apt-get install --yes --no-install-recommends make git \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /apogaia
ENV VENV=/opt/apogaia \
    LOCK=requirements-cuda.lock \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# The environment first, so that a change of the code does not install it again.
COPY Makefile pyproject.toml requirements-cuda.lock README.md ./
COPY src/apogaia/__init__.py src/apogaia/__init__.py
RUN make environment PYTHON=python3

COPY . .

EXPOSE 8888
CMD ["make", "all"]
