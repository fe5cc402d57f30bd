#!/usr/bin/env bash
# The main job on phantom chest X-rays: draw, pack, pretrain, probe. `make demo` installs and calls this; every command
# is shown as you would type it in this folder. Repeating it continues where it stopped. SEED=1 ./demo.sh other-folder
# pretrains with another seed.
set -euo pipefail
cd "$(dirname "$0")"
out=${1:-demo}
begin=$SECONDS

# Shows the words of a command, quoted where a shell needs it, and behind them what is not a word of it ($1).
show() {
    local behind=$1 line="" word
    shift
    for word in "$@"; do
        [[ $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]] || word="'${word//\'/\'\\\'\'}'"
        line+=" $word"
    done
    printf '\n[%3d s] $%s%s\n' "$((SECONDS - begin))" "$line" "$behind"
}

run() {
    show "" "$@"
    "$@"
}

# What it prints stands in the tables at the end.
run_quietly() {
    show " >/dev/null" "$@"
    "$@" >/dev/null
}

[ -d "$out/phantom/Shenzhen" ] || {
    run rm -rf "$out/phantom"
    run moco-cxr shards phantom --output "$out/phantom" --chexpert-patients 600 \
        --chexpert-valid-patients 500 --shenzhen-size 320
}
run moco-cxr shards build --source chexpert --input "$out/phantom/CheXpert-v1.0-small" --output "$out/data/chexpert" --size 128
run moco-cxr shards build --source shenzhen --input "$out/phantom/Shenzhen" --output "$out/data/shenzhen" --size 128
# The recipe has the rate that is best on real X-rays; on phantoms a higher one transfers better.
run moco-cxr pretrain small_resnet18 --data "$out/data/chexpert" --output "$out/run" \
    --run.epochs 8 --run.seed "${SEED:-0}" --optimizer.lr 1e-3
run_quietly moco-cxr eval linear --run "$out/run" --data "$out/data/chexpert" --label "Pleural Effusion" \
    --fraction 0.02 0.1 1 --draws 20 --output "$out/results/effusion"
# Pretraining saw none of these images, so that each can be tested once.
run_quietly moco-cxr eval linear --run "$out/run" --data "$out/data/shenzhen" --label Tuberculosis \
    --fraction 0.05 0.2 1 --protocol cross-validated --folds 5 --output "$out/results/tuberculosis"
run moco-cxr eval table "$out/results/effusion" "$out/results/tuberculosis"

cat <<END

Written in $((SECONDS - begin)) s on $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), whose rounding is in these figures:
  $out/phantom    CheXpert-like and Shenzhen-like releases (procedural images, no patients)
  $out/data       the packed datasets: tar shards, DALI indexes, index.parquet, rejected.parquet
  $out/run        the run: encoder.safetensors, model_card.md, metrics.jsonl, tensorboard/, checkpoints/
  $out/results    the evaluations: results.json, .csv, .tex, and the scores of each cell
END
