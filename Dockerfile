# The environment of `make environment`, from the same hash locks, for jobs in containers.
#
#     docker build --tag samedge .
#     docker build --tag samedge:gpu --build-arg LOCK=requirements-gpu.txt .
#
# For Kubernetes and Google Batch push it to a registry that the cluster reads, and name it with
# --container-image; docs/clusters_cloud.md says how. What was tried is in docs/environments.md.
FROM python:3.11.14-slim-bookworm

# Snakemake's jobs use bash and tee, a revision is read with git, make runs the two commands.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONNOUSERSITE=1
WORKDIR /opt/samedge
COPY envs/requirements*.txt envs/
# Added to the main lock: requirements-gpu.txt for CUDA; requirements-remote.txt is always there,
# since jobs without a shared file system fetch and store their files themselves.
ARG LOCK=
RUN for lock in requirements-build.txt requirements.txt $LOCK requirements-remote.txt; do \
        python -m pip install --no-deps --no-build-isolation --require-hashes \
            --only-binary :all: --no-binary promise,connection-pool \
            --requirement "envs/$lock" || exit 1; \
    done \
    && python -m pip check

# The workflow itself, for use without Kubernetes or Google Batch, which bring their own copy.
COPY . .
CMD ["bash"]
