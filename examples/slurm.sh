#!/bin/sh
# Makes a set of shards with an array of Slurm jobs. Each task makes the shards of one share of the list:
#
#     LIST=/shared/laion.parquet OUTPUT=/shared/laion sbatch examples/slurm.sh
#     LIST=s3://bkt/laion.parquet OUTPUT=s3://bkt/laion FLAGS="--resize 256 --encode jpeg" sbatch examples/slurm.sh
#
# A task that ends before its work is done (time limit, pre-emption, a lost node) is queued again, and goes on inside its
# shards. To repair a few tasks by hand, name the share, because --array=3,7 changes what the variables say:
#
#     SLICE=3/16 LIST=... OUTPUT=... sbatch --array=3 examples/slurm.sh
#
#SBATCH --job-name=fetchimg
#SBATCH --array=0-15
#SBATCH --cpus-per-task=2
#SBATCH --mem=2G
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@60
set -u

# FLAGS are several words.
# shellcheck disable=SC2086
fetchimg "$LIST" --output "$OUTPUT" --output-format webdataset --slice "${SLICE:-auto}" \
  --ok-if-failed-below 0.5 --heartbeat 60 ${FLAGS:-} &
task=$!
# A minute before the limit, Slurm tells this shell, and fetchimg has time to write what it has.
trap 'kill -TERM "$task"' TERM
wait "$task"
status=$?
# `wait` returns when the signal comes, and again when fetchimg has ended.
if kill -0 "$task" 2>/dev/null; then
  wait "$task"
  status=$?
fi
case $status in
  # Ended by the signal, or killed: the rest is for the next turn.
  143 | 137) scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}" ;;
esac
exit "$status"
