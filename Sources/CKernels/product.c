#include "vector.h"

// For attention, whose factors are small and used again and again. Every element of a product is one sum in the order
// of the inner index, so it does not depend on the rows beside it.

// Rows often lie a multiple of 4 KiB apart, where neither the hardware's prefetching nor a column of them in the cache
// works: the rows to come are asked for early.
CK_INLINE void ck_prefetch_row(const float *row, size_t columns) {
  for (size_t column = 0; column < columns; column += 16) __builtin_prefetch(row + column);
}
#define CK_ROWS_AHEAD 16

void ck_pack_transposed(const float *a, size_t stride, size_t rows, size_t columns, float *out) {
  for (size_t panel = 0; panel < rows; panel += 16, out += 16 * columns) {
    for (size_t lane = 0; lane < 16; ++lane) {
      size_t row = panel + lane;
      if (row + CK_ROWS_AHEAD < rows) ck_prefetch_row(a + (row + CK_ROWS_AHEAD) * stride, columns);
      for (size_t column = 0; column < columns; ++column) {
        out[16 * column + lane] = row < rows ? a[row * stride + column] : 0;
      }
    }
  }
}
void ck_pack(const float *a, size_t stride, size_t rows, size_t columns, float *out) {
  for (size_t row = 0; row < rows; ++row) {
    if (row + CK_ROWS_AHEAD < rows) ck_prefetch_row(a + (row + CK_ROWS_AHEAD) * stride, columns);
    for (size_t column = 0; column < columns; column += 16) {
      ck_float16 lanes;
      ck_load(&lanes, a + row * stride + column, columns - column, 0);
      memcpy(out + column * rows + 16 * row, &lanes, sizeof lanes);
    }
  }
}

// Six rows and sixteen columns keep their sums in registers on every instruction set.
#define CK_TILE 6

// One tile of `rows` rows, a constant where this is inlined; element (r, k) of a lies r * row_step + k * inner_step on.
CK_INLINE void ck_tile(const float *a, size_t row_step, size_t inner_step, size_t rows, const float *panel, size_t inner,
                       float *out, size_t out_stride, size_t width, int accumulates) {
  ck_float16 sums[CK_TILE], b;
  for (size_t r = 0; r < rows; ++r) sums[r] = 0;
  for (size_t k = 0; k < inner; ++k) {
    memcpy(&b, panel + 16 * k, sizeof b);
    for (size_t r = 0; r < rows; ++r) sums[r] += a[r * row_step + k * inner_step] * b;
  }
  for (size_t r = 0; r < rows; ++r) {
    ck_float16 before = 0;
    if (accumulates) ck_load(&before, out + r * out_stride, width, 0);
    sums[r] += before;
    ck_store(&sums[r], out + r * out_stride, width);
  }
}
CK_INLINE void ck_product_steps(const float *a, size_t row_step, size_t inner_step, size_t rows, const float *packed,
                                size_t panel_stride, size_t inner, size_t columns, float *out, size_t out_stride,
                                int accumulates) {
  for (size_t column = 0; column < columns; column += 16, packed += panel_stride) {
    size_t row = 0;
#define CK_ROWS(n)                                                                                              \
  ck_tile(a + row * row_step, row_step, inner_step, n, packed, inner, out + row * out_stride + column, out_stride, \
          columns - column, accumulates)
    for (; row + CK_TILE <= rows; row += CK_TILE) CK_ROWS(CK_TILE);
    switch (rows - row) {
      case 5: CK_ROWS(5); break;
      case 4: CK_ROWS(4); break;
      case 3: CK_ROWS(3); break;
      case 2: CK_ROWS(2); break;
      case 1: CK_ROWS(1); break;
    }
  }
}
CK_CLONES void ck_product(const float *a, size_t stride, size_t rows, const float *packed, size_t panel_stride,
                          size_t inner, size_t columns, float *out, size_t out_stride, int accumulates) {
  ck_product_steps(a, stride, 1, rows, packed, panel_stride, inner, columns, out, out_stride, accumulates);
}
CK_CLONES void ck_product_transposed(const float *a, size_t stride, size_t rows, const float *packed,
                                     size_t panel_stride, size_t inner, size_t columns, float *out, size_t out_stride,
                                     int accumulates) {
  ck_product_steps(a, 1, stride, rows, packed, panel_stride, inner, columns, out, out_stride, accumulates);
}
