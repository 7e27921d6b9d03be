// What every file of this target needs: one function compiled for several instruction sets, and vectors of sixteen
// lanes. Lanes are added up in a fixed order, so that a sum has the same bits wherever the same set is chosen.
#pragma once
#include "CKernels.h"
#include <math.h>
#include <string.h>

#if defined(__x86_64__) && defined(__linux__)
#define CK_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CK_CLONES
#endif
#define CK_INLINE static inline __attribute__((always_inline))
#define CK_WIDE _Pragma("clang loop vectorize_width(16) interleave_count(2)")

// A running maximum below this means that no visible key was seen yet: masked logits are -1e36, real ones are not.
#define CK_MASKED -1.0e30f

typedef float ck_float16 __attribute__((vector_size(64), aligned(4)));

CK_INLINE float ck_lanes_sum(const ck_float16 *a) {
  float lanes[16];
  memcpy(lanes, a, sizeof lanes);
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

CK_INLINE float ck_lanes_max(const ck_float16 *a) {
  float lanes[16];
  memcpy(lanes, a, sizeof lanes);
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] = lanes[i] > lanes[i + width] ? lanes[i] : lanes[i + width];
  }
  return lanes[0];
}

// exp(x) by 2^k * e^r with a polynomial for e^r; relative error 1.2e-7, 0 below -87.3, finite above 88.3, NaN for NaN.
CK_INLINE float ck_exp1(float x) {
  float clamped = x < -87.33f ? -87.33f : x;
  clamped = clamped > 88.37f ? 88.37f : clamped;
  float scaled = clamped * 1.44269504088896341f;
  // A comparison with NaN is false: the conversion to an integer never sees one.
  scaled = scaled > -127.0f ? scaled : -127.0f;
  int32_t k = (int32_t)(scaled + (scaled >= 0 ? 0.5f : -0.5f));
  float whole = (float)k;
  // ln 2 in two parts, so that the remainder keeps its low bits.
  float r = clamped - whole * 0.693359375f;
  r = r + whole * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  float fraction = p * (r * r) + r + 1.0f;
  int32_t bits = (k + 127) << 23;
  float power;
  memcpy(&power, &bits, 4);
  return x < -87.33f ? 0.0f : fraction * power;
}

// The same for sixteen lanes of finite or NaN values, in place. (By pointer: passing such a vector by value would
// mean another calling convention on every instruction set.)
CK_INLINE void ck_exp16(ck_float16 *lanes) {
  typedef int32_t ck_int16 __attribute__((vector_size(64), aligned(4)));
  ck_float16 x = *lanes;
  ck_float16 clamped = __builtin_elementwise_max(x, (ck_float16){0} - 87.33f);
  clamped = __builtin_elementwise_min(clamped, (ck_float16){0} + 88.37f);
  // Adding 1.5 * 2^23 rounds to the nearest whole number and leaves it in the low bits.
  ck_float16 shifted = clamped * 1.44269504088896341f + 12582912.0f;
  ck_float16 whole = shifted - 12582912.0f;
  ck_float16 r = clamped - whole * 0.693359375f;
  r = r + whole * 2.12194440e-4f;
  ck_float16 p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  ck_float16 fraction = p * (r * r) + r + 1.0f;
  ck_int16 bits = (__builtin_convertvector(whole, ck_int16) + 127) << 23;
  ck_float16 power;
  memcpy(&power, &bits, sizeof power);
  // Below the range the product is some 1e-38: set to 0 by the mask. x - x is 0, or NaN for NaN.
  ck_int16 inside = x > -87.33f;
  ck_float16 value = fraction * power;
  ck_int16 kept;
  memcpy(&kept, &value, sizeof kept);
  kept &= inside;
  memcpy(&value, &kept, sizeof value);
  *lanes = value + (x - x);
}
