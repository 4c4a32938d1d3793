#!/bin/sh
# Run a command that uses half of the cores, rounded up: tools/half_of_the_cores.sh COMMAND ARGUMENTS
# Two trainings at once take less time so than one after the other with all cores.
if [ $# -eq 0 ]; then
  echo "usage: $0 COMMAND ARGUMENTS" >&2
  exit 2
fi
half=$(( ($(nproc 2> /dev/null || getconf _NPROCESSORS_ONLN) + 1) / 2 ))
for threads in TF_NUM_INTRAOP_THREADS TF_NUM_INTEROP_THREADS OMP_NUM_THREADS OPENBLAS_NUM_THREADS NUMBA_NUM_THREADS; do
  export "$threads=$half"
done
exec "$@"
