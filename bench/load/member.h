/* A member's two halves: what it sends, and what it hears.
 *
 * Nothing here may allocate per message, and nothing may wait: the generator must stay quicker than every server that
 * it measures.
 */
#ifndef MEMBER_H
#define MEMBER_H

#include "measure.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A text is the mark, the sender (its number in the room), the sequence number, the time of sending in microseconds,
 * each in digits of five bits (the characters @ to _, which no protocol here needs to escape), and dots. */
#define TEXT 64
#define MARK "=#=#"
#define NOBODY UINT32_MAX

typedef struct member member;
typedef struct room room;

struct member {
    int fd;
    int step;            /* how far it has come with entering: the protocol's own count, or READY */
    bool connected, slow, queued;
    uint32_t number;     /* among all members */
    uint32_t place;      /* in its room; the first ones send */
    uint32_t awaits;     /* the sender in the room whose messages, once here, let that sender go on; or NOBODY */
    uint32_t said, owed; /* posts sent, and posts that it may send now */
    room *room;
    char *ticket;
    uint8_t *tail, *out; /* what is left of the last read, and what waits to be written */
    size_t tail_size, tail_room, out_size, out_room;
};

struct room {
    char name[16];
    member *members;
    uint32_t size, senders;
    uint32_t *expected;  /* the next sequence number, per member and sender */
    uint64_t delivered;
    uint8_t post[512], head[128];      /* a post but for its text; the constant beginning of a delivered message */
    size_t post_size, text_at;
    size_t id_at, decimal_at;          /* where a post carries its number in four bytes, or in ten digits; 0: nowhere */
    size_t head_size, foot;            /* foot: bytes that follow the text */
};

enum { READY = 1000 };

/* Digits of 32 values that stand as they are in JSON, XML and IRC. */
static inline void write_digits(uint8_t *to, uint64_t value, int count) {
    for (; count--; value >>= 5) {
        uint8_t digit = (uint8_t)('@' + (value & 31));
        to[count] = digit == '\\' ? '|' : digit;
    }
}

static inline uint64_t read_digits(const uint8_t *from, int count) {
    uint64_t value = 0;
    for (int i = 0; i < count; i++) value = value << 5 | (from[i] & 31);
    return value;
}

/* What all members share. */
extern int poller;                        /* the epoll that waits for them all */
extern uint32_t entered;                  /* members that are in */
extern uint64_t now;                      /* microseconds, taken once for each read */
extern uint64_t disordered;               /* messages that did not come in the order of their sender */
extern histogram measured, unmeasured, *latencies;

/* Called by the protocols. */
void say(member *, const void *, size_t);
void say_text(member *, const char *, ...) __attribute__((format(printf, 2, 3)));
void deliver(member *, const uint8_t *text);
void ready(member *);
void post(room *, const char *before, const char *after);

/* Called by the run. */
void flush(member *);
void speak(member *, uint32_t count, uint64_t at); /* send posts, which carry this time */

#endif
