/* Sessions: their life, and what is sent on them. */
#include "handlers.h"

enum { WINDOW = 1000 };

/* ---- life ---- */

static void test_connect(void **state)
{
        TestAgent a;
        Log log = {0};
        linkipc_session *s = NULL;

        (void)state;
        agent_open_hello(&a);
        listen_all(a.link, &log);
        assert_int_equal(linkipc_set_window(a.link, WINDOW), 0);
        assert_int_equal(linkipc_connect(a.link, "home", &s), 0);
        assert_int_equal(linkipc_session_get_state(s), LINKIPC_CONNECTING);
        assert_string_equal(linkipc_session_get_peer(s), "home");
        assert_string_equal(linkipc_session_get_host(s), "");
        assert_string_equal(linkipc_session_get_info(s), "");
        assert_int_equal(linkipc_session_is_incoming(s), 0);
        assert_int_equal(linkipc_session_get_credit(s), 0);
        assert_ptr_equal(linkipc_session_get_connection(s), a.link);
        assert_int_equal(linkipc_request_async(s, "1", 0, NULL, NULL, NULL), -EAGAIN);
        IpcMessage m = agent_pump_expect(&a, IPC_CONNECT);
        assert_true(str_is(m.name, "home"));
        assert_int_equal(m.window, WINDOW);
        agent_send(&a, &(IpcMessage){
                               .type = IPC_OPENED,
                               .session = 7,
                               .request = m.request,
                               .window = 500,
                               .json = ipc_str("{\"a\":1.0}"),
                       });
        pump(a.link);
        assert_int_equal(log.states, 0);
        assert_int_equal(log.writables, 1);
        assert_string_equal(linkipc_session_get_info(s), "{\"a\":1.0}");
        assert_int_equal(linkipc_session_get_credit(s), 500);
        agent_send_state(&a, 7, IPC_STATE_CONNECTING, "", "");
        agent_send_state(&a, 7, IPC_STATE_CONNECTED, "", "");
        pump(a.link);
        assert_int_equal(log.states, 1);
        assert_int_equal(linkipc_session_is_framed(s), 0);
        agent_send_state(&a, 7, IPC_STATE_CONNECTED, "framed", "");
        pump(a.link);
        assert_int_equal(log.states, 2);
        assert_int_equal(linkipc_session_is_framed(s), 1);
        agent_send_state(&a, 7, IPC_STATE_RECONNECTING, "unreachable", "no relay");
        pump(a.link);
        assert_int_equal(log.state, LINKIPC_RECONNECTING);
        assert_int_equal(linkipc_session_is_framed(s), 0);
        assert_int_equal(linkipc_session_error(s), -EHOSTUNREACH);
        assert_string_equal(linkipc_session_error_word(s), "unreachable");
        assert_string_equal(linkipc_session_error_message(s), "no relay");
        agent_send_state(&a, 7, IPC_STATE_CONNECTED, "framed", "");
        pump(a.link);
        assert_int_equal(log.states, 4);
        assert_int_equal(linkipc_session_error(s), 0);
        agent_send_state(&a, 7, IPC_STATE_CLOSED, "tooMany", "enough");
        pump(a.link);
        assert_int_equal(log.states, 5);
        assert_int_equal(log.state, LINKIPC_CLOSED);
        assert_int_equal(linkipc_session_error(s), -EUSERS); /* as the agent's table says */
        assert_int_equal(linkipc_request_async(s, "1", 0, NULL, NULL, NULL), -ENOTCONN);
        assert_string_equal(linkipc_error_message(a.link), "enough");
        assert_int_equal(linkipc_session_close(s), 0);
        agent_expect_nothing(&a);
        linkipc_session_unref(s);
        agent_close(&a);
        assert_int_equal(log.states, 5);
}

static void test_connect_refused(void **state)
{
        TestAgent a;
        Log log = {0};
        linkipc_session *s = NULL;

        (void)state;
        agent_open_hello(&a);
        listen_all(a.link, &log);
        assert_int_equal(linkipc_connect(a.link, "nobody", &s), 0);
        IpcMessage m = agent_pump_expect(&a, IPC_CONNECT);
        agent_send_error(&a, 0, m.request, "noSuchPeer", "who?", ENOENT);
        pump(a.link);
        assert_int_equal(log.states, 1);
        assert_int_equal(log.state, LINKIPC_CLOSED);
        assert_int_equal(linkipc_session_error(s), -ENOENT);
        assert_string_equal(linkipc_session_error_word(s), "noSuchPeer");
        linkipc_session_unref(s);
        agent_close(&a);
}

static void test_close(void **state)
{
        TestAgent a;
        Log log = {0};
        linkipc_session *s = connected(&a, &log, 100000);
        Seen seen = {0};

        (void)state;
        assert_int_equal(linkipc_request_async(s, "1", 0, on_seen, &seen, NULL), 0);
        assert_int_equal(linkipc_session_close(s), 0);
        assert_int_equal(linkipc_session_close(s), 0);
        assert_int_equal(linkipc_session_get_credit(s), 0);
        assert_int_equal(linkipc_request_async(s, "1", 0, NULL, NULL, NULL), -ENOTCONN);
        assert_int_equal(linkipc_send_async(s, "1", NULL, 0, NULL, NULL, NULL), -ENOTCONN);
        (void)agent_pump_expect(&a, IPC_REQUEST);
        (void)agent_pump_expect(&a, IPC_CLOSE);
        agent_expect_nothing(&a);
        agent_send_state(&a, 1, IPC_STATE_CLOSED, "closed", "closed by the application");
        pump(a.link);
        assert_int_equal(seen.calls, 1);
        assert_int_equal(seen.error, -ECONNRESET);
        assert_int_equal(log.state, LINKIPC_CLOSED);
        linkipc_session_unref(s);
        agent_close(&a);
}

static void test_close_before_opened(void **state)
{
        TestAgent a;
        linkipc_session *s = NULL, *t = NULL;
        Log log = {0};

        (void)state;
        agent_open_hello(&a);
        listen_all(a.link, &log);
        assert_int_equal(linkipc_connect(a.link, "home", &s), 0);
        assert_int_equal(linkipc_connect(a.link, "home", &t), 0);
        assert_int_equal(linkipc_session_close(s), 0);
        linkipc_session_unref(t); /* as well */
        agent_opens(&a, 1, 1000);
        agent_opens(&a, 2, 1000);
        assert_int_equal(agent_pump_expect(&a, IPC_CLOSE).session, 1);
        assert_int_equal(agent_pump_expect(&a, IPC_CLOSE).session, 2);
        agent_send_event(&a, 2, "1", NULL, 0); /* has crossed it */
        agent_send_request(&a, 2, 9, "1");
        agent_send_state(&a, 2, IPC_STATE_CLOSED, "closed", "");
        agent_send_state(&a, 1, IPC_STATE_CLOSED, "closed", "");
        pump(a.link);
        assert_int_equal(log.states, 1);
        assert_int_equal(log.events + log.requests + log.writables, 0);
        assert_int_equal(linkipc_session_get_state(s), LINKIPC_CLOSED);
        agent_expect_nothing(&a);
        linkipc_session_unref(s);
        agent_close(&a);
}

static void test_unref_session(void **state)
{
        TestAgent a;
        Log log = {0};
        linkipc_session *s = connected(&a, &log, 100000);
        Seen seen = {0}, sent = {0};

        (void)state;
        assert_int_equal(linkipc_request_async(s, "1", 0, on_seen, &seen, NULL), 0);
        assert_int_equal(linkipc_send_async(s, "2", NULL, 0, on_seen, &sent, NULL), 0);
        linkipc_session_unref(linkipc_session_ref(s));
        assert_int_equal(seen.calls, 0);
        assert_null(linkipc_session_unref(s));
        assert_int_equal(seen.calls, 1);
        assert_int_equal(seen.error, -ECANCELED);
        assert_int_equal(sent.calls, 1);
        uint32_t request = agent_pump_expect(&a, IPC_REQUEST).request;
        (void)agent_pump_expect(&a, IPC_EVENT);
        (void)agent_pump_expect(&a, IPC_CLOSE);
        agent_send_response(&a, 1, request, true, "1");
        agent_send_error(&a, 1, request + 1, "closed", "", ECONNRESET);
        agent_send_state(&a, 1, IPC_STATE_CLOSED, "closed", "");
        assert_int_equal(pump(a.link), 0);
        assert_int_equal(log.states, 1); /* connected; no handler since */
        assert_int_equal(seen.calls + sent.calls, 2);
        agent_close(&a);
}

static void test_outlives_connection(void **state)
{
        TestAgent a;
        Log log = {0};
        linkipc_session *s = connected(&a, &log, 100000), *pending = NULL;
        Seen seen = {0};
        char *json = (char *)1;

        (void)state;
        assert_int_equal(linkipc_connect(a.link, "home", &pending), 0);
        assert_int_equal(linkipc_request_async(s, "1", 0, on_seen, &seen, NULL), 0);
        linkipc_session_set_userdata(s, &seen);
        a.link = linkipc_unref(a.link);
        assert_int_equal(seen.calls, 1);
        assert_int_equal(seen.error, -ECANCELED);
        assert_int_equal(log.states, 1); /* handlers are not called */
        assert_int_equal(linkipc_session_get_state(s), LINKIPC_CLOSED);
        assert_int_equal(linkipc_session_get_state(pending), LINKIPC_CLOSED);
        assert_null(linkipc_session_get_connection(s));
        assert_int_equal(linkipc_session_error(s), -ECANCELED);
        assert_string_equal(linkipc_session_get_peer(s), "home");
        assert_ptr_equal(linkipc_session_get_userdata(s), &seen);
        assert_int_equal(linkipc_request_async(s, "1", 0, NULL, NULL, NULL), -ENOTCONN);
        assert_int_equal(linkipc_request(s, "1", 0, &json, NULL), -ENOTCONN);
        assert_int_equal(linkipc_send(s, "1", NULL, 0, 0), -ENOTCONN);
        assert_int_equal(linkipc_session_wait(s, 0), -ECANCELED);
        assert_int_equal(linkipc_session_wait_closed(s, 0), 0);
        assert_int_equal(linkipc_session_close(s), 0);
        linkipc_session_hold(s);
        linkipc_session_release(s);
        assert_ptr_equal(json, (char *)1);
        linkipc_session_unref(s);
        linkipc_session_unref(pending);
        agent_close(&a);
}

static void test_agent_dies(void **state)
{
        TestAgent a;
        Log log = {0};
        linkipc_session *s = connected(&a, &log, 100000), *pending = NULL;
        Seen seen = {0};

        (void)state;
        assert_int_equal(linkipc_connect(a.link, "home", &pending), 0);
        assert_int_equal(linkipc_request_async(s, "1", 0, on_seen, &seen, NULL), 0);
        agent_hang_up(&a);
        assert_int_equal(pump(a.link), -ECONNRESET);
        assert_int_equal(seen.error, -ECONNRESET);
        assert_int_equal(log.states, 3);
        assert_int_equal(linkipc_session_get_state(s), LINKIPC_CLOSED);
        assert_int_equal(linkipc_session_error(s), -ECONNRESET);
        assert_int_equal(linkipc_session_get_state(pending), LINKIPC_CLOSED);
        assert_ptr_equal(linkipc_session_get_connection(s), a.link);
        linkipc_session_unref(s);
        agent_close(&a);
        assert_null(linkipc_session_get_connection(pending));
        linkipc_session_unref(pending);
        assert_int_equal(log.states, 3);
}

/* ---- requests and events that we send ---- */

static void test_request(void **state)
{
        TestAgent a;
        Log log = {0};
        linkipc_session *s = connected(&a, &log, 100000);
        Seen seen = {0};
        uint32_t id;

        (void)state;
        assert_int_equal(linkipc_request_async(s, "{\"a\":1e400}", 1500, on_seen, &seen, &id), 0);
        IpcMessage m = agent_pump_expect(&a, IPC_REQUEST);
        assert_int_equal(m.session, 1);
        assert_int_equal(m.request, id);
        assert_int_equal(m.timeout_msec, 1500);
        assert_true(str_is(m.json, "{\"a\":1e400}"));
        agent_send_response(&a, 1, id, true, "\"\\ud800 1.0\"");
        pump(a.link);
        assert_string_equal(seen.json, "\"\\ud800 1.0\"");
        assert_int_equal(linkipc_request_async(s, "1", 0, on_seen, &seen, &id), 0);
        (void)agent_pump_expect(&a, IPC_REQUEST);
        agent_send_error(&a, 1, id, "timeout", "no answer in time", ETIMEDOUT);
        pump(a.link);
        assert_int_equal(seen.error, -ETIMEDOUT);
        assert_int_equal(linkipc_request_async(s, "1", 0, on_seen, &seen, &id), 0);
        assert_int_equal(linkipc_cancel(a.link, id), 0);
        assert_int_equal(seen.error, -ECANCELED);
        (void)agent_pump_expect(&a, IPC_REQUEST);
        m = agent_pump_expect(&a, IPC_CANCEL);
        assert_int_equal(m.session, 1);
        assert_int_equal(m.request, id);
        agent_send_response(&a, 1, id, true, "1"); /* has crossed it */
        assert_int_equal(pump(a.link), 0);
        assert_int_equal(seen.calls, 3);
        linkipc_session_unref(s);
        agent_close(&a);
}

static void test_event(void **state)
{
        static const uint8_t payload[] = {0, 1, 0xff, 0};
        TestAgent a;
        Log log = {0};
        linkipc_session *s = connected(&a, &log, 100000);
        Seen seen = {0};
        uint32_t id = 77;

        (void)state;
        assert_int_equal(linkipc_send_async(s, "{}", payload, sizeof payload, NULL, NULL, &id), 0);
        IpcMessage m = agent_pump_expect(&a, IPC_EVENT);
        assert_int_equal(m.request, 0);
        assert_int_equal(id, 0);
        assert_true(str_is(m.json, "{}"));
        assert_int_equal(m.payload_len, sizeof payload);
        assert_memory_equal(m.payload, payload, sizeof payload);
        assert_int_equal(linkipc_send_async(s, "[]", NULL, 0, on_seen, &seen, &id), 0);
        m = agent_pump_expect(&a, IPC_EVENT);
        assert_int_equal(m.request, id);
        assert_null(m.payload);
        agent_send_result(&a, 1, id, "{}");
        pump(a.link);
        assert_int_equal(seen.calls, 1);
        assert_int_equal(seen.error, 0);
        assert_int_equal(linkipc_send_async(s, "[]", payload, 1, on_seen, &seen, &id), 0);
        (void)agent_pump_expect(&a, IPC_EVENT);
        agent_send_error(&a, 1, id, "noPayload", "none", ENOTSUP);
        pump(a.link);
        assert_int_equal(seen.error, -ENOTSUP);
        assert_string_equal(seen.word, "noPayload");
        /* A given up event keeps its number: there is no CANCEL for it. */
        assert_int_equal(linkipc_send_async(s, "[]", NULL, 0, on_seen, &seen, &id), 0);
        (void)agent_pump_expect(&a, IPC_EVENT);
        assert_int_equal(linkipc_cancel(a.link, id), 0);
        assert_int_equal(seen.calls, 3);
        agent_expect_nothing(&a);
        agent_send_result(&a, 1, id, "{}");
        pump(a.link);
        assert_int_equal(seen.calls, 3);
        assert_int_equal(linkipc_send_async(s, "1", NULL, 1, NULL, NULL, NULL), -EINVAL);
        linkipc_session_unref(s);
        agent_close(&a);
}

static void test_too_big(void **state)
{
        const size_t max = 16 * 1024 * 1024;
        char *big = calloc(1, max + 2);
        TestAgent a;
        Log log = {0};
        linkipc_session *s = connected(&a, &log, 4194304);

        (void)state;
        assert_non_null(big);
        assert_int_equal(linkipc_send_async(s, "1", big, max, NULL, NULL, NULL), -EMSGSIZE);
        memset(big, '1', max + 1);
        assert_int_equal(linkipc_request_async(s, big, 0, NULL, NULL, NULL), -EMSGSIZE);
        assert_string_equal(linkipc_error_word(a.link), "tooBig");
        assert_int_equal(linkipc_session_get_credit(s), 4194304);
        assert_int_equal(linkipc_send_async(s, "1", big, max - 1, NULL, NULL, NULL), 0);
        assert_int_equal(linkipc_session_get_credit(s), 0);
        linkipc_session_unref(s);
        agent_close(&a);
        free(big);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_connect),       cmocka_unit_test(test_connect_refused),
                cmocka_unit_test(test_close),         cmocka_unit_test(test_close_before_opened),
                cmocka_unit_test(test_unref_session), cmocka_unit_test(test_outlives_connection),
                cmocka_unit_test(test_agent_dies),    cmocka_unit_test(test_request),
                cmocka_unit_test(test_event),         cmocka_unit_test(test_too_big),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
