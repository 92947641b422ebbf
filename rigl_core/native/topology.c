/* A topology step of all layers: of each the highest scores are kept, and the highest of what is not kept are grown.

   Scores rank by magnitude. A magnitude's bits, read as a whole number, order as the magnitude does, so that the n-th
   best is found by counting: first how often each value of the upper bits occurs, then, of the scores that have the
   n-th best's, each value of the next. A sample says beforehand which scores cannot be among the best; the others are
   listed, and only those are counted. */

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define DIGIT 11 /* bits that are counted by at a time */
#define BINS (1 << DIGIT)
#define WORD 8
#define BLOCK 256 /* a multiple of WORD: weights that are looked at together */

enum { NO_MEMORY = 1, TOO_FEW = 2 };

/* As in drop_and_grow.py: `after` gets the new mask. Of every `stride`-th weight, the `sampled_keep` best are expected
   to reach lower than the `n_keep` best of all; a stride of 1 stands for no sample. */
typedef struct {
    const float *drop, *grow;
    const uint8_t *before;
    uint8_t *after;
    int64_t size, n_keep, n_grow, stride, sampled_keep, sampled_grow;
} layer;

/* A score for every weight, of which the candidates are where `among` is not `not`. */
typedef struct {
    const float *score;
    const uint8_t *among;
    uint8_t not;
    int64_t size;
} choice;

/* Keys of candidates, in their order, and where they are. */
typedef struct {
    uint32_t *keys;
    int32_t *places;
} list;

/* Orders as |x| does, below 2^31. NaN is the lowest, and infinity no more than the largest number. */
static inline uint32_t key(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits &= 0x7fffffff;
    uint32_t finite = (bits < 0x7f7fffff ? bits : 0x7f7fffff) + 1;
    return bits > 0x7f800000 ? 0 : finite;
}

/* List every `stride`-th weight that is a candidate. */
static int64_t list_sample(choice from, int64_t stride, list to) {
    int64_t n = 0;
    for (int64_t i = 0; i < from.size; i += stride) {
        to.keys[n] = key(from.score[i]); /* no branch: what is not wanted is written over by the next */
        n += from.among[i] ^ from.not;
    }
    return n;
}

/* List the candidates that have at least the key `least`. */
static int64_t list_all(choice from, uint32_t least, list to) {
    int64_t n = 0;
    for (int64_t begin = 0; begin < from.size; begin += BLOCK) {
        int64_t length = from.size - begin < BLOCK ? from.size - begin : BLOCK;
        uint8_t wanted[BLOCK] = {0};
        for (int64_t i = 0; i < length; i++)
            wanted[i] = (from.among[begin + i] ^ from.not) & (key(from.score[begin + i]) >= least);
        for (int64_t i = 0; i < length; i += WORD) {
            uint64_t any;
            memcpy(&any, wanted + i, WORD);
            if (!any) continue; /* most often, for few are wanted */
            for (int64_t k = i; k < i + WORD; k++) {
                to.places[n] = (int32_t)(begin + k);
                n += wanted[k];
            }
        }
    }
    for (int64_t j = 0; j < n; j++) to.keys[j] = key(from.score[to.places[j]]);
    return n;
}

/* The `*n`-th highest of so many keys. `*n` becomes how many equal to it are among the `*n` highest. */
static uint32_t nth_highest(const uint32_t *keys, int64_t n_keys, int64_t *n) {
    uint32_t nth = 0, count[BINS];
    for (int shift = 2 * DIGIT; shift >= 0; shift -= DIGIT) {
        memset(count, 0, sizeof count);
        for (int64_t j = 0; j < n_keys; j++)
            count[keys[j] >> shift & (BINS - 1)] += (uint64_t)keys[j] >> (shift + DIGIT) == nth;
        uint32_t bin = BINS - 1;
        while (bin > 0 && *n > count[bin]) *n -= count[bin--];
        nth = nth << DIGIT | bin;
    }
    return nth;
}

/* Set `out`, which may be what says who is a candidate, where the `n` best candidates are, ties by index. Returns
   whether there are so many. */
static int take(choice from, int64_t n, int64_t stride, int64_t sampled, list room, uint8_t *out) {
    if (n == 0) return 1;
    uint32_t bound = 0;
    if (stride > 1) {
        int64_t seen = list_sample(from, stride, room);
        if (sampled <= seen) bound = nth_highest(room.keys, seen, &sampled);
    }
    int64_t listed = list_all(from, bound, room);
    if (listed < n && bound) listed = list_all(from, 0, room);
    if (listed < n) return 0;
    uint32_t nth = nth_highest(room.keys, listed, &n);
    for (int64_t j = 0; j < listed; j++) out[room.places[j]] = room.keys[j] > nth;
    for (int64_t j = 0; n > 0; j++)
        if (room.keys[j] == nth) {
            out[room.places[j]] = 1;
            n--;
        }
    return 1;
}

/* The new masks of `n` layers, none of more than `most` weights. Returns 0, or what went wrong. */
int rigl_drop_and_grow(const layer *layers, int n, int64_t most, int threads) {
    int wrong = 0;
#pragma omp parallel num_threads(threads) reduction(| : wrong)
    {
        list room = {malloc(sizeof(uint32_t) * (most + 1)), malloc(sizeof(int32_t) * (most + 1))};
        if (room.keys == NULL || room.places == NULL) wrong = NO_MEMORY;
#pragma omp for schedule(dynamic)
        for (int l = 0; l < n; l++) {
            if (wrong) continue;
            layer at = layers[l];
            memset(at.after, 0, at.size);
            choice active = {at.drop, at.before, 0, at.size}, not_kept = {at.grow, at.after, 1, at.size};
            if (!take(active, at.n_keep, at.stride, at.sampled_keep, room, at.after)) wrong = TOO_FEW;
            if (!take(not_kept, at.n_grow, at.stride, at.sampled_grow, room, at.after)) wrong = TOO_FEW;
        }
        free(room.keys);
        free(room.places);
    }
    return wrong;
}

/* As in zeroing.py. */
typedef struct {
    float *values;
    const uint8_t *mask;
    int64_t size;
} masked;

/* Zero what is outside the masks of `n` tensors, whatever it is: it is chosen, for 0 times infinity is not 0. Or zero
   only what is not finite there. */
void rigl_zero_outside(const masked *tensors, int n, int only_not_finite, int threads) {
#pragma omp parallel num_threads(threads)
    for (int t = 0; t < n; t++) {
        const masked at = tensors[t];
        if (only_not_finite) {
#pragma omp for schedule(static) nowait
            for (int64_t i = 0; i < at.size; i++)
                at.values[i] = at.mask[i] | (fabsf(at.values[i]) <= FLT_MAX) ? at.values[i] : 0.0f;
        } else {
#pragma omp for schedule(static) nowait
            for (int64_t i = 0; i < at.size; i++) at.values[i] = at.mask[i] ? at.values[i] : 0.0f;
        }
    }
}
