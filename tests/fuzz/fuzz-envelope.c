/* Envelopes and the JSON scanner beneath them, against jansson; what was read is written again. */
#include "fuzz.h"
#include "json-oracle.h"
#include "liblinkproto/envelope.h"

static void check_oracle(const char *text, size_t size)
{
        const char *fault = oracle_compare(text, size);

        if (fault)
                fprintf(stderr, "%s\n", fault);
        CHECK(!fault);
}

static bool same(JsonSlice a, JsonSlice b)
{
        return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static void check_slice(JsonSlice s)
{
        JsonSlice again;

        CHECK(json_scan_value(s.p, s.n, &again) == 0 && same(s, again));
}

static void check_written(const Envelope *e, bool framed)
{
        const bool has_payload = framed && e->payload;
        Envelope again;
        Buf b = {};

        if (e->type == ENVELOPE_REQ)
                envelope_req(&b, framed, 18446744073709551615U, e->body);
        else if (e->type == ENVELOPE_RES && e->id.p)
                envelope_res_ok(&b, framed, e->id, e->body);
        else
                envelope_evt(&b, framed, e->body, has_payload ? e->payload : NULL,
                             has_payload ? e->payload_len : 0);
        CHECK(buf_ok(&b) == 0 && envelope_decode(b.data, b.len, &again) == 0);
        CHECK(same(again.body, e->body));
        if (again.type == ENVELOPE_RES)
                CHECK(again.ok && same(again.id, e->id));
        if (again.type == ENVELOPE_EVT && has_payload)
                CHECK(again.payload_len == e->payload_len &&
                      memcmp(again.payload, e->payload, e->payload_len) == 0);
        else
                CHECK(!again.payload && again.payload_len == 0);
        buf_done(&b);
}

static void check_envelope(const Envelope *e)
{
        check_slice(e->body);
        if (e->id.p) {
                check_slice(e->id);
                CHECK(json_is_number(e->id));
        }
        if (e->error.p)
                check_slice(e->error);
        CHECK((e->payload != NULL) == (e->payload_len != 0));
        CHECK(!e->payload || e->type == ENVELOPE_EVT);
        check_written(e, false);
        check_written(e, true);
}

/* An answer that tells an error: any text is written, and is read as the same. */
static void check_error(const char *text, size_t n, bool framed)
{
        const JsonSlice id = {.p = "7", .n = 1};
        _cleanup_(freep) char *copy = malloc(n + 1);
        size_t copy_len = 0;
        Envelope again;
        Buf b = {};

        envelope_res_error(&b, framed, id, text, n);
        CHECK(copy && buf_ok(&b) == 0 && envelope_decode(b.data, b.len, &again) == 0);
        CHECK(again.type == ENVELOPE_RES && !again.ok && same(again.id, id));
        CHECK(json_str_copy(again.error, copy, n + 1, &copy_len) == 0);
        CHECK(copy_len == n && memcmp(copy, text, n) == 0);
        buf_done(&b);
}

/* The copy of a string: the same, unless there is a NUL in it. */
static void check_dup(JsonSlice v, const char *text, size_t n)
{
        char *copy = NULL;
        int r = json_str_dup(v, &copy);

        CHECK((r == 0) == (strlen(text) == n) && (r == 0 || r == -EINVAL));
        CHECK(r < 0 || memcmp(copy, text, n) == 0);
        free(copy);
}

/* Strings, integers and arrays against what jansson made of the same value. */
static void check_value(JsonSlice v)
{
        json_error_t error;
        json_t *tree = json_loadb(v.p, v.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
        _cleanup_(freep) char *text = malloc(v.n + 1);
        JsonSlice e;
        int64_t i;
        size_t n = 0;

        CHECK(text);
        if (tree && json_typeof(tree) == JSON_STRING) {
                CHECK(json_str_copy(v, text, v.n + 1, &n) == 0);
                CHECK(n == json_string_length(tree) &&
                      memcmp(text, json_string_value(tree), n) == 0);
                if (strlen(text) == n)
                        CHECK(json_str_eq(v, text));
                check_dup(v, text, n);
                check_error(text, n, false);
                check_error(text, n, true);
        } else if (tree && json_typeof(tree) == JSON_INTEGER) {
                CHECK(json_int64(v, &i) == 0 && i == json_integer_value(tree));
        } else if (tree && json_typeof(tree) == JSON_ARRAY) {
                while (json_array_next(&v, &e)) {
                        check_slice(e);
                        n++;
                }
                CHECK(n == json_array_size(tree));
        } else if (json_int64(v, &i) == 0) {
                CHECK(tree && (double)i == json_real_value(tree));
        }
        json_decref(tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *text = (const char *)data;
        Envelope e;
        JsonSlice v;
        int r = envelope_decode(data, size, &e), m;

        CHECK(r == 0 || r == -EBADMSG);
        if (r == 0)
                check_envelope(&e);
        check_oracle(text, size);
        if (size > 5 && data[0] == 1)
                check_oracle(text + 5, size - 5);
        r = json_scan_value(text, size, &v);
        if (r == 0)
                check_value(v);
        m = json_scan_member_value(text, size, NULL);
        CHECK(m == r || m == -E2BIG); /* one level less fits */
        return 0;
}
