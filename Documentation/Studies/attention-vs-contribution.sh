#!/bin/sh
# Makes the study "attention versus contribution": measures, then prints the page.
#
#   Documentation/Studies/attention-vs-contribution.sh PROGRAM MODEL FOLDER > Documentation/Studies/attention-vs-contribution.md
#
# `make study` calls it. FOLDER gets the run folders, with a report each; runs that are there already are not measured again, and
# refused if the model or its data have changed since: then delete FOLDER.
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
  "$program" contribution "$model" -q --resume --format csv --target margin --cluster-key image --highlights 0 \
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

# The sentence to take away, with its numbers; its words are to be read again when the model changes.
among() { percent "$1-clean-blank" "$2" attention_among; }
share() { percent "$1-clean-blank" "$2" share; }
sum() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.1f", a + b }'; }
cat <<END
**What to take away.** Attention shows where a model reads, not how much or which way an answer depends on it.

- It finds the heads: over layers and heads it ranks what a cut of the same head changes in the answer (rank correlation $(rank both-clean-heads 'layers x heads' '') where
  both media are needed) and repeats the norms of what it moves ($(rank both-clean-norms 'layers x heads' '')).
- Its shares are flatter than what the answer depends on: a question about the image gives the image $(among image image) % of its attention and $(share image image) %
  of the contributions, the sound, which it does not need, $(among image audio) % and $(share image audio) %; one about the sound gives the image $(among audio image) % and $(share audio image) %. Where
  the question alone decides, image and sound still get $(sum "$(among text image)" "$(among text audio)") % of the attention, for $(sum "$(share text image)" "$(share text audio)") % of the contributions.
- Within one kind of question it hardly says which sample depends more on a medium: rank correlation over samples $(rank both-clean-blank samples image) for the image and
  $(rank both-clean-blank samples audio) for the sound where both are needed.
- It has no sign: a question with a right hint gets $(among right question) % of the attention, with a wrong one $(among wrong question) %; its Shapley value falls from
  $(value right-clean-blank question effect 5 | awk '{ printf "%.2f", $1 }') to $(value wrong-clean-blank question effect 5 | awk '{ printf "%.2f", $1 }').

So to find the heads that read a medium, attention will do; to say how much an answer owes to it, take it away.
END

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
uncertainty, and those over samples mix kinds of questions within a row of the table.
END
