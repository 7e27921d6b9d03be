#include "vector.h"

// "run" numbers for each of "count" windows; a run of known length needs no call.
CK_INLINE void ck_copy_runs(const float *a, size_t step, size_t run, size_t count, float *out, size_t stride) {
  for (size_t i = 0; i < count; ++i) memcpy(out + i * stride, a + i * step, run * sizeof(float));
}
void ck_copy_patches(const float *a, size_t step, size_t run, size_t count, float *out, size_t stride) {
  switch (run) {
    case 1: ck_copy_runs(a, step, 1, count, out, stride); break;
    case 3: ck_copy_runs(a, step, 3, count, out, stride); break;
    case 5: ck_copy_runs(a, step, 5, count, out, stride); break;
    case 7: ck_copy_runs(a, step, 7, count, out, stride); break;
    case 24: ck_copy_runs(a, step, 24, count, out, stride); break;
    case 48: ck_copy_runs(a, step, 48, count, out, stride); break;
    default: ck_copy_runs(a, step, run, count, out, stride);
  }
}
CK_CLONES void ck_add_patches(const float *patches, size_t stride, size_t run, size_t count, float *out, size_t step) {
  for (size_t i = 0; i < count; ++i, patches += stride, out += step) {
    for (size_t j = 0; j < run; ++j) out[j] += patches[j];
  }
}

// Runs the statements for each place of a window of "rows" rows of "pixels" pixels, whose numbers are x.
#define CK_WINDOW(...)                                                            \
  for (size_t row = 0; row < rows; ++row) {                                       \
    for (size_t pixel = 0; pixel < pixels; ++pixel) {                             \
      size_t place = row * row_stride + pixel * channels + channel;               \
      __VA_ARGS__;                                                                \
    }                                                                             \
  }

CK_CLONES void ck_window_max(const float *a, size_t row_stride, size_t rows, size_t pixels, size_t channels,
                             float *out) {
  for (size_t channel = 0; channel < channels; channel += 16) {
    size_t width = channels - channel;
    ck_float16 best = -INFINITY, x;
    // NaN is larger than anything and stays.
    CK_WINDOW(ck_load(&x, a + place, width, 0); best = ((best >= x) | (best != best)) ? best : x)
    ck_store(&best, out + channel, width);
  }
}
CK_CLONES void ck_window_max_backward(const float *a, const float *largest, const float *gradient, size_t row_stride,
                                      size_t rows, size_t pixels, size_t channels, float *out) {
  for (size_t channel = 0; channel < channels; channel += 16) {
    size_t width = channels - channel;
    ck_float16 best, left, x, sum;
    ck_load(&best, largest + channel, width, 0);
    ck_load(&left, gradient + channel, width, 0);
    // The first place that holds the largest number takes the gradient, and leaves nothing to the next.
    CK_WINDOW(ck_load(&x, a + place, width, 0); ck_load(&sum, out + place, width, 0);
              ck_int16 takes = (x == best) | ((x != x) & (best != best));
              sum += takes ? left : (ck_float16)0; left = takes ? (ck_float16)0 : left;
              ck_store(&sum, out + place, width))
  }
}
CK_CLONES void ck_window_sum(const float *a, size_t row_stride, size_t rows, size_t pixels, size_t channels,
                             float factor, float *out) {
  for (size_t channel = 0; channel < channels; channel += 16) {
    size_t width = channels - channel;
    ck_float16 total = 0, x;
    CK_WINDOW(ck_load(&x, a + place, width, 0); total += x)
    total *= factor;
    ck_store(&total, out + channel, width);
  }
}
CK_CLONES void ck_window_spread(const float *gradient, size_t row_stride, size_t rows, size_t pixels, size_t channels,
                                float factor, float *out) {
  for (size_t channel = 0; channel < channels; channel += 16) {
    size_t width = channels - channel;
    ck_float16 share, sum;
    ck_load(&share, gradient + channel, width, 0);
    share *= factor;
    CK_WINDOW(ck_load(&sum, out + place, width, 0); sum += share; ck_store(&sum, out + place, width))
  }
}
