/* The load generator's own words: members, rooms, and what each protocol must be able to do.
 *
 * One thread and one epoll run everything. Nothing here may allocate per message, and nothing may wait but the
 * epoll: the generator must stay quicker than every server that it measures.
 */
#ifndef LOAD_H
#define LOAD_H

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
    size_t post_size, text_at, id_at;  /* id_at: where a post carries its number in four bytes; 0 if it has none */
    size_t head_size, foot;            /* foot: bytes that follow the text */
};

enum { READY = 1000 };

typedef struct {
    const char *name;
    bool echoes;                                 /* a sender is sent its own messages */
    bool nagles;                                 /* its servers do not set TCP_NODELAY */
    void (*prepare)(room *);                     /* fill post and head */
    void (*enter)(member *);                     /* say the first words */
    size_t (*parse)(member *, uint8_t *, size_t); /* take what is whole; return how much that was */
} protocol;

extern const protocol parlour, bare, irc, mqtt, redis, nats, xmpp;

static inline void write_digits(uint8_t *to, uint64_t value, int count) {
    while (count--) to[count] = (uint8_t)('@' + (value & 31)), value >>= 5;
}

static inline uint64_t read_digits(const uint8_t *from, int count) {
    uint64_t value = 0;
    for (int i = 0; i < count; i++) value = value << 5 | (from[i] & 31);
    return value;
}

/* Called by the protocols. */
void say(member *, const void *, size_t);
void say_text(member *, const char *, ...) __attribute__((format(printf, 2, 3)));
void deliver(member *, const uint8_t *text);
void ready(member *);
void die(const char *, ...) __attribute__((format(printf, 1, 2), noreturn));
void post(room *, const char *before, const char *after);

/* What the command line says; load.c tells what each means. */
enum { PIDS = 32 };
typedef struct {
    uint32_t rooms, members, senders, window, rate, each, warm, measure, slow, entering, pid, pids[PIDS], pid_count;
} options;
extern options the;
void take(const char *argument);

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
