# The whole of ChaosKitty in one image, from binaries that were built before it:
#
#   cargo build --release --bins
#   docker build --build-arg BASE=debian:bookworm-slim --tag chaos-kitty .
#
# The base needs the C library of the machine that built them (ldd target/release/kittyd) and a shell; nothing is
# installed, so it may be a local one.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
COPY target/release/kittyd target/release/kitty-agent target/release/kitty-guard target/release/kittyctl /usr/bin/
