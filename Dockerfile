# Two images of one file; no installer, compiler or header in either (deploy/image/prune.py).
#   docker build -t inference-service .                      everything: tensors, texts, pictures, sound, gRPC
#   docker build --target lean -t inference-service:lean .   models that take tensors, over HTTP
# Run:    docker run --rm -p 8000:8000 --read-only --cap-drop ALL inference-service
# Your models instead of the shipped ones:  -v /path/to/models:/models:ro
# The same bits again: --build-arg SOURCE_DATE_EPOCH=SECONDS, and the builder's own option for the
# timestamps of layers (docs/deployment.md). PYTHON_IMAGE may name a digest.
ARG PYTHON_IMAGE=docker.io/library/python:3.11.14-slim-bookworm

# What builds: pip, hatchling and cyclonedx-bom at locked versions, strip.
FROM ${PYTHON_IMAGE} AS tools
# hadolint ignore=DL3008
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends binutils > /dev/null \
    && rm -rf /var/lib/apt/lists/*
COPY deploy/image/tools.lock /build/
RUN python -m venv /opt/tools \
    && /opt/tools/bin/pip install --no-cache-dir --disable-pip-version-check -q -r /build/tools.lock
COPY deploy/image /build

# The service itself, as a wheel.
FROM tools AS package
ARG SOURCE_DATE_EPOCH=0
WORKDIR /build/package
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN /opt/tools/bin/pip wheel -q --no-deps --no-build-isolation --disable-pip-version-check -w /build/dist .

# The documentation as pages: scripts/docs, without the maps that only a debugger reads.
FROM ${PYTHON_IMAGE} AS guide
COPY deploy/image/guide.lock /build/
RUN python -m venv /opt/mkdocs \
    && /opt/mkdocs/bin/pip install --no-cache-dir --disable-pip-version-check -q -r /build/guide.lock
ARG SOURCE_DATE_EPOCH=0
WORKDIR /build
COPY mkdocs.yml ./
COPY scripts/docs_links.py ./scripts/
COPY docs ./docs
RUN NO_MKDOCS_2_WARNING=1 /opt/mkdocs/bin/mkdocs build --strict --quiet --site-dir /guide \
    && find /guide -name '*.map' -delete

# Libraries change less often than the service: they are a layer of their own.
FROM tools AS lean-libraries
COPY requirements.lock /build/
RUN /build/install-libraries /build/requirements.lock

FROM lean-libraries AS lean-package
ARG SOURCE_DATE_EPOCH=0
COPY --from=package /build/dist /build/dist
RUN /build/install-package

FROM tools AS full-libraries
COPY requirements-all.lock /build/
RUN /build/install-libraries /build/requirements-all.lock

FROM full-libraries AS full-package
ARG SOURCE_DATE_EPOCH=0
COPY --from=package /build/dist /build/dist
RUN /build/install-package

FROM ${PYTHON_IMAGE} AS runtime
ARG PYTHON_IMAGE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="inference-service" \
      org.opencontainers.image.description="ONNX models as HTTP APIs with dynamic batching" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
# useradd would note the day. Text models made by scikit-learn ask for the locale en_US by name, for its
# upper and lower case: C.UTF-8, the only one of Debian's slim image, has the same table of cases
# (runtime/locales.py).
RUN echo 'inference:x:10001:10001::/nonexistent:/usr/sbin/nologin' >> /etc/passwd \
    && echo 'inference:x:10001:' >> /etc/group \
    && mkdir -m 0775 /cache \
    && chown 10001:0 /cache \
    && ln -s C.utf8 /usr/lib/locale/en_US.UTF-8 \
    && ln -s C.utf8 /usr/lib/locale/en_US \
    && python -m compileall -q --invalidation-mode unchecked-hash \
        -x '/(site-packages|test|tests|idlelib|tkinter|turtledemo|lib2to3|ensurepip|pydoc_data|distutils)/' \
        /usr/local/lib/python3*/
# A container is reached through published ports alone, so the image serves without keys until some
# are configured (docs/security.md): keys take precedence over SECURITY__ANONYMOUS. What was found out
# about models is kept in /cache if that can be written, and a start takes a second.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ORT_DISABLE_TELEMETRY=1 \
    XDG_CACHE_HOME=/cache \
    INFERENCE_SERVICE_HOST=0.0.0.0 \
    INFERENCE_SERVICE_SECURITY__ANONYMOUS=true \
    INFERENCE_SERVICE_MODELS=/models \
    INFERENCE_SERVICE_HTTP__GUIDE=/guide
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-IS", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('INFERENCE_SERVICE_PORT', '8000') + '/v2/health/ready', timeout=2)"]
ENTRYPOINT ["inference-service"]
CMD ["serve"]

FROM runtime AS lean
COPY --from=lean-libraries /opt/venv /opt/venv
COPY --from=lean-package /opt/package /opt/venv
COPY models/digits /models/digits
COPY models/flight-delay /models/flight-delay
COPY --from=guide /guide /guide

FROM runtime AS full
COPY --from=full-libraries /opt/venv /opt/venv
COPY --from=full-package /opt/package /opt/venv
COPY models /models
COPY --from=guide /guide /guide
