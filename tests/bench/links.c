#include "links.h"

#include <errno.h>
#include <poll.h>
#include <sodium.h>
#include <sys/socket.h>
#include <unistd.h>

#include "limits.h"
#include "measure.h"
#include "peer.h"

/* ---- opening ---- */

static int open_websocket(unsigned port)
{
        int fd = peer_connect(port);

        peer_send_upgrade(fd, port);
        peer_await_upgrade(fd);
        return fd;
}

static BenchLink splice_link(const Subject *s, int control, const char *address)
{
        BenchLink l = {.client = open_websocket(s->port)};
        ControlMessage m;

        peer_send_control(l.client, CONTROL_RESOLVE, NULL, address);
        peer_await_control(l.client, CONTROL_FOUND, &m);
        peer_send_control(l.client, CONTROL_RELAY, m.link_id, NULL);
        peer_await_control(control, CONTROL_ARRIVED, &m);
        peer_await_control(control, CONTROL_RELAY, &m);
        l.host = open_websocket(s->port);
        peer_send_control(l.host, CONTROL_ACCEPT, m.link_id, NULL);
        peer_await_control(l.host, CONTROL_RELAYING, &m);
        peer_await_control(l.client, CONTROL_RELAYING, &m);
        return l;
}

/* A connection through the proxy, told from others by what it says first. */
static BenchLink proxy_link(const Subject *s)
{
        BenchLink l = {.client = peer_connect(s->port)};
        struct pollfd waiting = {.fd = s->sink_fd, .events = POLLIN};
        const struct linger reset = {.l_onoff = 1};
        uint64_t tag, echo;

        randombytes_buf(&tag, sizeof(tag));
        peer_send(l.client, &tag, sizeof(tag));
        if (poll(&waiting, 1, WAIT_MSEC) != 1)
                fatal("the proxy does not connect to the sink");
        l.host = accept4(s->sink_fd, NULL, NULL, SOCK_CLOEXEC);
        if (l.host < 0 || setsockopt(l.host, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) < 0)
                fatal("accept: %s", strerror(errno));
        peer_receive(l.host, &echo, sizeof(echo));
        if (echo != tag)
                fatal("the proxy has brought another connection");
        return l;
}

BenchLink *links_open(const Subject *s, size_t n, int *ret_control)
{
        _cleanup_(freep) Registration *r = NULL;
        BenchLink *links = calloc(n, sizeof(*links));

        if (!links)
                fatal("out of memory");
        *ret_control = -1;
        if (s->sink_fd < 0) {
                r = registrations_new(1, s->port);
                registrations_open(r, 1, s->port, ret_control);
        }
        for (size_t i = 0; i < n; i++) {
                links[i] = r ? splice_link(s, *ret_control, r->address) : proxy_link(s);
                peer_set_nonblocking(links[i].client);
                peer_set_nonblocking(links[i].host);
        }
        return links;
}

void links_close(BenchLink *links, size_t n, int control)
{
        for (size_t i = 0; i < n; i++) {
                (void)close(links[i].client); /* nothing can be done about a failure */
                (void)close(links[i].host);
        }
        if (control >= 0)
                (void)close(control);
        free(links);
}

/* ---- frames ---- */

void frames_init(Frames *f, const Subject *s, size_t size)
{
        uint8_t head[WSFRAME_HEAD_MAX], mask[4] = {};
        size_t n, count;

        *f = (Frames){.size = size};
        n = wsframe_encode_head(head, true, WS_BINARY, size, mask);
        f->sent = n + size;
        f->arrives = f->sent - (s->sink_fd < 0 ? sizeof(mask) : 0);
        count = MAX(CHUNK_BYTES / f->sent, (size_t)1);
        f->len = count * f->sent;
        f->bytes = malloc(f->len);
        if (!f->bytes)
                fatal("out of memory");
        randombytes_buf(f->bytes, f->len);
        for (size_t i = 0; i < count; i++) {
                randombytes_buf(mask, sizeof(mask));
                (void)wsframe_encode_head(f->bytes + i * f->sent, true, WS_BINARY, size, mask);
        }
}

void frames_done(Frames *f)
{
        free(f->bytes);
        *f = (Frames){};
}

static void wait_for(int fd, short events)
{
        struct pollfd waiting = {.fd = fd, .events = events};

        if (poll(&waiting, 1, WAIT_MSEC) != 1)
                fatal("a link does not move");
}

/* One frame's bytes as they must arrive. */
static void expected(const Frames *f, uint8_t *out)
{
        WsHead h;
        int n = wsframe_decode_head(f->bytes, f->sent, &h);

        if (f->arrives == f->sent) {
                memcpy(out, f->bytes, f->sent);
                return;
        }
        out += wsframe_encode_head(out, true, WS_BINARY, f->size, NULL);
        memcpy(out, f->bytes + n, f->size);
        wsframe_mask(out, f->size, h.mask, 0);
}

void frames_check(const Frames *f, int from, int to)
{
        _cleanup_(freep) uint8_t *want = malloc(f->arrives), *got = malloc(f->arrives);
        size_t sent = 0, received = 0;
        ssize_t n;

        if (!want || !got)
                fatal("out of memory");
        expected(f, want);
        while (received < f->arrives) {
                n = sent < f->sent ? send(from, f->bytes + sent, f->sent - sent, MSG_NOSIGNAL) : 0;
                if (n > 0)
                        sent += (size_t)n;
                else if (n < 0 && errno != EAGAIN)
                        fatal("cannot send: %s", strerror(errno));
                wait_for(to, POLLIN);
                n = recv(to, got + received, f->arrives - received, 0);
                if (n <= 0)
                        fatal("a link is closed: %s", n < 0 ? strerror(errno) : "end");
                received += (size_t)n;
        }
        if (sent != f->sent || memcmp(want, got, f->arrives) != 0)
                fatal("a message of %zu bytes arrives changed", f->size);
}

/* ---- reading ---- */

bool frame_arrived(FrameReader *r)
{
        WsHead h = {};
        ssize_t n = 0;
        int head;

        for (;;) {
                head = wsframe_decode_head(r->bytes, r->len, &h);
                if (head < 0 || (head > 0 && h.opcode == WS_CLOSE) || h.length > 1000)
                        fatal("a link has ended, or brings what is no frame");
                if (head > 0 && r->len >= (size_t)head + h.length) {
                        size_t used = (size_t)head + (size_t)h.length;

                        r->len -= used;
                        memmove(r->bytes, r->bytes + used, r->len);
                        if (!wsframe_is_control(h.opcode))
                                return true;
                        continue;
                }
                n = recv(r->fd, r->bytes + r->len, sizeof(r->bytes) - r->len, MSG_DONTWAIT);
                if (n == 0 || (n < 0 && errno != EAGAIN))
                        fatal("a link is closed: %s", n < 0 ? strerror(errno) : "end");
                if (n < 0)
                        return false;
                r->len += (size_t)n;
        }
}
