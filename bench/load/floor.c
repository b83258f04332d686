/* The least that a fan-out server can do: one thread, one epoll, no log, no checks; what it reads in one round for a
 * room it sends to each member of that room in one piece. It shows how much of a figure is the kernel's and the
 * generator's.
 *
 *     floor PORT
 *
 * Frames have four bytes of length. A connection's first names its room and comes back; all later ones go to the room.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ROOMS = 4096, FDS = 65536, READ = 64 * 1024, EVENTS = 1024 };

typedef struct {
    char *bytes;
    size_t size, room;
} heap;

typedef struct {
    int *fds;
    int size;
    heap batch;
} room;

typedef struct {
    int room; /* 0 until it has named one */
    heap in, out;
} client;

static room rooms[ROOMS];
static client clients[FDS];
static int epoll;

static void append(heap *to, const void *bytes, size_t size) {
    if (to->size + size > to->room && !(to->bytes = realloc(to->bytes, to->room = 2 * (to->size + size)))) abort();
    memcpy(to->bytes + to->size, bytes, size);
    to->size += size;
}

static void drop(heap *from, size_t size) { memmove(from->bytes, from->bytes + size, from->size -= size); }

static void watch(int fd, uint32_t events) {
    epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &(struct epoll_event){.events = events, .data.fd = fd});
}

static void leave(int fd) {
    room *r = &rooms[clients[fd].room];
    for (int i = 0; i < r->size; i++)
        if (r->fds[i] == fd) r->fds[i] = r->fds[--r->size];
    close(fd);
    clients[fd].room = 0;
    clients[fd].in.size = clients[fd].out.size = 0;
}

static void give(int fd, const char *bytes, size_t size) {
    heap *out = &clients[fd].out;
    ssize_t sent = out->size ? 0 : send(fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) sent = 0;
    if ((size_t)sent == size) return;
    append(out, bytes + sent, size - (size_t)sent);
    watch(fd, EPOLLIN | EPOLLOUT);
}

static void flush(int fd) {
    heap *out = &clients[fd].out;
    ssize_t sent = send(fd, out->bytes, out->size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) drop(out, (size_t)sent);
    if (!out->size) watch(fd, EPOLLIN);
}

/* Return the room that has something to send now and had nothing before, or 0. */
static int hear(int fd) {
    static char buffer[READ];
    client *c = &clients[fd];
    ssize_t got = recv(fd, buffer, READ, MSG_DONTWAIT);
    if (got <= 0) {
        if (!got || errno != EAGAIN) leave(fd);
        return 0;
    }
    append(&c->in, buffer, (size_t)got);
    size_t done = 0;
    int fresh = 0;
    while (c->in.size - done >= 4) {
        uint32_t length;
        memcpy(&length, c->in.bytes + done, 4);
        length = 4 + ntohl(length);
        if (c->in.size - done < length) break;
        if (c->room) {
            room *r = &rooms[c->room];
            if (!r->batch.size) fresh = c->room;
            append(&r->batch, c->in.bytes + done, length);
        } else {
            /* The frame ends with zeros, and the room's name is `room` and its number. */
            c->room = 1 + atoi(c->in.bytes + done + 8) % (ROOMS - 1);
            room *r = &rooms[c->room];
            if (!(r->fds = realloc(r->fds, (size_t)(r->size + 1) * sizeof *r->fds))) abort();
            r->fds[r->size++] = fd;
            give(fd, c->in.bytes + done, length);
        }
        done += length;
    }
    drop(&c->in, done);
    return fresh;
}

int main(int count, char **arguments) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(count > 1 ? arguments[1] : "0"))};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 4096)) {
        perror("floor");
        return 1;
    }
    epoll = epoll_create1(0);
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.fd = listener});
    static struct epoll_event events[EVENTS];
    static int busy[EVENTS];
    while (1) {
        int found = epoll_wait(epoll, events, EVENTS, -1), waiting = 0;
        for (int i = 0; i < found; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                if ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) < 0 || fd >= FDS) continue;
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
                epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.fd = fd});
                continue;
            }
            if (events[i].events & EPOLLOUT) flush(fd);
            if (!(events[i].events & ~(uint32_t)EPOLLOUT)) continue;
            int fresh = hear(fd);
            if (fresh) busy[waiting++] = fresh;
        }
        for (int i = 0; i < waiting; i++) {
            room *r = &rooms[busy[i]];
            for (int j = 0; j < r->size; j++) give(r->fds[j], r->batch.bytes, r->batch.size);
            r->batch.size = 0;
        }
    }
}
