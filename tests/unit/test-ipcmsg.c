#include <errno.h>
#include <stdio.h>

#include "liblinkproto/ipcmsg.h"
#include "unit.h"

enum { APP = 1, AGENT = 2, BOTH = 3 };
enum { ANY, ZERO, SET };

/* The table of docs/IPC.md once more, with a body that is valid for each type. */
static const struct {
        IpcType type;
        int senders, session, request;
        uint8_t flags;
        const char *body; /* hex */
} types[] = {
        {IPC_HELLO, BOTH, ZERO, ZERO, 0,
         "4c4b495000010000000000000100001000036170"
         "70"},
        {IPC_ERROR, AGENT, ANY, ANY, 0,
         "0001770001"
         "6d0000001d"},
        {IPC_CALL, APP, ZERO, SET, 0,
         "000673746174757"
         "37b7d"},
        {IPC_RESULT, AGENT, ANY, SET, 0, "7b7d"},
        {IPC_NOTIFY, AGENT, ANY, ZERO, 0, "00017431"},
        {IPC_CONNECT, APP, ZERO, SET, 0, "000100000004686f6d65"},
        {IPC_OPENED, AGENT, SET, SET, 0, "004000007b7d"},
        {IPC_STATE, AGENT, SET, ZERO, 0, "0200016600016d"},
        {IPC_SERVE, APP, ZERO, SET, 0,
         "00000001030007"
         "64656661756c74"},
        {IPC_INCOMING, AGENT, SET, ZERO, 0, "000000017b7d"},
        {IPC_CLOSE, APP, SET, ZERO, 0, ""},
        {IPC_REQUEST, BOTH, SET, SET, 0, "000075307b7d"},
        {IPC_RESPONSE, BOTH, ANY, SET, IPC_FLAG_OK, "7b7d"},
        {IPC_EVENT, BOTH, SET, ANY, 0, "000000027b7d0001ff"},
        {IPC_ASK, APP, ZERO, SET, 0, "000000000001707b7d"},
        {IPC_CANCEL, BOTH, ANY, SET, 0, ""},
        {IPC_CREDIT, BOTH, SET, ZERO, 0, "00010000"},
};

typedef struct Frame {
        size_t len;
        uint8_t data[256];
} Frame;

static Frame make(uint8_t type, uint8_t flags, uint16_t reserved, uint32_t session,
                  uint32_t request, Bytes body)
{
        Frame f = {.len = IPC_HEAD_BYTES + body.len};

        write_u32be(f.data, (uint32_t)(f.len - 4));
        f.data[4] = type;
        f.data[5] = flags;
        write_u16be(f.data + 6, reserved);
        write_u32be(f.data + 8, session);
        write_u32be(f.data + 12, request);
        memcpy(f.data + IPC_HEAD_BYTES, body.data, body.len);
        return f;
}

/* Decodes an exact copy on the heap: 1, 0, or the fault's errno with its words. */
static int decode(const uint8_t *data, size_t len, bool from_agent, size_t *ret_used,
                  const char **ret_fault)
{
        _cleanup_(freep) uint8_t *copy = malloc(len + 1);
        const char *fault = NULL;
        IpcMessage m;
        size_t used = 0;
        int r;

        assert_non_null(copy);
        memcpy(copy, data, len);
        r = ipcmsg_decode(copy, len, from_agent, &m, &used, &fault);
        assert_int_equal(fault != NULL, r < 0);
        if (ret_used)
                *ret_used = used;
        if (ret_fault)
                *ret_fault = fault;
        return r;
}

static void assert_fault(Frame f, bool from_agent, const char *words)
{
        const char *fault = NULL;

        assert_int_equal(decode(f.data, f.len, from_agent, NULL, &fault), -EPROTO);
        if (!strstr(fault, words))
                fail_msg("\"%s\" instead of \"%s\"", fault, words);
}

static uint32_t number(int rule)
{
        return rule == ZERO ? 0 : 7;
}

static Frame valid_frame(size_t i)
{
        return make((uint8_t)types[i].type, 0, 0, number(types[i].session),
                    number(types[i].request), unhex(types[i].body));
}

/* Each type as each side, with each number set and not, with each flag. */
static void test_rules(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                for (int side = APP; side <= AGENT; side++)
                        for (unsigned v = 0; v < 4; v++) {
                                uint32_t session = v & 1 ? 0xffffffff : 0, request = v & 2 ? 1 : 0;
                                Frame f = make((uint8_t)types[i].type, 0, 0, session, request,
                                               unhex(types[i].body));
                                bool from_agent = side == AGENT;

                                if (!(types[i].senders & side))
                                        assert_fault(f, from_agent, "other direction");
                                else if (types[i].session &&
                                         (session == 0) != (types[i].session == ZERO))
                                        assert_fault(f, from_agent, "session number");
                                else if (types[i].request &&
                                         (request == 0) != (types[i].request == ZERO))
                                        assert_fault(f, from_agent, "request number");
                                else
                                        assert_int_equal(
                                                decode(f.data, f.len, from_agent, NULL, NULL), 1);
                        }
}

static void test_flags_and_reserved(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(types); i++) {
                bool from_agent = !(types[i].senders & APP);

                for (unsigned bit = 0; bit < 8; bit++) {
                        Frame f = valid_frame(i);

                        f.data[5] = (uint8_t)(1 << bit);
                        if (types[i].flags & f.data[5])
                                assert_int_equal(decode(f.data, f.len, from_agent, NULL, NULL), 1);
                        else
                                assert_fault(f, from_agent, "flag");
                }
                for (unsigned bit = 0; bit < 16; bit++) {
                        Frame f = valid_frame(i);

                        f.data[6 + bit / 8] = (uint8_t)(1 << bit % 8);
                        assert_fault(f, from_agent, "reserved");
                }
        }
}

static void test_unknown_types(void **state)
{
        (void)state;
        for (unsigned type = 0; type < 256; type++) {
                bool known = false;
                Frame f = make((uint8_t)type, 0, 0, 0, 0, (Bytes){});

                for (size_t i = 0; i < ELEMENTSOF(types); i++)
                        known = known || types[i].type == type;
                if (!known) {
                        assert_fault(f, false, "unknown frame type");
                        assert_fault(f, true, "unknown frame type");
                }
        }
}

/* The frame cut anywhere is waited for, and the length is told once it is known; a body made
 * shorter or longer by a byte is a fault unless its last field takes the rest. */
static void test_cut_and_bodies(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(types); i++) {
                bool from_agent = !(types[i].senders & APP);
                Bytes body = unhex(types[i].body);
                Frame f = valid_frame(i);
                size_t used;

                for (size_t len = 0; len < f.len; len++) {
                        assert_int_equal(decode(f.data, len, from_agent, &used, NULL), 0);
                        assert_int_equal(used, len < 4 ? 0 : f.len);
                }
                assert_int_equal(decode(f.data, f.len, from_agent, &used, NULL), 1);
                assert_int_equal(used, f.len);
                assert_int_equal(decode(f.data, f.len + 3, from_agent, &used, NULL), 1);
                assert_int_equal(used, f.len); /* what follows is the next frame's */
                for (size_t n = 0; n < body.len; n++) {
                        Bytes part = body;
                        Frame shorter;

                        part.len = n;
                        shorter = make((uint8_t)types[i].type, 0, 0, number(types[i].session),
                                       number(types[i].request), part);
                        int r = decode(shorter.data, shorter.len, from_agent, NULL, NULL);
                        assert_true(r == 1 || r == -EPROTO);
                }
        }
}

/* Bodies by hand: each with what is wrong with it. */
static void test_faults(void **state)
{
        static const struct {
                IpcType type;
                bool from_agent;
                const char *body, *fault; /* NULL: valid */
        } cases[] = {
                {IPC_HELLO, false, "4c4b49500001000000000000000000000000", NULL},
                {IPC_HELLO, false, "4c4b495000010000000000000000000000", "short"},
                {IPC_HELLO, false,
                 "4c4b4951000100000000000000000000"
                 "0000",
                 "LKIP"},
                {IPC_HELLO, false, "4c4b49500001000100000000000000000000", "reserved"},
                {IPC_HELLO, false, "4c4b4950000100000000000000000000000100", "UTF-8"},
                {IPC_HELLO, false, "4c4b4950000100000000000000000000000261", "short"},
                {IPC_HELLO, false, "4c4b495000010000000000000000000000016161", "follow"},
                {IPC_CREDIT, false, "00000000", NULL},
                {IPC_CREDIT, false, "ffffffff", NULL},
                {IPC_CREDIT, false, "0000000000", "follow"},
                {IPC_CREDIT, false, "000000", "short"},
                {IPC_CLOSE, false, "00", "follow"},
                {IPC_CANCEL, true, "00", "follow"},
                {IPC_CONNECT, false, "000000000000", "window"},
                {IPC_CONNECT, false, "000000010000", NULL},
                {IPC_CONNECT, false, "004000000000", NULL},
                {IPC_CONNECT, false, "004000010000", "window"},
                {IPC_CONNECT, false, "0000000100", "short"},
                {IPC_CONNECT, false, "000000010001ff", "UTF-8"},
                {IPC_SERVE, false, "00000001000000", NULL},
                {IPC_SERVE, false, "00000001030000", NULL},
                {IPC_SERVE, false, "00000001040000", "role"},
                {IPC_SERVE, false, "00000000030000", "window"},
                {IPC_STATE, true, "0000000000", "state"},
                {IPC_STATE, true, "0100000000", NULL},
                {IPC_STATE, true, "0400000000", NULL},
                {IPC_STATE, true, "0500000000", "state"},
                {IPC_STATE, true, "", "short"},
                {IPC_CALL, false, "0000", NULL},
                {IPC_CALL, false, "000061", NULL},
                {IPC_CALL, false, "0000ff", "JSON text"},
                {IPC_CALL, false, "000000", "JSON text"},
                {IPC_EVENT, false, "00000000", NULL},
                {IPC_EVENT, false, "0000000161", NULL},
                {IPC_EVENT, false, "0000000161ff00", NULL},
                {IPC_EVENT, false, "0000000261", "short"},
                {IPC_EVENT, false, "ffffffff61", "short"},
                {IPC_EVENT, false, "00000001c3", "JSON text"},
                {IPC_EVENT, false, "000000", "short"},
                {IPC_ERROR, true, "000000000000001d", NULL},
                {IPC_ERROR, true, "0000000000001d", "short"},
                {IPC_ERROR, true, "ffff6161", "short"},
                {IPC_REQUEST, true, "00007530", NULL},
                {IPC_REQUEST, true, "000075", "short"},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                size_t t = 0;

                while (types[t].type != cases[i].type)
                        t++;
                Frame f = make((uint8_t)cases[i].type, 0, 0, number(types[t].session),
                               number(types[t].request), unhex(cases[i].body));
                if (cases[i].fault)
                        assert_fault(f, cases[i].from_agent, cases[i].fault);
                else
                        assert_int_equal(decode(f.data, f.len, cases[i].from_agent, NULL, NULL), 1);
        }
}

static void test_lengths(void **state)
{
        static const struct {
                uint32_t length;
                bool fine;
        } cases[] = {{0, false},
                     {IPC_FRAME_MIN - 1, false},
                     {IPC_FRAME_MIN, true},
                     {IPC_FRAME_MAX, true},
                     {IPC_FRAME_MAX + 1, false},
                     {0x80000000, false},
                     {0xffffffff, false}};

        (void)state;
        assert_int_equal(IPC_FRAME_MAX, 16842752);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint8_t head[4];
                size_t used;

                write_u32be(head, cases[i].length);
                assert_int_equal(decode(head, 4, false, &used, NULL), cases[i].fine ? 0 : -EPROTO);
                if (cases[i].fine)
                        assert_true(used == 4 + (size_t)cases[i].length);
        }
}

/* A bad header is told before its body has come. */
static void test_early(void **state)
{
        Frame f = make(0x7f, 0, 0, 0, 0, (Bytes){.len = 100});

        (void)state;
        assert_int_equal(decode(f.data, IPC_HEAD_BYTES - 1, false, NULL, NULL), 0);
        assert_int_equal(decode(f.data, IPC_HEAD_BYTES, false, NULL, NULL), -EPROTO);
}

/* ---- writing ---- */

/* What decode gives, encode writes back, byte for byte. */
static void test_round_trip(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(types); i++) {
                bool from_agent = !(types[i].senders & APP);
                Frame f = valid_frame(i);
                const char *fault;
                IpcMessage m;
                size_t used;
                Buf b = {};

                f.data[5] = types[i].flags;
                assert_int_equal(ipcmsg_decode(f.data, f.len, from_agent, &m, &used, &fault), 1);
                assert_int_equal(m.type, types[i].type);
                assert_int_equal(m.flags, types[i].flags);
                assert_int_equal(m.frame_len, f.len);
                assert_int_equal(ipcmsg_encode(&b, &m), 0);
                assert_int_equal(b.len, f.len);
                assert_memory_equal(b.data, f.data, f.len);
                buf_done(&b);
        }
}

static void test_fields(void **state)
{
        const IpcMessage hello = {.type = IPC_HELLO,
                                  .version = 0x0102,
                                  .features = 0x03040506,
                                  .max_frame = 0x0708090a,
                                  .name = ipc_str("x")};
        const IpcMessage event = {.type = IPC_EVENT,
                                  .session = 0x01020304,
                                  .request = 0x05060708,
                                  .json = ipc_str("[1]"),
                                  .payload = (const uint8_t *)"\0\xff",
                                  .payload_len = 2};
        Buf b = {};

        (void)state;
        assert_int_equal(ipcmsg_encode(&b, &hello), 0);
        assert_hex(b.data, b.len,
                   "0000001f0100000000000000000000004c4b4950010200000304050607080"
                   "90a000178");
        assert_int_equal(ipcmsg_encode(&b, &event), 0); /* behind the first */
        buf_drop(&b, 35);
        assert_hex(b.data, b.len,
                   "0000001522000000010203040506070800000003"
                   "5b315d00ff");
        buf_done(&b);
}

static void test_encode_limits(void **state)
{
        static char longest[IPC_STRING_MAX + 1];
        uint8_t *payload = calloc(1, IPC_FRAME_MAX);
        IpcMessage m = {.type = IPC_CONNECT, .request = 1, .window = 1};
        Buf b = {};

        (void)state;
        assert_non_null(payload);
        memset(longest, 'n', sizeof(longest));
        m.name = (IpcStr){.p = longest, .n = IPC_STRING_MAX};
        assert_int_equal(ipcmsg_encode(&b, &m), 0);
        assert_int_equal(b.len, IPC_HEAD_BYTES + 4 + 2 + IPC_STRING_MAX);
        buf_done(&b);
        m.name.n++;
        assert_int_equal(ipcmsg_encode(&b, &m), -EMSGSIZE);

        m = (IpcMessage){.type = IPC_EVENT, .session = 1, .payload = payload};
        m.payload_len = IPC_FRAME_MAX - IPC_FRAME_MIN - 4;
        assert_int_equal(ipcmsg_encode(&b, &m), 0);
        assert_int_equal(read_u32be(b.data), IPC_FRAME_MAX);
        buf_done(&b);
        m.payload_len++;
        assert_int_equal(ipcmsg_encode(&b, &m), -EMSGSIZE);
        m.payload_len = SIZE_MAX;
        assert_int_equal(ipcmsg_encode(&b, &m), -EMSGSIZE);
        m = (IpcMessage){.type = (IpcType)0x7f};
        assert_int_equal(ipcmsg_encode(&b, &m), -EMSGSIZE);
        assert_int_equal(b.len, 0);
        assert_int_equal(buf_ok(&b), 0);
        buf_done(&b);
        free(payload);
}

static void test_utf8(void **state)
{
        static const struct {
                const char *text;
                size_t n;
                bool valid;
        } cases[] = {
                {"", 0, true},
                {"abc", 3, true},
                {"12345678abcdefgh", 16, true},
                {"\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf"
                 "\xbf",
                 21, true},
                {"\0", 1, false},
                {"1234567\0", 8, false},
                {"\0"
                 "1234567",
                 8, false},
                {"12345678\0", 9, false},
                {"1234567\x80", 8, false},
                {"\x80", 1, false},
                {"\xbf", 1, false},
                {"\xc0\x80", 2, false},
                {"\xc1\xbf", 2, false},
                {"\xc3", 1, false},
                {"\xc3(", 2, false},
                {"\xe0\x9f\xbf", 3, false},
                {"\xe2\x82", 2, false},
                {"\xe2\x82(", 3, false},
                {"\xed\xa0\x80", 3, false},
                {"\xf0\x8f\xbf\xbf", 4, false},
                {"\xf0\x9f\x98", 3, false},
                {"\xf4\x90\x80\x80", 4, false},
                {"\xf5\x80\x80\x80", 4, false},
                {"\xff", 1, false},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(freep) char *copy = malloc(cases[i].n + 1);

                assert_non_null(copy);
                memcpy(copy, cases[i].text, cases[i].n);
                assert_int_equal(ipc_utf8_valid(copy, cases[i].n), cases[i].valid);
        }
        assert_true(ipc_utf8_valid(NULL, 0));
        assert_true(ipc_str_eq(ipc_str("ab"), "ab"));
        assert_false(ipc_str_eq(ipc_str("ab"), "abc"));
        assert_false(ipc_str_eq(ipc_str("ab"), "aB"));
        assert_true(ipc_str_eq(ipc_str(NULL), ""));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_rules),         cmocka_unit_test(test_flags_and_reserved),
                cmocka_unit_test(test_unknown_types), cmocka_unit_test(test_cut_and_bodies),
                cmocka_unit_test(test_faults),        cmocka_unit_test(test_lengths),
                cmocka_unit_test(test_early),         cmocka_unit_test(test_round_trip),
                cmocka_unit_test(test_fields),        cmocka_unit_test(test_encode_limits),
                cmocka_unit_test(test_utf8),
        };

        return unit_run(tests);
}
