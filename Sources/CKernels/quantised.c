#include "vector.h"

// Rows of small integers with one half-precision scale for each group. A group of eight-bit numbers is stored as it
// stands; of four-bit numbers, byte j holds number j plus 8 in its low half and number j + group / 2 plus 8 in its high
// half, so that sixteen bytes are sixteen neighbours twice. A group is a multiple of 32.

typedef uint16_t ck_scale16 __attribute__((aligned(1)));

CK_INLINE float ck_scale(const void *scales, size_t group) {
  float value;
  uint16_t h = ((const ck_scale16 *)scales)[group];
  uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
  uint32_t body = (uint32_t)(h & 0x7FFFu) << 13;
  uint32_t exponent = body & 0x0F800000u;
  uint32_t bits = sign | (exponent == 0x0F800000u ? body + 0x70000000u : body + 0x38000000u);
  if (exponent == 0) {
    value = (float)(h & 0x03FFu) * 5.9604644775390625e-8f;
    return sign ? -value : value;
  }
  memcpy(&value, &bits, 4);
  return value;
}

CK_CLONES void ck_convert_q8(const void *codes, const void *scales, size_t group, float *out, size_t n) {
  const int8_t *code = codes;
  for (size_t start = 0; start < n; start += group) {
    float scale = ck_scale(scales, start / group);
    for (size_t i = start; i < start + group; ++i) out[i] = scale * (float)code[i];
  }
}
CK_CLONES void ck_convert_q4(const void *codes, const void *scales, size_t group, float *out, size_t n) {
  const uint8_t *code = codes;
  for (size_t start = 0; start < n; start += group) {
    float scale = ck_scale(scales, start / group);
    const uint8_t *bytes = code + start / 2;
    for (size_t i = 0; i < group / 2; ++i) {
      out[start + i] = scale * (float)((int)(bytes[i] & 15) - 8);
      out[start + group / 2 + i] = scale * (float)((int)(bytes[i] >> 4) - 8);
    }
  }
}

CK_CLONES float ck_dot_q8(const void *codes, const void *scales, size_t group, const float *b, size_t n) {
  const int8_t *code = codes;
  ck_float16 sum = 0;
  float x[16];
  for (size_t start = 0; start < n; start += group) {
    ck_float16 part = 0;
    for (size_t i = start; i < start + group; i += 16) {
      for (int j = 0; j < 16; ++j) x[j] = (float)code[i + j];
      part += *(const ck_float16 *)x * *(const ck_float16 *)(b + i);
    }
    sum += part * ck_scale(scales, start / group);
  }
  return ck_lanes_sum(&sum);
}
CK_CLONES float ck_dot_q4(const void *codes, const void *scales, size_t group, const float *b, size_t n) {
  const uint8_t *code = codes;
  ck_float16 sum = 0;
  float low[16], high[16];
  for (size_t start = 0; start < n; start += group) {
    const uint8_t *bytes = code + start / 2;
    ck_float16 part = 0;
    for (size_t i = 0; i < group / 2; i += 16) {
      for (int j = 0; j < 16; ++j) {
        low[j] = (float)((int)(bytes[i + j] & 15) - 8);
        high[j] = (float)((int)(bytes[i + j] >> 4) - 8);
      }
      part += *(const ck_float16 *)low * *(const ck_float16 *)(b + start + i);
      part += *(const ck_float16 *)high * *(const ck_float16 *)(b + start + group / 2 + i);
    }
    sum += part * ck_scale(scales, start / group);
  }
  return ck_lanes_sum(&sum);
}
