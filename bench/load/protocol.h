/* What each protocol must be able to do. */
#ifndef PROTOCOL_H
#define PROTOCOL_H

#include "common.h"
#include "member.h"

typedef struct {
    const char *name;
    bool echoes;                                 /* a sender is sent its own messages */
    bool nagles;                                 /* its servers do not set TCP_NODELAY */
    bool ticketed;                               /* each member brings a ticket, to the port that comes with it */
    void (*prepare)(room *);                     /* fill post and head */
    void (*enter)(member *);                     /* say the first words */
    size_t (*parse)(member *, uint8_t *, size_t); /* take what is whole; return how much that was */
} protocol;

extern const protocol parlour, lines, bare, irc, mqtt, redis, nats, xmpp;

#endif
