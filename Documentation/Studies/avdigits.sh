#!/bin/sh
# Makes the study "Methods against imbalance on AVDigits": trains, measures, then prints the page.
#
#   Documentation/Studies/avdigits.sh PROGRAM FOLDER > Documentation/Studies/avdigits.md
#
# `make study-avdigits` calls it, in the folder that holds datasets/avdigits, and takes the curves from FOLDER. FOLDER gets every
# run; what is complete is not made again, what was stopped goes on. Delete FOLDER after a change of the program or of the settings
# below. JOBS (2) says how many runs go side by side, each with one thread; no number depends on it. SEEDS (1...10) are those of
# the first block and of the levels, MORE_SEEDS (1...5) those of the others; TRANSFORMER_METHODS and THREE_METHODS (all) are the
# methods of the blocks with transformers and with three modalities. What FOLDER has beside them stays in the tables.
set -eu
export LC_ALL=C
# Kernels of one kind, those of AVX2, for the same numbers on every x86-64 processor that has them.
if grep -qw avx2 /proc/cpuinfo; then export OPENBLAS_CORETYPE=Haswell; fi
program=$1
folder=$2
jobs=${JOBS:-2}
seeds=${SEEDS:-1...10}
more_seeds=${MORE_SEEDS:-1...5}
transformer_methods=${TRANSFORMER_METHODS:+--methods $TRANSFORMER_METHODS}
three_methods=${THREE_METHODS:+--methods $THREE_METHODS}
epochs=50
decay=35
mkdir -p "$folder"

sweep() {
  name=$1
  shift
  "$program" bench sweep "$@" -o "$folder/$name" --jobs "$jobs" --threads "$jobs" --resume -q > /dev/null
}
# experiment FILE DATA MODALITIES METHODS
experiment() {
  cat > "$1" << JSON
{
  "data": "$2", "modalities": $3, "reference": "joint",
  "training": {"epochs": $epochs, "batch_size": 64, "learning_rate": 0.01, "decay_interval": $decay, "selection": "last"},
  "methods": $4
}
JSON
}

# Every method: two modalities with convolutions, the same with transformers, three modalities.
sweep two --preset avdigits --seeds "$seeds"
# shellcheck disable=SC2086 # two words, or none
sweep transformer --preset avdigits-transformer --seeds "$more_seeds" $transformer_methods
# shellcheck disable=SC2086
sweep three --preset avdigits-three --seeds "$more_seeds" $three_methods

# Two methods at several strengths.
experiment "$folder/curves.json" "$(pwd)/datasets/avdigits" '["image", "audio"]' '[{"id": "joint"}, {"id": "agm"}, {"id": "gblending"}]'
sweep curves "$folder/curves.json" --seeds "$more_seeds" --set agm.alpha=0,0.1,0.3,1,3 --set gblending.strength=0,0.25,0.5,1,2

# Five bits in all: one that both modalities see, four that are shared out between them.
levels="0,4 1,3 2,2 3,1 4,0"
for level in $levels; do
  name="level-$(echo "$level" | tr , -)"
  if [ ! -e "$folder/$name-data/manifest.json" ]; then
    "$program" data synthesize -o "$folder/$name-data" --overwrite --redundant 1 --unique "$level" --noise 2 --samples 6000 -q > /dev/null
  fi
  experiment "$folder/$name.json" "$name-data" '["audio", "visual"]' \
    '[{"id": "joint"}, {"id": "uniform"}, {"id": "ogm-ge"}, {"id": "agm"}]'
  sweep "$name" "$folder/$name.json" --seeds "$seeds"
done

# Gains over joint training that were published, in points: CREMA-D, table 2 of BalanceBenchmark and two papers.
cat > "$folder/published.txt" << 'PUBLISHED'
mmpareto +14.5
modality-valuation +10.4
ogm-ge +10.2
mbsd +9.4
reconboost +8.5
amco +7.8
mla +6.8
agm +6.1
gblending +6.1
relearning +5.5
inforeg +5.3
lfm +4.5
cml +3.7
opm +3.3
ogm +2.3
umt +2.0
mmcosine +1.7
pmr +1.7
greedy +1.0
PUBLISHED

markdown() { "$program" bench table "$@" --format markdown -q; }
# table BLOCK AGAINST: the table of a block as a file for awk, whose name is printed.
table() {
  "$program" bench table "$folder/$1" --against "$2" --format csv -q > "$folder/$1-$2.csv"
  echo "$folder/$1-$2.csv"
}
# said BLOCK AGAINST: which methods are better and worse, after correction.
said() {
  file=$(table "$1" "$2")
  tr -d '\r' < "$file" | awk -F, -v against="$2" '
    NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
    $at["label"] ~ /^only-/ { next }
    $at["p_holm"] != "" && $at["p_holm"] < 0.05 {
      if ($at["difference"] > 0) better = better (better ? ", " : "") $at["label"]
      else worse = worse (worse ? ", " : "") $at["label"]
    }
    $at["p_holm"] != "" { count++ }
    END {
      if (!count) exit 1
      printf "Of %d methods compared with `%s`, better after correction: %s; worse: %s.\n", count, against,
        better ? better : "none", worse ? worse : "none"
    }'
}
block() {
  echo
  echo "Against joint training:"
  echo
  markdown "$folder/$1" --against joint
  echo
  said "$1" joint
  echo
  said "$1" uniform
}
fenced() {
  echo '```'
  "$@"
  echo '```'
}

cat << PAGE
# Methods against imbalance on AVDigits

Every method of \`mmprobe bench\` on images and sounds of digits. Printed by \`make study-avdigits\`; what was measured comes from the
runs that it makes.

- Data: AVDigits, 1,157 training, 258 validation and 382 test samples, ten classes; see [its page](../../datasets/avdigits/README.md).
- Training of the first three blocks: the presets \`avdigits\`, \`avdigits-transformer\` and \`avdigits-three\`: $epochs epochs of batches of
  64, SGD at 0.01 with momentum 0.9 and weight decay 1e-4, a tenth of the rate after $decay epochs; the weights after the last step are
  tested. Every method has the options of its paper; none was tuned here, so a method that loses may lose by its options.
- Kernels of OpenBLAS: those of AVX2, also where the processor has wider ones; others round differently and give other numbers, as
  other seeds would.
- The column *seeds* says how many trainings a line is the mean of.
- In the network with convolutions the image is ahead; the README of the data set, whose network is not known, has the sound ahead.
- *Gop*: nominal operations of the whole training, teachers and solo trainings included; *x joint* their ratio.
- Settings of this page: SEEDS=$seeds MORE_SEEDS=$more_seeds${TRANSFORMER_METHODS:+ TRANSFORMER_METHODS=$TRANSFORMER_METHODS}${THREE_METHODS:+
  THREE_METHODS=$THREE_METHODS}

## Images and sounds, convolutions
PAGE
block two
cat << 'PAGE'

Does joint training hold the encoders back, and does a method help them? A linear classifier on frozen features:

PAGE
fenced "$program" bench probe "$folder/two" --methods joint,uniform,ogm-ge,mmpareto,reconboost -q
cat << 'PAGE'

With a modality missing or corrupted:

PAGE
fenced "$program" bench table "$folder/two" --corrupted -q
cat << 'PAGE'

### Published and found

Gains over joint training in points of accuracy. Published: CREMA-D, table 2 of BalanceBenchmark (arXiv:2502.10816; joint 65.50, one
seed, weights chosen by test samples), OGM-GE and InfoReg from their papers (joint 51.7 and 66.61). Another data set, other networks: what
can be compared is the sign and the order, not the size.

| method | published | here, convolutions | here, transformers |
| --- | ---: | ---: | ---: |
PAGE
for name in two transformer; do
  file=$(table "$name" joint)
  tr -d '\r' < "$file" | awk -F, '
    NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
    $at["difference"] != "" {
      printf "%s,%+.1f,%+.1f,%+.1f\n", $at["label"], 100 * $at["difference"], 100 * $at["difference_low"],
        100 * $at["difference_high"]
    }' > "$folder/$name-gains.csv"
done
gain() { awk -F, -v label="$2" '$1 == label { printf "%s (%s to %s)", $2, $3, $4 }' "$folder/$1-gains.csv"; }
while read -r label published; do
  echo "| $label | $published | $(gain two "$label") | $(gain transformer "$label") |"
done < "$folder/published.txt"
# compared BLOCK: what became of published gains.
compared() {
  awk -F '[ ,]' '
    NR == FNR { published[$1] = 1; next }
    !($1 in published) { next }
    $3 > 0 { like = like (like ? ", " : "") $1; next }
    $4 < 0 { against = against (against ? ", " : "") $1; next }
    { open = open (open ? ", " : "") $1 }
    END {
      printf "better here too: %s; worse here, against what is published: %s; not told apart from joint: %s.\n", like ? like : "none",
        against ? against : "none", open ? open : "none"
    }' "$folder/published.txt" "$folder/$1-gains.csv"
}
text=$(compared two)
echo
echo "By the intervals of single comparisons, not corrected for their number, with convolutions: $text"
text=$(compared transformer)
echo
echo "With transformers: $text"
cat << 'PAGE'

## Images and sounds, transformers
PAGE
block transformer
cat << 'PAGE'

## Images, sounds and clues
PAGE
block three
cat << 'PAGE'

## Accuracy against imbalance

![Accuracy against imbalance over the strength of AGM](avdigits-agm.svg)

![Accuracy against imbalance over the strength of G-Blend](avdigits-gblending.svg)

AGM over its strength α, and G-Blend over the exponent of its weights (0: all losses weigh the same; 1: the paper).

PAGE
fenced "$program" bench balance "$folder/curves" --method agm --over alpha -o "$folder/avdigits-agm.svg" -q
echo
fenced "$program" bench balance "$folder/curves" --method gblending --over strength -o "$folder/avdigits-gblending.svg" -q
cat << 'PAGE'

## Accuracy against information

Synthetic vectors of two modalities (`mmprobe data synthesize`, 6,000 samples, 32 classes): the label has five bits, of which both modalities
see one and four are shared out between them, from all in one to all in the other. A small network for each modality, trained as above.
Means over seeds in percent; brackets: interval over seeds and samples.

| bits of audio and visual | joint | uniform | OGM-GE | AGM | φ of joint, audio and visual | I of joint |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
PAGE
for level in $levels; do
  file=$(table "level-$(echo "$level" | tr , -)" joint)
  tr -d '\r' < "$file" | awk -F, -v level="$level" '
    NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
    { cell[$at["label"]] = sprintf("%.1f [%.1f, %.1f]", 100 * $at["mean"], 100 * $at["low"], 100 * $at["high"]) }
    $at["label"] == "joint" { imbalance = 100 * $at["imbalance"]; split($at["shapley"], value, ";") }
    END {
      if (NR < 2) exit 1
      split(level, bits, ",")
      printf "| %d and %d | %s | %s | %s | %s | %.1f and %.1f | %.1f |\n", bits[1] + 1, bits[2] + 1, cell["joint"],
        cell["uniform"], cell["ogm-ge"], cell["agm"], 100 * value[1], 100 * value[2], imbalance
    }'
done
