#include "vector.h"

// Sums over the rows of a [rows, columns], sixteen columns at a time, each in the order of the rows.
#define CK_COLUMNS(...)                                          \
  for (size_t column = 0; column < columns; column += 16) {      \
    size_t width = columns - column;                             \
    ck_float16 total = 0, x;                                     \
    for (size_t row = 0; row < rows; ++row) {                    \
      ck_load(&x, a + row * columns + column, width, 0);         \
      __VA_ARGS__;                                               \
    }                                                            \
    ck_store(&total, out + column, width);                       \
  }

CK_CLONES void ck_column_sums(const float *a, size_t rows, size_t columns, float *out) { CK_COLUMNS(total += x) }
CK_CLONES void ck_column_moments(const float *a, size_t rows, size_t columns, const float *shift, float *sums,
                                 float *squares) {
  for (size_t column = 0; column < columns; column += 16) {
    size_t width = columns - column;
    ck_float16 sum = 0, square = 0, s, x;
    ck_load(&s, shift + column, width, 0);
    for (size_t row = 0; row < rows; ++row) {
      ck_load(&x, a + row * columns + column, width, 0);
      x -= s;
      sum += x;
      square += x * x;
    }
    ck_store(&sum, sums + column, width);
    ck_store(&square, squares + column, width);
  }
}
CK_CLONES void ck_column_products(const float *a, const float *b, size_t rows, size_t columns, const float *shift,
                                  const float *factor, const float *bias, float floor, float *sums, float *products) {
  for (size_t column = 0; column < columns; column += 16) {
    size_t width = columns - column;
    ck_float16 sum = 0, product = 0, s, f, c, x, y;
    ck_load(&s, shift + column, width, 0);
    ck_load(&f, factor + column, width, 0);
    ck_load(&c, bias + column, width, 0);
    for (size_t row = 0; row < rows; ++row) {
      ck_load(&x, a + row * columns + column, width, 0);
      ck_load(&y, b + row * columns + column, width, 0);
      y -= s;
      x = y * f + c <= floor ? (ck_float16)0 : x;
      sum += x;
      product += x * y;
    }
    ck_store(&sum, sums + column, width);
    ck_store(&product, products + column, width);
  }
}

CK_CLONES void ck_scale_columns(const float *a, size_t rows, size_t columns, const float *shift, const float *factor,
                                const float *bias, float floor, float *out) {
  for (size_t row = 0; row < rows; ++row, a += columns, out += columns) {
    for (size_t i = 0; i < columns; ++i) {
      float x = (a[i] - shift[i]) * factor[i] + bias[i];
      out[i] = x <= floor ? floor : x;
    }
  }
}
CK_CLONES void ck_scale_columns_added(const float *a, const float *b, size_t rows, size_t columns, const float *shift,
                                      const float *factor, const float *bias, float floor, float *out) {
  for (size_t row = 0; row < rows; ++row, a += columns, b += columns, out += columns) {
    for (size_t i = 0; i < columns; ++i) {
      float x = (a[i] - shift[i]) * factor[i] + bias[i] + b[i];
      out[i] = x <= floor ? floor : x;
    }
  }
}
CK_CLONES void ck_combine_columns(const float *a, const float *b, size_t rows, size_t columns, const float *factor,
                                  const float *shift, const float *slope, const float *constant, const float *bias,
                                  float floor, float *out) {
  for (size_t row = 0; row < rows; ++row, a += columns, b += columns, out += columns) {
    for (size_t i = 0; i < columns; ++i) {
      float y = b[i] - shift[i], x = y * factor[i] + bias[i] <= floor ? 0 : a[i];
      out[i] = x * factor[i] + y * slope[i] + constant[i];
    }
  }
}
