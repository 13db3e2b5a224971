# Two stages: the first installs what requirements/runtime.txt pins, the second carries it without pip's caches
# and runs as nobody in particular. Configuration comes from X3FLEET_* and the database in /data.
FROM python:3.11-slim AS build
COPY requirements/runtime.txt /build/runtime.txt
RUN python -m venv /opt/x3fleet \
    && /opt/x3fleet/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes -r /build/runtime.txt
COPY . /opt/x3fleet/app
RUN rm -rf /opt/x3fleet/app/requirements \
    && printf '#!/bin/sh\nexec /opt/x3fleet/bin/python -m cli "$@"\n' > /opt/x3fleet/bin/x3fleet \
    && chmod +x /opt/x3fleet/bin/x3fleet \
    && echo /opt/x3fleet/app > "$(/opt/x3fleet/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/x3fleet.pth" \
    && /opt/x3fleet/bin/python -m compileall -q /opt/x3fleet/app

FROM python:3.11-slim
COPY --from=build /opt/x3fleet /opt/x3fleet
ENV PATH=/opt/x3fleet/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
RUN useradd --uid 10001 --create-home --home-dir /data x3fleet
USER 10001
WORKDIR /data
VOLUME /data
ENTRYPOINT ["x3fleet"]
CMD ["--help"]
