/* The provider and the origin in one process, so that it never is what limits a gateway.
 *
 *   far_end USER_PREFIX PASSWORD
 *
 * Three loopback ports, printed as "AUTH OPEN RAW" on the first line:
 *   AUTH  a CONNECT proxy that asks for "Proxy-Authorization: Basic …" and checks user prefix and password, as the
 *         providers do (one account, many sticky user names); anything else gets 407
 *   OPEN  the same without a credential, for gateways that cannot send one
 *   RAW   no CONNECT: the origin itself, for gateways that cannot be chained
 * A line "count" on stdin prints "TUNNELS REFUSED RECEIVED SENT" (sent: taken by the kernel). The end of stdin ends it.
 */
#include "wire.h"

enum { HEAD, COMMAND, ECHOING, SENDING, WAITING };

struct conn {
    char *buffer; /* head or command under way, or echo that the kernel did not take */
    int filled, state, port;
    uint64_t left;
    char endless, ended;
};

static struct conn conns[MAX_FDS];
static char chunk[CHUNK_BYTES];
static int epoll;
static int listeners[3];
static uint64_t tunnels, refused, received, sent_bytes;
static const char *user_prefix, *password;

static int listener(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = loopback(0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 4096) < 0) die("listen");
    send_at_once(fd);
    watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN);
    return fd;
}

static int port_of(int fd) {
    struct sockaddr_in a;
    socklen_t size = sizeof a;
    getsockname(fd, (struct sockaddr *)&a, &size);
    return ntohs(a.sin_port);
}

static void drop(int fd) {
    free(conns[fd].buffer);
    conns[fd].buffer = NULL;
    close(fd);
}

static int decode(const char *in, char *out, int room) {
    int bits = 0, count = 0, length = 0;
    for (; *in && *in != '\r' && *in != '='; in++) {
        const char *alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const char *at = strchr(alphabet, *in);
        if (!at || length >= room - 1) return -1;
        bits = (bits << 6) | (int)(at - alphabet);
        if ((count += 6) >= 8) {
            count -= 8;
            out[length++] = (char)(bits >> count);
            bits &= (1 << count) - 1;
        }
    }
    out[length] = 0;
    return length;
}

static int allowed(const char *head) {
    static const char name[] = "proxy-authorization: basic ";
    char clear[512];
    for (const char *line = head; line && *line; line = strstr(line, "\r\n") ? strstr(line, "\r\n") + 2 : NULL) {
        if (strncasecmp(line, name, sizeof name - 1) != 0) continue;
        if (decode(line + sizeof name - 1, clear, sizeof clear) < 0) return 0;
        char *colon = strchr(clear, ':');
        return colon && strncmp(clear, user_prefix, strlen(user_prefix)) == 0 && strcmp(colon + 1, password) == 0;
    }
    return 0;
}

static void welcome(int at) {
    for (int i = 0; i < 64; i++) {
        int fd = accept4(listeners[at], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        if (fd >= MAX_FDS) { close(fd); return; }
        conns[fd] = (struct conn){.state = at == 2 ? COMMAND : HEAD, .port = at, .buffer = malloc(HEAD_BYTES + 1)};
        watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN);
    }
}

/* 0: the connection is gone. */
static int send_bulk(int fd) {
    struct conn *c = &conns[fd];
    for (int turn = 0; turn < 4; turn++) { /* fair between 16 tunnels */
        size_t want = c->endless || c->left > CHUNK_BYTES ? CHUNK_BYTES : (size_t)c->left;
        ssize_t n = want ? send(fd, chunk, want, MSG_NOSIGNAL) : 0;
        if (n < 0) {
            if (!would_block()) { drop(fd); return 0; }
            return 1;
        }
        sent_bytes += (uint64_t)n;
        if (!c->endless && (c->left -= (uint64_t)n) == 0) {
            shutdown(fd, SHUT_WR);
            c->state = WAITING;
            watch(epoll, EPOLL_CTL_MOD, fd, EPOLLIN);
            return 1;
        }
    }
    return 1;
}

static int echo(int fd, const char *bytes, int count) {
    struct conn *c = &conns[fd];
    ssize_t n = count ? send(fd, bytes, (size_t)count, MSG_NOSIGNAL) : 0;
    if (n < 0 && !would_block()) { drop(fd); return 0; }
    if (n < 0) n = 0;
    sent_bytes += (uint64_t)n;
    if (n < count) { /* small talk only: what does not fit is kept, and reading stops until it went out */
        int rest = count - (int)n;
        if (rest > HEAD_BYTES) { drop(fd); return 0; }
        if (!c->buffer) c->buffer = malloc(HEAD_BYTES + 1);
        memmove(c->buffer, bytes + n, (size_t)rest);
        c->filled = rest;
        watch(epoll, EPOLL_CTL_MOD, fd, EPOLLOUT);
    } else {
        free(c->buffer);
        c->buffer = NULL;
        c->filled = 0;
    }
    return 1;
}

static int begin(int fd) {
    struct conn *c = &conns[fd];
    if (c->filled < COMMAND_BYTES) return 1;
    if (memcmp(c->buffer, "ECHO", 4) == 0) {
        c->state = ECHOING;
        int count = c->filled - COMMAND_BYTES;
        c->filled = 0;
        return echo(fd, c->buffer + COMMAND_BYTES, count);
    }
    if (memcmp(c->buffer, "BULK", 4) != 0) { refused++; drop(fd); return 0; }
    char digits[13] = {0};
    memcpy(digits, c->buffer + 4, 12);
    c->left = strtoull(digits, NULL, 10);
    c->endless = c->left == 0;
    c->state = SENDING;
    watch(epoll, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLOUT);
    return send_bulk(fd);
}

static int greet(int fd) {
    static const char yes[] = "HTTP/1.1 200 Connection established\r\n\r\n";
    static const char no[] = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"far end\"\r\n"
                             "Content-Length: 0\r\nConnection: close\r\n\r\n";
    struct conn *c = &conns[fd];
    c->buffer[c->filled] = 0;
    char *end = strstr(c->buffer, "\r\n\r\n");
    if (!end) {
        if (c->filled >= HEAD_BYTES) { drop(fd); return 0; }
        return 1;
    }
    end[2] = 0;
    if (strncmp(c->buffer, "CONNECT ", 8) != 0 || (c->port == 0 && !allowed(c->buffer))) {
        refused++;
        if (send(fd, no, sizeof no - 1, MSG_NOSIGNAL) < 0) perror("refuse");
        drop(fd);
        return 0;
    }
    tunnels++;
    if (send(fd, yes, sizeof yes - 1, MSG_NOSIGNAL) < 0) { drop(fd); return 0; }
    int head = (int)(end + 4 - c->buffer);
    c->filled -= head;
    memmove(c->buffer, c->buffer + head, (size_t)c->filled);
    c->state = COMMAND;
    return begin(fd);
}

static void take_in(int fd) {
    struct conn *c = &conns[fd];
    char *into = chunk;
    size_t room = c->state == ECHOING ? HEAD_BYTES : CHUNK_BYTES;
    if (c->state <= COMMAND) {
        into = c->buffer + c->filled;
        room = (size_t)(HEAD_BYTES - c->filled);
    }
    ssize_t n = recv(fd, into, room, 0);
    if (n < 0 && would_block()) return;
    if (n <= 0) { drop(fd); return; }
    received += (uint64_t)n;
    if (c->state <= COMMAND) {
        c->filled += (int)n;
        if (c->state == HEAD) greet(fd);
        else begin(fd);
    } else if (c->state == ECHOING) {
        echo(fd, chunk, (int)n);
    }
}

static void serve(int fd, uint32_t events) {
    struct conn *c = &conns[fd];
    if (events & EPOLLOUT) {
        if (c->state == SENDING && !send_bulk(fd)) return;
        if (c->state == ECHOING && c->filled) {
            if (!echo(fd, c->buffer, c->filled)) return;
            if (!c->filled) watch(epoll, EPOLL_CTL_MOD, fd, EPOLLIN);
            return;
        }
    }
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) take_in(fd);
}

static void answer(void) {
    char line[64];
    ssize_t n = read(0, line, sizeof line);
    if (n <= 0) exit(0);
    printf("%llu %llu %llu %llu\n", (unsigned long long)tunnels, (unsigned long long)refused,
           (unsigned long long)received, (unsigned long long)sent_bytes);
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc != 3) { fprintf(stderr, "far_end USER_PREFIX PASSWORD\n"); return 2; }
    user_prefix = argv[1];
    password = argv[2];
    raise_descriptors();
    memset(chunk, 'x', sizeof chunk);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < 3; i++) listeners[i] = listener();
    watch(epoll, EPOLL_CTL_ADD, 0, EPOLLIN);
    printf("%d %d %d\n", port_of(listeners[0]), port_of(listeners[1]), port_of(listeners[2]));
    fflush(stdout);
    struct epoll_event events[TURN_EVENTS];
    for (;;) {
        int count = epoll_wait(epoll, events, TURN_EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == 0) answer();
            else if (fd == listeners[0]) welcome(0);
            else if (fd == listeners[1]) welcome(1);
            else if (fd == listeners[2]) welcome(2);
            else serve(fd, events[i].events);
        }
    }
}
