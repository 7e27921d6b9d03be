// Vectorised inner loops over raw rows: no logic, no allocation, no threads. The Swift wrappers in
// TensorCore/Kernels check every size before they call. "n" counts floats unless said otherwise.
#pragma once
#include <stddef.h>
#include <stdint.h>

// Flushes denormals to zero on the calling thread, both as results and as operands.
void ck_flush_denormals(void);

// Elementwise, out may be the same memory as an input.
void ck_add(const float *a, const float *b, float *out, size_t n);
void ck_subtract(const float *a, const float *b, float *out, size_t n);
void ck_multiply(const float *a, const float *b, float *out, size_t n);
void ck_divide(const float *a, const float *b, float *out, size_t n);
void ck_add_scalar(const float *a, float b, float *out, size_t n);
void ck_multiply_scalar(const float *a, float b, float *out, size_t n);
void ck_add_scaled(float *out, const float *a, float factor, size_t n);  // out += factor * a
void ck_exp(const float *a, float *out, size_t n);
void ck_silu(const float *a, float *out, size_t n);
void ck_silu_multiply(const float *gate, const float *up, float *out, size_t n);  // silu(gate) * up
void ck_gelu_erf(const float *a, float *out, size_t n);
void ck_gelu_tanh(const float *a, float *out, size_t n);

void ck_relu(const float *a, float *out, size_t n);                                  // NaN stays
void ck_relu_backward(const float *a, const float *gradient, float *out, size_t n);  // 0 where a <= 0

// Sums over the rows of a [rows, columns], in their order: of a; of a - shift and its square; of a and of a (b - shift),
// rows where (b - shift) factor + bias is at most the floor counting as 0.
void ck_column_sums(const float *a, size_t rows, size_t columns, float *out);
void ck_column_moments(const float *a, size_t rows, size_t columns, const float *shift, float *sums, float *squares);
void ck_column_products(const float *a, const float *b, size_t rows, size_t columns, const float *shift,
                        const float *factor, const float *bias, float floor, float *sums, float *products);
// Each row, with a number for each column: (a - shift) factor + bias, at least the floor; the same with b added before
// that; and a factor + (b - shift) slope + constant, where a counts as 0 as above.
void ck_scale_columns(const float *a, size_t rows, size_t columns, const float *shift, const float *factor,
                      const float *bias, float floor, float *out);
void ck_scale_columns_added(const float *a, const float *b, size_t rows, size_t columns, const float *shift,
                            const float *factor, const float *bias, float floor, float *out);
void ck_combine_columns(const float *a, const float *b, size_t rows, size_t columns, const float *factor,
                        const float *shift, const float *slope, const float *constant, const float *bias, float floor,
                        float *out);

// Convolution as a matrix product: "run" numbers at a + i * step for each window i to out + i * stride, and back, added.
void ck_copy_patches(const float *a, size_t step, size_t run, size_t count, float *out, size_t stride);
void ck_add_patches(const float *patches, size_t stride, size_t run, size_t count, float *out, size_t step);
// One window of "rows" rows, row_stride floats apart, of "pixels" pixels of "channels" numbers. The gradient of a
// maximum goes to the first place that holds it; both backward functions add to out, which lies as the window does.
void ck_window_max(const float *a, size_t row_stride, size_t rows, size_t pixels, size_t channels, float *out);
void ck_window_max_backward(const float *a, const float *largest, const float *gradient, size_t row_stride, size_t rows,
                            size_t pixels, size_t channels, float *out);
void ck_window_sum(const float *a, size_t row_stride, size_t rows, size_t pixels, size_t channels, float factor,
                   float *out);
void ck_window_spread(const float *gradient, size_t row_stride, size_t rows, size_t pixels, size_t channels,
                      float factor, float *out);

// Winograd's F(4x4, 3x3). An image of 6x6 pixels and a gradient of 4x4 become 36 numbers for each channel, those of one
// place "stride" floats from those of the next, sixteen channels together and groups of sixteen panel_stride apart, the
// last filled up with zeros. Only places top..<bottom, left..<right are read, from a on; the others count as 0.
void ck_winograd_image(const float *a, size_t row_stride, size_t channels, size_t top, size_t bottom, size_t left,
                       size_t right, float *out, size_t stride, size_t panel_stride);
void ck_winograd_gradient(const float *a, size_t row_stride, size_t channels, size_t top, size_t bottom, size_t left,
                          size_t right, float *out, size_t stride, size_t panel_stride);
// 36 products for each channel, filled up to a multiple of sixteen, to "rows" rows of "pixels" pixels, at most 4x4.
void ck_winograd_result(const float *products, size_t stride, const float *bias, size_t channels, size_t rows,
                        size_t pixels, float *out, size_t row_stride, size_t pixel_stride);
// "count" groups of at most sixteen 3x3 weights, "step" floats apart, their taps tap_stride apart: 36 groups each.
void ck_winograd_weight(const float *w, ptrdiff_t tap_stride, size_t step, size_t count, size_t width, float *out,
                        size_t stride);
// The gradients of 36 transformed weights of one output to those of its weights [3, 3, channels].
void ck_winograd_weight_gradient(const float *sums, size_t stride, size_t channels, float *out, int accumulates);

// Reductions of one row, in sixteen fixed lanes.
float ck_sum(const float *a, size_t n);
float ck_max(const float *a, size_t n);  // NaN if there is one; -infinity of nothing

// One row in, one row out.
void ck_softmax(const float *a, float *out, size_t n);
float ck_log_sum_exp(const float *a, size_t n);
float ck_log_sum_exp_above(const float *a, float m, size_t n);  // log of the sum of exp(a - m), m the largest
void ck_rms_norm(const float *a, const float *weight, float epsilon, float *out, size_t n);
void ck_layer_norm(const float *a, const float *weight, const float *bias, float epsilon, float *out, size_t n);
// Rotate-half rotary embedding of one head of "half" pairs, in place.
void ck_rotate_half(float *head, const float *cosine, const float *sine, size_t half);

// Stored numbers (float, half, bfloat16), which may lie at any address: to float, and the dot product with floats.
void ck_convert_f16(const void *a, float *out, size_t n);
void ck_convert_bf16(const void *a, float *out, size_t n);
float ck_dot_f32(const void *a, const float *b, size_t n);
float ck_dot_f16(const void *a, const float *b, size_t n);
float ck_dot_bf16(const void *a, const float *b, size_t n);

// A row of n numbers of 8 or 4 bits with a half-precision scale for each group of them (a multiple of 32 that divides
// n): to float, and the dot product with floats.
void ck_convert_q8(const void *codes, const void *scales, size_t group, float *out, size_t n);
void ck_convert_q4(const void *codes, const void *scales, size_t group, float *out, size_t n);
float ck_dot_q8(const void *codes, const void *scales, size_t group, const float *b, size_t n);
float ck_dot_q4(const void *codes, const void *scales, size_t group, const float *b, size_t n);

// One block of attention logits of one query row (online softmax).
// On return logits[0..<n] hold exp(scale * logit - m); *running_max and *running_sum are updated and the factor by
// which everything accumulated before must be scaled is returned. n may be 0. Masked logits are -1e36, and so is the
// running maximum before the first key.
float ck_softmax_update(float *logits, size_t n, float scale, float *running_max, float *running_sum);
// Sum over i of e[i] * scale * x[i]: the entropy of a row needs it next to the plain sum.
float ck_weighted_logit_sum(const float *e, const float *logits, float scale, size_t n);
// One block of attention of one query row, whose softmax had maximum m and 1 / sum "inverse": logits become
// probabilities p = exp(scale * logit - m) * inverse.
void ck_attention_probabilities(float *logits, size_t n, float scale, float m, float inverse);
// The same, and the gradients g of the probabilities become those of the unscaled logits, scale * p * (g - mean), with
// mean the sum of p * g over the whole row.
void ck_attention_gradients(float *logits, float *gradients, size_t n, float scale, float m, float inverse, float mean);

// The commit this was built from, or "" where it is not known.
const char *ck_build_commit(void);

// Matrix products with a right-hand side packed in panels of sixteen columns, [panel][inner][16], where the last panel
// is filled up with zeros. Strides count floats between rows.
// Packs the transpose of a [rows, columns]: panels of sixteen rows of a.
void ck_pack_transposed(const float *a, size_t stride, size_t rows, size_t columns, float *out);
// Packs b [rows, columns]: panels of sixteen columns of b.
void ck_pack(const float *b, size_t stride, size_t rows, size_t columns, float *out);
// out = a * packed, or out += a * packed; a is [rows, inner], out [rows, columns], panels panel_stride floats apart.
void ck_product(const float *a, size_t stride, size_t rows, const float *packed, size_t panel_stride, size_t inner,
                size_t columns, float *out, size_t out_stride, int accumulates);
// The same with the transpose of a [inner, rows].
void ck_product_transposed(const float *a, size_t stride, size_t rows, const float *packed, size_t panel_stride,
                           size_t inner, size_t columns, float *out, size_t out_stride, int accumulates);

// Gradients: "g" is that of the output, "out" gets that of the input; both may be the same memory.
void ck_silu_gradient(const float *a, const float *g, float *out, size_t n);
void ck_silu_multiply_gradient(const float *gate, const float *up, const float *g, float *gate_out, float *up_out,
                               size_t n);
void ck_gelu_erf_gradient(const float *a, const float *g, float *out, size_t n);
void ck_gelu_tanh_gradient(const float *a, const float *g, float *out, size_t n);
// From the outputs "y" of the softmax and the log softmax.
void ck_softmax_gradient(const float *y, const float *g, float *out, size_t n);
void ck_log_softmax_gradient(const float *y, const float *g, float *out, size_t n);
void ck_scaled_softmax(const float *a, float shift, float factor, float *out, size_t n);  // factor * exp(a - shift)
void ck_cross_entropy_gradient(const float *a, float largest, float log_sum, float factor, size_t label, float *out,
                               size_t n);
// One row; the gradients of weight and bias are added to weight_out and bias_out, which may be null. Neither may be the
// memory of "a" or "g".
void ck_rms_norm_gradient(const float *a, const float *weight, float epsilon, const float *g, float *out,
                          float *weight_out, size_t n);
void ck_layer_norm_gradient(const float *a, const float *weight, float epsilon, const float *g, float *out,
                            float *weight_out, float *bias_out, size_t n);
// Drops elements whose number, of the key and the place first + i, is below the threshold, and scales the others.
void ck_dropout(const float *a, uint64_t key, uint64_t first, uint32_t threshold, float scale, float *out, size_t n);

// Optimizers, in place: the gradient counts "scale" times. A velocity of zeros gives a first step without momentum.
double ck_sum_of_squares(const float *a, size_t n);  // in sixteen fixed lanes of doubles
void ck_clamp(const float *a, float limit, float *out, size_t n);  // to -limit ... limit; NaN stays
void ck_move_towards(float *out, const float *target, float share, size_t n);  // out += share * (target - out)
void ck_sgd_plain(float *parameter, const float *gradient, float scale, float rate, float decay, size_t n);
void ck_sgd(float *parameter, const float *gradient, float *velocity, float scale, float rate, float momentum,
            float decay, size_t n);
void ck_sgd_nesterov(float *parameter, const float *gradient, float *velocity, float scale, float rate,
                     float momentum, float decay, size_t n);
// p = keep p - rate m / (sqrt(s) root_correction + epsilon), after m and s took in g = scale gradient + decay p.
void ck_adam(float *parameter, const float *gradient, float *mean, float *square, float scale, float beta1,
             float beta2, float rate, float root_correction, float epsilon, float decay, float keep, size_t n);
