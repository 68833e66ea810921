# syntax=docker/dockerfile:1

# Build: docker build -t hongyan .
# Run:   docker run -p 8080:8080 -v hongyan:/data hongyan
#
# The first start makes an app; then: docker exec CONTAINER hongyan app list --show-secret
# Give settings as variables (-e HONGYAN_NODE=east) or as a file that HONGYAN_CONFIG names, not as flags: then the
# health check and `docker exec` see them too. A folder of the host mounted at /data, or at /certs with the certificates of a
# node with peers, must belong to user 10001. Several regions: compose.yaml.

FROM rust:1-slim-bookworm AS build
# aws-lc-rs, the cryptography of rustls, compiles C.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends cmake g++ make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# Memory pages of ARM systems have up to 64 KiB; jemalloc must be built for the largest that it may meet.
# The caches make later builds quick; what they hold is not part of the image, so the program is copied out.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    if [ "$(uname -m)" = aarch64 ]; then export JEMALLOC_SYS_WITH_LG_PAGE=16; fi \
    && cargo build --profile dist --locked --bin hongyan \
    && install -D target/dist/hongyan /out/hongyan

FROM debian:bookworm-slim
RUN groupadd --system --gid 10001 hongyan \
    && useradd --system --uid 10001 --gid hongyan --home-dir /data --shell /usr/sbin/nologin hongyan \
    && install --directory --owner=hongyan --group=hongyan --mode=0700 /data /certs
COPY --from=build /out/hongyan /usr/local/bin/hongyan
ENV HONGYAN_LISTEN=0.0.0.0:8080 \
    HONGYAN_DATA=/data \
    HONGYAN_MESH_CERTS=/certs \
    HONGYAN_SESSIONS_DRAIN_TIMEOUT=8
USER hongyan
WORKDIR /data
VOLUME /data
EXPOSE 8080
# Liveness, not readiness: a node that drains is to be left in peace.
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 CMD ["hongyan", "health"]
# SIGTERM drains, within the 8 s above: `docker stop` kills after 10.
STOPSIGNAL SIGTERM
ENTRYPOINT ["hongyan"]
CMD ["serve"]
