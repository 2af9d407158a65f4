#!/bin/sh
# Stands between cargo and rustc: candle has cudarc linked with the libraries of CUDA, and a program that is would not start
# where there is no driver. This has cudarc open them when a card is used.
set -eu
rustc=$1
shift
[ "${CARGO_PKG_NAME-}" = cudarc ] || exec "$rustc" "$@"
for argument; do
    shift
    case $argument in
    'feature="dynamic-linking"') set -- "$@" 'feature="dynamic-loading"' ;;
    *) set -- "$@" "$argument" ;;
    esac
done
exec "$rustc" "$@"
