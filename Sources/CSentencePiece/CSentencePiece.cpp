#include "CSentencePiece.h"

#include <sentencepiece_processor.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <vector>

struct csp_model {
  sentencepiece::SentencePieceProcessor processor;
};

namespace {

// A copy that free() releases, or null without memory.
char *copy(std::string_view text) {
  char *bytes = static_cast<char *>(std::malloc(text.size() + 1));
  if (bytes == nullptr) return nullptr;
  std::memcpy(bytes, text.data(), text.size());
  bytes[text.size()] = '\0';
  return bytes;
}

// Runs `body`, which returns a status, and turns a bad status or an exception into a text.
template <typename Body>
bool succeeds(char **error, Body body) {
  *error = nullptr;
  try {
    const sentencepiece::util::Status status = body();
    if (status.ok()) return true;
    *error = copy(status.ToString());
  } catch (const std::exception &exception) {
    *error = copy(exception.what());
  } catch (...) {
    *error = copy("unknown exception");
  }
  return false;
}

}  // namespace

csp_model *csp_load(const char *bytes, size_t count, char **error) {
  csp_model *model = nullptr;
  const bool loaded = succeeds(error, [&] {
    model = new csp_model;
    return model->processor.LoadFromSerializedProto(std::string_view(bytes, count));
  });
  if (loaded) return model;
  delete model;
  return nullptr;
}

void csp_free_model(csp_model *model) { delete model; }

int32_t csp_piece_count(const csp_model *model) { return model->processor.GetPieceSize(); }

bool csp_encode(const csp_model *model, const char *text, size_t count, csp_encoding *encoding, char **error) {
  *encoding = csp_encoding{0, nullptr, nullptr, nullptr, nullptr, nullptr};
  const bool encoded = succeeds(error, [&] {
    sentencepiece::ImmutableSentencePieceText result;
    const auto status = model->processor.Encode(std::string_view(text, count), result.mutable_proto());
    if (!status.ok()) return status;
    const auto pieces = result.pieces();
    size_t total = 0;
    for (const auto &piece : pieces) total += piece.piece().size();
    encoding->ids = static_cast<int32_t *>(std::malloc(pieces.size() * sizeof(int32_t) + 1));
    encoding->ends = static_cast<size_t *>(std::malloc(pieces.size() * sizeof(size_t) + 1));
    encoding->text_starts = static_cast<size_t *>(std::malloc(pieces.size() * sizeof(size_t) + 1));
    encoding->text_ends = static_cast<size_t *>(std::malloc(pieces.size() * sizeof(size_t) + 1));
    encoding->bytes = static_cast<char *>(std::malloc(total + 1));
    if (!encoding->ids || !encoding->ends || !encoding->text_starts || !encoding->text_ends || !encoding->bytes) {
      throw std::bad_alloc();
    }
    size_t end = 0;
    for (const auto &piece : pieces) {
      std::memcpy(encoding->bytes + end, piece.piece().data(), piece.piece().size());
      end += piece.piece().size();
      encoding->ids[encoding->count] = static_cast<int32_t>(piece.id());
      encoding->ends[encoding->count] = end;
      encoding->text_starts[encoding->count] = piece.begin();
      encoding->text_ends[encoding->count] = piece.end();
      encoding->count += 1;
    }
    return status;
  });
  if (!encoded) csp_free_encoding(encoding);
  return encoded;
}

void csp_free_encoding(csp_encoding *encoding) {
  std::free(encoding->ids);
  std::free(encoding->ends);
  std::free(encoding->text_starts);
  std::free(encoding->text_ends);
  std::free(encoding->bytes);
  *encoding = csp_encoding{0, nullptr, nullptr, nullptr, nullptr, nullptr};
}

bool csp_decode(
    const csp_model *model, const char *bytes, const size_t *ends, size_t count, csp_text *text, char **error) {
  *text = csp_text{0, nullptr};
  return succeeds(error, [&] {
    std::vector<std::string_view> pieces(count);
    size_t start = 0;
    for (size_t index = 0; index < count; ++index) {
      pieces[index] = std::string_view(bytes + start, ends[index] - start);
      start = ends[index];
    }
    std::string joined;
    const auto status = model->processor.Decode(pieces, &joined);
    if (!status.ok()) return status;
    text->bytes = copy(joined);
    if (text->bytes == nullptr) throw std::bad_alloc();
    text->count = joined.size();
    return status;
  });
}

void csp_free_text(char *text) { std::free(text); }
