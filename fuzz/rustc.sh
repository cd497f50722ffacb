#!/usr/bin/env bash
# Compiles the gateway and the fuzz targets with libFuzzer's coverage counters, everything else as usual.
case ${CARGO_PKG_NAME:-} in
lipservice | lipservice-fuzz)
    exec "$@" --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
*) exec "$@" ;;
esac
