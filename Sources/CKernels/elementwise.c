#include "vector.h"
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

void ck_flush_denormals(void) {
#if defined(__x86_64__)
  _mm_setcsr(_mm_getcsr() | 0x8040);
#elif defined(__aarch64__)
  uint64_t control;
  __asm__ volatile("mrs %0, fpcr" : "=r"(control));
  __asm__ volatile("msr fpcr, %0" : : "r"(control | (1ull << 24)));
#endif
}

CK_CLONES void ck_add(const float *a, const float *b, float *out, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = a[i] + b[i];
}
CK_CLONES void ck_subtract(const float *a, const float *b, float *out, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = a[i] - b[i];
}
CK_CLONES void ck_multiply(const float *a, const float *b, float *out, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = a[i] * b[i];
}
CK_CLONES void ck_divide(const float *a, const float *b, float *out, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = a[i] / b[i];
}
CK_CLONES void ck_add_scalar(const float *a, float b, float *out, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = a[i] + b;
}
CK_CLONES void ck_multiply_scalar(const float *a, float b, float *out, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = a[i] * b;
}
CK_CLONES void ck_add_scaled(float *out, const float *a, float factor, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] += factor * a[i];
}
CK_CLONES void ck_exp(const float *a, float *out, size_t n) {
  CK_WIDE for (size_t i = 0; i < n; ++i) out[i] = ck_exp1(a[i]);
}
CK_CLONES void ck_silu(const float *a, float *out, size_t n) {
  CK_WIDE for (size_t i = 0; i < n; ++i) out[i] = a[i] / (1.0f + ck_exp1(-a[i]));
}
CK_CLONES void ck_silu_multiply(const float *gate, const float *up, float *out, size_t n) {
  CK_WIDE for (size_t i = 0; i < n; ++i) out[i] = gate[i] / (1.0f + ck_exp1(-gate[i])) * up[i];
}

// 1 - erf(x) for x >= 0 as exp(-x^2) times a polynomial in 1 / (1 + x / 2) (Numerical Recipes 6.2.2, error 1.2e-7).
CK_INLINE float ck_erfc_positive(float x) {
  float t = 1.0f / (1.0f + 0.5f * x);
  float p = 0.17087277f;
  p = p * t - 0.82215223f;
  p = p * t + 1.48851587f;
  p = p * t - 1.13520398f;
  p = p * t + 0.27886807f;
  p = p * t - 0.18628806f;
  p = p * t + 0.09678418f;
  p = p * t + 0.37409196f;
  p = p * t + 1.00002368f;
  p = p * t - 1.26551223f;
  return t * ck_exp1(p - x * x);
}
CK_CLONES void ck_gelu_erf(const float *a, float *out, size_t n) {
  CK_WIDE for (size_t i = 0; i < n; ++i) {
    float x = a[i];
    float tail = 0.5f * ck_erfc_positive((x < 0 ? -x : x) * 0.70710678118654752f);
    out[i] = x * (x < 0 ? tail : 1.0f - tail);
  }
}
CK_CLONES void ck_gelu_tanh(const float *a, float *out, size_t n) {
  // x * sigmoid(2 u) with u = sqrt(2 / pi) (x + 0.044715 x^3), which is x / 2 (1 + tanh u).
  CK_WIDE for (size_t i = 0; i < n; ++i) {
    float x = a[i];
    float twice = x * (1.5957691216f + 0.0713548162726f * x * x);
    out[i] = x / (1.0f + ck_exp1(-twice));
  }
}
