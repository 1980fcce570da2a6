# vantage with TRL and vLLM, for one machine. Not built by the tests; see docs/scale.md.
#   docker build -f docker/trl.Dockerfile -t vantage-trl .
FROM nvidia/cuda:13.0.2-devel-ubuntu24.04

RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential git python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1

# The versions of constraints-vllm.txt, except that vLLM is the GPU build.
RUN pip install torch==2.13.0 torchvision==0.28.0 transformers==5.23.0 trl==1.16.0 \
    vllm==0.30.0 accelerate==1.15.0 peft==0.21.2 datasets==5.2.0

COPY pyproject.toml README.md LICENSE /opt/vantage/
COPY src /opt/vantage/src
COPY recipes /opt/vantage/recipes
RUN pip install '/opt/vantage[vllm,eval]'

WORKDIR /workspace
COPY recipes recipes
CMD ["vantage", "--help"]
