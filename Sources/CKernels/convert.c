#include "vector.h"

CK_CLONES void ck_convert_bf16(const uint16_t *a, float *out, size_t n) {
  uint32_t *bits = (uint32_t *)out;
  for (size_t i = 0; i < n; ++i) bits[i] = (uint32_t)a[i] << 16;
}

// Half to float with integer operations only, so that it vectorises on every instruction set: normal numbers are
// shifted and re-biased, denormals normalised by a subtraction, infinities and NaN keep their exponent full.
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
CK_CLONES void ck_convert_f16(const uint16_t *a, float *out, size_t n) {
  CK_WIDE for (size_t i = 0; i < n; ++i) out[i] = ck_half1(a[i]);
}

CK_CLONES float ck_dot_bf16(const uint16_t *a, const float *b, size_t n) {
  ck_float16 first = {0}, second = {0};
  size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    uint32_t bits[32];
    for (int j = 0; j < 32; ++j) bits[j] = (uint32_t)a[i + j] << 16;
    ck_float16 x, y;
    memcpy(&x, bits, sizeof x);
    memcpy(&y, bits + 16, sizeof y);
    first += x * *(const ck_float16 *)(b + i);
    second += y * *(const ck_float16 *)(b + i + 16);
  }
  float rest = 0;
  for (; i < n; ++i) {
    uint32_t bits = (uint32_t)a[i] << 16;
    float x;
    memcpy(&x, &bits, 4);
    rest += x * b[i];
  }
  first += second;
  return ck_lanes_sum(&first) + rest;
}
CK_CLONES float ck_dot_f16(const uint16_t *a, const float *b, size_t n) {
  ck_float16 total = {0};
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    float lanes[16];
    CK_WIDE for (int j = 0; j < 16; ++j) lanes[j] = ck_half1(a[i + j]);
    ck_float16 x;
    memcpy(&x, lanes, sizeof x);
    total += x * *(const ck_float16 *)(b + i);
  }
  float rest = 0;
  for (; i < n; ++i) rest += ck_half1(a[i]) * b[i];
  return ck_lanes_sum(&total) + rest;
}
