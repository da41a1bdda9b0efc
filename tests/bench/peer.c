#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "limits.h"
#include "measure.h"

/* ---- bytes ---- */

int peer_connect(unsigned port)
{
        const struct sockaddr_in a = {.sin_family = AF_INET,
                                      .sin_port = htons((uint16_t)port),
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        const struct timeval limit = {.tv_sec = WAIT_MSEC / 1000};
        /* Ends with a reset: nothing stays behind, however many a run opens. */
        const struct linger reset = {.l_onoff = 1};
        int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0)
                fatal("no socket: %s", strerror(errno));
        if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
            setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) < 0 ||
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0 ||
            connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0)
                fatal("cannot connect to port %u: %s", port, strerror(errno));
        return fd;
}

void peer_send(int fd, const void *p, size_t n)
{
        if (send(fd, p, n, MSG_NOSIGNAL) != (ssize_t)n)
                fatal("cannot send %zu bytes: %s", n, strerror(errno));
}

void peer_receive(int fd, void *p, size_t n)
{
        ssize_t r = n ? recv(fd, p, n, MSG_WAITALL) : 0;

        if (r != (ssize_t)n)
                fatal("%zu bytes did not come: %s", n, r < 0 ? strerror(errno) : "closed");
}

void peer_set_nonblocking(int fd)
{
        if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
                fatal("fcntl: %s", strerror(errno));
}

/* ---- WebSocket ---- */

void peer_send_upgrade(int fd, unsigned port)
{
        char head[256];
        int n = snprintf(head, sizeof(head),
                         "GET /v1/link HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUpgrade: websocket\r\n"
                         "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                         "Sec-WebSocket-Version: 13\r\n\r\n",
                         port);

        peer_send(fd, head, (size_t)n); /* 200 bytes */
}

void peer_await_upgrade(int fd)
{
        char head[1024];
        ssize_t n;
        const char *end;

        /* The server speaks next only after us: it ends with the head. */
        n = recv(fd, head, sizeof(head) - 1, MSG_PEEK);
        if (n <= 0)
                fatal("no answer to an upgrade: %s", n < 0 ? strerror(errno) : "closed");
        head[n] = '\0';
        end = strstr(head, "\r\n\r\n");
        if (strncmp(head, "HTTP/1.1 101 ", 13) != 0 || !end ||
            !strstr(head, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")) /* RFC 6455 section 1.3 */
                fatal("an upgrade is answered by: %s", head);
        peer_receive(fd, head, (size_t)(end - head) + 4);
}

/* A masked frame; the mask may be any. */
static void send_frame(int fd, uint8_t opcode, const void *p, size_t n)
{
        static const uint8_t mask[4] = {0x1b, 0x2c, 0x3d, 0x4e};
        uint8_t frame[WSFRAME_HEAD_MAX + CONTROL_RELAY_MAX];
        size_t head = wsframe_encode_head(frame, true, opcode, n, mask);

        if (n > CONTROL_RELAY_MAX)
                fatal("a control message of %zu bytes", n);
        if (n)
                memcpy(frame + head, p, n);
        wsframe_mask(frame + head, n, mask, 0);
        peer_send(fd, frame, head + n);
}

void peer_send_text(int fd, const char *text, size_t n)
{
        send_frame(fd, WS_TEXT, text, n);
}

void peer_send_pong(int fd)
{
        send_frame(fd, WS_PONG, NULL, 0);
}

void peer_send_control(int fd, ControlType t, const char *link_id, const char *address)
{
        char text[CONTROL_RELAY_MAX];
        int n = control_encode(t, link_id, address, NULL, text, sizeof(text));

        if (n < 0)
                fatal("a control message is too long");
        peer_send_text(fd, text, (size_t)n);
}

/* Unmasked, and short: what a relay says. */
static size_t receive_frame(int fd, WsHead *ret, char *text, size_t size)
{
        uint8_t head[WSFRAME_HEAD_MAX];
        size_t have = 2;
        int n;

        peer_receive(fd, head, have);
        while ((n = wsframe_decode_head(head, have, ret)) == 0)
                peer_receive(fd, head + have++, 1);
        if (n < 0 || ret->masked || !ret->fin || ret->length >= size)
                fatal("a relay sends a frame that is none, or too long");
        peer_receive(fd, text, (size_t)ret->length);
        return (size_t)ret->length;
}

void peer_await_control(int fd, ControlType t, ControlMessage *ret)
{
        char text[CONTROL_RELAY_MAX];
        WsHead h;
        size_t n;

        while (n = receive_frame(fd, &h, text, sizeof(text)), h.opcode == WS_PING)
                peer_send_pong(fd);
        if (h.opcode == WS_CLOSE)
                fatal("%s was awaited, and a close %u came", control_type_name(t),
                      n >= 2 ? read_u16be((const uint8_t *)text) : WS_CLOSE_NO_STATUS);
        if (h.opcode != WS_TEXT || control_decode(text, n, ret) < 0 || ret->type != t)
                fatal("%s was awaited, and this came: %.*s", control_type_name(t), (int)n, text);
}

/* ---- registering ---- */

static int64_t wall_msec(void)
{
        struct timespec t;

        if (clock_gettime(CLOCK_REALTIME, &t) < 0)
                fatal("no clock: %s", strerror(errno));
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void make_registration(Registration *r, const char *origin)
{
        uint8_t seed[STATIC_KEY_BYTES], nonce[16];
        RegisterKey key;
        int n;

        randombytes_buf(seed, sizeof(seed));
        randombytes_buf(nonce, sizeof(nonce));
        register_key_derive(&key, seed);
        memcpy(r->address, key.address, sizeof(r->address));
        n = register_message(&key, wall_msec(), nonce, origin, r->text, sizeof(r->text));
        if (n < 0)
                fatal("a register message: %s", strerror(-n));
        r->len = (size_t)n;
}

Registration *registrations_new(size_t n, unsigned port)
{
        Registration *rs = calloc(n, sizeof(*rs));
        char origin[32];

        if (!rs)
                fatal("out of memory");
        (void)snprintf(origin, sizeof(origin), "127.0.0.1:%u", port); /* it fits */
        for (size_t i = 0; i < n; i++)
                make_registration(&rs[i], origin);
        return rs;
}

void registrations_open(const Registration *rs, size_t n, unsigned port, int *fds)
{
        ControlMessage m;

        for (size_t from = 0; from < n; from += BATCH) {
                size_t to = MIN(n, from + BATCH);

                for (size_t i = from; i < to; i++) {
                        fds[i] = peer_connect(port);
                        peer_send_upgrade(fds[i], port);
                }
                for (size_t i = from; i < to; i++) {
                        peer_await_upgrade(fds[i]);
                        peer_send_text(fds[i], rs[i].text, rs[i].len);
                }
                for (size_t i = from; i < to; i++)
                        peer_await_control(fds[i], CONTROL_REGISTERED, &m);
        }
}
