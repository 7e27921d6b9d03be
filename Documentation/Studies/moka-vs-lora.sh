#!/bin/sh
# Makes the study "MokA, LoRA and full training": trains, measures, then prints the page.
#
#   Documentation/Studies/moka-vs-lora.sh PROGRAM MODEL FOLDER > Documentation/Studies/moka-vs-lora.md
#
# `make study-moka` calls it. FOLDER gets every run; one that is complete is not made again, one that was stopped goes on, so
# it can be interrupted at any time. Delete FOLDER after a change of the model, its data or the settings below. JOBS (1) says
# how many runs go side by side, each with one thread. No number depends on it but the times, which are measured alone.
set -eu
program=$1
model=$2
folder=$3
data="$model/data"

steps=150 # of training
batch=8
grid="0.0001 0.0003 0.001 0.003 0.01" # learning rates
grid_seeds="101"        # for the choice of the learning rate, and for nothing else
seeds="1 2 3 4 5 6 7 8 9 10"
arms="lora moka-paper multi-lora lora-wide multi-lora-narrow no-cross-attention text-query naive moka-avt-release
  moka-vt-release full"

# What `finetune` is told in each arm. s = 1 but where a release says otherwise.
arm() {
  case $1 in
    full) echo "full" ;;
    lora) echo "lora --rank 14 --alpha 14" ;;
    lora-wide) echo "lora --rank 27 --alpha 27" ;;
    multi-lora-narrow) echo "moka --preset multi-lora --rank 9" ;;
    *) echo "moka --preset $1 --rank 14" ;;
  esac
}
label() {
  case $1 in
    base) echo "before" ;;
    full) echo "full" ;;
    lora) echo "LoRA, rank 14" ;;
    lora-wide) echo "LoRA, rank 27" ;;
    multi-lora) echo "multi-LoRA, rank 14" ;;
    multi-lora-narrow) echo "multi-LoRA, rank 9" ;;
    *) echo "$1" ;;
  esac
}

complete() { grep -q '"status": *"complete"' "$1/run.json" 2> /dev/null; }

# tune RUN ARM RATE SEED STEPS: one training.
tune() {
  if complete "$1"; then return; fi
  validation=
  case $1 in "$folder/grid/"*)
    validation="--validation $folder/data/val.qa.jsonl --metric exact-match --max-new-tokens 4 --eval-interval $5"
    ;;
  esac
  # shellcheck disable=SC2046,SC2086
  "$program" finetune $(arm "$2") "$model" --data "$folder/data/train.qa.jsonl" $validation --batch $batch --steps "$5" \
    --save-interval "$5" --log-interval 10 --survey 200 --lr "$3" --seed "$4" --threads 1 -q -o "$1" --resume > /dev/null
}
# with ARM RUN: the model folder and the adapter of a training.
with() {
  if [ "$1" = base ]; then
    echo "$model"
  elif [ "$1" = full ]; then
    echo "$2/last"
  else
    echo "$model --adapter $2/last"
  fi
}
# measure ARM SEED: answers after a training.
measure() {
  run="$folder/tuned/$1/$2"
  if ! complete "$folder/eval/$1/$2"; then
    # shellcheck disable=SC2046
    "$program" eval $(with "$1" "$run") --data "$folder/data/test.qa.jsonl" --by needs,hint --needs "$folder/needs.json" \
      --max-new-tokens 4 --cluster-key image --replicates 10 --threads 1 -q -o "$folder/eval/$1/$2" --resume > /dev/null
  fi
  if ! complete "$folder/kept/$1/$2"; then
    # shellcheck disable=SC2046
    "$program" eval $(with "$1" "$run") --data "$folder/kept.qa.jsonl" --media "$data/test.safetensors" --by needs,hint --needs "$folder/needs.json" \
      --max-new-tokens 4 --cluster-key image --replicates 10 --threads 1 -q -o "$folder/kept/$1/$2" --resume > /dev/null
  fi
  if [ "$1" != full ] && [ "$1" != base ] && ! complete "$folder/partial/$1/$2"; then
    "$program" eval "$model" --adapter "$run/last" --data "$folder/partial.qa.jsonl" --media "$data/test.safetensors" \
      --by needs --needs "$folder/needs.json" --conditions full,adapter-text,adapter-image,adapter-audio,adapter-none --max-new-tokens 4 \
      --cluster-key image --replicates 10 --threads 1 -q -o "$folder/partial/$1/$2" --resume > /dev/null
  fi
}
# worth ARM SEED: attention and contribution.
worth() {
  run="$folder/tuned/$1/$2"
  if ! complete "$folder/worth/$1/$2"; then
    # shellcheck disable=SC2046
    "$program" contribution $(with "$1" "$run") --data "$folder/worth.qa.jsonl" --media "$data/test.safetensors" \
      --removal blank --target margin --cluster-key image --replicates 10 --highlights 0 --threads 1 -q \
      -o "$folder/worth/$1/$2" --resume > /dev/null
  fi
}
# rate ARM: the learning rate with the highest exact match on the validation questions; of equals the lower.
matches() {
  for seed in $grid_seeds; do tail -n 1 "$folder/grid/$1/$2-$seed/log.jsonl"; done \
    | sed -n 's/.*"exact_match":\([0-9.eE+-]*\).*/\1/p' | awk '{ sum += $1 } END { if (NR) print sum / NR }'
}
rate() {
  for rate in $grid; do echo "$rate $(matches "$1" "$rate")"; done \
    | awk '$2 > most || NR == 1 { most = $2; best = $1 } END { print best }'
}

# The parts of the work that go side by side call this script again.
if [ $# -gt 3 ]; then
  shift 3
  case $1 in
    grid) tune "$folder/grid/$2/$3-$4" "$2" "$3" "$4" $steps ;;
    seed)
      if [ "$2" != base ]; then tune "$folder/tuned/$2/$3" "$2" "$(rate "$2")" "$3" $steps; fi
      measure "$2" "$3"
      ;;
    worth) worth "$2" "$3" ;;
  esac
  echo "$*" >&2
  exit
fi
side_by_side() { xargs -r -P "${JOBS:-1}" -L 1 "$0" "$program" "$model" "$folder"; }

# labels FILE: the digit of each image, which is also that of the sound of the same number.
labels() {
  header=$(od -A n -t d8 -N 8 "$1" | tr -d ' ')
  set -- "$1" "$header" $(head -c $((header + 8)) "$1" | tail -c "$header" \
    | sed 's/.*"label":{[^}]*"data_offsets":\[\([0-9]*\),\([0-9]*\)\].*/\1 \2/')
  od -A n -v -t d8 -j $((8 + $2 + $3)) -N $(($4 - $3)) "$1" | tr -s ' ' '\n' | grep -v '^$'
}
# questions SPLIT COUNT SEED: new types of questions about the media of a split. Their words are known to the model, the
# questions are not. As in the data set, 40 % of those with a number for an answer have a hint, 70 % of these a right one.
questions() {
  labels "$data/$1.safetensors" | awk -v count="$2" -v seed="$3" '
    function below(n) { seed = (seed * 16807) % 2147483647; return int(n * seed / 2147483647) }
    function line(type, text, answer, image, sound, hinted,   wrong, hint) {
      hint = ""
      if (hinted && below(10) < 4) {
        hint = answer
        if (below(10) < 3) do hint = below(10) + (answer > 9 ? 9 : 0); while (hint == answer)
        text = (below(2) ? "a friend says " : "maybe ") hint " . " text
        hint = ",\"h\":" hint ",\"r\":" (hint == answer ? 1 : 0)
      }
      printf "{\"t\":\"%s\",\"q\":\"%s\",\"y\":\"%s\",\"i\":%d,\"u\":%d%s}\n", type, text, answer, image, sound, hint
    }
    # A number that makes the answer yes or no with the same chance where both can be.
    function border(value, least, most) {
      if (value > least && (value > most || below(2))) return least + below(value - least)
      return value + below(most - value + 1)
    }
    function larger(value, number) { return value > number ? "yes" : "no" }
    { digit[NR - 1] = $1 }
    END {
      for (k = 0; k < 10; k++) below(1)
      for (k = 0; k < count; k++) {
        i = below(NR); u = below(NR); w = digit[i]; s = digit[u]; n = below(10); a = below(10); b = below(10)
        if (k % 7 == 0) line("written_plus", "what is the written digit plus " n " ?", w + n, i, u, 1)
        if (k % 7 == 1) { n = border(w, 0, 9); line("written_above", "is the written digit larger than " n " ?", larger(w, n), i, u, 0) }
        if (k % 7 == 2) line("spoken_plus", "what is the spoken digit plus " n " ?", s + n, i, u, 1)
        if (k % 7 == 3) { n = border(s, 0, 9); line("spoken_above", "is the spoken digit larger than " n " ?", larger(s, n), i, u, 0) }
        if (k % 7 == 4) line("larger_digit", "what is the larger digit ?", w > s ? w : s, i, u, 1)
        if (k % 7 == 5) { n = border(w + s, 0, 18); line("sum_above", "is the sum larger than " n " ?", larger(w + s, n), i, u, 0) }
        if (k % 7 == 6) { n = border(a + b, 0, 18); line("text_sum_above", "is " a " plus " b " larger than " n " ?", larger(a + b, n), i, u, 0) }
      }
    }'
}

mkdir -p "$folder/data"
for split in train val test; do
  [ -e "$folder/data/$split.safetensors" ] || cp "$data/$split.safetensors" "$folder/data/"
done
questions train 8400 1 > "$folder/data/train.qa.jsonl"
questions val 420 2 > "$folder/data/val.qa.jsonl"
questions test 840 3 > "$folder/data/test.qa.jsonl"
cat > "$folder/needs.json" << END
{"written_plus": ["image"], "written_above": ["image"], "spoken_plus": ["audio"], "spoken_above": ["audio"],
 "larger_digit": ["image", "audio"], "sum_above": ["image", "audio"], "text_sum_above": []}
END
head -n 84 "$folder/data/test.qa.jsonl" > "$folder/partial.qa.jsonl"
# Known types: all with a wrong hint, and the first 100 without hints.
{ grep '"r":0' "$data/test.qa.jsonl" && grep -v '"h":' "$data/test.qa.jsonl" | head -n 100; } > "$folder/kept.qa.jsonl"
# Questions that need both media, without hints.
grep -v '"h":' "$folder/data/test.qa.jsonl" | grep -E '"t":"(larger_digit|sum_above)"' | head -n 40 > "$folder/worth.qa.jsonl"

# each WHAT ARM...: for each seed each of the arms.
each() {
  what=$1
  shift
  for seed in $seeds; do
    for arm; do echo "$what $arm $seed"; done
  done
}
for arm in $arms; do
  for rate in $grid; do
    for seed in $grid_seeds; do echo "grid $arm $rate $seed"; done
  done
done | side_by_side
# shellcheck disable=SC2086
{
  echo "seed base 1"
  echo "worth base 1"
  each seed $arms
  each worth $arms
} | side_by_side
for arm in $arms; do tune "$folder/cost/$arm" "$arm" 0.001 1 40; done

# --- The page ---

mkdir -p "$folder/tables"
# versus KIND A B: the comparison of two arms as CSV, without carriage returns.
versus() {
  table="$folder/tables/$1-$2-$3.csv"
  if [ ! -s "$table" ]; then
    first="$folder/$1/$2/*"
    if [ "$2" = base ]; then first="$folder/$1/base/1"; fi
    "$program" compare "$first" "$folder/$1/$3/*" --format csv --cluster-key image --threads 1 -q | tr -d '\r' > "$table.part"
    mv "$table.part" "$table"
  fi
  cat "$table"
}
# value KIND A B NAME COLUMN: 5 n; 6 before; 9 to 11 after with its interval; 12 to 14 difference with its interval; 15 p; 18 detectable.
value() { versus "$1" "$2" "$3" | awk -F, -v name="$4" -v column="$5" '$1 == name { print $column }'; }
# shown KIND A B NAME COLUMN SCALE DIGITS: a number with its interval, which stands in the next two columns.
shown() {
  versus "$1" "$2" "$3" | awk -F, -v name="$4" -v c="$5" -v s="$6" -v d="$7" '$1 == name {
      form = "%." d "f"
      if ($c == "") { print "–"; exit }
      printf form " (" form " to " form ")", s * $c, s * $(c + 1), s * $(c + 2)
    }'
}
mean() { versus "$1" "$2" "$3" | awk -F, -v name="$4" -v c="$5" '$1 == name { if ($c == "") print "–"; else printf "%.1f", 100 * $c }'; }
# holm < KEY P: corrected for all lines together.
holm() {
  awk "NF == 2" | sort -g -k 2 | awk '{ key[NR] = $1; p[NR] = $2 }
    END { for (i = 1; i <= NR; i++) { q = (NR - i + 1) * p[i]; if (q > 1) q = 1; if (q > most) most = q; print key[i], most } }'
}
# corrected A ARMS NAMES: differences of accuracy of each arm to A, corrected together: lines "ARM NAME P".
differences() {
  for arm in $2; do
    for name in $3; do echo "$arm,$name $(value eval "$1" "$arm" "$name" 15)"; done
  done | holm > "$folder/tables/holm-$1"
}
# difference A ARM NAME: difference in percentage points with its interval, and a star where the corrected p is below 0.05.
difference() {
  star=$(awk -v key="$2,$3" '$1 == key && $2 < 0.05 { print " *" }' "$folder/tables/holm-$1")
  echo "$(shown eval "$1" "$2" "$3" 12 100 1)$star"
}
needs="full.accuracy.needs.image full.accuracy.needs.audio full.accuracy.needs.image+audio full.accuracy.needs.text"
without() { for arm in $arms; do [ "$arm" = "$1" ] || echo "$arm"; done; }
adapters() { for arm in $arms; do [ "$arm" = full ] || echo "$arm"; done; }
# logged ARM TAG: mean over steps of a figure of the log, then mean over seeds and the least and the greatest.
logged() {
  for seed in $seeds; do
    sed -n "s|.*\"$2\":\([0-9.eE+-]*\).*|\1|p" "$folder/tuned/$1/$seed/log.jsonl" \
      | awk '{ sum += $1 } END { if (NR) print sum / NR }'
  done
}
spread() { awk -v s="$1" -v d="$2" '{ x = s * $1; sum += x; if (NR == 1 || x < l) l = x; if (NR == 1 || x > h) h = x }
  END { f = "%." d "f"; if (NR) printf f " (" f " to " f ")", sum / NR, l, h; else print "–" }'; }
trainable() {
  # shellcheck disable=SC2046
  "$program" finetune $(arm "$1") "$model" --data "$folder/data/val.qa.jsonl" --survey 1 --dry-run --json --threads 1 -q \
    | tr -d ' \n' | sed 's/.*"trainable":\([0-9]*\).*/\1/'
}
cost() { sed -n "s/.*\"$2\": *\([0-9.]*\).*/\1/p" "$folder/cost/$1/run.json"; }

differences lora "$(without lora)" "full.accuracy $needs"
differences lora-wide "$(without lora-wide)" "full.accuracy $needs"
count=$(versus eval base lora | awk -F, '$1 == "full.accuracy" { print $5 }')

cat <<END
# MokA, LoRA and full training

Does a matrix A for each modality help where a model is fine-tuned on questions about image and sound? Measured on the embedded model
of this repository, fine-tuned on types of questions that it never saw, by one command:

    make study-moka

END

# The numbers to take away; each sentence is true whatever they are.
words() {
  case $1 in
    full.accuracy) echo "all questions" ;;
    *image+audio) echo "questions that need both media" ;;
    *image) echo "questions that need the image" ;;
    *audio) echo "questions that need the sound" ;;
    *text) echo "questions that need no medium" ;;
  esac
}
# found A: the differences to A that stand after correction, a line for each; or one that says there is none.
found() {
  lines=$(for arm in $(without "$1"); do
    for name in full.accuracy $needs; do
      if awk -v key="$arm,$name" '$1 == key && $2 < 0.05 { found = 1 } END { exit !found }' "$folder/tables/holm-$1"; then
        echo "  - $(label "$arm"), $(words "$name"): $(shown eval "$1" "$arm" "$name" 12 100 1)"
      fi
    done
  done)
  echo "${lines:-  - none}"
}
part() { logged "$1" "split/share/$2" | spread 100 0; }
cat <<END
**What to take away.**

- Right answers after training, %, from $(mean eval base lora full.accuracy 6) before: $(for arm in $arms; do printf '%s %s; ' "$(label "$arm")" "$(shown eval base "$arm" full.accuracy 9 100 1)"; done)
- Differences to LoRA of equal rank, in percentage points, that stand after correction for all differences of the table:
$(found lora)
- Differences to LoRA of as many parameters that do:
$(found lora-wide)
- A difference over all questions had to be about this large to be found with a chance of 80 %: $(for arm in $(without lora); do printf '%s %s; ' "$(label "$arm")" "$(mean eval lora "$arm" full.accuracy 18)"; done)
- Text made $(part lora text) % of the gradient of LoRA's A, the image $(part lora image) %, the sound $(part lora audio) %.

"Not found" is not "the same": compare the intervals below. The numbers are those of one small model and one budget of training.

## What was done

- **Before**: \`$model\`, which knows ten types of questions (trained from scratch on them, 97.1 % of validation questions right) and was trained
  without those below.
- **New types**, none of them seen before, in words that it knows, about the media of the data set; splits of media are kept:
  written_plus ("what is the written digit plus 4 ?"), written_above ("is the written digit larger than 8 ?"), spoken_plus and
  spoken_above likewise, larger_digit ("what is the larger digit ?"), sum_above ("is the sum larger than 11 ?"), text_sum_above ("is 4 plus 4
  larger than 5 ?"). $(wc -l < "$folder/data/train.qa.jsonl" | tr -d ' ') training, $(wc -l < "$folder/data/val.qa.jsonl" | tr -d ' ') validation, $(wc -l < "$folder/data/test.qa.jsonl" | tr -d ' ') test questions, a seventh of each type.
- **Fine-tuning**: $steps steps of $batch of these questions, AdamW without decay, 3 % warm-up, cosine to 0, norm of the gradient at most 1, loss
  on answers. Adapters stand at all seven linear layers of each block, and nothing else is trained; the arm \`full\` trains everything.
- **Equal rank**: 14, LoRA and all forms of MokA. **Equal number of trained parameters**, within 2 %: MokA of rank 14, LoRA of rank 27,
  multi-LoRA of rank 9. s = 1 but in the released forms, where it is 4. See [the presets](../Adapters/moka.md).
- **Learning rate**: for each arm that of $(echo "$grid" | sed 's/ /, /g') with the highest exact match on the validation questions of the new types
  ($(echo "$grid_seeds" | wc -w | tr -d ' ') training with a seed that is used for nothing else). Test questions were read after all choices.
- **Seeds**: $(echo "$seeds" | wc -w | tr -d ' ') in each arm; a seed draws the adapter and the order of the questions, the same order in each arm. The
  weights before fine-tuning are the same for all.
- **Intervals** are 95 %, **p** values from a t test, both over seeds and over test questions ($count, grouped by their images): see
  [Comparing two runs](../Comparison.md#sets-of-runs). A star: p below 0.05 after Holm's correction for all differences of its table.

| arm | trained parameters | of MokA's | $(for rate in $grid; do printf '%s | ' "$rate"; done)chosen |
| --- | --- | --- | $(for rate in $grid; do printf '%s | ' '---'; done)--- |
END
reference=$(trainable moka-paper)
for arm in $arms; do
  number=$(trainable "$arm")
  echo "| $(label "$arm") | $number | $(awk -v a="$number" -v b="$reference" 'BEGIN { printf "%.1f %%", 100 * a / b }') | $(for rate in $grid; do printf '%s | ' "$(matches "$arm" "$rate" | awk '{ printf "%.1f", 100 * $1 }')"; done)$(rate "$arm") |"
done
cat <<END

The numbers under the learning rates: exact match on validation questions, %.

## Accuracy by what the question needs

Exact match on the test questions of the new types, %, mean over seeds.

| arm | all | the image | the sound | both | the question alone |
| --- | --- | --- | --- | --- | --- |
| before | $(for name in full.accuracy $needs; do printf '%s | ' "$(mean eval base lora "$name" 6)"; done)
END
for arm in $arms; do
  echo "| $(label "$arm") | $(for name in full.accuracy $needs; do printf '%s | ' "$(shown eval base "$arm" "$name" 9 100 1)"; done)"
done
for to in lora lora-wide; do
  cat <<END

Difference to **$(label $to)**, percentage points; the last column is the smallest true difference in the first that this test finds with a
chance of 80 %, not corrected.

| arm | all | the image | the sound | both | the question alone | detectable |
| --- | --- | --- | --- | --- | --- | --- |
END
  for arm in $(without $to); do
    echo "| $(label "$arm") | $(for name in full.accuracy $needs; do printf '%s | ' "$(difference $to "$arm" "$name")"; done)$(mean eval $to "$arm" full.accuracy 18) |"
  done
done

cat <<END

## Hints, and what is forgotten

New types with a number for an answer have hints ("a friend says 7 ."), right or wrong. Known types: all their test questions with a wrong hint,
and 100 without any. Exact match, %.

| arm | new, right hint | new, wrong hint | known, wrong hint | known, no hint |
| --- | --- | --- | --- | --- |
| before | $(mean eval base lora full.accuracy.hint.right 6) | $(mean eval base lora full.accuracy.hint.wrong 6) | $(mean kept base lora full.accuracy.hint.wrong 6) | $(mean kept base lora full.accuracy.hint.none 6) |
END
for arm in $arms; do
  echo "| $(label "$arm") | $(shown eval base "$arm" full.accuracy.hint.right 9 100 1) | $(shown eval base "$arm" full.accuracy.hint.wrong 9 100 1) | $(shown kept base "$arm" full.accuracy.hint.wrong 9 100 1) | $(shown kept base "$arm" full.accuracy.hint.none 9 100 1) |"
done
echo
echo "Questions: $(value eval base lora full.accuracy.hint.right 5) new with a right and $(value eval base lora full.accuracy.hint.wrong 5) with a wrong hint, $(value kept base lora full.accuracy.hint.wrong 5) known with a wrong hint, $(value kept base lora full.accuracy.hint.none 5) without."

cat <<END

## Attention and contribution, before and after

The first $(wc -l < "$folder/worth.qa.jsonl" | tr -d ' ') test questions of the new types that need both media, without hints. Attention: of the last prompt row, mean over layers and
heads. Contribution: share of the modality in the |Shapley values| of image, sound and question for the logit of the first piece of the
right answer minus the strongest other; absent parts are blank. See [the page](../Probes/shapley.md). In %.

| arm | attention: image | sound | question | contribution: image | sound | question |
| --- | --- | --- | --- | --- | --- | --- |
| before | $(for name in image.share audio.share question.share image.contribution audio.contribution question.contribution; do printf '%s | ' "$(mean worth base lora $name 6)"; done)
END
for arm in $arms; do
  echo "| $(label "$arm") | $(for name in image.share audio.share question.share image.contribution audio.contribution question.contribution; do printf '%s | ' "$(shown worth base "$arm" $name 9 100 1)"; done)"
done

cat <<END

## The gradient of A

LoRA has one A for all rows, and its gradient is a sum over modalities: parts ⟨gₘ, g⟩ / ‖g‖², which add up to 1
([the page](../Adapters/lora.md#does-text-dominate-a)). The others have a matrix for each: parts of ‖∂L/∂Aᵐ‖. Mean over the logged
steps (every tenth); mean over seeds, with the least and the greatest. In %.

| arm | text | image | sound |
| --- | --- | --- | --- |
END
for arm in lora lora-wide; do
  echo "| $(label $arm), parts of the gradient | $(for m in text image audio; do printf '%s | ' "$(logged $arm split/share/$m | spread 100 1)"; done)"
done
for arm in $(without full | grep -v '^lora'); do
  for m in text image audio; do logged "$arm" matrices/norm/$m > "$folder/tables/norm-$m"; done
  echo "| $(label "$arm"), parts of the norms | $(for m in text image audio; do
    paste "$folder/tables/norm-$m" "$folder/tables/norm-text" "$folder/tables/norm-image" "$folder/tables/norm-audio" \
      | awk '{ print $1 / ($2 + $3 + $4) }' | spread 100 1
    printf ' | '
  done)"
done

cat <<END

## The adapter on the rows of one modality

Partial-modality inference: the adapter acts on the prompt rows of one modality only, the model's own layers on all; rows of the answer are
always adapted. The first $(wc -l < "$folder/partial.qa.jsonl" | tr -d ' ') test questions of the new types; exact match, %. Use: (accuracy − accuracy with the adapter on no row) / (accuracy with
it on all rows − the same).

| arm | all rows | text | image | sound | none | use: text | image | sound |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
END
for arm in $(adapters); do
  all=$(value partial "$arm" "$arm" full.accuracy 9)
  echo "| $(label "$arm") | $(shown partial "$arm" "$arm" full.accuracy 9 100 1) | $(for m in text image audio none; do
    printf '%s | ' "$(shown partial "$arm" "$arm" "adapter-$m.accuracy" 9 100 1)"
  done)$(for m in text image audio; do
    awk -v x="$(value partial "$arm" "$arm" adapter-$m.accuracy 9)" -v none="$(value partial "$arm" "$arm" adapter-none.accuracy 9)" -v all="$all" \
      'BEGIN { if (all - none < 0.02) printf "–"; else printf "%.2f", (x - none) / (all - none) }'
    printf ' | '
  done)"
done

cat <<END

## Time and memory

One training of 40 steps alone on the machine, one thread ($(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo 2> /dev/null | head -n 1)).

| arm | ms a step | memory, MB |
| --- | --- | --- |
END
for arm in $arms; do
  echo "| $(label "$arm") | $(cost "$arm" step_s | awk '{ printf "%.0f", 1000 * $1 / 40 }') | $(cost "$arm" peak_rss_bytes | awk '{ printf "%.0f", $1 / 1e6 }') |"
done

cat <<END

## How far it goes

One model of 0.8 million parameters and 4 layers, made-up questions, $steps steps of $batch: all arms are far from the end of their learning, and
an order at this budget need not be that at another. Rank 14 of 128 columns is much more than the paper's 4 of 4096. Its adapters were
trained together with fresh projectors, on a language model that knew no media; here the model had learned media before, and nothing but adapters is
trained. Learning rates come from a coarse grid with one training each, which adds an error that no interval here holds. What is forgotten was measured on
few questions.
END
