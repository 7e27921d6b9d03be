// A C interface over the SentencePiece C++ library: load, encode, decode, free.
//
// Every function that can fail returns false (or null) and sets `error` to a text that the caller frees with
// csp_free_text. No C++ exception leaves these functions. A loaded model is never changed, so threads may share it.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct csp_model csp_model;

// The pieces of one text: ids, and the bytes of all pieces one after the other.
typedef struct {
  size_t count;          // pieces
  int32_t *ids;          // [count]
  size_t *ends;          // [count]: piece i is bytes[ends[i - 1] ..< ends[i]], with ends[-1] = 0
  size_t *text_starts;   // [count]: piece i stands for the bytes text_starts[i] ..< text_ends[i] of the text
  size_t *text_ends;     // [count]
  char *bytes;           // not terminated
} csp_encoding;

// Bytes of a text; may hold NUL, and has one after it.
typedef struct {
  size_t count;
  char *bytes;
} csp_text;

// Loads a serialized model, which is copied. Free with csp_free_model.
csp_model *csp_load(const char *bytes, size_t count, char **error);
void csp_free_model(csp_model *model);

// Pieces in the vocabulary.
int32_t csp_piece_count(const csp_model *model);

// Cuts `count` bytes of UTF-8 into pieces. Free with csp_free_encoding.
bool csp_encode(const csp_model *model, const char *text, size_t count, csp_encoding *encoding, char **error);
void csp_free_encoding(csp_encoding *encoding);

// Joins pieces, given as in csp_encoding, to a text; one that is not in the vocabulary stands for itself.
// Free the bytes of `text` with csp_free_text.
bool csp_decode(
    const csp_model *model, const char *bytes, const size_t *ends, size_t count, csp_text *text, char **error);

void csp_free_text(char *text);

#ifdef __cplusplus
}
#endif
