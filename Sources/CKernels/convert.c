#include "vector.h"

// Stored halves may lie at any address.
typedef uint16_t ck_stored16 __attribute__((aligned(1)));

// Half to float with integer operations only, so that it vectorises on every instruction set: normal numbers are
// shifted and re-biased, denormals made from their digits, infinities and NaN keep their exponent full.
CK_INLINE float ck_half1(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
  uint32_t body = (uint32_t)(h & 0x7FFFu) << 13;
  uint32_t exponent = body & 0x0F800000u;
  uint32_t normal = body + 0x38000000u;
  uint32_t full = body + 0x70000000u;
  // The denormal h is m * 2^-24: an exact product of a small integer.
  float tiny = (float)(int32_t)(h & 0x03FFu) * 5.9604644775390625e-8f;
  uint32_t small;
  memcpy(&small, &tiny, 4);
  uint32_t bits = sign | (exponent == 0 ? small : exponent == 0x0F800000u ? full : normal);
  float value;
  memcpy(&value, &bits, 4);
  return value;
}
CK_INLINE float ck_bfloat1(uint16_t h) {
  uint32_t bits = (uint32_t)h << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

CK_CLONES void ck_convert_f16(const void *a, float *out, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = ck_half1(((const ck_stored16 *)a)[i]);
}
CK_CLONES void ck_convert_bf16(const void *a, float *out, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = ck_bfloat1(((const ck_stored16 *)a)[i]);
}

// The dot product of stored halves with floats: 32 at a time, then the rest in a vector filled up with zeros.
#define CK_DOT(convert)                                                   \
  const ck_stored16 *stored = a;                                          \
  ck_float16 first = 0, second = 0;                                       \
  float x[32] = {0}, y[32] = {0};                                         \
  size_t i = 0;                                                           \
  for (; i + 32 <= n; i += 32) {                                          \
    for (int j = 0; j < 32; ++j) x[j] = convert(stored[i + j]);           \
    first += *(const ck_float16 *)x * *(const ck_float16 *)(b + i);       \
    second += *(const ck_float16 *)(x + 16) * *(const ck_float16 *)(b + i + 16); \
  }                                                                       \
  for (int j = 0; j < 32; ++j) x[j] = 0;                                  \
  for (size_t j = i; j < n; ++j) {                                        \
    x[j - i] = convert(stored[j]);                                        \
    y[j - i] = b[j];                                                      \
  }                                                                       \
  first += *(const ck_float16 *)x * *(const ck_float16 *)y;               \
  second += *(const ck_float16 *)(x + 16) * *(const ck_float16 *)(y + 16); \
  first += second;                                                        \
  return ck_lanes_sum(&first);

CK_CLONES float ck_dot_f32(const void *a, const float *b, size_t n) {
  const char *stored = a;
  ck_float16 first = 0, second = 0, x, y;
  size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    first += *(const ck_float16 *)(stored + 4 * i) * *(const ck_float16 *)(b + i);
    second += *(const ck_float16 *)(stored + 4 * i + 64) * *(const ck_float16 *)(b + i + 16);
  }
  for (; i < n; i += 16) {
    ck_load(&x, stored + 4 * i, n - i, 0);
    ck_load(&y, b + i, n - i, 0);
    first += x * y;
  }
  first += second;
  return ck_lanes_sum(&first);
}
CK_CLONES float ck_dot_f16(const void *a, const float *b, size_t n) { CK_DOT(ck_half1) }
CK_CLONES float ck_dot_bf16(const void *a, const float *b, size_t n) { CK_DOT(ck_bfloat1) }
