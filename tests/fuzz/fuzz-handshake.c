/* Both handshake machines and the header, driven by a script: a first byte for the kind, then steps
 * of an operation and an argument. Honest frames can be passed, changed, dropped or held back,
 * arbitrary ones injected at either end, and the owner may answer anything at any time.
 *
 * Whatever happens, a client is done only with the host that has its secret, and then both have the
 * same keys. */
#include <sodium.h>

#include "fuzz.h"
#include "liblinkproto/handshake-internal.h"

enum { QUEUE_MAX = 8, STEPS_MAX = 40 };

typedef struct Side {
        Handshake *h;
        bool over, done;
        uint64_t now;
        size_t n_queue; /* frames that it has sent and the other has not got */
        OutputFrame queue[QUEUE_MAX];
} Side;

static const char address[] = "nG_UeYRFdRWcw5PaKp__GJ5WZEJfaZ_lxp6Czvxcc28";
static const char code[] = "482 915";
static const uint8_t token[TOKEN_BYTES] = {7};

static void make(Side *client, Side *host, uint8_t kind)
{
        static const uint8_t random[2][HANDSHAKE_RANDOM_BYTES] = {{1}, {2}};
        static const uint8_t private[STATIC_KEY_BYTES] = {3},
                             welcome[TOKEN_BYTES + KEY_ID_BYTES] = {4};
        static const uint8_t code_id[CODE_ID_BYTES] = {5};
        Credential c = {};
        int r;

        r = handshake_host_new(&host->h, kind & 4 ? "other" : address, private, random[1], welcome,
                               0);
        CHECK(r == 0);
        strcpy(c.address, address);
        memcpy(c.token, token, sizeof(token));
        memcpy(c.host_static_public, handshake_credential(host->h)->host_static_public,
               STATIC_KEY_BYTES);
        r = kind & 1 ? handshake_client_reconnect(&client->h, &c, random[0])
                     : handshake_client_pair(&client->h, address, (const uint8_t *)code,
                                             sizeof(code) - 1, kind & 2 ? code_id : NULL, kind & 8,
                                             random[0]);
        CHECK(r == 0);
}

/* Looks at a result and takes the output. */
static void after(Side *s, int result)
{
        const uint8_t *p;
        size_t len;

        CHECK(result == -EPROTO || result == -EINVAL ||
              (result >= HANDSHAKE_MORE && result <= HANDSHAKE_LOST));
        if (result > 0 && result != HANDSHAKE_MORE && result != HANDSHAKE_NEED_SECRET &&
            result != HANDSHAKE_NEED_STORE) {
                CHECK(!s->over || result != HANDSHAKE_DONE);
                s->done = s->done || result == HANDSHAKE_DONE;
                s->over = true;
        }
        while (handshake_output(s->h, &p, &len)) {
                CHECK(len > 0 && len <= FRAME_MAX);
                if (s->n_queue == QUEUE_MAX)
                        continue;
                s->queue[s->n_queue].len = len;
                memcpy(s->queue[s->n_queue++].data, p, len);
        }
        if (s->over && !s->done) {
                CHECK(sodium_is_zero((const uint8_t *)&s->h->keys, sizeof(s->h->keys)));
                CHECK(sodium_is_zero((const uint8_t *)&s->h->spake2, sizeof(s->h->spake2)));
        }
}

/* The sender's oldest frame goes to the other end, changed by XOR at a place, or nowhere. */
static void pass(Side *from, Side *to, uint8_t xor_value, size_t at, bool drop)
{
        OutputFrame f;

        if (from->n_queue == 0)
                return;
        f = from->queue[0];
        memmove(from->queue, from->queue + 1, --from->n_queue * sizeof(f));
        if (drop)
                return;
        f.data[at % f.len] ^= xor_value;
        after(to, handshake_feed(to->h, f.data, f.len, to->now));
}

static void give(Side *host, uint8_t what)
{
        Handshake *h = host->h;
        int r;

        switch (what % 6) {
        case 0:
                r = handshake_host_give_password(h, (const uint8_t *)code, sizeof(code) - 1,
                                                 host->now);
                break;
        case 1:
                r = handshake_host_give_token(h, token, host->now);
                break;
        case 2:
                r = handshake_host_give_password(h, (const uint8_t *)"wrong", 5, host->now);
                break;
        case 3:
                r = handshake_host_refuse(h);
                break;
        case 4:
                r = handshake_host_stored(h);
                break;
        default:
                r = handshake_host_give_token(h, h->credential.token, host->now);
                break;
        }
        after(host, r);
}

static void step(Side *client, Side *host, const uint8_t **data, size_t *size)
{
        uint8_t op = fuzz_byte(data, size), arg = fuzz_byte(data, size);
        Side *from = op & 1 ? host : client, *to = op & 1 ? client : host;
        size_t len;

        switch (op >> 1 & 7) {
        case 0:
                len = MIN((size_t)arg, *size);
                after(to, handshake_feed(to->h, *data, len, to->now));
                *data += len;
                *size -= len;
                return;
        case 1:
                pass(from, to, 0, 0, false);
                return;
        case 2:
                pass(from, to, (uint8_t)(1 << (op >> 5)), arg, false);
                return;
        case 3:
                give(host, arg);
                return;
        case 4:
                to->now += arg * 100U;
                after(to, handshake_tick(to->h, to->now));
                return;
        case 5:
                after(to, handshake_closed(to->h));
                return;
        case 6:
                pass(from, to, 0, 0, true);
                return;
        default:
                after(client, handshake_client_start(client->h, client->now));
                return;
        }
}

static void check_header(const uint8_t *data, size_t size)
{
        uint8_t out[HEADER_BYTES_MAX];
        Header h, again;
        size_t n;

        if (header_decode(data, size, &h) < 0)
                return;
        n = header_encode(&h, out);
        CHECK(n <= size && header_decode(out, n, &again) == 0 &&
              memcmp(&h, &again, sizeof(h)) == 0);
        CHECK(memcmp(out + 5, data + 5, n - 5) == 0); /* the version may be another */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        Side client = {}, host = {};
        SealPair a, b;
        uint8_t kind;

        CHECK(sodium_init() >= 0);
        check_header(data, size);
        kind = fuzz_byte(&data, &size);
        make(&client, &host, kind);
        after(&client, handshake_client_start(client.h, 0));
        for (int i = 0; size && i < STEPS_MAX; i++)
                step(&client, &host, &data, &size);
        if (client.done) {
                CHECK(host.done && !(kind & 4 && !(kind & 1)));
                handshake_take_keys(client.h, &a);
                handshake_take_keys(host.h, &b);
                CHECK(memcmp(&a.send, &b.receive, sizeof(a.send)) == 0);
                CHECK(memcmp(&a.receive, &b.send, sizeof(a.send)) == 0);
        }
        handshake_free(client.h);
        handshake_free(host.h);
        return 0;
}
