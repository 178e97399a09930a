# BootDub as a service, with its default model inside.
#
#   docker build --target cpu -t bootdub .                 # or --target cuda, for `docker run --gpus all`
#   docker run --rm -v DATA:/data bootdub serve --work /data/jobs --new-key NAME
#   docker run -p 8000:8000 -v DATA:/data bootdub
FROM python:3.11-slim AS wheel
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim AS base
# What OpenCV's wheels do not bring along.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 bootdub \
    && install -d -o bootdub -g bootdub /data /data/jobs /data/videos
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 HF_HUB_OFFLINE=1
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=5)"]
ENTRYPOINT ["bootdub"]
# Listens to other machines, and therefore ends at once where no key has been made.
CMD ["serve", "--host", "0.0.0.0", "--work", "/data/jobs", "--root", "/data/videos"]

FROM base AS cpu
RUN pip install "torch>=2.10,<2.14" --index-url https://download.pytorch.org/whl/cpu
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels pip install "$(echo /wheels/*.whl)[serve]"
USER bootdub

FROM base AS cuda
# PyPI's torch for Linux brings CUDA along; the driver is the host's.
RUN --mount=type=bind,from=wheel,source=/wheels,target=/wheels pip install "$(echo /wheels/*.whl)[serve,xformers]"
USER bootdub
