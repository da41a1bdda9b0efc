/* The relay as a library: two of them on one loop, used over real sockets from another thread, then
 * stopped, one by a drain. What is left of them is nothing: run under valgrind. */
#include "relay/relay.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "liblinkproto/control.h"
#include "liblinkproto/regauth.h"
#include "liblinkproto/wsframe.h"
#include "tests/unit/unit.h"

enum { RELAYS = 2, WAIT_SEC = 60, DRAIN_MSEC = 300, LONG = 70000 };

/* For the other thread, which cmocka does not know. */
#define REQUIRE(x)                                                                                 \
        do {                                                                                       \
                if (!(x)) {                                                                        \
                        fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                    \
                        abort();                                                                   \
                }                                                                                  \
        } while (0)

/* ---- a peer that blocks ---- */

static int dial(unsigned port)
{
        const struct sockaddr_in in = {.sin_family = AF_INET,
                                       .sin_port = htons((uint16_t)port),
                                       .sin_addr = {htonl(INADDR_LOOPBACK)}};
        const struct timeval wait = {.tv_sec = WAIT_SEC};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        REQUIRE(fd >= 0);
        REQUIRE(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) == 0);
        REQUIRE(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) == 0);
        REQUIRE(connect(fd, (const struct sockaddr *)&in, sizeof(in)) == 0);
        return fd;
}

static void send_all(int fd, const void *p, size_t n)
{
        while (n) {
                ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);

                REQUIRE(sent > 0);
                p = (const uint8_t *)p + sent;
                n -= (size_t)sent;
        }
}

static void read_all(int fd, void *p, size_t n)
{
        while (n) {
                ssize_t got = recv(fd, p, n, 0);

                REQUIRE(got > 0);
                p = (uint8_t *)p + got;
                n -= (size_t)got;
        }
}

static int upgrade(unsigned port)
{
        char text[512], tail[4] = "";
        int fd = dial(port), n = snprintf(text, sizeof(text),
                                          "GET /v1/link HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n"
                                          "Connection: Upgrade\r\nUpgrade: websocket\r\n"
                                          "Sec-WebSocket-Version: 13\r\n"
                                          "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
                                          port);

        send_all(fd, text, (size_t)n);
        while (memcmp(tail, "\r\n\r\n", 4) != 0) {
                memmove(tail, tail + 1, 3);
                read_all(fd, tail + 3, 1);
        }
        return fd;
}

static void send_frame(int fd, uint8_t opcode, const void *payload, size_t n)
{
        static const uint8_t mask[4] = {1, 2, 3, 4};
        uint8_t *out = malloc(WSFRAME_HEAD_MAX + n);
        size_t head;

        REQUIRE(out);
        head = wsframe_encode_head(out, true, opcode, n, mask);
        if (n)
                memcpy(out + head, payload, n);
        wsframe_mask(out + head, n, mask, 0);
        send_all(fd, out, head + n);
        free(out);
}

/* The payload of the next frame, which has that opcode, with a NUL behind it. */
static size_t read_frame(int fd, uint8_t opcode, char *out, size_t size)
{
        uint8_t head[WSFRAME_HEAD_MAX];
        WsHead h;
        size_t n = 0;
        int r;

        do {
                REQUIRE(n < sizeof(head));
                read_all(fd, head + n++, 1);
                r = wsframe_decode_head(head, n, &h);
        } while (r == 0);
        REQUIRE(r > 0 && h.fin && !h.masked && h.opcode == opcode && h.length < size);
        read_all(fd, out, h.length);
        out[h.length] = '\0';
        return h.length;
}

static void send_message(int fd, ControlType t, const char *link_id, const char *address)
{
        char text[512];
        int n = control_encode(t, link_id, address, NULL, text, sizeof(text));

        REQUIRE(n > 0);
        send_frame(fd, WS_TEXT, text, (size_t)n);
}

static void expect(int fd, ControlType t, ControlMessage *m)
{
        char text[4096];
        size_t n = read_frame(fd, WS_TEXT, text, sizeof(text));

        REQUIRE(control_decode(text, n, m) == 0);
        REQUIRE(m->type == t);
}

/* ---- what is done at each relay ---- */

typedef struct Site {
        Relay *relay;
        unsigned port;
        int control, client, end;
        bool stopped;
} Site;

typedef struct Embed {
        uv_loop_t loop;
        uv_async_t ready;
        Site sites[RELAYS];
        RegisterKey key;
} Embed;

static void register_host(Embed *e, Site *s)
{
        char origin[32], text[1024];
        struct timespec ts;
        uint8_t nonce[16] = {};
        ControlMessage m;
        int n;

        REQUIRE(clock_gettime(CLOCK_REALTIME, &ts) == 0);
        REQUIRE(snprintf(origin, sizeof(origin), "127.0.0.1:%u", s->port) > 0);
        n = register_message(&e->key, (int64_t)ts.tv_sec * 1000, nonce, origin, text, sizeof(text));
        REQUIRE(n > 0);
        send_frame(s->control, WS_TEXT, text, (size_t)n);
        expect(s->control, CONTROL_REGISTERED, &m);
        REQUIRE(strcmp(m.address, e->key.address) == 0);
}

static void make_link(Embed *e, Site *s)
{
        char id[64];
        ControlMessage m;

        send_message(s->client, CONTROL_RESOLVE, NULL, e->key.address);
        expect(s->client, CONTROL_FOUND, &m);
        REQUIRE(strlen(m.link_id) < sizeof(id));
        strcpy(id, m.link_id); /* measured above */
        expect(s->control, CONTROL_ARRIVED, &m);
        send_message(s->client, CONTROL_RELAY, id, NULL);
        expect(s->control, CONTROL_RELAY, &m);
        REQUIRE(strcmp(m.link_id, id) == 0);
        send_message(s->end, CONTROL_ACCEPT, id, NULL);
        expect(s->client, CONTROL_RELAYING, &m);
        expect(s->end, CONTROL_RELAYING, &m);
}

static void carry(int from, int to, uint8_t opcode, size_t n)
{
        char *payload = malloc(n + 1), *got = malloc(n + 2);

        REQUIRE(payload && got);
        randombytes_buf(payload, n);
        send_frame(from, opcode, payload, n);
        REQUIRE(read_frame(to, opcode, got, n + 2) == n);
        REQUIRE(n == 0 || memcmp(payload, got, n) == 0);
        free(payload);
        free(got);
}

static void read_stats(const Site *s)
{
        static const char request[] = "GET /v1/stats HTTP/1.1\r\nHost: x\r\n\r\n";
        char text[4096];
        size_t n = 0;
        ssize_t got;
        int fd = dial(s->port);

        send_all(fd, request, sizeof(request) - 1);
        while ((got = recv(fd, text + n, sizeof(text) - 1 - n, 0)) > 0)
                n += (size_t)got;
        REQUIRE(got == 0);
        text[n] = '\0';
        REQUIRE(strncmp(text, "HTTP/1.1 200 ", 13) == 0);
        REQUIRE(strstr(text, "\"addressRegistrations\":1"));
        REQUIRE(strstr(text, "\"relaying\":1"));
        REQUIRE(close(fd) == 0);
}

static void use(Embed *e, Site *s)
{
        s->control = upgrade(s->port);
        s->client = upgrade(s->port);
        s->end = upgrade(s->port);
        register_host(e, s);
        make_link(e, s);
        carry(s->client, s->end, WS_BINARY, 5);
        carry(s->end, s->client, WS_TEXT, 0);
        carry(s->client, s->end, WS_TEXT, LONG);
        carry(s->end, s->client, WS_BINARY, LONG);
        read_stats(s);
}

/* What one relay knows the other does not. */
static void are_apart(Embed *e)
{
        uint8_t private[STATIC_KEY_BYTES] = {7};
        Site *s = &e->sites[0];
        RegisterKey own = e->key;
        ControlMessage m;
        int fd = upgrade(e->sites[1].port);

        register_key_derive(&e->key, private);
        register_host(e, s); /* another identity, on the first one's socket */
        send_message(fd, CONTROL_RESOLVE, NULL, e->key.address);
        expect(fd, CONTROL_ERROR, &m);
        REQUIRE(strcmp(m.error, "unknown_address") == 0);
        REQUIRE(close(fd) == 0);
        e->key = own;
}

static void expect_going_away(int fd)
{
        static const uint8_t answer[] = {0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9};
        char code[8], byte;
        ssize_t n;

        REQUIRE(read_frame(fd, WS_CLOSE, code, sizeof(code)) == 2);
        REQUIRE(read_u16be((const uint8_t *)code) == WS_CLOSE_GOING_AWAY);
        (void)send(fd, answer, sizeof(answer), MSG_NOSIGNAL); /* too late on a slow machine: fine */
        n = recv(fd, &byte, 1, 0);
        REQUIRE(n == 0 || (n < 0 && errno == ECONNRESET));
        REQUIRE(close(fd) == 0);
}

static void *peers(void *arg)
{
        Embed *e = arg;

        for (size_t i = 0; i < RELAYS; i++)
                use(e, &e->sites[i]);
        are_apart(e);
        REQUIRE(uv_async_send(&e->ready) == 0);
        for (size_t i = 0; i < RELAYS; i++) {
                expect_going_away(e->sites[i].client);
                expect_going_away(e->sites[i].end);
                expect_going_away(e->sites[i].control);
        }
        return NULL;
}

/* ---- the loop's thread ---- */

static void on_stopped(Relay *r, void *userdata)
{
        Site *s = userdata;

        assert_ptr_equal(s->relay, r);
        assert_false(s->stopped);
        s->stopped = true;
        s->relay = relay_free(r);
}

static void assert_stats(Relay *r, const char *json, const char *metrics)
{
        Buf b = {};
        char *text;

        relay_stats_json(r, &b);
        text = buf_take_str(&b);
        assert_non_null(text);
        assert_non_null(strstr(text, json));
        free(text);
        relay_metrics(r, &b);
        text = buf_take_str(&b);
        assert_non_null(text);
        assert_non_null(strstr(text, metrics));
        free(text);
}

static void on_ready(uv_async_t *handle)
{
        Embed *e = handle->data;

        assert_stats(e->sites[0].relay, "\"addressRegistrations\":2",
                     "link_relay_links{state=\"relaying\"} 1\n");
        assert_stats(e->sites[1].relay,
                     "\"bytesRelayed\":{\"fromHost\":70000,\"fromClient\":70005}",
                     "link_relay_relayed_bytes_total{from=\"client\"} 70005\n");
        relay_stop(e->sites[0].relay, 0, on_stopped, &e->sites[0]);
        relay_stop(e->sites[1].relay, DRAIN_MSEC, on_stopped, &e->sites[1]);
        assert_int_equal(relay_port(e->sites[1].relay, 0), 0); /* it listens no more */
        uv_close((uv_handle_t *)handle, NULL);
}

static Relay *make(uv_loop_t *loop)
{
        RelayConfig config;
        Relay *r = NULL;
        char *fault = NULL;

        relay_config_init(&config);
        config.shape.max_bps = 0;
        if (relay_new(&r, loop, &config, &fault) < 0)
                fail_msg("%s", fault);
        return r;
}

static void listen_on(Relay *r, const char *where)
{
        char *fault = NULL;

        if (relay_listen(r, where, &fault) < 0)
                fail_msg("%s", fault);
}

static void two_relays_on_one_loop(void **state)
{
        uint8_t private[STATIC_KEY_BYTES] = {1};
        Embed *e = calloc(1, sizeof(*e));
        pthread_t thread;
        (void)state;

        assert_non_null(e);
        register_key_derive(&e->key, private);
        assert_int_equal(uv_loop_init(&e->loop), 0);
        assert_int_equal(uv_async_init(&e->loop, &e->ready, on_ready), 0);
        e->ready.data = e;
        for (size_t i = 0; i < RELAYS; i++) {
                e->sites[i].relay = make(&e->loop);
                listen_on(e->sites[i].relay, "127.0.0.1:0");
                e->sites[i].port = relay_port(e->sites[i].relay, 0);
                assert_int_not_equal(e->sites[i].port, 0);
                assert_null(relay_listener_name(e->sites[i].relay, 1));
        }
        assert_int_not_equal(e->sites[0].port, e->sites[1].port);
        assert_int_equal(pthread_create(&thread, NULL, peers, e), 0);
        assert_int_equal(uv_run(&e->loop, UV_RUN_DEFAULT), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        for (size_t i = 0; i < RELAYS; i++)
                assert_true(e->sites[i].stopped);
        assert_int_equal(uv_loop_close(&e->loop), 0);
        free(e);
}

static void finish(uv_loop_t *loop, Site *s)
{
        relay_stop(s->relay, 0, on_stopped, s);
        assert_int_equal(uv_run(loop, UV_RUN_DEFAULT), 0);
        assert_true(s->stopped);
        assert_int_equal(uv_loop_close(loop), 0);
}

static void never_listened(void **state)
{
        uv_loop_t loop;
        Site s = {};
        (void)state;

        assert_int_equal(uv_loop_init(&loop), 0);
        s.relay = make(&loop);
        finish(&loop, &s);
        assert_null(relay_free(NULL));
}

static void assert_cannot_listen(Relay *r, const char *where, int err)
{
        char *fault = NULL;

        assert_int_equal(relay_listen(r, where, &fault), err);
        assert_non_null(fault);
        assert_non_null(strstr(fault, where));
        free(fault);
        assert_int_equal(relay_listen(r, where, NULL), err);
}

static void listening(void **state)
{
        char dir[] = "/tmp/test-embed-XXXXXX", path[64];
        uv_loop_t loop;
        struct stat st;
        Site s = {};
        int fd;
        (void)state;

        assert_int_equal(uv_loop_init(&loop), 0);
        s.relay = make(&loop);
        assert_cannot_listen(s.relay, "nowhere", -EINVAL);
        assert_cannot_listen(s.relay, "127.0.0.1:65536", -EINVAL);
        assert_cannot_listen(s.relay, "127.0.0.1:", -EINVAL);
        assert_cannot_listen(s.relay, "relay.example:80", -EINVAL);
        assert_cannot_listen(s.relay, "/nonexistent/directory/socket", -ENOENT);
        listen_on(s.relay, "127.0.0.1:0");
        assert_cannot_listen(s.relay, relay_listener_name(s.relay, 0), -EADDRINUSE);

        assert_non_null(mkdtemp(dir));
        assert_in_range(snprintf(path, sizeof(path), "%s/socket", dir), 1, sizeof(path) - 1);
        listen_on(s.relay, path);
        assert_string_equal(relay_listener_name(s.relay, 1), path);
        assert_int_equal(relay_port(s.relay, 1), 0);
        assert_cannot_listen(s.relay, path, -EADDRINUSE); /* a living one is not taken away */

        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        assert_int_equal(relay_listen_fd(s.relay, fd), -EINVAL); /* it does not listen */
        assert_int_equal(listen(fd, 1), 0);
        assert_int_equal(relay_listen_fd(s.relay, fd), 0);
        assert_int_not_equal(relay_port(s.relay, 2), 0);
        assert_true(relay_listen_fd(s.relay, -1) < 0);
        finish(&loop, &s);
        assert_int_equal(lstat(path, &st), -1); /* gone with the relay */
        assert_int_equal(rmdir(dir), 0);
}

static void a_socket_left_behind(void **state)
{
        struct sockaddr_un un = {.sun_family = AF_UNIX};
        char dir[] = "/tmp/test-embed-XXXXXX";
        uv_loop_t loop;
        Site s = {};
        int fd;
        (void)state;

        assert_non_null(mkdtemp(dir));
        assert_in_range(snprintf(un.sun_path, sizeof(un.sun_path), "%s/socket", dir), 1, 100);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
        assert_int_equal(close(fd), 0); /* its file stays */
        assert_int_equal(uv_loop_init(&loop), 0);
        s.relay = make(&loop);
        listen_on(s.relay, un.sun_path);
        finish(&loop, &s);
        assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(never_listened),
                cmocka_unit_test(listening),
                cmocka_unit_test(a_socket_left_behind),
                cmocka_unit_test(two_relays_on_one_loop),
        };

        return unit_run(tests);
}
