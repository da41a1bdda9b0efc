#include "peer.h"

#include <sodium.h>
#include <stdio.h>

#include "tests/fuzz/fuzz.h"

Peers peers;

static const char request[] = "GET /v1/link?a=x HTTP/1.1\r\nHost: relay.test\r\n"
                              "Connection: Upgrade\r\nUpgrade: websocket\r\n"
                              "Sec-WebSocket-Version: 13\r\n"
                              "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

void peers_start(void)
{
        for (uint8_t i = 0; i < KEYS; i++) {
                uint8_t private[STATIC_KEY_BYTES] = {i};

                register_key_derive(&peers.keys[i], private);
        }
}

static void forget(Peer *p)
{
        buf_done(&p->head);
        buf_done(&p->text);
        *p = (Peer){};
}

void peers_done(void)
{
        for (size_t i = 0; i < PEERS; i++)
                forget(&peers.peers[i]);
}

void peers_reset(void)
{
        peers.n_pending = 0;
        memset(peers.pending, 0, sizeof(peers.pending));
}

static uint8_t pattern(const PeerFrame *f, size_t at)
{
        return (uint8_t)(f->seed + at * 7 + (at >> 8));
}

/* ---- out ---- */

void peer_open(size_t n, Relay *r, uint8_t how)
{
        static const size_t chunks[] = {SIZE_MAX, 1, 7, 4096};
        static const size_t caps[] = {64 * 1024, 1024 * 1024, 100, 1500};
        static const char stats[] = "GET /v1/stats HTTP/1.1\r\n\r\n";
        Peer *p = &peers.peers[n];

        if (p->in_use)
                return;
        sim_open(n, r, how & 1);
        if (!sim.sockets[n].in_use)
                return; /* refused */
        sim.sockets[n].chunk = chunks[how >> 1 & 3];
        sim.sockets[n].cap = caps[how >> 3 & 3];
        *p = (Peer){.in_use = true, .answers = how & 32, .takes = how & 64};
        wsreceiver_init(&p->rx, false);
        if (how & 128) {
                p->wild = true;
                (void)sim_feed(n, stats, sizeof(stats) - 1); /* it is empty: there is room */
        } else {
                p->upgrades = true;
                (void)sim_feed(n, request, sizeof(request) - 1);
        }
}

void peer_send_raw(size_t n, const uint8_t *p, size_t len)
{
        peers.peers[n].wild = true;
        (void)sim_feed(n, p, len); /* when there is no room it has not been sent */
}

/* A masked frame's header. */
static size_t make_head(uint8_t out[WSFRAME_HEAD_MAX], bool fin, uint8_t opcode, uint64_t len)
{
        static const uint8_t mask[4] = {0x12, 0x34, 0x56, 0x78};

        return wsframe_encode_head(out, fin, opcode, len, mask);
}

static void mask(uint8_t *p, size_t n, uint64_t phase)
{
        static const uint8_t key[4] = {0x12, 0x34, 0x56, 0x78};

        wsframe_mask(p, n, key, phase);
}

static bool is_mid_frame(const Peer *p)
{
        return p->n_whole < p->n_frames;
}

static bool send_whole(size_t n, uint8_t opcode, const void *payload, size_t len)
{
        Peer *p = &peers.peers[n];
        uint8_t out[WSFRAME_HEAD_MAX + CONTROL_RELAY_MAX + 1];
        size_t head = make_head(out, true, opcode, len);

        CHECK(len <= CONTROL_RELAY_MAX + 1);
        if (!p->in_use || p->close_sent || is_mid_frame(p))
                return false;
        if (len)
                memcpy(out + head, payload, len);
        mask(out + head, len, 0);
        return sim_feed(n, out, head + len);
}

void peer_send_text(size_t n, const char *text, size_t len)
{
        Peer *p = &peers.peers[n];

        if (p->spliced)
                return; /* it knows better */
        if (p->link_id[0] || p->in_message)
                p->wild = true; /* the relay may have spliced it by now */
        (void)send_whole(n, WS_TEXT, text, len);
}

void peer_register(size_t n, uint8_t key)
{
        const RegisterKey *k = &peers.keys[key % KEYS];
        char text[1024];
        uint8_t nonce[16];
        int len;

        randombytes_buf(nonce, sizeof(nonce));
        len = register_message(k, relay_wall_msec(), nonce, "relay.test", text, sizeof(text));
        CHECK(len > 0);
        peer_send_text(n, text, (size_t)len);
}

static void send_message(size_t n, ControlType t, const char *link_id, const char *address)
{
        char text[512];
        int len = control_encode(t, link_id, address, NULL, text, sizeof(text));

        CHECK(len > 0);
        peer_send_text(n, text, (size_t)len);
}

void peer_resolve(size_t n, uint8_t key)
{
        send_message(n, CONTROL_RESOLVE, NULL, peers.keys[key % KEYS].address);
}

void peer_relay(size_t n)
{
        char id[LINK_ID_CHARS + 1];
        Peer *p = &peers.peers[n];

        memcpy(id, p->link_id, sizeof(id));
        p->link_id[0] = '\0'; /* this one is not too late */
        send_message(n, CONTROL_RELAY, id[0] ? id : "none", NULL);
        memcpy(p->link_id, id, sizeof(id));
}

void peer_accept(size_t n, unsigned back)
{
        Peer *p = &peers.peers[n];
        const char *id = peers.pending[(peers.n_pending + PENDING - 1 - back % PENDING) % PENDING];

        send_message(n, CONTROL_ACCEPT, id[0] ? id : "none", NULL);
        if (!p->link_id[0])
                memcpy(p->link_id, id, sizeof(p->link_id));
}

void peer_send_frame(size_t n, bool binary, bool fin, uint32_t len, uint32_t now)
{
        Peer *p = &peers.peers[n];
        uint8_t head[WSFRAME_HEAD_MAX];
        PeerFrame *f = &p->frames[p->n_frames];

        if (!p->in_use || p->close_sent || is_mid_frame(p) || p->n_frames == PEER_FRAMES)
                return;
        *f = (PeerFrame){.len = len,
                         .fin = fin,
                         .opcode = p->in_message ? WS_CONTINUATION
                                   : binary      ? WS_BINARY
                                                 : WS_TEXT,
                         .seed = (uint8_t)(p->n_frames * 31 + n)};
        if (!sim_feed(n, head, make_head(head, fin, f->opcode, len)))
                return;
        if (!p->spliced)
                p->wild = true; /* a control message of nonsense, or payload too early */
        p->in_message = !fin;
        p->n_frames++;
        p->sent = 0;
        peer_continue(n, now);
}

void peer_continue(size_t n, uint32_t len)
{
        Peer *p = &peers.peers[n];
        const PeerFrame *f = &p->frames[p->n_whole];
        uint8_t *data;

        if (!p->in_use || !is_mid_frame(p) || p->close_sent)
                return;
        len = MIN(len, f->len - p->sent);
        data = malloc(len ? len : 1);
        CHECK(data);
        for (size_t i = 0; i < len; i++)
                data[i] = pattern(f, p->sent + i);
        mask(data, len, p->sent);
        if (sim_feed(n, data, len)) {
                p->sent += len;
                p->n_whole += p->sent == f->len;
        }
        free(data);
}

void peer_send_control(size_t n, uint8_t opcode, const uint8_t *payload, size_t len)
{
        Peer *p = &peers.peers[n];

        if (send_whole(n, opcode, payload, len) && opcode == WS_CLOSE)
                p->close_sent = true;
}

void peer_end(size_t n, bool fail)
{
        Peer *p = &peers.peers[n];

        if (!p->in_use)
                return;
        p->close_sent = true;
        if (fail)
                sim_fail(n);
        else
                sim.sockets[n].ended = true;
}

/* ---- in ---- */

static Peer *find_other(const Peer *p)
{
        for (size_t i = 0; i < PEERS; i++)
                if (&peers.peers[i] != p && peers.peers[i].in_use &&
                    strcmp(peers.peers[i].link_id, p->link_id) == 0)
                        return &peers.peers[i];
        return NULL;
}

static void on_message(Peer *p)
{
        ControlMessage *m = malloc(sizeof(*m));

        CHECK(m && control_decode((const char *)p->text.data, p->text.len, m) == 0);
        switch (m->type) {
        case CONTROL_FOUND:
                CHECK(strlen(m->link_id) == LINK_ID_CHARS);
                memcpy(p->link_id, m->link_id, sizeof(p->link_id));
                break;
        case CONTROL_RELAY:
                CHECK(strlen(m->link_id) == LINK_ID_CHARS);
                memcpy(peers.pending[peers.n_pending++ % PENDING], m->link_id, LINK_ID_CHARS + 1);
                break;
        case CONTROL_RELAYING:
                CHECK(strlen(m->link_id) == LINK_ID_CHARS);
                memcpy(p->link_id, m->link_id, sizeof(p->link_id));
                p->spliced = true;
                p->other = find_other(p);
                break;
        case CONTROL_ERROR:
                if (strcmp(m->error, "unknown_link") == 0)
                        p->link_id[0] = '\0';
                break;
        case CONTROL_REGISTERED:
        case CONTROL_ARRIVED:
        case CONTROL_USAGE:
                break;
        case CONTROL_UNKNOWN:
        case CONTROL_REGISTER:
        case CONTROL_RESOLVE:
        case CONTROL_ACCEPT:
        case CONTROL_GET_USAGE:
                CHECK(!"a message that a relay sends");
        }
        free(m);
        buf_done(&p->text);
}

/* The other end, if it is known what it sends. Else what comes cannot be judged. */
static const Peer *judged_by(const Peer *p)
{
        return p->other && p->other->other == p && !p->other->wild && !p->wild ? p->other : NULL;
}

/* When an end has left by itself, and the relay has read all of it, all of it has arrived. */
static void check_all_delivered(const Peer *p)
{
        const Peer *other = judged_by(p);
        const SimSocket *s = other ? &sim.sockets[other - peers.peers] : NULL;

        if (other && other->close_sent && !sim.starved && s->in_off == s->in.len)
                CHECK(p->n_got >= other->n_whole);
}

static void on_close(size_t n, const uint8_t *data, size_t len)
{
        Peer *p = &peers.peers[n];

        CHECK(wsframe_decode_close(data, len, &p->close_code) == 0);
        p->closed = true;
        if (p->close_code == CLOSE_PEER_GONE && p->spliced)
                check_all_delivered(p);
        if (p->answers)
                peer_send_control(n, WS_CLOSE, data, MIN(len, (size_t)2));
}

static void on_head(Peer *p)
{
        const Peer *other = judged_by(p);
        const PeerFrame *f;

        CHECK(p->text.len <= USAGE_BYTES_MAX);
        if (!p->spliced || !other)
                return;
        CHECK(p->n_got < other->n_frames);
        f = &other->frames[p->n_got];
        CHECK(f->opcode == p->rx.opcode && f->fin == p->rx.fin && f->len == p->rx.left);
}

static void on_data(Peer *p, const uint8_t *data, size_t len)
{
        const Peer *other = judged_by(p);

        if (!p->spliced) {
                CHECK(p->rx.opcode == WS_TEXT && p->rx.fin);
                buf_add(&p->text, data, len);
                CHECK(buf_ok(&p->text) == 0);
                return;
        }
        for (size_t i = 0; other && i < len; i++)
                CHECK(data[i] == pattern(&other->frames[p->n_got], p->got + i));
        p->got += (uint32_t)len;
}

static void on_frame_end(Peer *p)
{
        if (!p->spliced) {
                on_message(p);
                return;
        }
        p->n_got++;
        p->got = 0;
}

static void on_frames(size_t n, uint8_t *data, size_t len)
{
        Peer *p = &peers.peers[n];
        uint8_t *at_data = NULL;
        size_t at = 0, len_data = 0;

        for (;;) {
                int event = wsreceiver_next(&p->rx, data, len, &at, LINK_MESSAGE_MAX, &at_data,
                                            &len_data);
                bool is_control = wsframe_is_control(p->rx.opcode);

                if (event == WS_EVENT_MORE)
                        break;
                CHECK(event > 0 && !p->closed); /* nothing follows a close frame */
                if (event == WS_EVENT_HEAD && is_control)
                        p->control_len = 0;
                else if (event == WS_EVENT_HEAD)
                        on_head(p);
                else if (event == WS_EVENT_DATA && is_control) {
                        memcpy(p->control + p->control_len, at_data, len_data);
                        p->control_len += len_data;
                } else if (event == WS_EVENT_DATA)
                        on_data(p, at_data, len_data);
                else if (!is_control)
                        on_frame_end(p);
                else if (p->rx.opcode == WS_CLOSE)
                        on_close(n, p->control, p->control_len);
                else if (p->rx.opcode == WS_PING && p->answers)
                        peer_send_control(n, WS_PONG, p->control, p->control_len);
        }
}

/* The answer to the request, and what follows it. */
static void on_head_bytes(size_t n, const uint8_t *data, size_t len)
{
        static const char ok[] = "HTTP/1.1 101 Switching Protocols\r\n";
        Peer *p = &peers.peers[n];
        const uint8_t *end;

        buf_add(&p->head, data, len);
        CHECK(buf_ok(&p->head) == 0);
        end = memmem(p->head.data, p->head.len, "\r\n\r\n", 4);
        if (!end || !p->upgrades || p->wild)
                return;
        CHECK(p->head.len > sizeof(ok) && memcmp(p->head.data, ok, sizeof(ok) - 1) == 0);
        p->upgraded = true;
        buf_drop(&p->head, (size_t)(end + 4 - p->head.data));
        on_frames(n, p->head.data, p->head.len);
        buf_done(&p->head);
}

/* The relay has closed it: its place is free for another, unless the other end has still to be
 * judged by what this one has sent. */
static void give_up_place(size_t n)
{
        Peer *p = &peers.peers[n];

        if (p->other && p->other->other == p && !sim_at_end((size_t)(p->other - peers.peers)))
                return;
        for (size_t i = 0; i < PEERS; i++)
                if (peers.peers[i].other == p)
                        peers.peers[i].other = NULL;
        buf_done(&sim.sockets[n].in);
        buf_done(&sim.sockets[n].out);
        sim.sockets[n].in_use = sim.sockets[n].closing != NULL;
        if (!sim.sockets[n].in_use)
                forget(p);
}

void peer_take(size_t n, size_t len)
{
        Peer *p = &peers.peers[n];
        uint8_t data[8192];
        size_t got;

        if (!p->in_use)
                return;
        while (len && (got = sim_take(n, data, MIN(len, sizeof(data))))) {
                len -= got;
                if (p->upgraded)
                        on_frames(n, data, got);
                else
                        on_head_bytes(n, data, got);
        }
        if (!sim_at_end(n))
                return;
        if (!sim.sockets[n].conn)
                give_up_place(n);
        else if (p->answers)
                peer_end(n, false);
}

void peers_take_all(void)
{
        for (size_t i = 0; i < PEERS; i++)
                if (peers.peers[i].takes)
                        peer_take(i, SIZE_MAX);
        sim_run();
}
