/* What is measured besides the counting: latencies, and the processor's time of the servers and of this program. */
#ifndef MEASURE_H
#define MEASURE_H

#include <stdint.h>

/* Latencies in microseconds: 32 buckets for each doubling, as a bucket is the highest six bits of the number. */
enum { BUCKETS = 64 * 32 };
typedef struct {
    uint64_t counts[BUCKETS];
} histogram;

static inline uint32_t bucket(uint64_t value) {
    if (value < 64) return (uint32_t)value;
    uint32_t shift = 58 - (uint32_t)__builtin_clzll(value);
    return shift * 32 + (uint32_t)(value >> shift);
}

uint64_t percentile(const histogram *, double part);

uint64_t microseconds(void);
void servers_time(double *user, double *system); /* seconds of processor time of all `pid`s, with their threads */
double own_time(void);

#endif
