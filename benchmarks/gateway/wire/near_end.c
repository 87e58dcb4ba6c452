/* The chips: opens tunnels through a gateway and uses them. One command a line on stdin, one JSON line back.
 *
 *   near_end MODE PORT TARGET CREDENTIALS    MODE: http, socks5 or raw (no gateway: the origin's own port)
 *
 * CREDENTIALS is a file: for http the text behind "Proxy-Authorization: Basic ", for socks5 "user password", one a line,
 * used in turn; an empty file sends none.
 *
 *   open N MS IN_FLIGHT     up to N tunnels that say one thing and then stay quiet; at most MS milliseconds
 *   echo MS                 one tunnel, 64 bytes there and back, one after the other
 *   setup N MS IN_FLIGHT    tunnels opened, proved by one echoed message, and closed: one after the other
 *   bulk N MS               N tunnels downloading for MS milliseconds
 *   fetch N BYTES MS        N tunnels downloading BYTES each, or until they are cut
 *   stall N BYTES           N tunnels that ask for BYTES and never read
 *   drop                    close everything
 */
#include "wire.h"

enum { FREE, CONNECTING, GREETING, LOGIN, HEAD, PROOF, QUIET, READING, STALLED };
enum purpose { FOR_QUIET, FOR_SETUP, FOR_BULK, FOR_STALL };

struct conn {
    char *head; /* a proxy's answer under way */
    int filled, state, credential;
};

static struct conn conns[MAX_FDS];
static int open_fds[MAX_FDS], open_count; /* those that stay: quiet, reading, stalled */
static int at[MAX_FDS];                   /* where a descriptor stands in open_fds */
static char sink[CHUNK_BYTES];
static char **credentials;
static int credential_count, next_credential;
static const char *target;
static int port, epoll, is_socks, is_raw;

static enum purpose purpose;
static char command[COMMAND_BYTES + 1];
static int in_flight, started, done, failed;
static uint64_t bytes, last_byte_us;
static char problem[160];

static void keep(int fd) {
    at[fd] = open_count;
    open_fds[open_count++] = fd;
}

static void forget(int fd) {
    int last = open_fds[--open_count];
    open_fds[at[fd]] = last;
    at[last] = at[fd];
}

static void release(int fd) {
    if (conns[fd].state >= QUIET) forget(fd);
    else in_flight--;
    free(conns[fd].head);
    conns[fd] = (struct conn){.state = FREE};
    close(fd);
}

static void fail(int fd, const char *why) {
    if (!failed++) {
        snprintf(problem, sizeof problem, "%s", why);
        for (char *c = problem; *c; c++) /* it goes into a JSON string */
            if (*c < ' ' || *c == '"' || *c == '\\') *c = ' ';
    }
    release(fd);
}

static void read_credentials(const char *path) {
    FILE *file = fopen(path, "r");
    char line[1024];
    if (!file) die(path);
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        credentials = realloc(credentials, sizeof *credentials * (size_t)(credential_count + 1));
        credentials[credential_count++] = strdup(line);
    }
    fclose(file);
}

static int say(int fd, const void *text, int count) {
    if (send(fd, text, (size_t)count, MSG_NOSIGNAL) == count) return 1;
    fail(fd, "the gateway closed the connection during the handshake");
    return 0;
}

/* The tunnel stands: tell the origin what to do. */
static void established(int fd) {
    char message[COMMAND_BYTES + 8];
    memcpy(message, command, COMMAND_BYTES);
    memcpy(message + COMMAND_BYTES, "hello 12", 8);
    struct conn *c = &conns[fd];
    free(c->head);
    c->head = NULL;
    c->filled = 0;
    if (purpose == FOR_QUIET || purpose == FOR_SETUP) {
        c->state = PROOF;
        say(fd, message, sizeof message);
        return;
    }
    if (!say(fd, message, COMMAND_BYTES)) return;
    in_flight--;
    c->state = purpose == FOR_BULK ? READING : STALLED;
    keep(fd);
    if (purpose == FOR_STALL) watch(epoll, EPOLL_CTL_DEL, fd, 0);
    done++;
}

static void connected(int fd) {
    struct conn *c = &conns[fd];
    char text[2048];
    if (is_raw) {
        established(fd);
        return;
    }
    c->head = malloc(HEAD_BYTES + 1);
    c->filled = 0;
    if (is_socks) {
        c->state = GREETING;
        say(fd, credential_count ? "\5\1\2" : "\5\1\0", 3);
        return;
    }
    int n = snprintf(text, sizeof text, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n", target, target);
    if (credential_count)
        n += snprintf(text + n, sizeof text - (size_t)n, "Proxy-Authorization: Basic %s\r\n", credentials[c->credential]);
    n += snprintf(text + n, sizeof text - (size_t)n, "\r\n");
    c->state = HEAD;
    say(fd, text, n);
}

static void start(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    send_at_once(fd);
    struct sockaddr_in a = loopback(port);
    conns[fd] = (struct conn){.state = CONNECTING};
    if (credential_count) conns[fd].credential = next_credential++ % credential_count;
    started++;
    in_flight++;
    if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0 && errno != EINPROGRESS) {
        fail(fd, strerror(errno));
        return;
    }
    watch(epoll, EPOLL_CTL_ADD, fd, EPOLLOUT);
}

static void socks_request(int fd) {
    char text[300] = "\5\1\0\3";
    const char *colon = strrchr(target, ':');
    int host = (int)(colon - target), to = atoi(colon + 1);
    text[4] = (char)host;
    memcpy(text + 5, target, (size_t)host);
    text[5 + host] = (char)(to >> 8);
    text[6 + host] = (char)to;
    conns[fd].state = HEAD;
    say(fd, text, 7 + host);
}

static void socks_login(int fd) {
    char text[600];
    const char *user = credentials[conns[fd].credential], *space = strchr(user, ' ');
    int n = snprintf(text, sizeof text, "\1%c%.*s%c%s", (int)(space - user), (int)(space - user), user,
                     (int)strlen(space + 1), space + 1);
    conns[fd].state = LOGIN;
    say(fd, text, n);
}

/* The answer to a SOCKS5 message: 2 bytes, or for the request at least 10. Nothing follows until we speak. */
static void socks_answer(int fd) {
    struct conn *c = &conns[fd];
    int need = c->state == HEAD ? 10 : 2;
    if (c->filled < need) return;
    char *h = c->head;
    c->filled = 0;
    if (c->state == GREETING && h[1] == 2) socks_login(fd);
    else if (h[1] != 0) fail(fd, "the SOCKS5 server refused");
    else if (c->state == HEAD) established(fd);
    else socks_request(fd);
}

static void http_answer(int fd) {
    struct conn *c = &conns[fd];
    c->head[c->filled] = 0;
    if (!strstr(c->head, "\r\n\r\n")) {
        if (c->filled >= HEAD_BYTES) fail(fd, "endless answer");
        return;
    }
    if (strncmp(c->head, "HTTP/1.", 7) == 0 && strncmp(c->head + 8, " 200", 4) == 0) established(fd);
    else fail(fd, strtok(c->head, "\r\n"));
}

static void hear(int fd) {
    struct conn *c = &conns[fd];
    ssize_t n = recv(fd, c->head + c->filled, (size_t)(HEAD_BYTES - c->filled), 0);
    if (n < 0 && would_block()) return;
    if (n <= 0) {
        fail(fd, "the gateway closed the connection during the handshake");
        return;
    }
    c->filled += (int)n;
    if (is_socks) socks_answer(fd);
    else http_answer(fd);
}

/* The echo of the first message: the tunnel works end to end. */
static void prove(int fd) {
    struct conn *c = &conns[fd];
    ssize_t n = recv(fd, sink, 8, 0);
    if (n < 0 && would_block()) return;
    if (n <= 0) {
        fail(fd, "the tunnel ended before the first echo");
        return;
    }
    if ((c->filled += (int)n) < 8) return;
    done++;
    if (purpose == FOR_SETUP) {
        release(fd);
        return;
    }
    in_flight--;
    c->state = QUIET;
    keep(fd);
}

static void drink(int fd) {
    ssize_t n = recv(fd, sink, sizeof sink, MSG_TRUNC); /* TCP: counted and thrown away without a copy */
    if (n < 0 && would_block()) return;
    if (n > 0) {
        bytes += (uint64_t)n;
        last_byte_us = now_us();
        return;
    }
    release(fd);
}

static void serve(int fd, uint32_t events) {
    switch (conns[fd].state) {
    case CONNECTING: {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) {
            fail(fd, strerror(error));
            break;
        }
        watch(epoll, EPOLL_CTL_MOD, fd, EPOLLIN);
        connected(fd);
        break;
    }
    case GREETING: case LOGIN: case HEAD: hear(fd); break;
    case PROOF: prove(fd); break;
    case READING: drink(fd); break;
    case QUIET: /* the gateway ended an idle tunnel */
        if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) fail(fd, "an idle tunnel was closed");
        break;
    }
}

static void turn(int wait_ms) {
    struct epoll_event events[TURN_EVENTS];
    int count = epoll_wait(epoll, events, TURN_EVENTS, wait_ms);
    for (int i = 0; i < count; i++) serve(events[i].data.fd, events[i].events);
}

static void begin(enum purpose what, const char *verb, uint64_t size) {
    purpose = what;
    memset(command, '.', COMMAND_BYTES);
    if (strcmp(verb, "ECHO") == 0) memcpy(command, "ECHO", 4);
    else snprintf(command, sizeof command, "BULK%012llu", (unsigned long long)size);
    started = done = failed = 0;
    bytes = 0;
    problem[0] = 0;
}

/* Up to n tunnels, `most` of them on their way at a time, until `end`. */
static void open_tunnels(int n, int most, uint64_t end) {
    while ((started < n || in_flight) && now_us() < end && failed < 50) {
        while (in_flight < most && started < n && now_us() < end && failed < 50) start();
        turn(20);
    }
}

static void give_up_pending(void) {
    for (int fd = 0; fd < MAX_FDS && in_flight; fd++)
        if (conns[fd].state > FREE && conns[fd].state < QUIET) release(fd);
}

static void drop_all(void) {
    while (open_count) release(open_fds[0]);
}

static void tell(uint64_t begun) {
    printf("{\"count\": %d, \"failed\": %d, \"bytes\": %llu, \"seconds\": %.6f, \"problem\": \"%s\"}\n", done, failed,
           (unsigned long long)bytes, (double)(now_us() - begun) / 1e6, problem);
    fflush(stdout);
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* One tunnel of its own, blocking, beside whatever is open. The first samples warm it up. */
static void measure_echo(int ms) {
    enum { MOST = 400000, WARM_UP = 100, SIZE = 64 };
    static uint32_t times[MOST];
    char text[SIZE] = {0}, back[SIZE];
    int already = open_count, count = 0;
    uint64_t begun = now_us(), end = begun + (uint64_t)ms * 1000;
    begin(FOR_QUIET, "ECHO", 0);
    open_tunnels(1, 1, begun + 5000000);
    if (open_count <= already) {
        give_up_pending();
        printf("{\"count\": 0, \"p50_us\": 0, \"p99_us\": 0, \"problem\": \"%s\"}\n", problem[0] ? problem : "no tunnel");
        fflush(stdout);
        return;
    }
    int fd = open_fds[open_count - 1];
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    struct timeval patience = {.tv_sec = 2};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    end = now_us() + (uint64_t)ms * 1000;
    for (int i = 0; count < MOST && now_us() < end; i++) {
        struct timespec a, b;
        clock_gettime(CLOCK_MONOTONIC, &a);
        if (send(fd, text, SIZE, MSG_NOSIGNAL) != SIZE || recv(fd, back, SIZE, MSG_WAITALL) != SIZE) {
            snprintf(problem, sizeof problem, "an echo did not come back");
            break;
        }
        clock_gettime(CLOCK_MONOTONIC, &b);
        if (i >= WARM_UP) times[count++] = (uint32_t)((b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec);
    }
    release(fd);
    qsort(times, (size_t)count, sizeof *times, by_value);
    printf("{\"count\": %d, \"p50_us\": %.1f, \"p99_us\": %.1f, \"problem\": \"%s\"}\n", count,
           count ? times[count / 2] / 1e3 : 0, count ? times[count - 1 - count / 100] / 1e3 : 0, problem);
    fflush(stdout);
}

static void obey(char *line) {
    char verb[16];
    long long n = 0, a = 0, b = 0;
    if (sscanf(line, "%15s %lld %lld %lld", verb, &n, &a, &b) < 1) return;
    uint64_t begun = now_us();
    if (strcmp(verb, "open") == 0) {
        begin(FOR_QUIET, "ECHO", 0);
        open_tunnels((int)n, (int)b, begun + (uint64_t)a * 1000);
    } else if (strcmp(verb, "setup") == 0) {
        begin(FOR_SETUP, "ECHO", 0);
        open_tunnels((int)n, (int)b, begun + (uint64_t)a * 1000);
    } else if (strcmp(verb, "bulk") == 0) {
        begin(FOR_BULK, "BULK", 0);
        open_tunnels((int)n, (int)n, begun + 5000000);
        uint64_t from = now_us(), end = from + (uint64_t)a * 1000;
        bytes = 0;
        while (open_count && now_us() < end) turn(20);
        begun = from;
    } else if (strcmp(verb, "fetch") == 0) {
        begin(FOR_BULK, "BULK", (uint64_t)a);
        uint64_t end = begun + (uint64_t)b * 1000;
        open_tunnels((int)n, (int)n, end);
        while (open_count && now_us() < end) turn(20);
    } else if (strcmp(verb, "stall") == 0) {
        begin(FOR_STALL, "BULK", (uint64_t)a);
        open_tunnels((int)n, (int)n, begun + 10000000);
    } else if (strcmp(verb, "echo") == 0) {
        measure_echo((int)n);
        return;
    }
    give_up_pending();
    uint64_t spent_from = begun;
    if (strcmp(verb, "bulk") == 0) { /* the time is up before the tunnels are closed */
        tell(spent_from);
        drop_all();
        return;
    }
    if (strcmp(verb, "drop") == 0 || strcmp(verb, "fetch") == 0) drop_all();
    tell(spent_from);
}

int main(int argc, char **argv) {
    char line[256];
    if (argc != 5) { fprintf(stderr, "near_end MODE PORT TARGET CREDENTIALS\n"); return 2; }
    is_socks = strcmp(argv[1], "socks5") == 0;
    is_raw = strcmp(argv[1], "raw") == 0;
    port = atoi(argv[2]);
    target = argv[3];
    raise_descriptors();
    read_credentials(argv[4]);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    while (fgets(line, sizeof line, stdin)) obey(line);
    return 0;
}
