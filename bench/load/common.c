#include "common.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void die(const char *format, ...) {
    va_list words;
    va_start(words, format);
    fprintf(stderr, "load: ");
    vfprintf(stderr, format, words);
    fputc('\n', stderr);
    exit(1);
}

void *zeroed(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (!memory) die("out of memory");
    return memory;
}

void *grown(void *memory, size_t size) {
    if (!(memory = realloc(memory, size))) die("out of memory");
    return memory;
}

options the = {.rooms = 1, .members = 10, .senders = 10, .window = 1, .warm = 1000, .measure = 3000, .entering = 256};

void take(const char *argument) {
    static const struct {
        const char *name;
        uint32_t *value;
    } NAMES[] = {
        {"rooms", &the.rooms}, {"members", &the.members}, {"senders", &the.senders}, {"window", &the.window},
        {"rate", &the.rate},   {"each", &the.each},       {"warm", &the.warm},       {"measure", &the.measure},
        {"slow", &the.slow},   {"entering", &the.entering}, {"pid", &the.pid},
    };
    const char *is = strchr(argument, '=');
    for (size_t i = 0; is && i < sizeof NAMES / sizeof *NAMES; i++) {
        size_t length = strlen(NAMES[i].name);
        if ((size_t)(is - argument) != length || memcmp(argument, NAMES[i].name, length)) continue;
        *NAMES[i].value = (uint32_t)atoi(is + 1);
        if (NAMES[i].value != &the.pid) return;
        if (the.pid_count == PIDS) die("more than %d processes: the time of so many is not counted", PIDS);
        the.pids[the.pid_count++] = the.pid;
        return;
    }
    die("%s is none of NAME=NUMBER", argument);
}
