#include "member.h"

#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

int poller;
uint32_t entered;
uint64_t now, disordered;
histogram measured, unmeasured, *latencies = &unmeasured;

/* --- sending ------------------------------------------------------------------------------------------------------ */

static void watch(member *m, uint32_t events) {
    if (epoll_ctl(poller, EPOLL_CTL_MOD, m->fd, &(struct epoll_event){.events = events, .data.ptr = m}))
        die("epoll: %s", strerror(errno));
}

void flush(member *m) {
    if (!m->connected || !m->out_size) return;
    ssize_t sent = send(m->fd, m->out, m->out_size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) die("member %u was cut off: %s", m->number, strerror(errno));
    if (sent > 0) memmove(m->out, m->out + sent, m->out_size -= (size_t)sent);
    bool queued = m->out_size > 0;
    if (queued != m->queued) watch(m, (m->slow && m->step == READY ? 0 : EPOLLIN) | (queued ? EPOLLOUT : 0));
    m->queued = queued;
}

static uint8_t *space(member *m, size_t size) {
    if (m->out_size + size > m->out_room) {
        m->out_room = 2 * (m->out_size + size);
        m->out = grown(m->out, m->out_room);
    }
    return m->out + m->out_size;
}

void say(member *m, const void *bytes, size_t size) {
    memcpy(space(m, size), bytes, size);
    m->out_size += size;
    flush(m);
}

void say_text(member *m, const char *format, ...) {
    char text[1024];
    va_list words;
    va_start(words, format);
    say(m, text, (size_t)vsnprintf(text, sizeof text, format, words));
    va_end(words);
}

void post(room *r, const char *before, const char *after) {
    size_t head = strlen(before), foot = strlen(after);
    memcpy(r->post, before, head);
    memcpy(r->post + head + TEXT, after, foot);
    r->text_at = head;
    r->post_size = head + TEXT + foot;
}

/* Ten digits that count up; JSON has no number that begins with a zero. */
static void write_decimal(uint8_t *to, uint32_t value) {
    for (int i = 9; i > 0; i--, value /= 10) to[i] = (uint8_t)('0' + value % 10);
    to[0] = '1';
}

void speak(member *m, uint32_t count, uint64_t at) {
    room *r = m->room;
    if (the.each && count > the.each - m->said) count = the.each - m->said;
    for (; count; count--) {
        uint8_t *to = space(m, r->post_size), *text = to + r->text_at;
        memcpy(to, r->post, r->post_size);
        write_digits(text + 4, m->place, 3);
        write_digits(text + 7, m->said++, 5);
        write_digits(text + 12, at, 7);
        if (r->id_at) memcpy(to + r->id_at, &(uint32_t){htonl(m->said)}, 4);
        if (r->decimal_at) write_decimal(to + r->decimal_at, m->said);
        m->out_size += r->post_size;
    }
    flush(m);
}

/* --- receiving ---------------------------------------------------------------------------------------------------- */

inline void deliver(member *m, const uint8_t *text) {
    room *r = m->room;
    uint32_t sender = (uint32_t)read_digits(text + 4, 3), number = (uint32_t)read_digits(text + 7, 5);
    uint64_t at = read_digits(text + 12, 7);
    if (sender >= r->senders) die("a text that nobody wrote: %.*s", TEXT, text);
    uint32_t *expected = &r->expected[(size_t)m->place * r->senders + sender];
    disordered += number != *expected;
    *expected = number + 1;
    r->delivered++;
    /* Digits hold 35 bits of the clock. */
    latencies->counts[bucket((now - at) & (((uint64_t)1 << 35) - 1))]++;
    if (sender == m->awaits) r->members[sender].owed++;
}

void ready(member *m) {
    m->step = READY;
    entered++;
    if (m->slow) watch(m, m->queued ? EPOLLOUT : 0);
}
