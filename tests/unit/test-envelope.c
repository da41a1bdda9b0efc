#include <errno.h>

#include "liblinkproto/envelope.h"
#include "unit.h"

static json_t *parse(JsonSlice s)
{
        json_error_t error;
        json_t *v = json_loadb(s.p, s.n, JSON_DECODE_ANY, &error);

        if (!v)
                fail_msg("%.*s: %s", (int)s.n, s.p, error.text);
        return v;
}

/* A slice against a member of the vector's meta. */
static void assert_member(JsonSlice got, json_t *expect)
{
        json_t *v = parse(got);

        assert_true(json_equal(v, expect));
        json_decref(v);
}

static EnvelopeType type_of(json_t *meta)
{
        static const char *const names[] = {"", "req", "res", "evt", "cap"};
        const char *t = case_str(meta, "t");

        for (size_t i = 1; i < ELEMENTSOF(names); i++)
                if (strcmp(t, names[i]) == 0)
                        return (EnvelopeType)i;
        fail_msg("type %s", t);
        return ENVELOPE_IGNORED;
}

static bool case_true(json_t *meta, const char *name)
{
        json_t *v = json_object_get(meta, name);

        return v && json_typeof(v) == JSON_TRUE;
}

static void assert_meta(const Envelope *e, json_t *meta)
{
        json_t *null = json_null(), *body;

        assert_int_equal(e->type, type_of(meta));
        assert_int_equal(e->id.p != NULL, json_object_get(meta, "id") != NULL);
        if (e->id.p)
                assert_member(e->id, json_object_get(meta, "id"));
        body = json_object_get(meta, e->type == ENVELOPE_REQ ? "cmd" : "data");
        assert_member(e->body, body ? body : null);
        assert_int_equal(e->ok, case_true(meta, "ok"));
        assert_int_equal(e->error.p != NULL, json_object_get(meta, "error") != NULL);
        if (e->error.p)
                assert_member(e->error, json_object_get(meta, "error"));
        assert_int_equal(e->cap_framed, e->type == ENVELOPE_CAP);
}

/* Writes what was read and compares the plaintext: as bytes where the vector has the member order
 * and spacing of this writer, else by reading it once more. */
static void write_again(const Envelope *e, bool framed, Buf *b)
{
        int64_t id;
        char error[64];
        size_t n;

        switch (e->type) {
        case ENVELOPE_REQ:
                assert_int_equal(json_int64(e->id, &id), 0);
                envelope_req(b, framed, (uint64_t)id, e->body);
                return;
        case ENVELOPE_RES:
                if (e->ok) {
                        envelope_res_ok(b, framed, e->id, e->body);
                        return;
                }
                assert_int_equal(json_str_copy(e->error, error, sizeof(error), &n), 0);
                envelope_res_error(b, framed, e->id, error, n);
                return;
        case ENVELOPE_EVT:
                envelope_evt(b, framed, e->body, e->payload, e->payload_len);
                return;
        case ENVELOPE_CAP:
                buf_add_str(b, envelope_cap);
                return;
        case ENVELOPE_IGNORED:
                break;
        }
        fail();
}

static void replay_valid(Vectors *v, json_t *c)
{
        Bytes plain = case_hex(c, "plaintext"), payload = case_hex(c, "payload");
        bool framed = strcmp(case_str(c, "form"), "framed") == 0;
        Envelope e, again;
        Buf b = {};

        (void)v;
        assert_int_equal(envelope_decode(plain.data, plain.len, &e), 0);
        assert_meta(&e, json_object_get(c, "meta"));
        assert_bytes(e.payload, e.payload_len, payload);
        assert_int_equal(e.payload != NULL, payload.len != 0);
        write_again(&e, framed, &b);
        assert_int_equal(buf_ok(&b), 0);
        assert_int_equal(b.data[0], framed ? 1 : '{');
        if (!strstr(case_str(c, "name"), "another order"))
                assert_bytes(b.data, b.len, plain);
        assert_int_equal(envelope_decode(b.data, b.len, &again), 0);
        assert_meta(&again, json_object_get(c, "meta"));
        assert_bytes(again.payload, again.payload_len, payload);
        buf_done(&b);
}

static void replay_malformed(Vectors *v, json_t *c)
{
        Bytes plain = case_hex(c, "plaintext");
        Envelope e = {.type = ENVELOPE_CAP};

        (void)v;
        assert_int_equal(envelope_decode(plain.data, plain.len, &e), -EBADMSG);
        assert_int_equal(e.type, ENVELOPE_CAP);
}

static void replay_ignored(Vectors *v, json_t *c)
{
        Bytes plain = case_hex(c, "plaintext");
        Envelope e = {.type = ENVELOPE_CAP};

        (void)v;
        assert_int_equal(envelope_decode(plain.data, plain.len, &e), 0);
        assert_int_equal(e.type, ENVELOPE_IGNORED);
        assert_false(e.cap_framed);
}

static void replay_payload_dropped(Vectors *v, json_t *c)
{
        Bytes plain = case_hex(c, "plaintext");
        Envelope e;

        (void)v;
        assert_int_equal(envelope_decode(plain.data, plain.len, &e), 0);
        assert_int_equal(e.type, ENVELOPE_REQ);
        assert_null(e.payload);
        assert_int_equal(e.payload_len, 0);
}

static void test_vectors(void **state)
{
        Vectors v = vectors_load("envelope");

        (void)state;
        vectors_each(&v, NULL, "valid", replay_valid);
        vectors_each(&v, NULL, "malformed", replay_malformed);
        vectors_each(&v, NULL, "ignored", replay_ignored);
        vectors_each(&v, NULL, "payloadDropped", replay_payload_dropped);
        vectors_done(&v);
}

/* Text passes unchanged: raw slices, both ways. */
static void test_fidelity(void **state)
{
        static const char *const texts[] = {
                "123456789012345678901234567890",
                "1.0",
                "1e400",
                "-0",
                "\"\\u0041\\/\\ud800\\u0000\"",
                "{\"z\":1,\"a\":2,\"z\":3}",
                "[ 1 ,\t2 ]",
                "{\"\\u0000\":null}",
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                for (int framed = 0; framed < 2; framed++) {
                        JsonSlice data = {.p = texts[i], .n = strlen(texts[i])};
                        JsonSlice id = {.p = "1.50e3", .n = 6};
                        Envelope e;
                        Buf b = {};

                        envelope_req(&b, framed, UINT64_MAX, data);
                        assert_int_equal(envelope_decode(b.data, b.len, &e), 0);
                        assert_int_equal(e.type, ENVELOPE_REQ);
                        assert_int_equal(e.body.n, data.n);
                        assert_memory_equal(e.body.p, data.p, data.n);
                        assert_int_equal(e.id.n, 20);
                        assert_memory_equal(e.id.p, "18446744073709551615", 20);
                        buf_done(&b);
                        envelope_res_ok(&b, framed, id, data);
                        assert_int_equal(envelope_decode(b.data, b.len, &e), 0);
                        assert_true(e.type == ENVELOPE_RES && e.ok);
                        assert_int_equal(e.body.n, data.n);
                        assert_memory_equal(e.body.p, data.p, data.n);
                        assert_int_equal(e.id.n, 6);
                        assert_memory_equal(e.id.p, "1.50e3", 6);
                        buf_done(&b);
                        envelope_evt(&b, framed, data, (const uint8_t *)"\0{", framed ? 2 : 0);
                        assert_int_equal(envelope_decode(b.data, b.len, &e), 0);
                        assert_int_equal(e.type, ENVELOPE_EVT);
                        assert_memory_equal(e.body.p, data.p, data.n);
                        assert_int_equal(e.payload_len, framed ? 2 : 0);
                        buf_done(&b);
                }
}

static void test_error_is_quoted(void **state)
{
        static const char raw[] =
                "{\"t\":\"res\",\"id\":7,\"ok\":false,\"error\":\"\\ud800\\u0000\\/\"}";
        JsonSlice id = {.p = "7", .n = 1};
        Envelope e;
        Buf b = {};

        (void)state;
        envelope_res_error(&b, false, id, "no \"request\" \n handler", 22);
        assert_int_equal(b.len, strlen("{\"t\":\"res\",\"id\":7,\"ok\":false,\"error\":"
                                       "\"no \\\"request\\\" \\n handler\"}"));
        assert_int_equal(envelope_decode(b.data, b.len, &e), 0);
        assert_true(json_str_eq(e.error, "no \"request\" \n handler"));
        assert_false(e.ok);
        buf_done(&b);
        envelope_res_error_json(&b, false, id, (JsonSlice){.p = "\"\\ud800\\u0000\\/\"", .n = 16});
        assert_int_equal(buf_ok(&b), 0);
        assert_int_equal(b.len, strlen(raw));
        assert_memory_equal(b.data, raw, b.len);
        buf_done(&b);
        envelope_res_error(&b, true, id, NULL, 0);
        assert_int_equal(envelope_decode(b.data, b.len, &e), 0);
        assert_true(json_str_eq(e.error, ""));
        buf_done(&b);
}

static void test_meta(void **state)
{
        static const struct {
                const char *meta;
                EnvelopeType type;
                bool cap_framed, ok, id;
                const char *body;
        } cases[] = {
                {"{\"t\":\"cap\",\"env\":[1]}", ENVELOPE_CAP, true, false, false, "null"},
                {"{\"t\":\"cap\",\"env\":[0, \"1\", 1.0]}", ENVELOPE_CAP, true, false, false,
                 "null"},
                {"{\"t\":\"cap\",\"env\":[0,\"1\",[1],11,1.5,null]}", ENVELOPE_CAP, false, false,
                 false, "null"},
                {"{\"t\":\"cap\",\"env\":[]}", ENVELOPE_CAP, false, false, false, "null"},
                {"{\"t\":\"cap\",\"env\":1}", ENVELOPE_CAP, false, false, false, "null"},
                {"{\"t\":\"cap\",\"env\":{\"1\":1}}", ENVELOPE_CAP, false, false, false, "null"},
                {"{\"t\":\"cap\"}", ENVELOPE_CAP, false, false, false, "null"},
                {"{\"t\":\"new\",\"env\":[1]}", ENVELOPE_IGNORED, false, false, false, "null"},
                {"{\"t\":\"ka\"}", ENVELOPE_IGNORED, false, false, false, "null"},
                {"{\"t\":\"REQ\"}", ENVELOPE_IGNORED, false, false, false, "null"},
                {"{\"t\":\"req\\u0000\"}", ENVELOPE_IGNORED, false, false, false, "null"},
                {"{\"t\":\"\\u0072eq\",\"id\":1}", ENVELOPE_REQ, false, false, true, "null"},
                {"{\"t\":\"new\",\"t\":\"req\",\"id\":\"x\",\"cmd\":5,\"data\":6}", ENVELOPE_REQ,
                 false, false, false, "5"},
                {"{\"t\":\"req\",\"id\":\"1\",\"id\":-1e9}", ENVELOPE_REQ, false, false, true,
                 "null"},
                {"{\"t\":\"req\",\"id\":null}", ENVELOPE_REQ, false, false, false, "null"},
                {"{\"t\":\"res\",\"id\":1,\"ok\":true,\"cmd\":5,\"data\":6}", ENVELOPE_RES, false,
                 true, true, "6"},
                {"{\"t\":\"res\",\"id\":1,\"ok\":1}", ENVELOPE_RES, false, false, true, "null"},
                {"{\"t\":\"res\",\"id\":1,\"ok\":\"true\"}", ENVELOPE_RES, false, false, true,
                 "null"},
                {"{\"t\":\"evt\",\"data\":{\"t\":\"req\"}}", ENVELOPE_EVT, false, false, false,
                 "{\"t\":\"req\"}"},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Envelope e;

                assert_int_equal(
                        envelope_decode((const uint8_t *)cases[i].meta, strlen(cases[i].meta), &e),
                        0);
                if (e.type != cases[i].type || e.cap_framed != cases[i].cap_framed ||
                    e.ok != cases[i].ok || (e.id.p != NULL) != cases[i].id)
                        fail_msg("%s", cases[i].meta);
                assert_int_equal(e.body.n, strlen(cases[i].body));
                assert_memory_equal(e.body.p, cases[i].body, e.body.n);
        }
}

/* The framed head, cut everywhere and with every first byte; the meta's length at the end and one
 * past it. */
static void test_framed_head(void **state)
{
        static const char good[] = "\x01\0\0\0\x0b{\"t\":\"evt\"}x";
        Envelope e;

        (void)state;
        assert_int_equal(envelope_decode((const uint8_t *)good, 17, &e), 0);
        assert_int_equal(e.payload_len, 1);
        assert_int_equal(envelope_decode((const uint8_t *)good, 16, &e), 0);
        assert_null(e.payload);
        for (size_t len = 0; len < 16; len++) {
                uint8_t *part = malloc(len + 1);

                memcpy(part, good, len);
                assert_int_equal(envelope_decode(part, len, &e), -EBADMSG);
                free(part);
        }
        for (unsigned first = 0; first < 256; first++) {
                uint8_t bytes[17];

                memcpy(bytes, good, sizeof(bytes));
                bytes[0] = (uint8_t)first;
                assert_int_equal(envelope_decode(bytes, sizeof(bytes), &e),
                                 first == 1 ? 0 : -EBADMSG);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_vectors),         cmocka_unit_test(test_fidelity),
                cmocka_unit_test(test_error_is_quoted), cmocka_unit_test(test_meta),
                cmocka_unit_test(test_framed_head),
        };

        return unit_run(tests);
}
