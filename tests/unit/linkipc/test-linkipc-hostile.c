/* An agent that breaks the rules: the connection ends by -EPROTO, every callback knows, and nothing
 * else happens. */
#include "agent.h"

/* A connection with a CALL (number 1 of the library), a connected session 1 with a REQUEST, an
 * EVENT, and a CONNECT under way; the host is served. */
typedef struct Busy {
        TestAgent a;
        linkipc_session *session, *connecting;
        Seen call, ask, request, event, serve;
        int closed;
        linkipc_reply *reply;
        uint32_t call_id, ask_id, request_id, event_id, connect_id, serve_id;
} Busy;

static void on_state(linkipc_session *s, int state, void *userdata)
{
        Busy *b = userdata;

        if (s == b->session || s == b->connecting)
                b->closed += state == LINKIPC_CLOSED;
}

static void on_request(linkipc_session *s, linkipc_reply *reply, const char *command, size_t len,
                       void *userdata)
{
        Busy *b = userdata;

        (void)s;
        (void)command;
        (void)len;
        linkipc_reply_unref(b->reply);
        b->reply = linkipc_reply_ref(reply);
}

static void busy_open(Busy *b)
{
        linkipc *l;

        *b = (Busy){0};
        agent_open_hello(&b->a);
        l = b->a.link;
        linkipc_on_state(l, on_state, b);
        linkipc_on_request(l, on_request, b);
        assert_int_equal(linkipc_connect(l, "home", &b->session), 0);
        agent_opens(&b->a, 1, 100000);
        agent_send_state(&b->a, 1, IPC_STATE_CONNECTED, "framed", "");
        pump(l);
        assert_int_equal(linkipc_call_async(l, "m", NULL, 0, on_seen, &b->call, &b->call_id), 0);
        assert_int_equal(linkipc_ask_async(l, "p", "1", 0, on_seen, &b->ask, &b->ask_id), 0);
        assert_int_equal(linkipc_serve_async(l, "h", 1, on_seen, &b->serve, &b->serve_id), 0);
        assert_int_equal(
                linkipc_request_async(b->session, "1", 0, on_seen, &b->request, &b->request_id), 0);
        assert_int_equal(
                linkipc_send_async(b->session, "1", NULL, 0, on_seen, &b->event, &b->event_id), 0);
        assert_int_equal(linkipc_connect(l, "other", &b->connecting), 0);
        b->connect_id = b->event_id + 1;
        pump(l);
        (void)agent_expect(&b->a, IPC_CALL);
        (void)agent_expect(&b->a, IPC_ASK);
        (void)agent_expect(&b->a, IPC_SERVE);
        (void)agent_expect(&b->a, IPC_REQUEST);
        (void)agent_expect(&b->a, IPC_EVENT);
        assert_int_equal(agent_expect(&b->a, IPC_CONNECT).request, b->connect_id);
}

static void busy_close(Busy *b)
{
        linkipc_reply_unref(b->reply);
        linkipc_session_unref(b->session);
        linkipc_session_unref(b->connecting);
        agent_close(&b->a);
        assert_int_equal(b->call.calls, 1);
        assert_int_equal(b->ask.calls, 1);
        assert_int_equal(b->serve.calls, 1);
        assert_int_equal(b->request.calls, 1);
        assert_int_equal(b->event.calls, 1);
}

static void expect_broken(Busy *b, int error)
{
        assert_int_equal(pump(b->a.link), error);
        assert_int_equal(b->call.error, error);
        assert_int_equal(b->request.error, error);
        assert_int_equal(b->closed, 2);
        assert_int_equal(linkipc_session_error(b->session), error);
        agent_expect_end(&b->a);
        busy_close(b);
}

/* ---- bytes ---- */

static void test_malformed_frames(void **state)
{
        static const struct {
                uint8_t bytes[20];
                size_t n;
        } frames[] = {
                {{0, 0, 0, 11}, 4},                                            /* too short */
                {{0xff, 0xff, 0xff, 0xff}, 4},                                 /* too long */
                {{1, 1, 0, 1}, 4},                                             /* by one */
                {{0, 0, 0, 12, 0x99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 16},    /* type */
                {{0, 0, 0, 12, 0x15, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}, 16},    /* direction */
                {{0, 0, 0, 12, 0x04, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 16},    /* flag */
                {{0, 0, 0, 12, 0x04, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1}, 16},    /* reserved */
                {{0, 0, 0, 12, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 16},    /* request number */
                {{0, 0, 0, 12, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 16},    /* session number */
                {{0, 0, 0, 13, 0x12, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 9}, 17}, /* state */
                {{0, 0, 0, 12, 0x25, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}, 16},    /* short body */
                {{0, 0, 0, 13, 0x24, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0}, 17}, /* bytes behind */
                {{0, 0, 0, 13, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0}, 17}, /* NUL */
                {{0, 0, 0, 13, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xc3}, 17}, /* UTF-8 */
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(frames); i++) {
                Busy b;
                busy_open(&b);
                agent_send_bytes(&b.a, frames[i].bytes, frames[i].n);
                expect_broken(&b, -EPROTO);
        }
}

static void test_end_within_frame(void **state)
{
        static const uint8_t bytes[] = {0, 0, 0, 100, 0x04, 0, 0, 0, 0};

        (void)state;
        for (size_t n = 1; n <= sizeof bytes; n++) {
                Busy b;
                busy_open(&b);
                agent_send_bytes(&b.a, bytes, n);
                assert_int_equal(pump(b.a.link), 0);
                agent_hang_up(&b.a);
                assert_int_equal(pump(b.a.link), -ECONNRESET);
                assert_non_null(strstr(linkipc_error_message(b.a.link), "within a frame"));
                assert_int_equal(b.call.error, -ECONNRESET);
                assert_int_equal(b.closed, 2);
                busy_close(&b);
        }
}

static void test_byte_by_byte(void **state)
{
        TestAgent a;
        Seen seen = {0};
        Buf buf = {0};
        uint32_t id;

        (void)state;
        agent_open_hello(&a);
        assert_int_equal(linkipc_call_async(a.link, "m", NULL, 0, on_seen, &seen, &id), 0);
        IpcMessage m = {.type = IPC_RESULT, .request = id, .json = ipc_str("{\"a\":\"ü\"}")};
        assert_int_equal(ipcmsg_encode(&buf, &m), 0);
        for (size_t i = 0; i < buf.len; i++) {
                assert_int_equal(seen.calls, 0);
                agent_send_bytes(&a, buf.data + i, 1);
                pump(a.link);
        }
        assert_string_equal(seen.json, "{\"a\":\"ü\"}");
        buf_done(&buf);
        agent_close(&a);
}

/* What came whole before the nonsense still counts. */
static void test_good_then_bad(void **state)
{
        Busy b;

        (void)state;
        busy_open(&b);
        agent_send_result(&b.a, 0, b.call_id, "{}");
        agent_send_bytes(&b.a, "\0\0\0\0", 4);
        assert_int_equal(pump(b.a.link), -EPROTO);
        assert_int_equal(b.call.error, 0);
        assert_int_equal(b.ask.error, -EPROTO);
        busy_close(&b);
}

/* ---- frames that make no sense here ---- */

static void test_no_hello(void **state)
{
        static const IpcMessage first[] = {
                {.type = IPC_RESULT, .request = 1, .json = {"{}", 2}},
                {.type = IPC_NOTIFY, .name = {"a", 1}, .json = {"{}", 2}},
                {.type = IPC_ERROR, .request = 1, .name = {"closed", 6}},
                {.type = IPC_HELLO, .version = 1, .max_frame = 11},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(first); i++) {
                TestAgent a;
                agent_open(&a);
                agent_send(&a, &first[i]);
                assert_int_equal(pump(a.link), -EPROTO);
                assert_string_equal(linkipc_get_agent(a.link), "");
                agent_close(&a);
        }
}

enum { CALL, ASK, REQUEST, EVENT, CONNECT, SERVE, NOBODY };

static uint32_t number_of(const Busy *b, int whose)
{
        const uint32_t numbers[] = {b->call_id,    b->ask_id,   b->request_id, b->event_id,
                                    b->connect_id, b->serve_id, 4711};

        return numbers[whose];
}

static void test_mixed_up(void **state)
{
        static const struct {
                IpcMessage m;
                int request;
        } cases[] = {
                {{.type = IPC_HELLO, .version = 1, .max_frame = 1000}, -1},
                {{.type = IPC_RESULT, .json = {"{}", 2}}, ASK},
                {{.type = IPC_RESULT, .json = {"{}", 2}}, CONNECT},
                {{.type = IPC_RESULT, .session = 1, .json = {"{}", 2}}, REQUEST},
                {{.type = IPC_RESULT, .session = 1, .json = {"{}", 2}}, CALL},
                {{.type = IPC_RESULT, .json = {"{}", 2}}, EVENT},
                {{.type = IPC_RESPONSE, .flags = 1, .json = {"{}", 2}}, CALL},
                {{.type = IPC_RESPONSE, .flags = 1, .json = {"{}", 2}}, SERVE},
                {{.type = IPC_RESPONSE, .flags = 1, .json = {"{}", 2}}, CONNECT},
                {{.type = IPC_RESPONSE, .flags = 1, .json = {"{}", 2}}, REQUEST},
                {{.type = IPC_RESPONSE, .flags = 1, .session = 1, .json = {"{}", 2}}, ASK},
                {{.type = IPC_RESPONSE, .flags = 1, .session = 1, .json = {"{}", 2}}, EVENT},
                {{.type = IPC_RESPONSE, .flags = 1, .session = 2, .json = {"{}", 2}}, REQUEST},
                {{.type = IPC_ERROR, .session = 1, .name = {"closed", 6}}, CALL},
                {{.type = IPC_ERROR, .session = 3, .name = {"closed", 6}}, REQUEST},
                {{.type = IPC_OPENED, .session = 2, .window = 1, .json = {"{}", 2}}, CALL},
                {{.type = IPC_OPENED, .session = 2, .window = 1, .json = {"{}", 2}}, NOBODY},
                {{.type = IPC_OPENED, .session = 1, .window = 1, .json = {"{}", 2}}, CONNECT},
                {{.type = IPC_INCOMING, .session = 1, .window = 1, .json = {"{}", 2}}, -1},
                {{.type = IPC_REQUEST, .session = 2, .json = {"{}", 2}}, NOBODY},
                {{.type = IPC_EVENT, .session = 2, .json = {"{}", 2}}, -1},
                {{.type = IPC_CREDIT, .session = 1, .window = UINT32_MAX}, -1},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Busy b;
                busy_open(&b);
                IpcMessage m = cases[i].m;
                m.request = cases[i].request < 0 ? 0 : number_of(&b, cases[i].request);
                agent_send(&b.a, &m);
                if (pump(b.a.link) != -EPROTO)
                        fail_msg("case %zu was taken", i);
                assert_string_equal(linkipc_error_word(b.a.link), "protocol");
                busy_close(&b);
        }
}

static void test_incoming_unasked(void **state)
{
        TestAgent a;

        (void)state;
        agent_open_hello(&a);
        agent_announces(&a, 1, 1, "{}");
        assert_int_equal(pump(a.link), -EPROTO);
        agent_close(&a);
}

static void test_talkative(void **state)
{
        enum { MAX = 64 * 1024 };
        char *info = calloc(1, MAX + 2);

        (void)state;
        assert_non_null(info);
        memset(info, ' ', MAX);
        for (int over = 0; over < 2; over++) {
                Busy b;
                busy_open(&b);
                info[MAX] = over ? ' ' : 0;
                agent_announces(&b.a, 5, 1, info);
                assert_int_equal(pump(b.a.link), over ? -EPROTO : 0);
                busy_close(&b);
        }
        free(info);
}

static void test_number_in_use(void **state)
{
        Busy b;

        (void)state;
        busy_open(&b);
        agent_send_request(&b.a, 1, 5, "1"); /* is kept */
        assert_int_equal(pump(b.a.link), 0);
        agent_send_request(&b.a, 1, 5, "1");
        expect_broken(&b, -EPROTO);
}

static void test_too_many_requests(void **state)
{
        enum { MAX = 4096 };
        static linkipc_reply *replies[MAX];
        Busy b;

        (void)state;
        busy_open(&b);
        for (uint32_t i = 0; i < MAX; i++) {
                agent_send_request(&b.a, 1, i + 1, "1");
                assert_int_equal(pump(b.a.link), 0);
                replies[i] = TAKE_PTR(b.reply);
                assert_non_null(replies[i]);
        }
        agent_send_request(&b.a, 1, MAX + 1, "1");
        assert_int_equal(pump(b.a.link), -EPROTO);
        for (int i = 0; i < MAX; i++) {
                assert_int_equal(linkipc_reply_is_cancelled(replies[i]), 1);
                linkipc_reply_unref(replies[i]);
        }
        busy_close(&b);
}

static void test_error_of_connection(void **state)
{
        Busy b;

        (void)state;
        busy_open(&b);
        agent_send_error(&b.a, 0, 0, "flow", "too much", 0);
        assert_int_equal(pump(b.a.link), -ENOBUFS);
        assert_string_equal(linkipc_error_word(b.a.link), "flow");
        assert_string_equal(b.call.message, "too much");
        assert_int_equal(b.closed, 2);
        busy_close(&b);
}

/* ---- errors of any kind ---- */

static void test_strange_errors(void **state)
{
        static const struct {
                const char *word;
                uint32_t number;
                int error;
        } cases[] = {
                {"noSuchPeer", ENOENT, -ENOENT},
                {"noSuchPeer", 0, -ENOENT},
                {"somethingNew", ENOTTY, -ENOTTY},
                {"somethingNew", 0, -EIO},
                {"somethingNew", 4096, -EIO},
                {"somethingNew", UINT32_MAX, -EIO},
                {"closed", 0, -ECONNRESET},
                {"flow", 0, -ENOBUFS},
                {"tooMany", 0, -EUSERS},
                {"noPayload", 0, -ENOTSUP},
                {"", 0, -EIO},
                {"", EACCES, -EACCES},
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                TestAgent a;
                Seen seen = {0};
                uint32_t id;
                agent_open_hello(&a);
                assert_int_equal(linkipc_call_async(a.link, "m", NULL, 0, on_seen, &seen, &id), 0);
                agent_send_error(&a, 0, id, cases[i].word, "m", (int)cases[i].number);
                assert_int_equal(pump(a.link), 0);
                assert_int_equal(seen.calls, 1);
                assert_int_equal(seen.error, cases[i].error);
                assert_true(*seen.word != 0);
                agent_close(&a);
        }
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_malformed_frames),
                cmocka_unit_test(test_end_within_frame),
                cmocka_unit_test(test_byte_by_byte),
                cmocka_unit_test(test_good_then_bad),
                cmocka_unit_test(test_no_hello),
                cmocka_unit_test(test_mixed_up),
                cmocka_unit_test(test_incoming_unasked),
                cmocka_unit_test(test_talkative),
                cmocka_unit_test(test_number_in_use),
                cmocka_unit_test(test_too_many_requests),
                cmocka_unit_test(test_error_of_connection),
                cmocka_unit_test(test_strange_errors),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
