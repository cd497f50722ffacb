# The gateway on a small base: no shell, no package manager, an unprivileged user.
#   docker build -t lipservice:0.1.0 .
# The image has the C compiler that the compression libraries need.
FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin lipservice && mkdir /state

# glibc, root certificates, an unprivileged user (65532), nothing else.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/lipservice /usr/local/bin/lipservice
# Where state_file and embedded stores go; a volume mounted here takes its owner over.
COPY --from=build --chown=65532:65532 /state /var/lib/lipservice
USER 65532:65532
EXPOSE 4317 4318 8888 13133
# Stop needs up to service.shutdown_timeout (25 s): give the container 30 s (docker run --stop-timeout 30).
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/lipservice"]
CMD ["run", "--config", "/etc/lipservice/lipservice.yaml"]
