#include "envelope.h"

#include <errno.h>
#include <stdio.h>

enum { FRAMED = 0x01, FRAMED_HEAD_BYTES = 5 };

const char envelope_cap[] = "{\"t\":\"cap\",\"env\":[1]}";

/* ---- in ---- */

static EnvelopeType type_of(JsonSlice t)
{
        if (json_str_eq(t, "req"))
                return ENVELOPE_REQ;
        if (json_str_eq(t, "res"))
                return ENVELOPE_RES;
        if (json_str_eq(t, "evt"))
                return ENVELOPE_EVT;
        return json_str_eq(t, "cap") ? ENVELOPE_CAP : ENVELOPE_IGNORED;
}

static bool holds_1(JsonSlice env)
{
        JsonSlice item;
        int64_t n;

        if (!json_is_array(env))
                return false;
        while (json_array_next(&env, &item))
                if (json_int64(item, &n) == 0 && n == 1)
                        return true;
        return false;
}

static int decode_meta(const char *meta, size_t len, Envelope *e)
{
        enum { T, ID, CMD, OK, DATA, ERROR, ENV, N };
        static const char *const names[N] = {"t", "id", "cmd", "ok", "data", "error", "env"};
        static const JsonSlice null = {.p = "null", .n = 4};
        JsonSlice v[N], body;

        if (json_scan_object(meta, len, names, v, N) < 0)
                return -EBADMSG;
        e->type = type_of(v[T]);
        body = e->type == ENVELOPE_REQ ? v[CMD] : v[DATA];
        e->body = body.p ? body : null;
        if (json_is_number(v[ID]))
                e->id = v[ID];
        e->error = v[ERROR];
        e->ok = json_is_true(v[OK]);
        e->cap_framed = e->type == ENVELOPE_CAP && holds_1(v[ENV]);
        return 0;
}

int envelope_decode(const uint8_t *plain, size_t len, Envelope *ret)
{
        Envelope e = {};
        size_t meta_len;
        int r;

        if (len == 0)
                return -EBADMSG;
        if (plain[0] == '{') {
                r = decode_meta((const char *)plain, len, &e);
        } else {
                if (plain[0] != FRAMED || len < FRAMED_HEAD_BYTES)
                        return -EBADMSG;
                meta_len = read_u32be(plain + 1);
                if (meta_len > len - FRAMED_HEAD_BYTES)
                        return -EBADMSG;
                r = decode_meta((const char *)plain + FRAMED_HEAD_BYTES, meta_len, &e);
                if (e.type == ENVELOPE_EVT && len > FRAMED_HEAD_BYTES + meta_len) {
                        e.payload = plain + FRAMED_HEAD_BYTES + meta_len;
                        e.payload_len = len - FRAMED_HEAD_BYTES - meta_len;
                }
        }
        if (r < 0)
                return r;
        *ret = e;
        return 0;
}

/* ---- out ---- */

/* Leaves room for the head of the framed form; the place of the meta. */
static size_t begin(Buf *b, bool framed, size_t meta_hint)
{
        static const uint8_t head[FRAMED_HEAD_BYTES] = {FRAMED};

        if (buf_reserve(b, meta_hint + 64) < 0)
                return 0; /* told by buf_ok */
        if (framed)
                buf_add(b, head, sizeof(head));
        return b->len;
}

static void end(Buf *b, bool framed, size_t meta_at)
{
        buf_add_str(b, "}");
        if (framed && buf_ok(b) == 0)
                write_u32be(b->data + meta_at - 4, (uint32_t)(b->len - meta_at));
}

void envelope_req(Buf *b, bool framed, uint64_t id, JsonSlice cmd)
{
        size_t at = begin(b, framed, cmd.n);

        buf_printf(b, "{\"t\":\"req\",\"id\":%llu,\"cmd\":", (unsigned long long)id);
        buf_add(b, cmd.p, cmd.n);
        end(b, framed, at);
}

void envelope_res_ok(Buf *b, bool framed, JsonSlice id, JsonSlice data)
{
        size_t at = begin(b, framed, id.n + data.n);

        buf_add_str(b, "{\"t\":\"res\",\"id\":");
        buf_add(b, id.p, id.n);
        buf_add_str(b, ",\"ok\":true,\"data\":");
        buf_add(b, data.p, data.n);
        end(b, framed, at);
}

void envelope_res_error(Buf *b, bool framed, JsonSlice id, const char *error, size_t error_len)
{
        size_t at = begin(b, framed, id.n + error_len);

        buf_add_str(b, "{\"t\":\"res\",\"id\":");
        buf_add(b, id.p, id.n);
        buf_add_str(b, ",\"ok\":false,\"error\":");
        buf_json_str(b, error, error_len);
        end(b, framed, at);
}

void envelope_res_error_json(Buf *b, bool framed, JsonSlice id, JsonSlice error)
{
        size_t at = begin(b, framed, id.n + error.n);

        buf_add_str(b, "{\"t\":\"res\",\"id\":");
        buf_add(b, id.p, id.n);
        buf_add_str(b, ",\"ok\":false,\"error\":");
        buf_add(b, error.p, error.n);
        end(b, framed, at);
}

void envelope_evt(Buf *b, bool framed, JsonSlice data, const uint8_t *payload, size_t payload_len)
{
        size_t at = begin(b, framed, data.n + payload_len);

        buf_add_str(b, "{\"t\":\"evt\",\"data\":");
        buf_add(b, data.p, data.n);
        end(b, framed, at);
        if (framed && payload)
                buf_add(b, payload, payload_len);
}
