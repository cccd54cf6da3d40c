# One image for both services and the `tandem` command; the command chooses.
FROM python:3.13-slim AS build
WORKDIR /build
COPY requirements requirements
RUN python -m venv /opt/bootstrap && /opt/bootstrap/bin/pip install --no-cache-dir \
        --require-hashes --only-binary :all: --requirement requirements/bootstrap.txt \
    && python -m venv --without-pip /opt/tandem \
    && /opt/bootstrap/bin/uv pip install --no-cache --python /opt/tandem/bin/python \
        --require-hashes --only-binary :all: --requirement requirements/runtime.txt
COPY . .
RUN /opt/bootstrap/bin/hatchling build --target wheel \
    && (cd clients/python && /opt/bootstrap/bin/hatchling build --target wheel -d ../../dist) \
    && /opt/bootstrap/bin/uv pip install --no-cache --python /opt/tandem/bin/python --no-deps \
        dist/*.whl

FROM python:3.13-slim
COPY --from=build /opt/tandem /opt/tandem
ENV PATH=/opt/tandem/bin:$PATH PYTHONUNBUFFERED=1 TANDEM_LOG_FORMAT=json HOME=/tmp
# Python compiles what it imports. As the user below it could not keep the result, and every start
# and every health check would do it again, for seconds.
RUN python -c "import agent_service.__main__, task_service.__main__" && ! tandem health 127.0.0.1:1
USER 10001:10001
WORKDIR /tmp
CMD ["python", "-m", "agent_service"]
