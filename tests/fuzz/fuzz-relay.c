/* The relay's whole core over a simulated network (relay/sim.h): an input is a script of what peers
 * do and of how time passes. After every step the invariants (relay/check.h) hold; every byte that
 * the relay sends is a valid frame, and what one end of a link gets is what the other has sent; at
 * the end the relay stops in time and leaves nothing behind. */
#include "fuzz.h"
#include "relay/check.h"
#include "relay/peer.h"

enum {
        STEPS_MAX = 400,
        TIME_MAX_MSEC = 400 * 1000, /* of one run */
        END_MSEC = 3000,            /* before the end: most holds are over */
        STOP_SLACK_MSEC = 200,      /* two sweeps */
};

typedef struct Script {
        const uint8_t *p;
        size_t n;
        Relay *relay;
        bool stopping, stopped;
        uint64_t drain_msec, budget_msec;
} Script;

static uint8_t next(Script *s)
{
        return fuzz_byte(&s->p, &s->n);
}

/* A size around those that matter. */
static uint32_t next_size(Script *s)
{
        static const uint32_t sizes[] = {0,
                                         1,
                                         2,
                                         125,
                                         126,
                                         127,
                                         1000,
                                         4096,
                                         4097,
                                         65535,
                                         65536,
                                         100000,
                                         16383,
                                         70000,
                                         READ_BYTES,
                                         READ_BYTES + 1,
                                         READ_BYTES - 14};
        uint8_t b = next(s);

        return b < 128 ? b : b < 128 + ELEMENTSOF(sizes) ? sizes[b - 128] : b * 16u;
}

static void on_stopped(Relay *r, void *userdata)
{
        Script *s = userdata;

        CHECK(r == s->relay && s->stopping && !s->stopped);
        s->stopped = true;
}

/* ---- config ---- */

static void make_config(Script *s, RelayConfig *c)
{
        static const uint64_t rates[] = {0, 1024 * 1024, 50000, 1000}, hours[] = {0, 5000, 1 << 20};
        static const uint64_t trickles[] = {16384, 1000, 1}, idles[] = {300, 1, 20, 4000};
        uint8_t b = next(s);

        relay_config_init(c);
        c->shape = (ShapeLimits){.max_bps = rates[b & 3],
                                 .hourly_bytes = hours[(b >> 2 & 3) % ELEMENTSOF(hours)],
                                 .trickle_bps = trickles[(b >> 4 & 3) % ELEMENTSOF(trickles)]};
        c->idle_sec = idles[b >> 6];
        b = next(s);
        c->ip_rate_per_min = b & 3 ? 0 : 5;
        c->max_connections_per_ip = b & 4 ? 6 : 0;
        c->accepts_per_sec_per_ip = 0;
        if (b & 8) {
                c->origin = strdup("relay.test");
                CHECK(c->origin);
        }
        if (b & 16) {
                c->closed = true;
                c->allowlist = (Allowlist){.keys = malloc(32), .n = 1};
                CHECK(c->allowlist.keys);
                memcpy(c->allowlist.keys[0], peers.keys[0].public, 32);
        }
}

/* ---- steps ---- */

static void step_control(Script *s, size_t n)
{
        static const char *const texts[] = {
                "{\"type\":\"getUsage\"}",
                "{\"type\":\"accept\"}",
                "{\"type\":\"relay\",\"linkId\":7}",
                "{\"type\":\"resolve\",\"address\":\"nobody\"}",
                "{\"type\":\"found\"}",
                "{\"type\":\"register\",\"address\":\"x\",\"auth\":{}}",
                "\"text\"",
                "",
        };
        uint8_t b = next(s);

        switch (b & 7) {
        case 0:
        case 1:
                peer_register(n, b >> 3);
                break;
        case 2:
                peer_resolve(n, b >> 3);
                break;
        case 3:
                peer_relay(n);
                break;
        case 4:
                peer_accept(n, b >> 3);
                break;
        case 5:
                peer_send_text(n, texts[0], strlen(texts[0]));
                break;
        default: {
                const char *text = texts[(b >> 3) % ELEMENTSOF(texts)];

                peer_send_text(n, text, strlen(text));
        }
        }
}

static void step_frame(Script *s, size_t n)
{
        uint8_t b = next(s);
        uint32_t len = next_size(s);

        peer_send_frame(n, b & 1, b & 2, len, b & 4 ? next_size(s) : len);
}

static void step_ping_or_close(Script *s, size_t n)
{
        uint8_t b = next(s), payload[WSFRAME_CONTROL_MAX] = {0x03, 0xe8}; /* 1000 */
        size_t len = next(s) % (WSFRAME_CONTROL_MAX + 1);

        if (b & 4)
                peer_send_control(n, WS_CLOSE, payload, len & 1 ? 0 : 2);
        else
                peer_send_control(n, b & 1 ? WS_PING : WS_PONG, payload, len);
}

static void step_time(Script *s, bool jump)
{
        static const unsigned units[] = {1, 10, 100, 1000};
        uint8_t b = next(s);
        uint64_t msec = (b & 63) * units[b >> 6];

        msec = MIN(msec, s->budget_msec);
        s->budget_msec -= msec;
        if (jump)
                sim_jump(msec);
        else
                sim_advance(msec, peers_take_all);
}

static void step_raw(Script *s, size_t n)
{
        size_t len = next(s);

        len = MIN(len, s->n);
        if (peers.peers[n].in_use)
                peer_send_raw(n, s->p, len);
        s->p += len;
        s->n -= len;
}

/* A host, a client and their link, the way it always goes: the fuzzer need not find it again. */
static void step_link(Script *s)
{
        uint8_t b = next(s);
        size_t n = b % 4 * 3;

        for (size_t i = 0; i < 3; i++)
                peer_open(n + i, s->relay, (uint8_t)((next(s) & 0x1f) | 96));
        peer_register(n, b >> 4);
        sim_run();
        peers_take_all();
        peer_resolve(n + 1, b >> 4);
        sim_run();
        peers_take_all();
        peer_relay(n + 1);
        sim_run();
        peers_take_all();
        peer_accept(n + 2, 0);
        sim_run();
        peers_take_all();
}

/* A frame, and somebody leaves before the relay sees it. */
static void step_last_words(Script *s, size_t n)
{
        static const uint8_t normal[] = {0x03, 0xe8};
        uint8_t b = next(s);
        size_t who = b & 4 ? n : (size_t)(b >> 4) % PEERS;

        step_frame(s, n);
        switch (b & 3) {
        case 0:
                peer_end(who, true);
                break;
        case 1:
                peer_end(who, false);
                break;
        default:
                peer_send_control(who, WS_CLOSE, normal, sizeof(normal));
        }
}

static void stop(Script *s, uint64_t drain_msec)
{
        s->drain_msec = s->stopping ? 0 : drain_msec;
        s->stopping = true;
        relay_stop(s->relay, drain_msec, on_stopped, s);
        sim_run();
}

static void step(Script *s)
{
        uint8_t op = next(s);
        size_t n = op >> 4;

        if (n >= PEERS) { /* no such peer: the kinds without one */
                switch (op & 3) {
                case 0:
                case 1:
                        step_time(s, op & 1);
                        break;
                case 2:
                        step_link(s);
                        break;
                case 3: {
                        RelayConfig c;

                        make_config(s, &c);
                        relay_reconfigure(s->relay, &c);
                }
                }
                return;
        }
        switch (op & 15) {
        case 0:
                if (!s->stopping)
                        peer_open(n, s->relay, next(s));
                break;
        case 1:
                step_raw(s, n);
                break;
        case 2:
        case 3:
                step_frame(s, n);
                break;
        case 4:
                peer_continue(n, next_size(s));
                break;
        case 5:
                step_control(s, n);
                break;
        case 6:
                peer_take(n, next_size(s));
                break;
        case 7:
                peers.peers[n].takes = !peers.peers[n].takes;
                break;
        case 8:
                step_ping_or_close(s, n);
                break;
        case 9:
                peer_end(n, true);
                break;
        case 10:
                peer_end(n, false);
                break;
        case 11:
                step_time(s, false);
                break;
        case 12:
                if ((next(s) & 15) == 0)
                        stop(s, next(s) * 10);
                break;
        case 13: { /* two at once, before the relay sees either */
                size_t other = next(s) % PEERS;

                step_frame(s, n);
                step_frame(s, other);
                break;
        }
        case 14: {
                uint8_t b = next(s);

                if (b & 7)
                        peers.peers[n].answers = b & 1;
                else
                        sim.fails_in = (b >> 3) + 1u;
                break;
        }
        case 15:
                step_last_words(s, n);
                break;
        }
}

static void run(Script *s)
{
        for (int i = 0; s->n && i < STEPS_MAX && !s->stopped; i++) {
                step(s);
                sim_run();
                peers_take_all();
                if (!s->stopped)
                        check_relay(s->relay, false);
        }
        sim.fails_in = 0;
        if (s->stopped)
                return;
        for (size_t i = 0; i < PEERS; i++) /* what waits is judged too */
                peers.peers[i].takes = peers.peers[i].in_use;
        sim_advance(END_MSEC, peers_take_all);
        if (!s->stopped)
                check_relay(s->relay, true);
        if (!s->stopped)
                stop(s, 0);
        sim_advance(STOP_LINGER_MSEC + STOP_SLACK_MSEC, peers_take_all);
        CHECK(s->stopped);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static bool started;
        Script s = {.p = data, .n = size, .budget_msec = TIME_MAX_MSEC};
        RelayConfig config;
        uv_loop_t *loop = NULL; /* the simulation has but one */

        if (!started) {
                sim_start();
                peers_start();
                started = true;
        }
        sim_reset();
        peers_reset();
        make_config(&s, &config);
        CHECK(relay_new(&s.relay, loop, &config, NULL) == 0);
        run(&s);
        CHECK(relay_free(s.relay) == NULL);
        peers_done();
        sim_done();
        return 0;
}
