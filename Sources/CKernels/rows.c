#include "vector.h"

CK_CLONES float ck_sum(const float *a, size_t n) {
  ck_float16 total = {0};
  size_t i = 0;
  for (; i + 16 <= n; i += 16) total += *(const ck_float16 *)(a + i);
  float rest = 0;
  for (; i < n; ++i) rest += a[i];
  return ck_lanes_sum(&total) + rest;
}
CK_CLONES float ck_max(const float *a, size_t n) {
  float best = -INFINITY;
  size_t i = 0;
  if (n >= 16) {
    ck_float16 lanes = *(const ck_float16 *)a;
    for (i = 16; i + 16 <= n; i += 16) lanes = __builtin_elementwise_max(lanes, *(const ck_float16 *)(a + i));
    best = ck_lanes_max(&lanes);
  }
  for (; i < n; ++i) best = a[i] > best ? a[i] : best;
  return best;
}
CK_CLONES float ck_dot(const float *a, const float *b, size_t n) {
  ck_float16 first = {0}, second = {0};
  size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    first += *(const ck_float16 *)(a + i) * *(const ck_float16 *)(b + i);
    second += *(const ck_float16 *)(a + i + 16) * *(const ck_float16 *)(b + i + 16);
  }
  float rest = 0;
  for (; i < n; ++i) rest += a[i] * b[i];
  first += second;
  return ck_lanes_sum(&first) + rest;
}
CK_CLONES float ck_sum_of_squares(const float *a, size_t n) {
  ck_float16 total = {0};
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    ck_float16 x = *(const ck_float16 *)(a + i);
    total += x * x;
  }
  float rest = 0;
  for (; i < n; ++i) rest += a[i] * a[i];
  return ck_lanes_sum(&total) + rest;
}

// exp(a - m) into out, and its sum.
CK_INLINE float ck_exp_row(const float *a, float m, float scale, float *out, size_t n) {
  ck_float16 total = {0};
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    ck_float16 e = *(const ck_float16 *)(a + i) * scale - m;
    ck_exp16(&e);
    *(ck_float16 *)(out + i) = e;
    total += e;
  }
  float rest = 0;
  for (; i < n; ++i) {
    out[i] = ck_exp1(a[i] * scale - m);
    rest += out[i];
  }
  return ck_lanes_sum(&total) + rest;
}

CK_CLONES void ck_softmax(const float *a, float *out, size_t n) {
  float inverse = 1.0f / ck_exp_row(a, ck_max(a, n), 1.0f, out, n);
  for (size_t i = 0; i < n; ++i) out[i] *= inverse;
}
CK_CLONES float ck_log_sum_exp(const float *a, size_t n) {
  float m = ck_max(a, n);
  ck_float16 total = {0};
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    ck_float16 e = *(const ck_float16 *)(a + i) - m;
    ck_exp16(&e);
    total += e;
  }
  float rest = 0;
  for (; i < n; ++i) rest += ck_exp1(a[i] - m);
  return m + logf(ck_lanes_sum(&total) + rest);
}
CK_CLONES void ck_rms_norm(const float *a, const float *weight, float epsilon, float *out, size_t n) {
  float factor = 1.0f / sqrtf(ck_sum_of_squares(a, n) / (float)n + epsilon);
  for (size_t i = 0; i < n; ++i) out[i] = a[i] * factor * weight[i];
}
CK_CLONES void ck_layer_norm(const float *a, const float *weight, const float *bias, float epsilon, float *out,
                             size_t n) {
  float mean = ck_sum(a, n) / (float)n;
  // The mean is taken off first: the difference of two large squares would lose the variance.
  for (size_t i = 0; i < n; ++i) out[i] = a[i] - mean;
  float factor = 1.0f / sqrtf(ck_sum_of_squares(out, n) / (float)n + epsilon);
  for (size_t i = 0; i < n; ++i) out[i] = out[i] * factor * weight[i] + bias[i];
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
  float block = ck_max(logits, n) * scale;
  float m = block > before ? block : before;
  // Every key of this block may be masked; the running state then stays as it is.
  if (m < CK_MASKED) {
    memset(logits, 0, n * sizeof(float));
    return 1.0f;
  }
  float correction = before < CK_MASKED ? 0.0f : ck_exp1(before - m);
  *running_sum = *running_sum * correction + ck_exp_row(logits, m, scale, logits, n);
  *running_max = m;
  return correction;
}
CK_CLONES float ck_weighted_logit_sum(const float *e, const float *logits, float scale, size_t n) {
  ck_float16 total = {0};
  size_t i = 0;
  // A masked logit is a large finite negative number and its e is 0: the product is 0.
  for (; i + 16 <= n; i += 16) total += *(const ck_float16 *)(e + i) * *(const ck_float16 *)(logits + i);
  float rest = 0;
  for (; i < n; ++i) rest += e[i] * logits[i];
  return scale * (ck_lanes_sum(&total) + rest);
}
