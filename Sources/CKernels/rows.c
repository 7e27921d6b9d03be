#include "vector.h"

CK_CLONES float ck_sum(const float *a, size_t n) {
  ck_float16 total = 0, x;
  for (size_t i = 0; i < n; i += 16) {
    ck_load(&x, a + i, n - i, 0);
    total += x;
  }
  return ck_lanes_sum(&total);
}
// The largest number; NaN is passed over.
CK_INLINE float ck_largest(const float *a, size_t n) {
  ck_float16 best = -INFINITY, x;
  for (size_t i = 0; i < n; i += 16) {
    ck_load(&x, a + i, n - i, -INFINITY);
    best = x > best ? x : best;
  }
  float lanes[16];
  memcpy(lanes, &best, sizeof lanes);
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] = lanes[i] > lanes[i + width] ? lanes[i] : lanes[i + width];
  }
  return lanes[0];
}
CK_CLONES float ck_max(const float *a, size_t n) {
  ck_int16 unordered = 0;
  ck_float16 x;
  for (size_t i = 0; i < n; i += 16) {
    ck_load(&x, a + i, n - i, 0);
    unordered |= x != x;
  }
  for (int i = 0; i < 16; ++i) {
    if (unordered[i]) return NAN;
  }
  return ck_largest(a, n);
}

// Sum of (a - shift)^2.
CK_INLINE float ck_squares(const float *a, float shift, size_t n) {
  ck_float16 total = 0, x;
  for (size_t i = 0; i < n; i += 16) {
    ck_load(&x, a + i, n - i, shift);
    x -= shift;
    total += x * x;
  }
  return ck_lanes_sum(&total);
}
// exp(a * scale - m) into out, and its sum.
CK_INLINE float ck_exp_row(const float *a, float scale, float m, float *out, size_t n) {
  ck_float16 total = 0, x;
  for (size_t i = 0; i < n; i += 16) {
    ck_load(&x, a + i, n - i, -INFINITY);
    x = x * scale - m;
    ck_exp16(&x);
    ck_store(&x, out + i, n - i);
    total += x;
  }
  return ck_lanes_sum(&total);
}

CK_CLONES void ck_softmax(const float *a, float *out, size_t n) {
  float inverse = 1.0f / ck_exp_row(a, 1.0f, ck_largest(a, n), out, n);
  for (size_t i = 0; i < n; ++i) out[i] *= inverse;
}
// Log of the sum of exp(a - m), m the largest; 0 where m is NaN or infinite.
CK_CLONES float ck_log_sum_exp_above(const float *a, float m, size_t n) {
  if (m - m != 0) return 0;
  ck_float16 total = 0, x;
  for (size_t i = 0; i < n; i += 16) {
    ck_load(&x, a + i, n - i, -INFINITY);
    x -= m;
    ck_exp16(&x);
    total += x;
  }
  return logf(ck_lanes_sum(&total));
}
CK_CLONES float ck_log_sum_exp(const float *a, size_t n) {
  float m = ck_max(a, n);
  // NaN and the infinities are their own result.
  return m - m != 0 ? m : m + ck_log_sum_exp_above(a, m, n);
}
CK_CLONES void ck_rms_norm(const float *a, const float *weight, float epsilon, float *out, size_t n) {
  float factor = 1.0f / sqrtf(ck_squares(a, 0, n) / (float)n + epsilon);
  for (size_t i = 0; i < n; ++i) out[i] = a[i] * factor * weight[i];
}
CK_CLONES void ck_layer_norm(const float *a, const float *weight, const float *bias, float epsilon, float *out,
                             size_t n) {
  float mean = ck_sum(a, n) / (float)n;
  // A long sum of numbers far from 0 rounds its mean; the mean of what is left corrects it.
  ck_float16 left = 0, x;
  for (size_t i = 0; i < n; i += 16) {
    ck_load(&x, a + i, n - i, mean);
    left += x - mean;
  }
  mean += ck_lanes_sum(&left) / (float)n;
  // The mean is taken off before squaring: the difference of two large squares would lose the variance.
  float factor = 1.0f / sqrtf(ck_squares(a, mean, n) / (float)n + epsilon);
  for (size_t i = 0; i < n; ++i) out[i] = (a[i] - mean) * factor * weight[i] + bias[i];
}
CK_CLONES void ck_rotate_half(float *head, const float *cosine, const float *sine, size_t half) {
  for (size_t i = 0; i < half; ++i) {
    float a = head[i], b = head[i + half];
    head[i] = a * cosine[i] - b * sine[i];
    head[i + half] = b * cosine[i] + a * sine[i];
  }
}

CK_CLONES float ck_softmax_update(float *logits, size_t n, float scale, float *running_max, float *running_sum) {
  if (n == 0) return 1.0f;
  float before = *running_max;
  float block = ck_largest(logits, n) * scale;
  float m = block > before ? block : before;
  if (m < CK_MASKED) {
    m = ck_max(logits, n);
    // Every key of this block is masked: the running state stays as it is. (NaN goes on, to be seen in the result.)
    if (m == m) {
      memset(logits, 0, n * sizeof(float));
      return 1.0f;
    }
  }
  float correction = before < CK_MASKED ? 0.0f : ck_exp1(before - m);
  *running_sum = *running_sum * correction + ck_exp_row(logits, scale, m, logits, n);
  *running_max = m;
  return correction;
}
CK_CLONES float ck_weighted_logit_sum(const float *e, const float *logits, float scale, size_t n) {
  ck_float16 total = 0, x, y;
  // A masked logit is a large finite negative number and its e is 0: the product is 0.
  for (size_t i = 0; i < n; i += 16) {
    ck_load(&x, e + i, n - i, 0);
    ck_load(&y, logits + i, n - i, 0);
    total += x * y;
  }
  return scale * ck_lanes_sum(&total);
}
CK_CLONES void ck_attention_probabilities(float *logits, size_t n, float scale, float m, float inverse) {
  ck_float16 p;
  for (size_t i = 0; i < n; i += 16) {
    ck_load(&p, logits + i, n - i, -INFINITY);
    p = p * scale - m;
    ck_exp16(&p);
    p *= inverse;
    ck_store(&p, logits + i, n - i);
  }
}
CK_CLONES void ck_attention_gradients(float *logits, float *gradients, size_t n, float scale, float m, float inverse,
                                      float mean) {
  ck_float16 p, g;
  for (size_t i = 0; i < n; i += 16) {
    ck_load(&p, logits + i, n - i, -INFINITY);
    ck_load(&g, gradients + i, n - i, 0);
    p = p * scale - m;
    ck_exp16(&p);
    p *= inverse;
    g = (g - mean) * p * scale;
    ck_store(&p, logits + i, n - i);
    ck_store(&g, gradients + i, n - i);
  }
}
