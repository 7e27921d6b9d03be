#include "vector.h"

typedef double ck_double16 __attribute__((ext_vector_type(16), aligned(1)));

CK_CLONES double ck_sum_of_squares(const float *a, size_t n) {
  ck_double16 total = 0;
  ck_float16 x;
  for (size_t i = 0; i < n; i += 16) {
    ck_load(&x, a + i, n - i, 0);
    ck_double16 wide = __builtin_convertvector(x, ck_double16);
    total += wide * wide;
  }
  double lanes[16];
  memcpy(lanes, &total, sizeof lanes);
  for (int width = 8; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

CK_CLONES void ck_clamp(const float *a, float limit, float *out, size_t n) {
  // Written so that NaN passes: a comparison with it is false.
  for (size_t i = 0; i < n; ++i) {
    float x = a[i] > limit ? limit : a[i];
    out[i] = x < -limit ? -limit : x;
  }
}

CK_CLONES void ck_move_towards(float *out, const float *target, float share, size_t n) {
  for (size_t i = 0; i < n; ++i) out[i] += share * (target[i] - out[i]);
}

CK_CLONES void ck_sgd(float *parameter, const float *gradient, float *velocity, float scale, float rate, float momentum,
                      float decay, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    float d = gradient[i] * scale + decay * parameter[i];
    velocity[i] = momentum * velocity[i] + d;
    parameter[i] -= rate * velocity[i];
  }
}

CK_CLONES void ck_sgd_nesterov(float *parameter, const float *gradient, float *velocity, float scale, float rate,
                               float momentum, float decay, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    float d = gradient[i] * scale + decay * parameter[i];
    float v = momentum * velocity[i] + d;
    velocity[i] = v;
    parameter[i] -= rate * (d + momentum * v);
  }
}

CK_CLONES void ck_sgd_plain(float *parameter, const float *gradient, float scale, float rate, float decay, size_t n) {
  for (size_t i = 0; i < n; ++i) parameter[i] -= rate * (gradient[i] * scale + decay * parameter[i]);
}

CK_CLONES void ck_adam(float *parameter, const float *gradient, float *mean, float *square, float scale, float beta1,
                       float beta2, float rate, float root_correction, float epsilon, float decay, float keep,
                       size_t n) {
  for (size_t i = 0; i < n; i += 16) {
    ck_float16 p, g, m, s;
    ck_load(&p, parameter + i, n - i, 0);
    ck_load(&g, gradient + i, n - i, 0);
    ck_load(&m, mean + i, n - i, 0);
    ck_load(&s, square + i, n - i, 0);
    g = g * scale + decay * p;
    m = m + (1.0f - beta1) * (g - m);
    s = beta2 * s + (1.0f - beta2) * (g * g);
    ck_float16 root = __builtin_elementwise_sqrt(s);
    p = p * keep - rate * m / (root * root_correction + epsilon);
    ck_store(&p, parameter + i, n - i);
    ck_store(&m, mean + i, n - i);
    ck_store(&s, square + i, n - i);
  }
}
