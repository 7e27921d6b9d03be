// What every file of this target needs: one function compiled for several instruction sets, and vectors of sixteen
// lanes. Lanes are added up in a fixed order, so that a sum has the same bits wherever the same set is chosen, and the
// rest of a row that does not fill a vector goes through the same arithmetic as the vectors before it.
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

// A running maximum below this means that no visible key was seen yet: masked logits are -1e36, real ones are not.
#define CK_MASKED -1.0e30f

typedef float ck_float16 __attribute__((ext_vector_type(16), aligned(1)));
typedef int32_t ck_int16 __attribute__((ext_vector_type(16), aligned(1)));

// Vectors go by pointer: passing them by value would mean another calling convention on every instruction set.

// The first min(n, 16) numbers of a, and "fill" in the other lanes.
CK_INLINE void ck_load(ck_float16 *lanes, const void *a, size_t n, float fill) {
  if (n >= 16) {
    memcpy(lanes, a, sizeof *lanes);
  } else {
    *lanes = fill;
    memcpy(lanes, a, n * sizeof(float));
  }
}
CK_INLINE void ck_store(const ck_float16 *lanes, float *out, size_t n) {
  if (n >= 16) {
    memcpy(out, lanes, sizeof *lanes);
  } else {
    memcpy(out, lanes, n * sizeof(float));
  }
}

CK_INLINE float ck_lanes_sum(const ck_float16 *a) {
  float lanes[16];
  memcpy(lanes, a, sizeof lanes);
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

// exp of sixteen numbers, in place, as 2^k * e^r with a polynomial for e^r. Relative error 1.2e-7; 0 below -86.98,
// infinity above 88.72, NaN for NaN.
CK_INLINE void ck_exp16(ck_float16 *lanes) {
  // Written so that NaN passes: a comparison with it is false.
  ck_float16 x = *lanes < -87.33f ? (ck_float16)(-87.33f) : *lanes;
  x = x > 88.73f ? (ck_float16)88.73f : x;
  // Adding 1.5 * 2^23 rounds to the nearest whole number k and leaves it in the low bits.
  ck_float16 shifted = x * 1.44269504088896341f + 12582912.0f;
  ck_float16 k = shifted - 12582912.0f;
  // ln 2 in two parts, so that the remainder keeps its low bits.
  ck_float16 r = x - k * 0.693359375f;
  r = r + k * 2.12194440e-4f;
  // The polynomial gives 2 e^r, to go with the power k - 1: 2^128 is not a float. The power is 0 for k = -126.
  ck_float16 p = r * 3.9751383000e-4f + 2.7963995014e-3f;
  p = p * r + 1.66669038146e-2f;
  p = p * r + 8.3331591788e-2f;
  p = p * r + 3.33333330918e-1f;
  p = p * r + 1.00000002402f;
  ck_float16 twice = p * (r * r) + (r * 2.0f + 2.0f);
  ck_int16 bits;
  memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 126) << 23;
  ck_float16 power;
  memcpy(&power, &bits, sizeof power);
  *lanes = twice * power;
}
CK_INLINE float ck_exp1(float x) {
  ck_float16 lanes = x;
  ck_exp16(&lanes);
  return lanes[0];
}

// 1 - erf(x) for x >= 0 as exp(-x^2) times a polynomial in 1 / (1 + x / 2) (Numerical Recipes 6.2.2, error 1.2e-7).
CK_INLINE void ck_erfc16(ck_float16 *x) {
  ck_float16 t = 1.0f / (1.0f + 0.5f * *x);
  ck_float16 p = t * 0.17087277f - 0.82215223f;
  p = p * t + 1.48851587f;
  p = p * t - 1.13520398f;
  p = p * t + 0.27886807f;
  p = p * t - 0.18628806f;
  p = p * t + 0.09678418f;
  p = p * t + 0.37409196f;
  p = p * t + 1.00002368f;
  p = p * t - 1.26551223f;
  p = p - *x * *x;
  ck_exp16(&p);
  *x = t * p;
}
