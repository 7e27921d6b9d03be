#include "vector.h"

// Transforms of Winograd's F(4x4, 3x3) at the points 0, 1, -1, 2, -2 and infinity: four numbers of a convolution with
// three from six. Each works on sixteen channels at a time; the one-dimensional steps go down columns, then along rows.
// Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, arXiv:1509.09308, section 4.3.

// Bt d: six numbers of an image, "from" vectors apart, to six.
CK_INLINE void ck_image_step(const ck_float16 *d, size_t from, ck_float16 *out, size_t to) {
  ck_float16 even = d[4 * from] - 4.0f * d[2 * from], odd = d[3 * from] - 4.0f * d[from];
  ck_float16 near = d[4 * from] - d[2 * from], twice = 2.0f * (d[3 * from] - d[from]);
  out[0] = 4.0f * d[0] - 5.0f * d[2 * from] + d[4 * from];
  out[to] = even + odd;
  out[2 * to] = even - odd;
  out[3 * to] = near + twice;
  out[4 * to] = near - twice;
  out[5 * to] = 4.0f * d[from] - 5.0f * d[3 * from] + d[5 * from];
}

// At m: six products to four numbers of the result.
CK_INLINE void ck_result_step(const ck_float16 *m, size_t from, ck_float16 *out, size_t to) {
  ck_float16 sum = m[from] + m[2 * from], difference = m[from] - m[2 * from];
  ck_float16 far_sum = m[3 * from] + m[4 * from], far_difference = m[3 * from] - m[4 * from];
  out[0] = m[0] + sum + far_sum;
  out[to] = difference + 2.0f * far_difference;
  out[2 * to] = sum + 4.0f * far_sum;
  out[3 * to] = difference + 8.0f * far_difference + m[5 * from];
}

// A y: the transpose of the step above.
CK_INLINE void ck_gradient_step(const ck_float16 *y, size_t from, ck_float16 *out, size_t to) {
  ck_float16 even = y[0] + y[2 * from], odd = y[from] + y[3 * from];
  ck_float16 far_even = y[0] + 4.0f * y[2 * from], far_odd = 2.0f * y[from] + 8.0f * y[3 * from];
  out[0] = y[0];
  out[to] = even + odd;
  out[2 * to] = even - odd;
  out[3 * to] = far_even + far_odd;
  out[4 * to] = far_even - far_odd;
  out[5 * to] = y[3 * from];
}

// G w: three weights to six.
CK_INLINE void ck_weight_step(const ck_float16 *w, size_t from, ck_float16 *out, size_t to) {
  ck_float16 even = (w[0] + w[2 * from]) * (-1.0f / 6), odd = w[from] * (1.0f / 6);
  ck_float16 far_even = w[0] * (1.0f / 24) + w[2 * from] * (1.0f / 6), far_odd = w[from] * (1.0f / 12);
  out[0] = w[0] * 0.25f;
  out[to] = even - odd;
  out[2 * to] = even + odd;
  out[3 * to] = far_even + far_odd;
  out[4 * to] = far_even - far_odd;
  out[5 * to] = w[2 * from];
}

// Gt u: the transpose of the step above.
CK_INLINE void ck_weight_gradient_step(const ck_float16 *u, size_t from, ck_float16 *out, size_t to) {
  ck_float16 even = (u[from] + u[2 * from]) * (-1.0f / 6), odd = (u[2 * from] - u[from]) * (1.0f / 6);
  ck_float16 far_sum = u[3 * from] + u[4 * from], far_odd = (u[3 * from] - u[4 * from]) * (1.0f / 12);
  out[0] = 0.25f * u[0] + even + far_sum * (1.0f / 24);
  out[to] = odd + far_odd;
  out[2 * to] = even + far_sum * (1.0f / 6) + u[5 * from];
}

// Places of a tile outside top..<bottom, left..<right are 0.
#define CK_TILE_PLACE(n, target)                                                                   \
  for (size_t i = 0; i < (n); ++i) {                                                               \
    for (size_t j = 0; j < (n); ++j) {                                                             \
      (target)[(n) * i + j] = 0;                                                                   \
      if (i >= top && i < bottom && j >= left && j < right) {                                      \
        ck_load(&(target)[(n) * i + j], a + (i - top) * row_stride + (j - left) * channels + channel, \
                channels - channel, 0);                                                            \
      }                                                                                            \
    }                                                                                              \
  }

CK_CLONES void ck_winograd_image(const float *a, size_t row_stride, size_t channels, size_t top, size_t bottom,
                                 size_t left, size_t right, float *out, size_t stride, size_t panel_stride) {
  for (size_t channel = 0; channel < channels; channel += 16, out += panel_stride) {
    ck_float16 tile[36], half[36];
    CK_TILE_PLACE(6, tile)
    for (size_t j = 0; j < 6; ++j) ck_image_step(tile + j, 6, half + j, 6);
    for (size_t i = 0; i < 6; ++i) ck_image_step(half + 6 * i, 1, tile + 6 * i, 1);
    for (size_t k = 0; k < 36; ++k) memcpy(out + k * stride, &tile[k], sizeof tile[k]);
  }
}

CK_CLONES void ck_winograd_gradient(const float *a, size_t row_stride, size_t channels, size_t top, size_t bottom,
                                    size_t left, size_t right, float *out, size_t stride, size_t panel_stride) {
  for (size_t channel = 0; channel < channels; channel += 16, out += panel_stride) {
    ck_float16 tile[16], half[24], whole[36];
    CK_TILE_PLACE(4, tile)
    for (size_t j = 0; j < 4; ++j) ck_gradient_step(tile + j, 4, half + j, 4);
    for (size_t i = 0; i < 6; ++i) ck_gradient_step(half + 4 * i, 1, whole + 6 * i, 1);
    for (size_t k = 0; k < 36; ++k) memcpy(out + k * stride, &whole[k], sizeof whole[k]);
  }
}

CK_CLONES void ck_winograd_result(const float *products, size_t stride, const float *bias, size_t channels, size_t rows,
                                  size_t pixels, float *out, size_t row_stride, size_t pixel_stride) {
  for (size_t channel = 0; channel < channels; channel += 16) {
    ck_float16 tile[36], half[24], whole[16], shift;
    for (size_t k = 0; k < 36; ++k) memcpy(&tile[k], products + k * stride + channel, sizeof tile[k]);
    for (size_t j = 0; j < 6; ++j) ck_result_step(tile + j, 6, half + j, 6);
    for (size_t i = 0; i < 4; ++i) ck_result_step(half + 6 * i, 1, whole + 4 * i, 1);
    ck_load(&shift, bias + channel, channels - channel, 0);
    for (size_t i = 0; i < rows; ++i) {
      for (size_t j = 0; j < pixels; ++j) {
        ck_float16 sum = whole[4 * i + j] + shift;
        ck_store(&sum, out + i * row_stride + j * pixel_stride + channel, channels - channel);
      }
    }
  }
}

CK_CLONES void ck_winograd_weight(const float *w, ptrdiff_t tap_stride, size_t step, size_t count, size_t width,
                                  float *out, size_t stride) {
  for (size_t row = 0; row < count; ++row, w += step, out += 16) {
    ck_float16 taps[9], half[18], whole[36];
    for (ptrdiff_t tap = 0; tap < 9; ++tap) ck_load(&taps[tap], w + tap * tap_stride, width, 0);
    for (size_t j = 0; j < 3; ++j) ck_weight_step(taps + j, 3, half + j, 3);
    for (size_t i = 0; i < 6; ++i) ck_weight_step(half + 3 * i, 1, whole + 6 * i, 1);
    for (size_t k = 0; k < 36; ++k) memcpy(out + k * stride, &whole[k], sizeof whole[k]);
  }
}

CK_CLONES void ck_winograd_weight_gradient(const float *sums, size_t stride, size_t channels, float *out,
                                           int accumulates) {
  for (size_t channel = 0; channel < channels; channel += 16) {
    size_t width = channels - channel;
    ck_float16 whole[36], half[18], taps[9];
    for (size_t k = 0; k < 36; ++k) ck_load(&whole[k], sums + k * stride + channel, width, 0);
    for (size_t j = 0; j < 6; ++j) ck_weight_gradient_step(whole + j, 6, half + j, 6);
    for (size_t i = 0; i < 3; ++i) ck_weight_gradient_step(half + 6 * i, 1, taps + 3 * i, 1);
    for (size_t tap = 0; tap < 9; ++tap) {
      ck_float16 before = 0;
      if (accumulates) ck_load(&before, out + tap * channels + channel, width, 0);
      taps[tap] += before;
      ck_store(&taps[tap], out + tap * channels + channel, width);
    }
  }
}
