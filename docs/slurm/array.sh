#!/bin/bash
# A sweep in eight parts that know nothing of each other:  sbatch array.sh my-sweep.toml
# Afterwards:  cat my-sweep-part-*.jsonl > my-sweep.jsonl
#SBATCH --job-name=sweep
#SBATCH --array=1-8
#SBATCH --cpus-per-task=16
#SBATCH --time=12:00:00
set -euo pipefail

flwr-byzantine sweep "$1" --part "$SLURM_ARRAY_TASK_ID/8" --processes "$SLURM_CPUS_PER_TASK" \
    --results "$(basename "$1" .toml)-part-$SLURM_ARRAY_TASK_ID.jsonl"
