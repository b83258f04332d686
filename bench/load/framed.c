/* Protocols whose frames carry their length in four bytes: parlour, and the bare server that shows the floor. */
#include "protocol.h"

#include <stdio.h>
#include <string.h>

static uint32_t big_endian(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static size_t parse(member *m, uint8_t *data, size_t size, void (*other)(member *, const uint8_t *, size_t)) {
    size_t done = 0;
    while (size - done >= 4) {
        const uint8_t *body = data + done + 4;
        size_t length = big_endian(data + done);
        if (size - done - 4 < length) break;
        /* The text is the last field of a message. */
        if (length >= TEXT && !memcmp(body + length - TEXT, MARK, 4))
            deliver(m, body + length - TEXT);
        else
            other(m, body, length);
        done += 4 + length;
    }
    return done;
}

/* A map is written as it grows; its strings have at most 255 bytes here. */
typedef struct {
    uint8_t bytes[512];
    size_t size;
} map;

static void put(map *to, const void *bytes, size_t size) {
    memcpy(to->bytes + to->size, bytes, size);
    to->size += size;
}

static void put_str(map *to, const char *string) {
    size_t length = strlen(string);
    if (length > 255) die("too long for this generator: %s", string);
    uint8_t head[2] = {0xd9, (uint8_t)length};
    put(to, head, 2);
    put(to, string, length);
}

static map start(int fields, const char *type) {
    map made = {.size = 4};
    made.bytes[made.size++] = (uint8_t)(0x80 | fields);
    put(&made, "\xa4type", 5);
    made.bytes[made.size++] = (uint8_t)(0xa0 | strlen(type));
    put(&made, type, strlen(type));
    return made;
}

static void field(map *to, const char *key, const char *value) {
    to->bytes[to->size++] = (uint8_t)(0xa0 | strlen(key));
    put(to, key, strlen(key));
    put_str(to, value);
}

static void finish(map *made) {
    size_t length = made->size - 4;
    uint8_t head[4] = {0, 0, (uint8_t)(length >> 8), (uint8_t)length};
    memcpy(made->bytes, head, 4);
}

static void parlour_prepare(room *r) {
    char text[TEXT + 1] = "";
    memset(text, '.', TEXT);
    map say = start(4, "say");
    field(&say, "room", r->name);
    put(&say, "\xa2id\xce", 4);
    r->id_at = say.size;
    put(&say, "\0\0\0\0", 4);
    field(&say, "text", text);
    finish(&say);
    memcpy(r->post, say.bytes, say.size);
    r->post_size = say.size;
    r->text_at = say.size - TEXT;
}

static void parlour_enter(member *m) {
    char name[16];
    snprintf(name, sizeof name, "m%u", m->number);
    map hello = start(4, "hello"), join = start(2, "join");
    field(&hello, "name", name);
    field(&hello, "ticket", m->ticket);
    field(&hello, "protocol", "1.0");
    finish(&hello);
    field(&join, "room", m->room->name);
    finish(&join);
    say(m, hello.bytes, hello.size);
    say(m, join.bytes, join.size);
}

static bool is(const uint8_t *body, size_t length, const char *type) {
    size_t size = strlen(type);
    return length >= 7 + size && body[6] == (0xa0 | size) && !memcmp(body + 7, type, size);
}

static void parlour_other(member *m, const uint8_t *body, size_t length) {
    if (is(body, length, "members")) {
        if (m->step != READY) ready(m);
    } else if (is(body, length, "ping")) {
        say(m, "\0\0\0\x0b\x81\xa4type\xa4pong", 15);
    } else if (is(body, length, "error") || is(body, length, "bye")) {
        char words[256];
        size_t size = length < sizeof words ? length : sizeof words;
        for (size_t i = 0; i < size; i++) words[i] = body[i] >= ' ' && body[i] < 127 ? (char)body[i] : ' ';
        die("the node says: %.*s", (int)size, words);
    }
}

static size_t parlour_parse(member *m, uint8_t *data, size_t size) { return parse(m, data, size, parlour_other); }

const protocol parlour = {"parlour", true, false, true, parlour_prepare, parlour_enter, parlour_parse};

/* The bare server: a first frame with the room's number, which comes back; then texts. */
static void bare_prepare(room *r) {
    memcpy(r->post, "\0\0\0\x40", 4);
    r->text_at = 4;
    r->post_size = 4 + TEXT;
}

static void bare_enter(member *m) {
    uint8_t join[20] = {0, 0, 0, 16};
    memcpy(join + 4, m->room->name, 16);
    say(m, join, sizeof join);
}

static void bare_other(member *m, const uint8_t *body, size_t length) {
    (void)body, (void)length;
    ready(m);
}

static size_t bare_parse(member *m, uint8_t *data, size_t size) { return parse(m, data, size, bare_other); }

const protocol bare = {"bare", true, false, false, bare_prepare, bare_enter, bare_parse};
