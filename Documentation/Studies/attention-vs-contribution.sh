#!/bin/sh
# Makes the study "attention versus contribution": measures, then prints the page.
#
#   Documentation/Studies/attention-vs-contribution.sh PROGRAM MODEL FOLDER > Documentation/Studies/attention-vs-contribution.md
#
# `make study` calls it. FOLDER gets the run folders, with a report each.
set -eu
program=$1
model=$2
folder=$3
data="$model/data"
mkdir -p "$folder"

# The questions by what they need, without hints; and those with hints.
part() {
  case $1 in
    image) grep -v '"h":' "$data/test.qa.jsonl" | grep -E '"t":"written(_even)?"' ;;
    audio) grep -v '"h":' "$data/test.qa.jsonl" | grep -E '"t":"spoken(_even)?"' ;;
    both) grep -v '"h":' "$data/test.qa.jsonl" | grep -E '"t":"(sum|difference|larger|same)"' ;;
    text) grep -v '"h":' "$data/test.qa.jsonl" | grep -E '"t":"text_' ;;
    right) grep '"r":1' "$data/test.qa.jsonl" ;;
    wrong) grep '"r":0' "$data/test.qa.jsonl" ;;
  esac
}
parts="image audio both text right wrong"
conditions="clean noisy"

measure() {
  run=$1
  shift
  "$program" contribution "$model" -q --overwrite --format csv --target margin --cluster-key image --highlights 0 \
    -o "$folder/$run" "$@" > /dev/null
}

for part in $parts; do
  part "$part" > "$folder/$part.qa.jsonl"
  for condition in $conditions; do
    media="$data/test.safetensors"
    if [ "$condition" = noisy ]; then media="$data/test_noisy.safetensors"; fi
    for removal in blank replacement; do
      measure "$part-$condition-$removal" --data "$folder/$part.qa.jsonl" --media "$media" --removal "$removal"
    done
    measure "$part-$condition-knockout" --data "$folder/$part.qa.jsonl" --media "$media" --method knockout \
      --queries others,last --window 4
    # Single layers and heads need 64 prompts a sample.
    measure "$part-$condition-heads" --data "$folder/$part.qa.jsonl" --media "$media" -n 100 --method knockout \
      --queries last --window 1 --by-head
    measure "$part-$condition-norms" --data "$folder/$part.qa.jsonl" --media "$media" --method value-norm
    echo "$part $condition" >&2
  done
done

# table RUN NAME: a table of a run, without the carriage returns of CSV.
table() { tr -d '\r' < "$folder/$1/tables/$2.csv"; }
# value RUN GROUP QUANTITY COLUMN: a number of tables/contribution.csv; 5 mean, 6 low, 7 high, 9 samples.
value() {
  table "$1" contribution | awk -F, -v group="$2" -v quantity="$3" -v column="$4" \
    '$1 == "" && $2 == "" && $3 == group && $4 == quantity { print $column }'
}
percent() { awk -v x="$(value "$1" "$2" "$3" 5)" 'BEGIN { if (x == "") print "–"; else printf "%.1f", 100 * x }'; }
# estimate RUN GROUP QUANTITY SCALE DIGITS: mean and interval.
estimate() {
  awk -v m="$(value "$1" "$2" "$3" 5)" -v l="$(value "$1" "$2" "$3" 6)" -v h="$(value "$1" "$2" "$3" 7)" \
    -v s="$4" -v d="$5" 'BEGIN {
      if (m == "") { print "–"; exit }
      form = "%." d "f"
      printf form " (" form " to " form ")", s * m, s * l, s * h
    }'
}
rank() {
  table "$1" contribution_correlations | awk -F, -v over="$2" -v group="$3" \
    '$1 == over && $2 == group { if ($4 == "") print "–"; else printf "%.2f", $4 }'
}
needs() {
  case $1 in
    image) echo "the image" ;;
    audio) echo "the sound" ;;
    both) echo "both" ;;
    text) echo "the question alone" ;;
    right) echo "(right hint)" ;;
    wrong) echo "(wrong hint)" ;;
  esac
}

cat <<END
# Attention versus contribution

Does attention say what an answer depends on? Measured on the embedded model of this repository (\`$model\`), every test question, made
by one command:

    make study

END

# The sentence to take away, with its numbers.
awk -v ia="$(percent image-clean-blank audio attention_among)" -v is="$(percent image-clean-blank audio share)" \
  -v ai="$(percent audio-clean-blank image attention_among)" -v as="$(percent audio-clean-blank image share)" \
  -v ti="$(percent text-clean-blank image attention_among)" -v ta="$(percent text-clean-blank audio attention_among)" \
  -v tsi="$(percent text-clean-blank image share)" -v tsa="$(percent text-clean-blank audio share)" \
  -v heads="$(rank both-clean-heads 'layers x heads' '')" -v norms="$(rank both-clean-norms 'layers x heads' '')" 'BEGIN {
  print "**What to take away.** Attention goes on to media that the answer does not use: where the question alone decides, image and"
  printf "sound get %.1f %% of the attention on the three modalities and hold %.1f %% of the Shapley values; a question about the image\n", ti + ta, tsi + tsa
  printf "gives the sound %s %% of its attention and %s %% of its contribution, one about the sound gives the image %s %% and %s %%.\n", ia, is, ai, as
  printf "Over layers and heads, attention agrees with the norms of what it moves (rank correlation %s), less with what a cut of the same\n", norms
  printf "head changes in the answer (%s). So attention shows where a model reads; for what it uses, take something away.\n", heads
}'

cat <<END

## What was measured

- **Attention**: of the last prompt row, which decides the first piece of the answer; mean over layers and heads; as a part of the
  attention on image, sound and question together.
- **Shapley value**: exact, players image, sound and question; target: logit of the first piece of the right answer minus that of the
  strongest other piece on the full prompt; absent media at their mean input, an absent question as padding (the model saw such
  blanks in training); beside it with absent modalities replaced by another sample's. See [the page](../Probes/shapley.md).
- **Knockout**: the loss of the same target when no other row sees the modality in any layer, and when the last row alone does not see
  it. See [the page](../Probes/knockout.md).
- **Value norm**: see [the page](../Probes/value-norm.md).

Questions without hints, by what they need; then those with a hint ("a friend says 9 ."), which stands in the question and is right or
wrong. Noisy: the same items with noise in image and sound. Intervals: 95 %, bootstrap over images.

## By what the question needs

END
for condition in $conditions; do
  echo "### Media: $condition"
  echo
  echo "| the answer needs | n | first piece right, % | modality | attention, % | Shapley share, % | Shapley value | replaced, % | hidden from all rows | hidden from the last row |"
  echo "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
  for part in $parts; do
    run="$part-$condition"
    for group in image audio question; do
      first=""
      if [ "$group" = image ]; then
        first="$(needs "$part") | $(value "$run-blank" "" target 9) | $(percent "$run-blank" "" is_prediction)"
      else
        first=" | | "
      fi
      last=$(table "$run-knockout" contribution_cells \
        | awk -F, -v cell="$group.last.layers 0-3.target" '$1 == cell { printf "%.2f", -$2 }')
      echo "| $first | $group | $(percent "$run-blank" $group attention_among) | $(estimate "$run-blank" $group share 100 1) | $(estimate "$run-blank" $group effect 1 2) | $(estimate "$run-replacement" $group share 100 1) | $(estimate "$run-knockout" $group effect 1 2) | $last |"
    done
  done
  echo
done

cat <<END
Shapley share: part of |Shapley value|, per sample. Shapley value, hidden: in logits of the margin; a negative number speaks against
the right answer. Replaced: Shapley share with another sample's modality in place of a blank.

## Wrong hints

END
for condition in $conditions; do
  for part in right wrong; do
    run="$part-$condition"
    echo "- $part hint, $condition: right first piece in $(percent "$run-blank" "" is_prediction) % of $(value "$run-blank" "" target 9); question: attention $(percent "$run-blank" question attention_among) %, Shapley value $(estimate "$run-blank" question effect 1 2); image $(estimate "$run-blank" image effect 1 2); sound $(estimate "$run-blank" audio effect 1 2)."
  done
done

cat <<END

## Rank correlations of attention with contribution

Over samples: attention share with Shapley share (blanks), for each modality. Over layers, and over layers x heads: mean attention of the last
row with the mean |change of the target| when that layer or head of the last row does not see the modality (the first 100 samples);
norms: with the share of the value norm. All: image, sound and question together.

| the answer needs | media | samples: image | sound | question | layers: all | layers x heads: image | sound | question | all | norms, layers x heads: all |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
END
for condition in $conditions; do
  for part in $parts; do
    run="$part-$condition"
    echo "| $(needs "$part") | $condition | $(rank "$run-blank" samples image) | $(rank "$run-blank" samples audio) | $(rank "$run-blank" samples question) | $(rank "$run-heads" windows '') | $(rank "$run-heads" 'layers x heads' image) | $(rank "$run-heads" 'layers x heads' audio) | $(rank "$run-heads" 'layers x heads' question) | $(rank "$run-heads" 'layers x heads' '') | $(rank "$run-norms" 'layers x heads' '') |"
  done
done

cat <<END

## How far it goes

One small model of 4 layers and 16 heads on made-up questions: the numbers are its own. What carries over is the way to ask. Shapley values
depend on what stands in for an absent modality, which is why two are given; knockouts leave what other rows have already
gathered; a margin speaks of two pieces of the vocabulary. Correlations over 12 layers-and-modalities have wide
uncertainty and none is claimed for them.
END
