# Two stages: the first one installs what a lock file pins, the second one has no installer.
# Build:  docker build -t inference-service .
# Run:    docker run --rm -p 8000:8000 --read-only --cap-drop ALL inference-service
# Leaner, for models that take tensors (no gRPC, pictures, sound or text):
#         docker build --build-arg LOCK=requirements.lock -t inference-service .
# Your models instead of the shipped ones:  -v /path/to/models:/models:ro
ARG PYTHON_IMAGE=docker.io/library/python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG LOCK=requirements-all.lock
WORKDIR /build
RUN python -m venv /opt/venv
COPY requirements.lock requirements-all.lock ./
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check -r ${LOCK}
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps . \
    && rm -rf /opt/venv/lib/python3*/site-packages/onnx/backend/test \
    && /opt/venv/bin/python -m compileall -q /opt/venv/lib \
    && /opt/venv/bin/pip uninstall --yes --quiet pip setuptools

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="inference-service" \
      org.opencontainers.image.description="ONNX models as HTTP APIs with dynamic batching" \
      org.opencontainers.image.licenses="Apache-2.0"
# Text models made by scikit-learn ask for the locale en_US by name, for its upper and lower case.
# Debian's slim image has C.UTF-8 alone, whose table of cases is the same (runtime/locales.py).
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin inference \
    && ln -s C.utf8 /usr/lib/locale/en_US.UTF-8 \
    && ln -s C.utf8 /usr/lib/locale/en_US
COPY --from=build /opt/venv /opt/venv
COPY models /models
# A container is reached through published ports alone, so the image serves without keys until some
# are configured (docs/security.md): keys take precedence over SECURITY__ANONYMOUS.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    INFERENCE_SERVICE_HOST=0.0.0.0 \
    INFERENCE_SERVICE_SECURITY__ANONYMOUS=true \
    INFERENCE_SERVICE_MODELS=/models
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('INFERENCE_SERVICE_PORT', '8000') + '/v2/health/ready', timeout=2)"]
ENTRYPOINT ["inference-service"]
CMD ["serve"]
