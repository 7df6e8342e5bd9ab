/* Load client: opens N WebSocket connections, counts the messages every one of them receives.
 * Single thread, epoll, one shared read buffer.  A message is counted when its text holds
 * "seq":<n> (checked for order and gaps) and "ts":<CLOCK_MONOTONIC ns> (latency).
 * Frames with no "seq" (history, acks, warm-up) are counted as `other` and do not matter.
 * Prints READY on stdout when all are connected, one JSON object at the end.
 *   client --port P [--host 127.0.0.1] [--path /ws] --n N --expect M [--idle-ms 4000] [--max-s 120]
 *          [--hello TEXT]... [--subprotocol NAME] [--deflate] [--multi] [--slow K --slow-rcvbuf B] [--batch 64]
 *          [--origin URL]
 * --hello is a text frame sent after the handshake; of several, each connection takes the next in turn.
 * --subprotocol is offered in the handshake, and the server has to choose it.
 * --multi counts every message in a frame; without it a frame counts for one.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

typedef struct { int fd, slow, done, closed; uint32_t llen, lcap; uint8_t *left; int64_t next; uint64_t got; z_stream *z; int close_code; } conn;
static conn *C; static int N = 1, SLOW = 0, MULTI = 0, DEFLATE = 0, done_n = 0, closed_n = 0;
static int64_t EXPECT = 0; static uint64_t deliveries, other, gaps, ooo, bytes_in, reads, frames;
static uint64_t first_ts = UINT64_MAX, last_recv, prev_recv, max_gap; static volatile sig_atomic_t stop_;
#define SHBUF (4u << 20)
static uint8_t *SH; static uint8_t *INF;
#define NB (64 * 64)
static uint64_t H[NB], hmax, hn;
static inline uint64_t now_ns(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return (uint64_t)t.tv_sec * 1000000000ull + t.tv_nsec; }
static inline void hadd(uint64_t v) { if (v > hmax) hmax = v; hn++; int e = v < 64 ? 0 : 63 - __builtin_clzll(v) - 5; uint64_t b = e ? (uint64_t)e * 32 + (v >> e) : v; if (b >= NB) b = NB - 1; H[b]++; }
static double hq(double q) { uint64_t want = (uint64_t)(q * hn), acc = 0; for (int i = 0; i < NB; i++) { acc += H[i]; if (acc > want) { int e = i < 64 ? 0 : (i / 32) - 1; return e ? (double)((uint64_t)(i - e * 32) << e) : i; } } return hmax; }
static void on_sig(int s) { (void)s; stop_ = 1; }

static inline const uint8_t *digits(const uint8_t *p, const uint8_t *e, uint64_t *out) { while (p < e && (*p < '0' || *p > '9')) p++; uint64_t v = 0; if (p == e) return NULL; while (p < e && *p >= '0' && *p <= '9') v = v * 10 + (*p++ - '0'); *out = v; return p; }
static inline const uint8_t *one(conn *c, const uint8_t *hit, const uint8_t *e, uint64_t now) {
    uint64_t seq, ts; const uint8_t *p = digits(hit + 4, e, &seq); if (!p) return NULL;
    p = memmem(p, e - p > 64 ? 64 : e - p, "\"ts", 3); if (!p || !(p = digits(p + 3, e, &ts))) return NULL;
    if (ts < first_ts) first_ts = ts;
    deliveries++; c->got++; if (now > ts) hadd(now - ts);
    if ((int64_t)seq == c->next) c->next++; else if ((int64_t)seq > c->next) { gaps += seq - c->next; c->next = seq + 1; } else ooo++;
    if (prev_recv && now - prev_recv > max_gap) max_gap = now - prev_recv;
    prev_recv = last_recv = now;
    if (!c->done && !c->slow && c->next >= EXPECT) { c->done = 1; done_n++; }
    return p;
}
static inline void text(conn *c, const uint8_t *p, size_t n, uint64_t now) {
    const uint8_t *e = p + n, *h;
    if (MULTI) { int k = 0; while ((h = memmem(p, e - p, "\"seq", 4)) && (p = one(c, h, e, now))) k++; if (!k) other++; return; }
    const uint8_t *t = n > 96 ? e - 96 : p;
    h = memmem(t, e - t, "\"seq", 4); if (!h && t > p) h = memmem(p, n, "\"seq", 4);
    if (!h || !one(c, h, e, now)) other++;
}
#define MAX_SENT 4096
static void send_frame(conn *c, int op, const uint8_t *d, size_t n) { uint8_t b[MAX_SENT + 8]; size_t h = 2; if (n > MAX_SENT) { fprintf(stderr, "frame to send too large\n"); exit(3); } b[0] = 0x80 | op; if (n < 126) b[1] = 0x80 | n; else { b[1] = 0x80 | 126; b[2] = n >> 8; b[3] = n; h = 4; } memset(b + h, 0, 4); memcpy(b + h + 4, d, n); if (send(c->fd, b, n + h + 4, MSG_NOSIGNAL) < 0) {} }
static void mark_closed(conn *c) { if (!c->closed) { c->closed = 1; closed_n++; if (!c->done && !c->slow) { c->done = 1; done_n++; } } }
/* parses whole frames in [p, p+n), returns bytes used */
static size_t parse(conn *c, uint8_t *p, size_t n, uint64_t now) {
    size_t off = 0;
    while (n - off >= 2) {
        uint8_t *f = p + off; uint64_t len = f[1] & 127; size_t h = 2;
        if (len == 126) { if (n - off < 4) break; len = (f[2] << 8) | f[3]; h = 4; }
        else if (len == 127) { if (n - off < 10) break; len = 0; for (int i = 0; i < 8; i++) len = len << 8 | f[2 + i]; h = 10; }
        if (f[1] & 0x80) { fprintf(stderr, "masked server frame\n"); exit(3); }
        if (len > SHBUF - 64) { fprintf(stderr, "frame too large %llu\n", (unsigned long long)len); exit(3); }
        if (n - off < h + len) break;
        int op = f[0] & 15; uint8_t *d = f + h;
        if (op <= 2) {
            frames++;
            if (f[0] & 0x40) {
                if (!c->z) { c->z = calloc(1, sizeof *c->z); inflateInit2(c->z, -15); }
                uint8_t save[4]; memcpy(save, d + len, 4); memcpy(d + len, "\x00\x00\xff\xff", 4);
                c->z->next_in = d; c->z->avail_in = len + 4; c->z->next_out = INF; c->z->avail_out = SHBUF;
                int r = inflate(c->z, Z_SYNC_FLUSH); if (r != Z_OK && r != Z_BUF_ERROR) { fprintf(stderr, "inflate %d\n", r); exit(3); }
                memcpy(d + len, save, 4);
                text(c, INF, SHBUF - c->z->avail_out, now);
            } else text(c, d, len, now);
        } else if (op == 9) send_frame(c, 10, d, len);
        else if (op == 8) { c->close_code = len >= 2 ? d[0] << 8 | d[1] : 1005; }
        off += h + len;
    }
    return off;
}
static void keep(conn *c, uint8_t *p, size_t n) { if (n > c->lcap) { c->lcap = n + 1024; c->left = realloc(c->left, c->lcap); } memmove(c->left, p, n); c->llen = n; }
static int arg_i(int ac, char **av, const char *k, int d) { for (int i = 1; i < ac - 1; i++) if (!strcmp(av[i], k)) return atoi(av[i + 1]); return d; }
static const char *arg_s(int ac, char **av, const char *k, const char *d) { for (int i = 1; i < ac - 1; i++) if (!strcmp(av[i], k)) return av[i + 1]; return d; }
static int arg_f(int ac, char **av, const char *k) { for (int i = 1; i < ac; i++) if (!strcmp(av[i], k)) return 1; return 0; }

int main(int ac, char **av) {
    int port = arg_i(ac, av, "--port", 8000), idle_ms = arg_i(ac, av, "--idle-ms", 4000), max_s = arg_i(ac, av, "--max-s", 120), batch = arg_i(ac, av, "--batch", 64), rcv = arg_i(ac, av, "--slow-rcvbuf", 4096), first_ms = arg_i(ac, av, "--first-ms", 30000);
    const char *host = arg_s(ac, av, "--host", "127.0.0.1"), *path = arg_s(ac, av, "--path", "/ws"), *origin = arg_s(ac, av, "--origin", NULL), *protocol = arg_s(ac, av, "--subprotocol", NULL), *hello[64]; int hellos = 0;
    for (int i = 1; i < ac - 1 && hellos < 64; i++) if (!strcmp(av[i], "--hello")) hello[hellos++] = av[i + 1];
    N = arg_i(ac, av, "--n", 1); EXPECT = arg_i(ac, av, "--expect", 0); SLOW = arg_i(ac, av, "--slow", 0); MULTI = arg_f(ac, av, "--multi"); DEFLATE = arg_f(ac, av, "--deflate");
    signal(SIGTERM, on_sig); signal(SIGINT, on_sig); signal(SIGPIPE, SIG_IGN);
    struct rlimit rl; getrlimit(RLIMIT_NOFILE, &rl); rl.rlim_cur = rl.rlim_max; setrlimit(RLIMIT_NOFILE, &rl);
    C = calloc(N, sizeof *C); SH = malloc(SHBUF + 64); INF = malloc(SHBUF); int ep = epoll_create1(0);
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)}; inet_pton(AF_INET, host, &sa.sin_addr);
    uint64_t t0 = now_ns(); char req[1024];
    int rn = snprintf(req, sizeof req, "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s%s%s%s%s%s%s\r\n", path, host, port, protocol ? "Sec-WebSocket-Protocol: " : "", protocol ? protocol : "", protocol ? "\r\n" : "", origin ? "Origin: " : "", origin ? origin : "", origin ? "\r\n" : "", DEFLATE ? "Sec-WebSocket-Extensions: permessage-deflate\r\n" : "");
    for (int b = 0; b < N; b += batch) {
        int e = b + batch < N ? b + batch : N;
        for (int i = b; i < e; i++) {
            conn *c = &C[i]; c->fd = socket(AF_INET, SOCK_STREAM, 0); c->slow = i >= N - SLOW;
            if (c->slow) setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &rcv, sizeof rcv);
            int on = 1; setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            struct timeval tv = {20, 0}; setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
            if (connect(c->fd, (void *)&sa, sizeof sa)) { perror("connect"); return 2; }
            if (send(c->fd, req, rn, 0) != rn) { perror("send"); return 2; }
        }
        for (int i = b; i < e; i++) {
            conn *c = &C[i]; size_t n = 0; uint8_t *end = NULL;
            while (!end) { ssize_t r = recv(c->fd, SH + n, SHBUF - n, 0); if (r <= 0) { fprintf(stderr, "handshake %d: %s after %zu bytes\n", i, r ? strerror(errno) : "closed", n); return 2; } n += r; SH[n] = 0; end = memmem(SH, n, "\r\n\r\n", 4); }
            if (memcmp(SH, "HTTP/1.1 101", 12)) { fprintf(stderr, "handshake %d: %.80s\n", i, SH); return 2; }
            if (!memmem(SH, n, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 28)) { fprintf(stderr, "bad accept key\n"); return 2; }
            if (protocol && !strcasestr((char *)SH, "sec-websocket-protocol:")) { fprintf(stderr, "subprotocol %s was not chosen\n", protocol); return 2; }
            size_t hl = end + 4 - SH; if (n > hl) { size_t u = parse(c, SH + hl, n - hl, now_ns()); keep(c, SH + hl + u, n - hl - u); }
            if (hellos) { const char *t = hello[i % hellos]; send_frame(c, 1, (const uint8_t *)t, strlen(t)); }
            fcntl(c->fd, F_SETFL, O_NONBLOCK);
            if (!c->slow) { struct epoll_event ev = {.events = EPOLLIN, .data.u32 = i}; epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev); }
        }
    }
    uint64_t t1 = now_ns(); printf("READY %d\n", N); fflush(stdout);
    static struct epoll_event evs[512]; uint64_t started = 0, ready = now_ns(); struct rusage ru0; getrusage(RUSAGE_SELF, &ru0);
    const char *why = "complete";
    while (!stop_) {
        if (EXPECT && done_n >= N - SLOW) { if (closed_n) why = "closed"; break; }
        int k = epoll_wait(ep, evs, 512, 50); uint64_t now = now_ns();
        if (!started && deliveries) started = now;
        if (started && now - last_recv > (uint64_t)idle_ms * 1000000) { why = "idle"; if (now - last_recv > max_gap) max_gap = now - last_recv; break; }
        if (started && now - started > (uint64_t)max_s * 1000000000) { why = "max-s"; break; }
        if (!started && EXPECT && now - ready > (uint64_t)first_ms * 1000000) { why = "nothing"; break; }
        for (int j = 0; j < k; j++) {
            conn *c = &C[evs[j].data.u32]; if (c->closed) continue;
            if (c->llen) memcpy(SH, c->left, c->llen);
            ssize_t r = recv(c->fd, SH + c->llen, SHBUF - c->llen, 0);
            if (r < 0 && (errno == EAGAIN || errno == EINTR)) continue;
            if (r <= 0) { epoll_ctl(ep, EPOLL_CTL_DEL, c->fd, NULL); mark_closed(c); continue; }
            reads++; bytes_in += r; size_t n = c->llen + r; now = now_ns();
            size_t u = parse(c, SH, n, now);
            if (u < n) keep(c, SH + u, n - u); else c->llen = 0;
        }
    }
    if (stop_) why = "signal";
    struct rusage ru; getrusage(RUSAGE_SELF, &ru);
#define TV(a) (a.tv_sec + a.tv_usec / 1e6)
    double cpu = TV(ru.ru_utime) + TV(ru.ru_stime) - TV(ru0.ru_utime) - TV(ru0.ru_stime), wall = deliveries ? (last_recv - first_ts) / 1e9 : 0;
    uint64_t mn = UINT64_MAX, mx = 0; for (int i = 0; i < N - SLOW; i++) { if (C[i].got < mn) mn = C[i].got; if (C[i].got > mx) mx = C[i].got; }
    int64_t want = (int64_t)(N - SLOW) * EXPECT;
    int64_t fast = 0; for (int i = 0; i < N - SLOW; i++) fast += C[i].got;
    printf("{\"end\":\"%s\",\"clients\":%d,\"slow\":%d,\"connect_s\":%.3f,\"expected\":%lld,\"deliveries\":%lld,\"lost\":%lld,\"gaps\":%llu,\"out_of_order\":%llu,\"other\":%llu,\"closed\":%d,\"close_code\":%d,\"min_conn\":%llu,\"max_conn\":%llu,\"wall_s\":%.4f,\"deliveries_per_s\":%.0f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f,\"max_stall_ms\":%.1f,\"MB\":%.2f,\"frames_per_read\":%.2f,\"client_cpu_s\":%.3f}\n",
           why, N, SLOW, (t1 - t0) / 1e9, (long long)want, (long long)fast, (long long)(want - fast), (unsigned long long)gaps, (unsigned long long)ooo, (unsigned long long)other, closed_n, C[0].close_code, (unsigned long long)mn, (unsigned long long)mx, wall, wall > 0 ? deliveries / wall : 0,
           hq(.5) / 1e3, hq(.99) / 1e3, hq(.999) / 1e3, hmax / 1e3, max_gap / 1e6, bytes_in / 1e6, reads ? (double)frames / reads : 0, cpu);
    return 0;
}
