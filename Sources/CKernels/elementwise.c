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

// Loads sixteen lanes from "a" at a time, runs the statements, which replace x, and stores them to "out".
#define CK_MAP(...)                                 \
  for (size_t i = 0; i < n; i += 16) {              \
    ck_float16 x;                                   \
    ck_load(&x, a + i, n - i, 0);                   \
    __VA_ARGS__;                                    \
    ck_store(&x, out + i, n - i);                   \
  }

CK_INLINE void ck_silu16(ck_float16 *x) {
  ck_float16 e = -*x;
  ck_exp16(&e);
  *x = *x / (1.0f + e);
}
CK_CLONES void ck_exp(const float *a, float *out, size_t n) { CK_MAP(ck_exp16(&x)) }
CK_CLONES void ck_silu(const float *a, float *out, size_t n) { CK_MAP(ck_silu16(&x)) }
CK_CLONES void ck_silu_multiply(const float *a, const float *b, float *out, size_t n) {
  CK_MAP(ck_float16 up; ck_load(&up, b + i, n - i, 0); ck_silu16(&x); x *= up)
}
CK_CLONES void ck_gelu_erf(const float *a, float *out, size_t n) {
  CK_MAP(ck_float16 tail = (x < 0 ? -x : x) * 0.70710678118654752f; ck_erfc16(&tail); tail *= 0.5f;
         x *= x < 0 ? tail : 1.0f - tail)
}
CK_CLONES void ck_gelu_tanh(const float *a, float *out, size_t n) {
  // x * sigmoid(2 u) with u = sqrt(2 / pi) (x + 0.044715 x^3), which is x / 2 (1 + tanh u).
  CK_MAP(ck_float16 e = -x * (1.5957691216f + 0.0713548162726f * x * x); ck_exp16(&e); x = x / (1.0f + e))
}
CK_CLONES void ck_relu(const float *a, float *out, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = a[i] <= 0 ? 0 : a[i];
}
CK_CLONES void ck_relu_backward(const float *a, const float *gradient, float *out, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] = a[i] <= 0 ? 0 : gradient[i];
}
