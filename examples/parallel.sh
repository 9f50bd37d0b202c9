#!/bin/sh
# Makes a set of shards with GNU parallel, on this machine or, with --sshlogin, on several that share a file system:
#
#     examples/parallel.sh LIST OUTPUT [SHARES [FLAG ...]]
#     examples/parallel.sh laion.parquet /shared/laion 64 --url-column URL --resize 256 --encode jpeg
#
# Each job makes the shards of one share of the list. A job that fails is tried three times. Run it again to continue.
set -eu
list=$1 output=$2 shares=${3:-16}
shift "$(($# < 3 ? $# : 3))"

seq 0 "$((shares - 1))" | parallel --will-cite --jobs "${JOBS:-4}" --retries 3 --halt soon,fail=20% \
  fetchimg "$list" --output "$output" --output-format webdataset --slice "{}/$shares" --ok-if-failed-below 0.5 --quiet "$@"
# Every shard is whole, or this says which is not.
fetchimg --verify-output --output "$output"
