/* Protocols whose messages in one room all begin with the same bytes: Redis (RESP3), NATS, MQTT 3.1.1. */
#include "protocol.h"

#include <stdio.h>
#include <string.h>

/* `other` takes one thing that is no message, and returns its size, or 0 while it is not whole. */
static size_t parse(member *m, uint8_t *data, size_t size, size_t (*other)(member *, const uint8_t *, size_t)) {
    const room *r = m->room;
    size_t done = 0, whole = r->head_size + TEXT + r->foot;
    while (done < size) {
        if (size - done >= whole && !memcmp(data + done, r->head, r->head_size)) {
            deliver(m, data + done + r->head_size);
            done += whole;
            continue;
        }
        size_t seen = size - done < r->head_size ? size - done : r->head_size;
        if (!memcmp(data + done, r->head, seen)) break;
        size_t taken = other(m, data + done, size - done);
        if (!taken) break;
        done += taken;
    }
    return done;
}

static size_t line(const uint8_t *data, size_t size) {
    const uint8_t *end = memchr(data, '\n', size);
    return end ? (size_t)(end - data) + 1 : 0;
}

static void head(room *r, const char *bytes, size_t size, size_t foot) {
    memcpy(r->head, bytes, size);
    r->head_size = size;
    r->foot = foot;
}

static bool starts(const uint8_t *data, size_t size, const char *with) {
    return size >= strlen(with) && !memcmp(data, with, strlen(with));
}

/* Redis. With RESP3 a connection that has subscribed may also publish, so a member is one connection, as elsewhere. */
static void redis_prepare(room *r) {
    char text[128];
    size_t name = strlen(r->name);
    snprintf(text, sizeof text, "*3\r\n$7\r\nPUBLISH\r\n$%zu\r\n%s\r\n$%d\r\n", name, r->name, TEXT);
    post(r, text, "\r\n");
    int size = snprintf(text, sizeof text, ">3\r\n$7\r\nmessage\r\n$%zu\r\n%s\r\n$%d\r\n", name, r->name, TEXT);
    head(r, text, (size_t)size, 2);
}

static void redis_enter(member *m) { say_text(m, "HELLO 3\r\nSUBSCRIBE %s\r\nPING\r\n", m->room->name); }

static size_t redis_other(member *m, const uint8_t *data, size_t size) {
    size_t length = line(data, size);
    if (length && data[0] == '-') die("redis says: %.*s", (int)length, data);
    if (starts(data, length, "+PONG") && m->step != READY) ready(m);
    return length;
}

static size_t redis_parse(member *m, uint8_t *data, size_t size) { return parse(m, data, size, redis_other); }

const protocol redis = {"redis", true, false, false, redis_prepare, redis_enter, redis_parse};

/* NATS. */
static void nats_prepare(room *r) {
    char text[128];
    snprintf(text, sizeof text, "PUB %s %d\r\n", r->name, TEXT);
    post(r, text, "\r\n");
    int size = snprintf(text, sizeof text, "MSG %s 1 %d\r\n", r->name, TEXT);
    head(r, text, (size_t)size, 2);
}

static void nats_enter(member *m) {
    say_text(m, "CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":true}\r\nSUB %s 1\r\nPING\r\n", m->room->name);
}

static size_t nats_other(member *m, const uint8_t *data, size_t size) {
    size_t length = line(data, size);
    if (starts(data, length, "PING")) say_text(m, "PONG\r\n");
    if (starts(data, length, "-ERR")) die("nats says: %.*s", (int)length, data);
    if (starts(data, length, "PONG") && m->step != READY) ready(m);
    return length;
}

static size_t nats_parse(member *m, uint8_t *data, size_t size) { return parse(m, data, size, nats_other); }

const protocol nats = {"nats", true, false, false, nats_prepare, nats_enter, nats_parse};

/* MQTT: nothing here has more than 127 bytes, so each length is one byte. */
static void mqtt_prepare(room *r) {
    char text[64] = {0x30};
    size_t name = strlen(r->name);
    text[1] = (char)(2 + name + TEXT);
    text[3] = (char)name;
    memcpy(text + 4, r->name, name);
    head(r, text, 4 + name, 0);
    memcpy(r->post, text, 4 + name);
    r->text_at = 4 + name;
    r->post_size = r->text_at + TEXT;
}

static void mqtt_enter(member *m) {
    char id[16], connect[64] = "\x10\0\0\4MQTT\4\2\0\0", subscribe[64] = "\x82\0\0\1";
    size_t length = (size_t)snprintf(id, sizeof id, "m%u", m->number), name = strlen(m->room->name);
    connect[1] = (char)(12 + length);
    connect[13] = (char)length;
    memcpy(connect + 14, id, length);
    say(m, connect, 14 + length);
    subscribe[1] = (char)(5 + name);
    subscribe[5] = (char)name;
    memcpy(subscribe + 6, m->room->name, name);
    say(m, subscribe, 7 + name);
}

static size_t mqtt_other(member *m, const uint8_t *data, size_t size) {
    if (size < 2 || size < 2u + data[1]) return 0;
    if (data[0] == 0x20 && data[3]) die("the MQTT server refuses a connection with code %d", data[3]);
    if (data[0] == 0x90 && m->step != READY) ready(m);
    return 2u + data[1];
}

static size_t mqtt_parse(member *m, uint8_t *data, size_t size) { return parse(m, data, size, mqtt_other); }

const protocol mqtt = {"mqtt", true, false, false, mqtt_prepare, mqtt_enter, mqtt_parse};
