# All commands on a CUDA base, for GPUs of drivers that know CUDA 13; without a GPU it computes on the CPU.
#   docker build --tag moco-cxr .
#   docker run --rm moco-cxr                                               what the machine has (doctor)
#   docker run --rm --gpus all --ipc host --user "$(id -u):$(id -g)" --volume "$PWD:/work" moco-cxr pretrain --help
# torch brings CUDA's libraries itself, so the base has the driver's side alone.
FROM nvidia/cuda:13.0.1-base-ubuntu24.04 AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN python3 -m venv /opt/moco-cxr \
    && /opt/moco-cxr/bin/pip install --no-cache-dir --constraint constraints.txt '.[dali,onnx,report,s3,train]'

FROM nvidia/cuda:13.0.1-base-ubuntu24.04
# g++ and Python's headers are for --run.compile.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3 python3-dev \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 user
COPY --from=build /opt/moco-cxr /opt/moco-cxr
# Caches and settings of libraries, for whatever user it is run as.
ENV PATH=/opt/moco-cxr/bin:$PATH HOME=/tmp
USER 10001
WORKDIR /work
ENTRYPOINT ["moco-cxr"]
CMD ["doctor"]
