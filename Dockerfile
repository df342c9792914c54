# The service's image: server and brain, no torch. docker-compose.yml starts it; docs/deployment.md explains it.
FROM python:3.11.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /source
RUN python -m venv /opt/trainguard
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY client_hook client_hook/
COPY monitor_server monitor_server/
COPY trainguard trainguard/
COPY migrations migrations/
RUN /opt/trainguard/bin/pip install --constraint constraints.txt '.[server,postgres,notify]'
# It must start as installed, and nothing may have pulled torch in: fail here rather than at the first deployment.
RUN /opt/trainguard/bin/trainguard --help >/dev/null && ! /opt/trainguard/bin/pip show --quiet torch

# The toy of docker-compose.yml's profile "toy": a trainer in a container of its own. Built only when asked for by name.
FROM python:3.11.13-slim-bookworm AS trainer
# On x86 the plain package brings gigabytes of CUDA with it; name a CPU build here where your index has one.
ARG TORCH=torch==2.13.0
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY client_hook client_hook/
COPY monitor_server monitor_server/
COPY trainguard trainguard/
COPY migrations migrations/
COPY examples examples/
RUN pip install --no-cache-dir "$TORCH" && pip install --no-cache-dir --constraint constraints.txt .
RUN useradd --system --uid 10001 --user-group --home-dir /data --shell /usr/sbin/nologin trainguard \
    && install --directory --owner=trainguard --group=trainguard --mode=0750 /data
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/source
WORKDIR /data
VOLUME /data
USER 10001
HEALTHCHECK NONE
CMD ["python", "-m", "examples.minimal", "--fault", "--checkpoints", "/data/checkpoints"]

FROM python:3.11.13-slim-bookworm
LABEL org.opencontainers.image.title="trainguard" org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/trainguard /opt/trainguard
RUN useradd --system --uid 10001 --user-group --home-dir /data --shell /usr/sbin/nologin trainguard \
    && install --directory --owner=trainguard --group=trainguard --mode=0750 /data
ENV PATH=/opt/trainguard/bin:$PATH PYTHONUNBUFFERED=1 TRAINGUARD_DATABASE=sqlite:////data/trainguard.db
WORKDIR /data
VOLUME /data
USER 10001
EXPOSE 8321
# Ready means that the database answers. There is no curl in the image, and http.client ignores proxy variables.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client as h, os, sys; c = h.HTTPConnection('127.0.0.1', int(os.environ.get('TRAINGUARD_PORT') or 8321), timeout=4); c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["trainguard"]
# A container is only reached through 0.0.0.0, and nobody has to sign in: the service refuses to start like this
# until somebody who knows the network adds --insecure. docker-compose.yml does, and says why it may.
CMD ["serve", "--host", "0.0.0.0"]
