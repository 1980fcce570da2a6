# vantage with veRL and vLLM, for the nodes of a Ray cluster. Not built by the tests; see docs/scale.md.
#   docker build -f docker/verl.Dockerfile -t vantage-verl .
FROM nvidia/cuda:13.0.2-devel-ubuntu24.04

RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential git python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1

# torch, transformers and vLLM have the versions that veRL pins in its extra `vllm`, for GPUs only.
# The other versions are those of constraints-verl.txt.
RUN pip install 'verl[vllm]==0.9.1' ray==2.60.0 tensordict==0.10.0 TransferQueue==0.1.11 \
    torch-optimi==0.3.3 mathruler==0.1.0
# veRL uses flash-attn to remove padding, and pins this version. It is compiled here.
RUN pip install ninja packaging psutil setuptools wheel \
    && MAX_JOBS=8 pip install --no-build-isolation flash-attn==2.8.3

COPY pyproject.toml README.md LICENSE /opt/vantage/
COPY src /opt/vantage/src
COPY recipes /opt/vantage/recipes
RUN pip install '/opt/vantage[verl]'

WORKDIR /workspace
COPY recipes recipes
CMD ["vantage", "--help"]
