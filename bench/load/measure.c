#include "measure.h"

#include "common.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t microseconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

static uint64_t value_of(uint32_t index) { /* the middle of the bucket */
    if (index < 64) return index;
    uint32_t shift = index / 32 - 1;
    return ((uint64_t)(index - shift * 32) << shift) + ((uint64_t)1 << shift) / 2;
}

uint64_t percentile(const histogram *of, double part) {
    uint64_t all = 0, seen = 0;
    for (uint32_t i = 0; i < BUCKETS; i++) all += of->counts[i];
    for (uint32_t i = 0; i < BUCKETS; i++)
        if (of->counts[i] && (double)(seen += of->counts[i]) >= part * (double)all) return value_of(i);
    return 0;
}

/* Seconds of processor time, outside and in the kernel, of the server's processes and all their threads. */
void servers_time(double *user, double *system) {
    *user = *system = 0;
    for (uint32_t i = 0; i < the.pid_count; i++) {
        char path[64], stat[1024] = "";
        snprintf(path, sizeof path, "/proc/%u/stat", the.pids[i]);
        FILE *file = fopen(path, "r");
        if (!file || !fgets(stat, sizeof stat, file)) die("the server (process %u) is gone", the.pids[i]);
        fclose(file);
        unsigned long in_user, in_kernel;
        sscanf(strrchr(stat, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &in_user, &in_kernel);
        *user += (double)in_user / (double)sysconf(_SC_CLK_TCK);
        *system += (double)in_kernel / (double)sysconf(_SC_CLK_TCK);
    }
}

double own_time(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}
