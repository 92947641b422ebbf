/* Convolutions that multiply by the active weights only, for images on a CPU.

   Images are float32 (n, channels, height, width), contiguous; stride 1, and as much padding as keeps height and width.
   Each image is first copied into a frame of zeros, so that a weight is one offset into it: the output of a filter is
   the sum, over its active weights, of the framed image shifted by the weight's offset. A tile of output stays in
   registers while the weights of its filter pass by; width is a constant of the compiler, so there is no inner loop.

   Work is cut into CHUNKS of images, whoever computes them, and their sums are added in order: results are the same
   for any number of threads. */

#include <stdint.h>
#include <string.h>

#define CHUNKS 16
#define LANES 8
typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

typedef struct {
    int32_t images, channels, filters, height, width, margin;
} geometry;

/* Active weights, filter by filter: those of filter f are begin[f] to begin[f + 1]. */
typedef struct {
    const int32_t *begin, *offset;
} pattern;

static int64_t framed(const geometry *g) {
    return (int64_t)g->channels * (g->height + 2 * g->margin) * (g->width + 2 * g->margin);
}

static void frame(const geometry *g, const float *image, float *out) {
    int width = g->width + 2 * g->margin, height = g->height + 2 * g->margin;
    for (int c = 0; c < g->channels; c++)
        for (int r = 0; r < g->height; r++)
            memcpy(out + ((int64_t)c * height + r + g->margin) * width + g->margin,
                   image + ((int64_t)c * g->height + r) * g->width, sizeof(float) * g->width);
}

#define UNROLL _Pragma("GCC unroll 8")

/* ROWS * WIDTH is 64: eight accumulators hide the latency of a fused multiply-add. */
#define CONVOLVE(WIDTH, ROWS)                                                                                          \
    static void convolve_##WIDTH(const geometry *g, pattern p, const float *values, const float *in, float *out) {     \
        const int stride = WIDTH + 2 * g->margin;                                                                      \
        for (int top = 0; top < g->height; top += ROWS)                                                                \
            for (int f = 0; f < g->filters; f++) {                                                                     \
                vec sum[ROWS][WIDTH / LANES];                                                                          \
                memset(sum, 0, sizeof sum);                                                                            \
                for (int j = p.begin[f]; j < p.begin[f + 1]; j++) {                                                    \
                    const float *from = in + top * stride + p.offset[j];                                               \
                    UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int k = 0; k < WIDTH / LANES; k++)               \
                        sum[r][k] += values[j] * *(const vec *)(from + r * stride + k * LANES);                        \
                }                                                                                                      \
                memcpy(out + ((int64_t)f * g->height + top) * WIDTH, sum, sizeof sum);                                 \
            }                                                                                                          \
    }
CONVOLVE(32, 2)
CONVOLVE(16, 4)
CONVOLVE(8, 8)

/* Fewer rows at a time than the whole, so that what all filters look at stays in the first-level cache. */
#define CORRELATE(WIDTH, ROWS)                                                                                         \
    static void correlate_##WIDTH(const geometry *g, pattern p, const float *in, const float *of, vec *sums) {         \
        const int stride = WIDTH + 2 * g->margin;                                                                      \
        for (int top = 0; top < g->height; top += ROWS)                                                                \
            for (int f = 0; f < g->filters; f++) {                                                                     \
                const float *with = of + ((int64_t)f * g->height + top) * WIDTH;                                       \
                for (int j = p.begin[f]; j < p.begin[f + 1]; j++) {                                                    \
                    const float *from = in + top * stride + p.offset[j];                                               \
                    vec even = {0}, odd = {0};                                                                         \
                    UNROLL for (int r = 0; r < ROWS; r += 2) UNROLL for (int k = 0; k < WIDTH / LANES; k++) {          \
                        int at = r * stride + k * LANES, to = r * WIDTH + k * LANES;                                   \
                        even += *(const vec *)(from + at) * *(const vec *)(with + to);                                 \
                        odd += *(const vec *)(from + at + stride) * *(const vec *)(with + to + WIDTH);                 \
                    }                                                                                                  \
                    sums[j] += even + odd;                                                                             \
                }                                                                                                      \
            }                                                                                                          \
    }
CORRELATE(32, 2)
CORRELATE(16, 4)
CORRELATE(8, 8)

/* Images `begin` to `end` of chunk `c`. */
static void bounds(const geometry *g, int c, int64_t *begin, int64_t *end) {
    *begin = (int64_t)g->images * c / CHUNKS;
    *end = (int64_t)g->images * (c + 1) / CHUNKS;
}

int rigl_chunks(void) { return CHUNKS; }

/* `out` (images, filters, height, width) of `in`; `values` are those of the active weights in the order of the pattern.
   `frames` has room for CHUNKS framed images. */
void rigl_convolve(const geometry *g, const int32_t *begin, const int32_t *offset, const float *values, const float *in,
                   float *out, float *frames, int threads) {
    const pattern p = {begin, offset};
    const int64_t pixels = (int64_t)g->height * g->width;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int c = 0; c < CHUNKS; c++) {
        int64_t i, end;
        float *image = frames + c * framed(g);
        memset(image, 0, sizeof(float) * framed(g));
        for (bounds(g, c, &i, &end); i < end; i++) {
            frame(g, in + i * g->channels * pixels, image);
            float *to = out + i * g->filters * pixels;
            if (g->width == 32) convolve_32(g, p, values, image, to);
            if (g->width == 16) convolve_16(g, p, values, image, to);
            if (g->width == 8) convolve_8(g, p, values, image, to);
        }
    }
}

/* The gradients of the active weights: of each, the sum over all pixels of the output's gradient `of` times what the
   weight was multiplied by. `sums` has room for CHUNKS * LANES floats a weight. */
void rigl_correlate(const geometry *g, const int32_t *begin, const int32_t *offset, const float *in, const float *of,
                    float *gradients, float *frames, float *sums, int threads) {
    const pattern p = {begin, offset};
    const int64_t pixels = (int64_t)g->height * g->width, n = begin[g->filters];
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int c = 0; c < CHUNKS; c++) {
        int64_t i, end;
        float *image = frames + c * framed(g);
        vec *mine = (vec *)(sums + c * n * LANES);
        memset(image, 0, sizeof(float) * framed(g));
        memset(mine, 0, sizeof(float) * n * LANES);
        for (bounds(g, c, &i, &end); i < end; i++) {
            frame(g, in + i * g->channels * pixels, image);
            const float *with = of + i * g->filters * pixels;
            if (g->width == 32) correlate_32(g, p, image, with, mine);
            if (g->width == 16) correlate_16(g, p, image, with, mine);
            if (g->width == 8) correlate_8(g, p, image, with, mine);
        }
    }
    for (int64_t j = 0; j < n; j++) {
        float total = 0;
        for (int c = 0; c < CHUNKS; c++)
            for (int lane = 0; lane < LANES; lane++) total += sums[(c * n + j) * LANES + lane];
        gradients[j] = total;
    }
}
