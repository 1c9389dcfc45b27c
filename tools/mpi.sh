#!/bin/sh
# Sees that there is an MPI to build the feature `mpi` with and to start ranks with; installs Debian's where it may.
#
# Owns nothing: what it installs is the system's. Called by `make build-mpi` and `make test-mpi`, and by people. Looks
# for mpicc (or MPICC) and mpirun, which Open MPI and MPICH both have.
#
# exit codes:
#   0  both are there
#   3  they are not, and could not be installed; the message says why
set -u

has_mpi() {
  "${MPICC:-mpicc}" -show >/dev/null 2>&1 && command -v mpirun >/dev/null
}

has_mpi && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo 'mpi: installing libopenmpi-dev and openmpi-bin; this takes a minute' >&2
  export DEBIAN_FRONTEND=noninteractive
  log=$(mktemp)
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends libopenmpi-dev openmpi-bin iproute2; } >"$log" 2>&1
  has_mpi && { rm -f "$log"; exit 0; }
  echo 'mpi: apt-get could not install them. It said:' >&2
  tail -n 5 "$log" >&2
  rm -f "$log"
  exit 3
fi
echo 'mpi: there is no mpicc or no mpirun; Debian, Ubuntu: sudo apt-get install libopenmpi-dev openmpi-bin' >&2
echo 'mpi: on a cluster: load the module of its MPI (`module load openmpi`), or name its compiler in MPICC' >&2
exit 3
