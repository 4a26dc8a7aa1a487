#!/bin/bash
# A sweep on several nodes, as one Ray cluster:  sbatch ray.sh my-sweep.toml
# Given again after the time limit, or after a node was lost, it goes on where it was.
#SBATCH --job-name=sweep
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=12:00:00
set -euo pipefail
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT

first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
address=$(srun --nodes=1 --ntasks=1 --nodelist="$first" hostname --ip-address | awk '{print $1}')
port=$((20000 + SLURM_JOB_ID % 10000))

srun --nodes=1 --ntasks=1 --nodelist="$first" \
    ray start --head --node-ip-address="$address" --port="$port" --num-cpus="$SLURM_CPUS_PER_TASK" --block &
until (: <"/dev/tcp/$address/$port") 2>/dev/null; do sleep 1; done

others=$((SLURM_JOB_NUM_NODES - 1))
if ((others > 0)); then
    srun --nodes="$others" --ntasks="$others" --exclude="$first" \
        ray start --address="$address:$port" --num-cpus="$SLURM_CPUS_PER_TASK" --block &
fi

flwr-byzantine sweep "$1" --ray "$address:$port" # nodes that come later get cells too
