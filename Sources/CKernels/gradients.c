#include "vector.h"

// The twins of elementwise.c and rows.c: from inputs and the gradient "g" of the output to the gradient of the input.

// Loads sixteen lanes of "a" into x and of "g" into y, runs the statements, which replace x, and stores x to "out".
#define CK_MAP2(...)                                \
  for (size_t i = 0; i < n; i += 16) {              \
    ck_float16 x, y;                                \
    ck_load(&x, a + i, n - i, 0);                   \
    ck_load(&y, g + i, n - i, 0);                   \
    __VA_ARGS__;                                    \
    ck_store(&x, out + i, n - i);                   \
  }

CK_INLINE void ck_sigmoid16(ck_float16 *x) {
  ck_float16 e = -*x;
  ck_exp16(&e);
  *x = 1.0f / (1.0f + e);
}

CK_CLONES void ck_silu_gradient(const float *a, const float *g, float *out, size_t n) {
  CK_MAP2(ck_float16 s = x; ck_sigmoid16(&s); x = y * s * (1.0f + x * (1.0f - s)))
}
CK_CLONES void ck_silu_multiply_gradient(const float *a, const float *up, const float *g, float *gate_out,
                                         float *up_out, size_t n) {
  for (size_t i = 0; i < n; i += 16) {
    ck_float16 x, u, y;
    ck_load(&x, a + i, n - i, 0);
    ck_load(&u, up + i, n - i, 0);
    ck_load(&y, g + i, n - i, 0);
    ck_float16 s = x;
    ck_sigmoid16(&s);
    ck_float16 gate = y * u * s * (1.0f + x * (1.0f - s));
    ck_store(&gate, gate_out + i, n - i);
    ck_float16 linear = y * x * s;
    ck_store(&linear, up_out + i, n - i);
  }
}
CK_CLONES void ck_gelu_erf_gradient(const float *a, const float *g, float *out, size_t n) {
  // Phi(x) + x phi(x), phi the normal density.
  CK_MAP2(ck_float16 t = (x < 0 ? -x : x) * 0.70710678118654752f; ck_erfc16(&t); t *= 0.5f;
          ck_float16 density = x * x * -0.5f; ck_exp16(&density);
          x = y * ((x < 0 ? t : 1.0f - t) + x * density * 0.39894228040143268f))
}
CK_CLONES void ck_gelu_tanh_gradient(const float *a, const float *g, float *out, size_t n) {
  // x s(v) with v = 2 sqrt(2 / pi) (x + 0.044715 x^3): s + x s (1 - s) v'.
  CK_MAP2(ck_float16 s = x * (1.5957691216f + 0.0713548162726f * x * x); ck_sigmoid16(&s);
          x = y * (s + x * s * (1.0f - s) * (1.5957691216f + 0.2140644488178f * x * x)))
}

// From the output y = softmax(x): y (g - sum(g y)).
CK_CLONES void ck_softmax_gradient(const float *y, const float *g, float *out, size_t n) {
  ck_float16 total = 0, a, b;
  for (size_t i = 0; i < n; i += 16) {
    ck_load(&a, y + i, n - i, 0);
    ck_load(&b, g + i, n - i, 0);
    total += a * b;
  }
  float sum = ck_lanes_sum(&total);
  for (size_t i = 0; i < n; ++i) out[i] = y[i] * (g[i] - sum);
}
// From the output y = log softmax(x): g - exp(y) sum(g).
CK_CLONES void ck_log_softmax_gradient(const float *a, const float *g, float *out, size_t n) {
  ck_float16 total = 0, x;
  for (size_t i = 0; i < n; i += 16) {
    ck_load(&x, g + i, n - i, 0);
    total += x;
  }
  float sum = ck_lanes_sum(&total);
  CK_MAP2(ck_exp16(&x); x = y - x * sum)
}
// factor * exp(a - shift): softmax times a number, with the log of its denominator as the shift.
CK_CLONES void ck_scaled_softmax(const float *a, float shift, float factor, float *out, size_t n) {
  for (size_t i = 0; i < n; i += 16) {
    ck_float16 x;
    ck_load(&x, a + i, n - i, 0);
    x -= shift;
    ck_exp16(&x);
    x *= factor;
    ck_store(&x, out + i, n - i);
  }
}
// factor * (softmax(a) - one-hot label), from the largest of a and the log of the sum of exp(a - largest). The two are taken
// off one after the other, and the label gets minus the sum of the others: near certainty 1 - p would keep few digits.
CK_CLONES void ck_cross_entropy_gradient(const float *a, float largest, float log_sum, float factor, size_t label,
                                         float *out, size_t n) {
  ck_float16 total = 0;
  for (size_t i = 0; i < n; i += 16) {
    ck_float16 x;
    ck_load(&x, a + i, n - i, -INFINITY);
    x = x - largest - log_sum;
    ck_exp16(&x);
    x *= factor;
    if (label - i < 16) x[label - i] = 0;
    total += x;
    ck_store(&x, out + i, n - i);
  }
  out[label] = -ck_lanes_sum(&total);
}

// weight_out, where it is not null, is added to.
CK_CLONES void ck_rms_norm_gradient(const float *a, const float *weight, float epsilon, const float *g, float *out,
                                    float *weight_out, size_t n) {
  ck_float16 squares = 0, products = 0, x, y, w;
  for (size_t i = 0; i < n; i += 16) {
    ck_load(&x, a + i, n - i, 0);
    ck_load(&y, g + i, n - i, 0);
    ck_load(&w, weight + i, n - i, 0);
    squares += x * x;
    products += x * y * w;
  }
  float factor = 1.0f / sqrtf(ck_lanes_sum(&squares) / (float)n + epsilon);
  // The mean of normed x times the gradient of normed x, times the factor again.
  float pull = ck_lanes_sum(&products) / (float)n * factor * factor * factor;
  for (size_t i = 0; i < n; ++i) out[i] = g[i] * weight[i] * factor - a[i] * pull;
  if (weight_out) {
    for (size_t i = 0; i < n; ++i) weight_out[i] += g[i] * a[i] * factor;
  }
}
// weight_out and bias_out, where they are not null, are added to.
CK_CLONES void ck_layer_norm_gradient(const float *a, const float *weight, float epsilon, const float *g, float *out,
                                      float *weight_out, float *bias_out, size_t n) {
  ck_float16 total = 0, x, y, w;
  for (size_t i = 0; i < n; i += 16) {
    ck_load(&x, a + i, n - i, 0);
    total += x;
  }
  float mean = ck_lanes_sum(&total) / (float)n;
  total = 0;
  for (size_t i = 0; i < n; i += 16) {
    ck_load(&x, a + i, n - i, mean);
    total += x - mean;
  }
  mean += ck_lanes_sum(&total) / (float)n;
  ck_float16 squares = 0, sums = 0, products = 0;
  for (size_t i = 0; i < n; i += 16) {
    ck_load(&x, a + i, n - i, mean);
    ck_load(&y, g + i, n - i, 0);
    ck_load(&w, weight + i, n - i, 0);
    x -= mean;
    y *= w;
    squares += x * x;
    sums += y;
    products += x * y;
  }
  float factor = 1.0f / sqrtf(ck_lanes_sum(&squares) / (float)n + epsilon);
  float shift = ck_lanes_sum(&sums) / (float)n;
  float pull = ck_lanes_sum(&products) / (float)n * factor * factor;
  for (size_t i = 0; i < n; ++i) out[i] = (g[i] * weight[i] - shift - (a[i] - mean) * pull) * factor;
  if (weight_out) {
    for (size_t i = 0; i < n; ++i) weight_out[i] += g[i] * (a[i] - mean) * factor;
  }
  if (bias_out) {
    for (size_t i = 0; i < n; ++i) bias_out[i] += g[i];
  }
}

// Each place has a 32-bit number that depends on the key and the place alone, by the finaliser of splitmix64 (Steele et
// al., "Fast Splittable Pseudorandom Number Generators", 2014). An element is kept where its number is at least the
// threshold, and then multiplied by the scale.
CK_CLONES void ck_dropout(const float *a, uint64_t key, uint64_t first, uint32_t threshold, float scale, float *out,
                          size_t n) {
  for (size_t i = 0; i < n; ++i) {
    uint64_t z = key + (first + i) * 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    uint32_t number = (uint32_t)(z >> 32) ^ (uint32_t)z;
    out[i] = number >= threshold ? a[i] * scale : 0.0f;
  }
}
