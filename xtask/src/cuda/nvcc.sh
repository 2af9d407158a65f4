#!/bin/sh
# Stands in for nvcc: candle builds for the one card that is there, and this for all of compute capability 8.0 and up.
# Code for 8.0 and 9.0 starts at once; the driver of any other card compiles the PTX of 8.0.
set -eu
ptx="-gencode=arch=compute_80,code=compute_80"
code="-gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90,code=sm_90"
for argument; do
    [ "$argument" != --ptx ] || code=
done
for argument; do
    shift
    case $argument in
    -gencode=*) set -- "$@" $ptx $code ;;
    *) set -- "$@" "$argument" ;;
    esac
done
exec "$RBEE_NVCC" "$@"
