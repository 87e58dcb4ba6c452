/* What both ends of the benchmark's wire share: the first message of a tunnel, and small socket tools. */
#define _GNU_SOURCE /* accept4, strcasestr */
#ifndef WIRE_H
#define WIRE_H

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* The first 16 bytes through a tunnel say what the origin is to do:
 *   "ECHO............"  send back everything that follows
 *   "BULK%012llu"       send that many bytes, then end the stream; 0: without end                            */
#define COMMAND_BYTES 16
#define MAX_FDS 65536        /* tables are indexed by descriptor; RLIMIT_NOFILE is raised at most to this */
#define HEAD_BYTES 4096      /* a CONNECT with a credential, or a proxy's answer with many headers */
#define CHUNK_BYTES (256 * 1024) /* one read or write of bulk: large enough that the ends cost less than any proxy */
#define TURN_EVENTS 512

static inline void die(const char *what) {
    perror(what);
    exit(1);
}

static inline uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

/* Nothing is held back. Some systems pace by default (BBR), and the timers of an end's pacing would be charged to
 * whatever runs when they go off, the gateway too: both ends do without, where the system lets them. */
static inline void send_at_once(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
}

static inline struct sockaddr_in loopback(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static inline void watch(int epoll, int op, int fd, uint32_t events) {
    struct epoll_event e = {.events = events, .data.fd = fd};
    if (epoll_ctl(epoll, op, fd, &e) < 0) die("epoll_ctl");
}

/* As many descriptors as the hard limit (and our tables) allow. */
static inline void raise_descriptors(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) die("getrlimit");
    limit.rlim_cur = limit.rlim_max < MAX_FDS ? limit.rlim_max : MAX_FDS;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static inline int would_block(void) { return errno == EAGAIN || errno == EWOULDBLOCK; }

#endif
