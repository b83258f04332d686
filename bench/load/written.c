/* Protocols that are text to be searched: IRC and JSON lines, whose lines end, and XMPP (multi-user chat), which is XML. */
#define _GNU_SOURCE
#include "protocol.h"

#include <stdio.h>
#include <string.h>

/* IRC. A sender is not sent its own lines. */
static void irc_prepare(room *r) {
    char text[64];
    snprintf(text, sizeof text, "PRIVMSG #%s :", r->name);
    post(r, text, "\r\n");
}

static void irc_enter(member *m) { say_text(m, "NICK m%u\r\nUSER m%u 0 * :m\r\n", m->number, m->number); }

static void irc_line(member *m, const char *line, size_t length) {
    if (!strncmp(line, "PING ", 5)) {
        say_text(m, "PONG %.*s\r\n", (int)length - 5, line + 5);
    } else if (!strncmp(line, "ERROR", 5)) {
        die("the IRC server says: %.*s", (int)length, line);
    } else if (m->step != READY && line[0] == ':') {
        const char *code = memchr(line, ' ', length);
        if (!code) return;
        if (!strncmp(code, " 001 ", 5)) say_text(m, "JOIN #%s\r\n", m->room->name);
        else if (!strncmp(code, " 366 ", 5)) ready(m);
        else if ((code[1] == '4' || code[1] == '5') && strncmp(code, " 422 ", 5)) /* 422: no message of the day */
            die("the IRC server says: %.*s", (int)length, line);
    }
}

static size_t irc_parse(member *m, uint8_t *data, size_t size) {
    size_t done = 0;
    uint8_t *end;
    while ((end = memchr(data + done, '\n', size - done))) {
        uint8_t *line = data + done, *stop = end > line && end[-1] == '\r' ? end - 1 : end;
        if (stop - line > TEXT && !memcmp(stop - TEXT, MARK, 4)) {
            deliver(m, stop - TEXT);
        } else {
            *stop = 0;
            irc_line(m, (char *)line, (size_t)(stop - line));
        }
        done = (size_t)(end - data) + 1;
    }
    return done;
}

const protocol irc = {"irc", false, true, false, irc_prepare, irc_enter, irc_parse};

/* JSON lines of parlour. The text is the last field of a message. */
static void lines_prepare(room *r) {
    char text[128];
    int size = snprintf(text, sizeof text, "{\"type\":\"say\",\"room\":\"%s\",\"id\":0000000000,\"text\":\"", r->name);
    post(r, text, "\"}\n");
    r->decimal_at = (size_t)size - strlen("0000000000,\"text\":\"");
}

static void lines_enter(member *m) {
    say_text(m, "{\"type\":\"hello\",\"name\":\"m%u\",\"ticket\":\"%s\"}\n{\"type\":\"join\",\"room\":\"%s\"}\n", m->number, m->ticket,
             m->room->name);
}

static bool begins(const uint8_t *line, size_t length, const char *type) {
    size_t size = strlen(type);
    return length > 9 + size && !memcmp(line + 9, type, size) && line[9 + size] == '"';
}

static size_t lines_parse(member *m, uint8_t *data, size_t size) {
    size_t done = 0;
    uint8_t *end;
    while ((end = memchr(data + done, '\n', size - done))) {
        uint8_t *line = data + done, *stop = end - 2;
        size_t length = (size_t)(end - line);
        if (length > TEXT + 2 && !memcmp(stop - TEXT, MARK, 4)) deliver(m, stop - TEXT);
        else if (begins(line, length, "members") && m->step != READY) ready(m);
        else if (begins(line, length, "ping")) say_text(m, "{\"type\":\"pong\"}\n");
        else if (begins(line, length, "error") || begins(line, length, "bye"))
            die("the node says: %.*s", (int)length, (const char *)line);
        done += length + 1;
    }
    return done;
}

const protocol lines = {"lines", true, false, true, lines_prepare, lines_enter, lines_parse};

/* XMPP: SASL ANONYMOUS, a resource, then the room at its own host. */
static void xmpp_prepare(room *r) {
    char text[128];
    snprintf(text, sizeof text, "<message to='%s@rooms.localhost' type='groupchat'><body>", r->name);
    post(r, text, "</body></message>");
}

static void xmpp_stream(member *m) {
    say_text(m, "<?xml version='1.0'?><stream:stream to='localhost' version='1.0' xmlns='jabber:client' "
                "xmlns:stream='http://etherx.jabber.org/streams'>");
}

static void xmpp_enter(member *m) { xmpp_stream(m); }

/* What is waited for at each step. */
static const char *const XMPP_STEPS[] = {
    "</stream:features>", "<success", "</stream:features>", "</bind>", "code='110'",
};

static void xmpp_step(member *m) {
    switch (m->step++) {
    case 0: say_text(m, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>"); break;
    case 1: xmpp_stream(m); break;
    case 2:
        say_text(m, "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>r</resource>"
                    "</bind></iq>");
        break;
    case 3:
        say_text(m, "<presence to='%s@rooms.localhost/m%u'><x xmlns='http://jabber.org/protocol/muc'>"
                    "<history maxstanzas='0'/></x></presence>", m->room->name, m->number);
        break;
    default: ready(m);
    }
}

static size_t xmpp_parse(member *m, uint8_t *data, size_t size) {
    size_t done = 0;
    uint8_t *found;
    while (m->step != READY) {
        const char *wanted = XMPP_STEPS[m->step];
        found = memmem(data + done, size - done, wanted, strlen(wanted));
        if (!found) {
            static const char *const REFUSALS[] = {"<failure", "<stream:error", "type='error'"};
            for (size_t i = 0; i < sizeof REFUSALS / sizeof *REFUSALS; i++)
                if (memmem(data + done, size - done, REFUSALS[i], strlen(REFUSALS[i])))
                    die("the XMPP server says: %.*s", (int)(size - done), data + done);
            break;
        }
        done = (size_t)(found - data) + strlen(wanted);
        xmpp_step(m);
    }
    while ((found = memmem(data + done, size - done, MARK, 4))) {
        if (size - (size_t)(found - data) < TEXT) return (size_t)(found - data);
        deliver(m, found);
        done = (size_t)(found - data) + TEXT;
    }
    /* What is searched for has fewer than 32 bytes, so no more need be kept. */
    return size - done > 32 ? size - 32 : done;
}

const protocol xmpp = {"xmpp", true, false, false, xmpp_prepare, xmpp_enter, xmpp_parse};
