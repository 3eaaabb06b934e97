#!/usr/bin/env bash
# On a machine with a GPU: correctness, the roofline table, and as much of Figure 7 as the budget buys.
#   benchmarks/gpu.sh [DATA] [BUDGET] [PROFILE]      e.g.  benchmarks/gpu.sh npz:/data/cifar10.npz 9m paper
# Needs torch 2.11 or later with CUDA, and numpy, scipy, pandas, pyarrow, tqdm, typer (Pillow for an npz of JPEGs); afli
# itself need not be installed. Where there is no git, AFLI_COMMIT names the commit for the manifest.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=. OMP_NUM_THREADS=1
python benchmarks/engine.py verify --device cuda
python benchmarks/engine.py gpu --out benchmarks/engine_gpu.csv
# Exit code 3 means that the budget ended the run: the table is good, and the same command goes on from there.
python -m afli run fig7 --profile "${3:-paper}" --device cuda --data "${1:-cifar10}" --budget "${2:-9m}" --out results || [ $? = 3 ]
python -m afli show results
