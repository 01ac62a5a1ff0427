# The tracking server: MLflow and the clients of its two stores. compose.yaml gives the command.
# Build from the repository's top: docker build -f infra/tracking.Dockerfile -t melanoma-tracking .
FROM python:3.11-slim-bookworm

ENV VIRTUAL_ENV=/opt/venv \
    PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    UV_COMPILE_BYTECODE=1
RUN python -m venv /opt/venv && useradd --create-home melanoma

COPY infra/bootstrap.lock /locks/infra/bootstrap.lock
RUN pip install --no-cache-dir --require-hashes -r /locks/infra/bootstrap.lock
# See serve.Dockerfile for why as constraints.
COPY requirements.lock /locks/requirements.lock
RUN uv pip install --no-cache --constraints /locks/requirements.lock \
        boto3 mlflow "psycopg[binary]"

USER melanoma
WORKDIR /home/melanoma
EXPOSE 5000
