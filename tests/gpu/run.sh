#!/usr/bin/env bash
# Everything that only a GPU can show: exactness, the DAG, speed. About eight minutes on one H100.
#   OUT=FOLDER tests/gpu/run.sh           on a GPU (PYTHON: the interpreter, python3 unless set)
#   OUT=FOLDER tests/gpu/run.sh tiny      the same on a CPU with tiny shapes, to try the script
# Every part has its own limit; the table at the end stands there whatever failed. What is measured
# against another tool runs with the interpreter that has it (`make bench` sets one up), else it is
# left out, and says so.
set -uo pipefail
cd "$(dirname "$0")/../.."
out=${OUT:?an empty folder} python=${PYTHON:-python3} size=${1:-full}
mkdir -p "$out"
: >"$out/table.txt"
export PYTHONPATH=workflow/scripts:tests/benchmarks:tests/unit${PYTHONPATH:+:$PYTHONPATH}
small=1.5b large=8b patience=1
if [[ $size == tiny ]]; then
  small=tiny large=tiny patience=8 # of a CPU that has other work
  export CUDA_VISIBLE_DEVICES=
fi

part() { # name, limit in seconds, command
  local name=$1 limit=$2 rc=0 start=$SECONDS
  shift 2
  timeout -k 10 $((limit * patience)) "$@" >"$out/$name.log" 2>&1 || rc=$?
  printf '%-16s rc %-3s %4s s  %s\n' "$name" "$rc" $((SECONDS - start)) \
    "$(grep -h '^RESULT' "$out/$name.log" | tail -1 | cut -c8-)" | tee -a "$out/table.txt"
  sed -n '/, bar [<>]= /s/^/    /p' "$out/$name.log" | tee -a "$out/table.txt" # as benchmarks say it
}
against() { # the other tool's module, name, limit in seconds, command without the interpreter
  local module=$1 name=$2 limit=$3 with
  shift 3
  for with in "$python" .venv-bench/bin/python; do
    if "$with" -c "import $module" 2>/dev/null; then
      part "$name" "$limit" "$with" "$@"
      return
    fi
  done
  printf '%-16s left out: found no %s, which envs/requirements-bench.txt lists\n' "$name" "$module" |
    tee -a "$out/table.txt"
}
dag() { # config, more settings
  "$python" -m snakemake --cores all --resources gpu=1 --config "output=$out/results" "${@:2}" --configfile "$1"
}
export -f dag
export out python

part machine 60 "$python" tests/gpu/machine.py
part exactness 120 "$python" -m pytest -q -p no:cacheprovider tests/gpu/test_kernels.py \
  tests/unit/test_inference_decode.py tests/unit/test_inference_options.py tests/unit/test_training_files.py
part model_$small 60 "$python" tests/gpu/speed.py make "$small" "$out/$small"
part dag 180 bash -c 'dag tests/gpu/dag.yaml'
for method in lora qlora full; do
  part "${method}_$small" 60 "$python" tests/gpu/speed.py train "$out/$small" "$method"
done
part generate 60 "$python" tests/gpu/speed.py generate "$out/$small"
part long_prompts 60 "$python" tests/gpu/speed.py long "$out/$small"
against lm_eval options 60 tests/benchmarks/options_vs_lm_eval.py $([[ $size == tiny ]] && echo --questions 4 || echo --device cuda)
against trl trl 90 tests/benchmarks/train_vs_trl.py $([[ $size == tiny ]] && echo --rows 16 || echo --device cuda) --rounds 1
part "model_${large}_2" 60 "$python" tests/gpu/speed.py make "$large" "$out/$large-2"
part "lora_${large}_2" 90 "$python" tests/gpu/speed.py train "$out/$large-2" lora
cat "$out/table.txt"
rm -rf "${out:?}/$small" "${out:?}/$large-2"
