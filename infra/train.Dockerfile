# The whole graph, data to gated model: everything of requirements.lock, TensorFlow included.
# Build from the repository's top: docker build -f infra/train.Dockerfile -t melanoma-train .
FROM python:3.11-slim-bookworm

# git: DVC refuses to work outside a repository, and runs carry their commit as a tag.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*

ENV VIRTUAL_ENV=/opt/venv \
    PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    UV_COMPILE_BYTECODE=1
RUN python -m venv /opt/venv \
    && useradd --create-home melanoma \
    && install --directory --owner melanoma --group melanoma /project
WORKDIR /project

# Locks before code: a change of code then leaves the 2.7 GB below in the build cache.
COPY infra/bootstrap.lock /locks/infra/bootstrap.lock
RUN pip install --no-cache-dir --require-hashes -r /locks/infra/bootstrap.lock
COPY requirements.lock /locks/requirements.lock
RUN uv pip install --no-cache --no-build-isolation --require-hashes -r /locks/requirements.lock

COPY --chown=melanoma:melanoma . .
# No isolation: setuptools is there from the lock; an isolated build would download its own, unchecked.
RUN uv pip install --no-cache --no-deps --no-build-isolation --editable .

USER melanoma
CMD ["dvc", "repro"]
