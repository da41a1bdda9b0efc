/* Flow control, and events that come. */
#include "handlers.h"

/* ---- flow control, out ---- */

static void test_credit(void **state)
{
        TestAgent a;
        Log log = {0};
        const size_t cost = frame_len(4 + 1);
        linkipc_session *s = connected(&a, &log, (uint32_t)cost + 1);

        (void)state;
        assert_int_equal(log.writables, 1);
        assert_int_equal(linkipc_session_get_credit(s), cost + 1);
        assert_int_equal(linkipc_request_async(s, "1", 0, NULL, NULL, NULL), 0);
        assert_int_equal(linkipc_session_get_credit(s), 1);
        assert_int_equal(linkipc_request_async(s, "2", 0, NULL, NULL, NULL), 0); /* goes beyond */
        assert_int_equal(linkipc_session_get_credit(s), 0);
        assert_int_equal(linkipc_request_async(s, "3", 0, NULL, NULL, NULL), -EAGAIN);
        assert_string_equal(linkipc_error_word(a.link), "flow");
        assert_int_equal(linkipc_send_async(s, "3", NULL, 0, NULL, NULL, NULL), -EAGAIN);
        agent_send_credit(&a, 1, (uint32_t)cost - 1); /* 1 - cost + cost - 1 */
        pump(a.link);
        assert_int_equal(log.writables, 1);
        assert_int_equal(linkipc_request_async(s, "3", 0, NULL, NULL, NULL), -EAGAIN);
        agent_send_credit(&a, 1, 1);
        pump(a.link);
        assert_int_equal(log.writables, 2);
        agent_send_credit(&a, 1, 1);
        pump(a.link);
        assert_int_equal(log.writables, 2); /* nothing has failed since */
        assert_int_equal(linkipc_session_get_credit(s), 2);
        assert_int_equal(linkipc_request_async(s, "3", 0, NULL, NULL, NULL), 0);
        linkipc_session_unref(s);
        agent_close(&a);
}

static void test_credit_overflow(void **state)
{
        TestAgent a;
        Log log = {0};
        linkipc_session *s = connected(&a, &log, 10);

        (void)state;
        agent_send_credit(&a, 99, 1); /* no such session (any more) */
        agent_send_credit(&a, 1, INT32_MAX - 10);
        assert_int_equal(pump(a.link), 0);
        assert_int_equal(linkipc_session_get_credit(s), INT32_MAX);
        agent_send_credit(&a, 1, 1);
        assert_int_equal(pump(a.link), -EPROTO);
        linkipc_session_unref(s);
        agent_close(&a);
}

/* ---- flow control, in ---- */

static void test_gives_credit(void **state)
{
        TestAgent a;
        Log log = {0};
        linkipc_session *s = NULL;
        const size_t cost = frame_len(4 + 1);

        (void)state;
        agent_open_hello(&a);
        listen_all(a.link, &log);
        assert_int_equal(linkipc_set_window(a.link, 8 * 2 * (uint32_t)cost), 0); /* an 8th: two */
        assert_int_equal(linkipc_connect(a.link, "home", &s), 0);
        agent_opens(&a, 1, 100);
        agent_send_event(&a, 1, "1", NULL, 0);
        agent_expect_nothing(&a);
        agent_send_event(&a, 1, "2", NULL, 0);
        pump(a.link);
        IpcMessage m = agent_pump_expect(&a, IPC_CREDIT);
        assert_int_equal(m.session, 1);
        assert_int_equal(m.window, 2 * cost);
        assert_int_equal(log.events, 2);
        assert_string_equal(log.event, "2");
        linkipc_session_unref(s);
        agent_close(&a);
}

static void test_hold(void **state)
{
        TestAgent a;
        Log log = {0};
        linkipc_session *s = NULL;
        const size_t cost = frame_len(4 + 1);

        (void)state;
        agent_open_hello(&a);
        listen_all(a.link, &log);
        assert_int_equal(linkipc_set_window(a.link, 3 * (uint32_t)cost), 0);
        assert_int_equal(linkipc_connect(a.link, "home", &s), 0);
        agent_opens(&a, 1, 100);
        linkipc_session_hold(s);
        linkipc_session_hold(s); /* not counted */
        for (int i = 0; i < 3; i++)
                agent_send_event(&a, 1, "1", NULL, 0);
        agent_expect_nothing(&a);
        assert_int_equal(log.events, 3); /* what is under way still comes */
        linkipc_session_release(s);
        assert_int_equal(agent_pump_expect(&a, IPC_CREDIT).window, 3 * cost);
        linkipc_session_release(s);
        agent_expect_nothing(&a);
        agent_send_event(&a, 1, "1", NULL, 0);
        assert_int_equal(agent_pump_expect(&a, IPC_CREDIT).window, cost);
        linkipc_session_unref(s);
        agent_close(&a);
}

static void test_agent_ignores_credit(void **state)
{
        TestAgent a;
        Log log = {0};
        linkipc_session *s = NULL;
        const size_t cost = frame_len(4 + 1);

        (void)state;
        agent_open_hello(&a);
        listen_all(a.link, &log);
        assert_int_equal(linkipc_set_window(a.link, (uint32_t)cost + 1), 0);
        assert_int_equal(linkipc_connect(a.link, "home", &s), 0);
        linkipc_session_hold(s);
        agent_opens(&a, 1, 100);
        agent_send_event(&a, 1, "1", NULL, 0);
        agent_send_event(&a, 1, "1", NULL, 0); /* one byte is left: fine */
        assert_int_equal(pump(a.link), 0);
        agent_send_event(&a, 1, "1", NULL, 0);
        assert_int_equal(pump(a.link), -EPROTO);
        assert_int_equal(log.events, 2);
        linkipc_session_unref(s);
        agent_close(&a);
}

/* An agent that sends and never reads: credit is counted, not queued. */
static void test_credit_does_not_pile_up(void **state)
{
        TestAgent a;
        Log log = {0};
        linkipc_session *s = NULL;
        enum { BIG = 600 * 1024 };
        char *text = malloc(BIG + 1);
        size_t cost = frame_len(4 + 1), given = 0;

        (void)state;
        assert_non_null(text);
        memset(text, '1', BIG);
        text[BIG] = 0;
        agent_open_hello(&a);
        listen_all(a.link, &log);
        assert_int_equal(linkipc_set_window(a.link, 100000), 0);
        assert_int_equal(linkipc_connect(a.link, "home", &s), 0);
        agent_opens(&a, 1, 100);
        pump(a.link);
        assert_int_equal(linkipc_call_async(a.link, "m", text, 0, NULL, NULL, NULL), 0);
        linkipc_session_hold(s);
        for (int i = 0; i < 1000; i++) {
                agent_send_event(&a, 1, "1", NULL, 0);
                pump(a.link);
        }
        assert_int_equal(log.events, 1000);
        linkipc_session_release(s); /* 600 KB or so are in the way */
        (void)agent_pump_expect(&a, IPC_CALL);
        IpcMessage m = agent_pump_expect(&a, IPC_CREDIT);
        given += m.window;
        assert_int_equal(given, 1000 * cost);
        agent_expect_nothing(&a);
        linkipc_session_unref(s);
        agent_close(&a);
        free(text);
}

/* ---- events that come ---- */

static void test_incoming_event(void **state)
{
        TestAgent a;
        Log log = {0}, own = {0};
        linkipc_session *s = connected(&a, &log, 1000);

        (void)state;
        agent_send_event(&a, 1, "{\"x\":1.0}", "abc", 3);
        agent_send_event(&a, 1, "[1]", NULL, 0);
        assert_int_equal(linkipc_process(a.link), 1);
        assert_string_equal(log.event, "{\"x\":1.0}");
        assert_int_equal(log.event_len, 9);
        assert_int_equal(log.payload_len, 3);
        assert_memory_equal(log.payload, "abc", 3);
        pump(a.link);
        assert_string_equal(log.event, "[1]");
        assert_false(log.has_payload);
        linkipc_session_on_event(s, log_event, &own);
        agent_send_event(&a, 1, "2", NULL, 0);
        pump(a.link);
        assert_int_equal(log.events, 2);
        assert_int_equal(own.events, 1);
        linkipc_session_on_event(s, NULL, NULL);
        agent_send_event(&a, 1, "2", NULL, 0);
        pump(a.link);
        assert_int_equal(log.events, 3);
        linkipc_on_event(a.link, NULL, NULL);
        agent_send_event(&a, 1, "2", NULL, 0);
        assert_int_equal(pump(a.link), 0);
        assert_int_equal(log.events + own.events, 4);
        linkipc_session_unref(s);
        agent_close(&a);
}

/* A large message in small pieces. */
static void *send_large(TestAgent *a)
{
        enum { N = 3 * 1024 * 1024 };
        char *big = malloc(N);

        assert_non_null(big);
        memset(big, 'x', N);
        agent_send_event(a, 1, "1", big, N);
        free(big);
        return NULL;
}

static void script_large(TestAgent *a)
{
        (void)send_large(a);
}

static void test_large_event(void **state)
{
        TestAgent a;
        Log log = {0};
        linkipc_session *s = connected(&a, &log, 1000);

        (void)state;
        agent_start(&a, script_large);
        PUMP_UNTIL(a.link, log.events > 0);
        assert_int_equal(log.payload_len, 3 * 1024 * 1024);
        agent_join(&a);
        assert_true(agent_pump_expect(&a, IPC_CREDIT).window > 3 * 1024 * 1024);
        linkipc_session_unref(s);
        agent_close(&a);
}

static void on_writable_send(linkipc_session *s, void *userdata)
{
        Log *log = userdata;

        log->writables++;
        while (linkipc_send_async(s, "1", NULL, 0, NULL, NULL, NULL) == 0)
                log->events++;
}

static void test_send_in_writable(void **state)
{
        TestAgent a;
        Log log = {0};
        linkipc_session *s = NULL;
        const uint32_t cost = (uint32_t)frame_len(4 + 1);

        (void)state;
        agent_open_hello(&a);
        linkipc_on_writable(a.link, on_writable_send, &log);
        assert_int_equal(linkipc_connect(a.link, "home", &s), 0);
        agent_opens(&a, 1, 10 * cost);
        for (int i = 0; i < 10; i++)
                (void)agent_pump_expect(&a, IPC_EVENT);
        agent_expect_nothing(&a);
        agent_send_credit(&a, 1, 2 * cost + 1);
        for (int i = 0; i < 3; i++)
                (void)agent_pump_expect(&a, IPC_EVENT);
        agent_expect_nothing(&a);
        assert_int_equal(log.writables, 2);
        assert_int_equal(log.events, 13);
        linkipc_session_unref(s);
        agent_close(&a);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_credit),
                cmocka_unit_test(test_credit_overflow),
                cmocka_unit_test(test_gives_credit),
                cmocka_unit_test(test_hold),
                cmocka_unit_test(test_agent_ignores_credit),
                cmocka_unit_test(test_credit_does_not_pile_up),
                cmocka_unit_test(test_incoming_event),
                cmocka_unit_test(test_large_event),
                cmocka_unit_test(test_send_in_writable),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
