/* A load generator for chat servers: rooms of members, some of whom send, every delivery at every member checked.
 *
 *     load PROTOCOL PORT NAME=NUMBER ...
 *
 * rooms, members (of each room), senders (of each), window (posts that a sender has on the way; it sends the next one
 * when one comes back, or, where a sender is not sent its own, when the next member has it), rate (posts per second of
 * all together, instead of a window), each (posts that a sender sends in all; 0: as many as it can), warm and measure
 * (milliseconds), slow (members of each room that read 40 KiB a second and are not counted), entering (members at most
 * that are on their way in at once), pid (of a server's process, any number of times).
 *
 * It says `ready SECONDS` when all are in, begins when it reads a line `go`, and ends with one line of JSON. For
 * parlour it reads a line `PORT TICKET` for each member before. Whatever goes wrong is one line on standard error.
 *
 * One thread and one epoll run everything.
 */
#define _GNU_SOURCE
#include "protocol.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
    READ = 256 * 1024,      /* bytes at most in one read: more would leave the processor's cache */
    TAIL = 512 * 1024,      /* bytes at most that a protocol may leave for later */
    EVENTS = 1024,
    PATIENCE = 120,         /* seconds for all to get in, and */
    DRAIN = 60,             /* for the last delivery to come */
};

static const protocol *const PROTOCOLS[] = {&parlour, &lines, &bare, &irc, &mqtt, &redis, &nats, &xmpp};
static const protocol *spoken;

static room *rooms;
static member *members;
static uint32_t port, total, begun;
static int timer = -1;
static uint64_t pace_begun, pause_ns;
static bool going;                /* `go` was read */
static bool sending;              /* what comes back is answered by the next post */
static uint8_t buffer[TAIL + READ];

static void hear(member *m) {
    if (m->tail_size) memcpy(buffer, m->tail, m->tail_size);
    ssize_t got = recv(m->fd, buffer + m->tail_size, READ, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) die("member %u was cut off: %s", m->number, got ? strerror(errno) : "the server closed the door");
    /* A server that leaves Nagle's algorithm on would be measured by our delayed acknowledgements, 40 ms each. */
    if (spoken->nagles) setsockopt(m->fd, IPPROTO_TCP, TCP_QUICKACK, &(int){1}, sizeof(int));
    now = microseconds();
    size_t size = m->tail_size + (size_t)got, done = spoken->parse(m, buffer, size);
    if ((m->tail_size = size - done) > TAIL) die("member %u cannot make sense of what it is sent", m->number);
    if (m->tail_size > m->tail_room) m->tail = grown(m->tail, m->tail_room = 2 * m->tail_size);
    if (m->tail_size) memcpy(m->tail, buffer + done, m->tail_size);
    if (m->awaits == NOBODY) return;
    member *sender = &m->room->members[m->awaits];
    if (sender->owed && sending && the.window) speak(sender, sender->owed, microseconds());
    sender->owed = 0;
}

/* --- entering ----------------------------------------------------------------------------------------------------- */

static void connect_to(member *m, uint32_t at_port) {
    m->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (m->fd < 0) die("cannot open another socket (%s): raise the limit of open files", strerror(errno));
    setsockopt(m->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (m->slow) setsockopt(m->fd, SOL_SOCKET, SO_RCVBUF, &(int){16 * 1024}, sizeof(int));
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)at_port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(m->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS)
        die("cannot connect to port %u: %s", at_port, strerror(errno));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = m};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, m->fd, &event)) die("epoll: %s", strerror(errno));
    m->queued = true;
    spoken->enter(m);
}

static void obey(char *line) {
    static uint32_t assigned;
    if (!strcmp(line, "go")) {
        going = true;
    } else {
        char *ticket = strchr(line, ' ');
        if (!ticket || assigned >= total) die("this is no line for this generator: %s", line);
        members[assigned].ticket = strdup(ticket + 1);
        members[assigned++].step = -atoi(line);
    }
}

static void read_orders(void) {
    static char lines[64 * 1024];
    static size_t size;
    ssize_t got = read(0, lines + size, sizeof lines - size - 1);
    if (got <= 0) die("standard input ended");
    lines[size += (size_t)got] = 0;
    char *line = lines, *end;
    for (; (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        obey(line);
    }
    memmove(lines, line, size -= (size_t)(line - lines));
}

/* Let the next ones in; one of parlour's needs its ticket first, which comes with its node's port. */
static void let_in(void) {
    for (; begun < total && begun - entered < the.entering; begun++) {
        member *m = &members[begun];
        if (spoken->ticketed && !m->ticket) return;
        uint32_t at_port = spoken->ticketed ? (uint32_t)-m->step : port;
        m->step = 0;
        connect_to(m, at_port);
    }
}

static void furnish(void) {
    rooms = zeroed(the.rooms, sizeof *rooms);
    members = zeroed(total, sizeof *members);
    for (uint32_t i = 0; i < the.rooms; i++) {
        room *r = &rooms[i];
        snprintf(r->name, sizeof r->name, "room%u", i);
        r->members = members + (size_t)i * the.members;
        r->size = the.members;
        r->senders = the.senders;
        r->expected = zeroed((size_t)the.members * the.senders, sizeof *r->expected);
        spoken->prepare(r);
        memset(r->post + r->text_at, '.', TEXT);
        memcpy(r->post + r->text_at, MARK, 4);
        for (uint32_t j = 0; j < r->size; j++) {
            member *m = &r->members[j];
            m->number = i * the.members + j;
            m->place = j;
            m->room = r;
            m->slow = j >= the.members - the.slow;
            uint32_t awaits = spoken->echoes ? j : (j + the.members - 1) % the.members;
            m->awaits = awaits < the.senders ? awaits : NOBODY;
        }
    }
}

/* --- the run ------------------------------------------------------------------------------------------------------ */

/* Send what the clock says; a post carries the time at which it was due, not that at which this program woke. */
static void keep_pace(void) {
    static uint64_t paced;
    uint64_t due = 0;
    if (read(timer, &due, sizeof due) != sizeof due) return;
    for (; due && sending; due--) {
        uint64_t sender = paced++ % ((uint64_t)the.rooms * the.senders);
        room *r = &rooms[sender % the.rooms];
        speak(&r->members[sender / the.rooms], 1, pace_begun + paced * pause_ns / 1000);
    }
}

/* Slow readers wake at no event; they take a little whenever it is time. */
static void read_slowly(void) {
    static uint64_t last;
    static char waste[4096];
    uint64_t time = microseconds();
    if (!the.slow || entered < total || time - last < 100000) return;
    last = time;
    for (uint32_t i = 0; i < total; i++)
        if (members[i].slow && !recv(members[i].fd, waste, sizeof waste, MSG_DONTWAIT))
            die("member %u, a slow reader, was cut off", i);
}

static void turn(uint64_t until) {
    static struct epoll_event events[EVENTS];
    uint64_t time = microseconds();
    int wait = time >= until ? 0 : until - time > 100000 ? 100 : (int)((until - time + 999) / 1000);
    int count = epoll_wait(poller, events, EVENTS, wait);
    if (count < 0 && errno != EINTR) die("epoll: %s", strerror(errno));
    for (int i = 0; i < count; i++) {
        member *m = events[i].data.ptr;
        if (!m) {
            read_orders();
        } else if ((void *)m == (void *)&timer) {
            keep_pace();
        } else {
            if (events[i].events & EPOLLOUT) m->connected = true, flush(m);
            if (events[i].events & ~(uint32_t)EPOLLOUT) hear(m);
        }
    }
    read_slowly();
}

static uint64_t delivered(void) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < the.rooms; i++) sum += rooms[i].delivered;
    return sum;
}

static uint64_t posts(void) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < total; i++) sum += members[i].said;
    return sum;
}

static uint64_t wanted(void) { return posts() * (the.members - the.slow - !spoken->echoes); }

static void enter_all(void) {
    uint64_t start = microseconds(), deadline = start + PATIENCE * 1000000ull;
    while (entered < total) {
        let_in();
        turn(deadline);
        if (microseconds() > deadline) die("only %u of %u members got in within %d s", entered, total, PATIENCE);
    }
    printf("ready %.3f\n", (double)(microseconds() - start) / 1e6);
    fflush(stdout);
    while (!going) turn(UINT64_MAX);
}

static void begin(void) {
    sending = true;
    if (the.rate) {
        timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
        pause_ns = 1000000000 / the.rate;
        pace_begun = microseconds();
        struct timespec step = {(time_t)pause_ns / 1000000000, (long)pause_ns % 1000000000};
        timerfd_settime(timer, 0, &(struct itimerspec){step, step}, NULL);
        epoll_ctl(poller, EPOLL_CTL_ADD, timer, &(struct epoll_event){.events = EPOLLIN, .data.ptr = &timer});
        return;
    }
    for (uint32_t i = 0; i < total; i++)
        if (members[i].place < the.senders) speak(&members[i], the.window, microseconds());
}

static bool drain(uint64_t deadline) {
    while (delivered() < wanted() && microseconds() < deadline) turn(deadline);
    return delivered() >= wanted();
}

static void run(void) {
    uint64_t *before = zeroed(the.rooms, sizeof *before);
    uint64_t end = microseconds() + the.warm * 1000ull;
    if (the.each) latencies = &measured;
    begin();
    while (microseconds() < end) turn(end);
    for (uint32_t i = 0; i < the.rooms; i++) before[i] = rooms[i].delivered;
    double user[2], system[2], own = own_time();
    servers_time(&user[0], &system[0]);
    uint64_t start = microseconds(), had = delivered(), said = posts();
    latencies = &measured;
    if (the.each) {
        had = said = 0;
        drain(start + DRAIN * 1000000ull);
    }
    end = start + the.measure * 1000ull;
    while (microseconds() < end) turn(end);
    uint64_t stop = microseconds(), have = delivered(), spoke = posts();
    latencies = &unmeasured;
    sending = false;
    own = own_time() - own;
    servers_time(&user[1], &system[1]);
    double seconds = (double)(stop - start) / 1e6, mean = (double)(have - had) / the.rooms, slowest = mean;
    for (uint32_t i = 0; i < the.rooms; i++)
        if ((double)(rooms[i].delivered - before[i]) < slowest) slowest = (double)(rooms[i].delivered - before[i]);
    bool drained = drain(microseconds() + DRAIN * 1000000ull);
    double drained_in = (double)(microseconds() - stop) / 1e6;
    printf("{\"seconds\": %.6f, \"posts\": %lu, \"deliveries\": %lu, \"server_user\": %.3f, \"server_system\": %.3f, "
           "\"own\": %.3f, \"p50\": %lu, \"p99\": %lu, \"max\": %lu, \"slowest_room\": %.4f, "
           "\"drained\": %s, \"drained_in\": %.3f, \"missing\": %ld, \"disordered\": %lu}\n",
           seconds, spoke - said, have - had, user[1] - user[0], system[1] - system[0], own,
           percentile(&measured, 0.5), percentile(&measured, 0.99), percentile(&measured, 1), mean ? slowest / mean : 0,
           drained ? "true" : "false", drained_in, (long)(wanted() - delivered()), disordered);
}

int main(int count, char **arguments) {
    if (count < 3) die("usage: load PROTOCOL PORT NAME=NUMBER ...");
    for (size_t i = 0; i < sizeof PROTOCOLS / sizeof *PROTOCOLS; i++)
        if (!strcmp(arguments[1], PROTOCOLS[i]->name)) spoken = PROTOCOLS[i];
    if (!spoken) die("%s is no protocol of this generator", arguments[1]);
    port = (uint32_t)atoi(arguments[2]);
    for (int i = 3; i < count; i++) take(arguments[i]);
    if (the.rate) the.window = 0;
    total = the.rooms * the.members;
    if (!total || the.senders + the.slow > the.members || total > 32000) die("so many members and senders cannot be");
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    poller = epoll_create1(0);
    struct epoll_event orders = {.events = EPOLLIN};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, 0, &orders)) die("standard input must be a pipe");
    furnish();
    enter_all();
    run();
    return 0;
}
