/* What every other file here stands on: the numbers of the command line, memory, and the end with one line. */
#ifndef COMMON_H
#define COMMON_H

#include <stddef.h>
#include <stdint.h>

/* What the command line says; load.c tells what each means. */
enum { PIDS = 32 };
typedef struct {
    uint32_t rooms, members, senders, window, rate, each, warm, measure, slow, entering, pid, pids[PIDS], pid_count;
} options;
extern options the;
void take(const char *argument);

void die(const char *, ...) __attribute__((format(printf, 1, 2), noreturn));
void *zeroed(size_t count, size_t size);
void *grown(void *, size_t size);

#endif
