# The staging server: scores images with models:/melanoma-<cohort>@staging. No TensorFlow, no data, and
# none of this repository's code, which travels inside the model.
# Build from the repository's top: docker build -f infra/serve.Dockerfile -t melanoma-serve .
FROM python:3.11-slim-bookworm

ENV VIRTUAL_ENV=/opt/venv \
    PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    UV_COMPILE_BYTECODE=1
# The first process of a container ignores SIGTERM unless it handles it, which `mlflow` does not; tini hands it on.
RUN apt-get update && apt-get install --yes --no-install-recommends tini && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/venv && useradd --create-home melanoma

COPY infra/bootstrap.lock /locks/infra/bootstrap.lock
RUN pip install --no-cache-dir --require-hashes -r /locks/infra/bootstrap.lock
COPY requirements.lock /locks/requirements.lock
# PACKAGES of src/melanoma/serving/export.py. The lock as constraints pins every version, and uv checks
# its hashes there too; --require-hashes would also want a version at each name here.
RUN uv pip install --no-cache --constraints /locks/requirements.lock \
        mlflow numpy onnxruntime pandas pillow prometheus-client scipy

USER melanoma
WORKDIR /home/melanoma
# The model comes through the tracking server, so no credentials of the stores are needed here.
ENV COHORT=sample
EXPOSE 8080
# /ping answers only after the model is loaded.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/ping', timeout=4)"]
# What `mlflow models serve` starts, without the process of MLflow before it: that would end at SIGTERM and take
# the container with it, while requests are still answered. A stop takes up to serve.request_seconds of
# params.yaml: give the container as long (`docker stop --time 40`).
# Shell form, so that COHORT is read when the container starts.
ENTRYPOINT ["tini", "--"]
CMD exec env "__pyfunc_model_path__=models:/melanoma-$COHORT@staging" \
    uvicorn --host 0.0.0.0 --port 8080 mlflow.pyfunc.scoring_server.app:app
