/* Sessions and replies: life, flow control, handlers. */
#include "agent.h"

enum { WINDOW = 1000 };

/* ---- what handlers saw ---- */

typedef struct Log {
        TestAgent *agent;
        linkipc_session *session; /* of the last state */
        int states, events, requests, writables, cancels;
        int state;
        char event[64], payload[64], command[64];
        size_t event_len, payload_len;
        bool has_payload;
        linkipc_reply *reply; /* taken, if keep */
        bool keep;
        const char *answer;
} Log;

static void on_state(linkipc_session *s, int state, void *userdata)
{
        Log *log = userdata;

        log->states++;
        log->state = state;
        log->session = s;
        assert_int_equal(linkipc_session_get_state(s), state);
}

static void on_event(linkipc_session *s, const char *data, size_t len, const void *payload,
                     size_t payload_len, void *userdata)
{
        Log *log = userdata;

        assert_non_null(s);
        log->events++;
        log->event_len = len;
        log->payload_len = payload_len;
        log->has_payload = payload;
        assert_int_equal(strlen(data), len);
        (void)snprintf(log->event, sizeof log->event, "%s", data);
        if (payload)
                memcpy(log->payload, payload, MIN(payload_len, sizeof log->payload));
}

static void on_request(linkipc_session *s, linkipc_reply *reply, const char *command, size_t len,
                       void *userdata)
{
        Log *log = userdata;

        log->requests++;
        assert_ptr_equal(linkipc_reply_get_session(reply), s);
        assert_int_equal(strlen(command), len);
        (void)snprintf(log->command, sizeof log->command, "%s", command);
        if (log->keep)
                log->reply = linkipc_reply_ref(reply);
        else if (log->answer)
                assert_int_equal(linkipc_reply_ok(reply, log->answer), 0);
}

static void on_writable(linkipc_session *s, void *userdata)
{
        Log *log = userdata;

        assert_true(linkipc_session_get_credit(s) > 0);
        log->writables++;
}

static void on_cancel(linkipc_reply *r, void *userdata)
{
        Log *log = userdata;

        assert_int_equal(linkipc_reply_is_cancelled(r), 1);
        log->cancels++;
}

static void listen_all(linkipc *l, Log *log)
{
        linkipc_on_state(l, on_state, log);
        linkipc_on_event(l, on_event, log);
        linkipc_on_request(l, on_request, log);
        linkipc_on_writable(l, on_writable, log);
}

/* A connected session with number 1 and the agent's window. */
static linkipc_session *connected(TestAgent *a, Log *log, uint32_t window)
{
        linkipc_session *s = NULL;

        agent_open_hello(a);
        log->agent = a;
        listen_all(a->link, log);
        assert_int_equal(linkipc_connect(a->link, "home", &s), 0);
        agent_opens(a, 1, window);
        agent_send_state(a, 1, IPC_STATE_CONNECTED, "", "");
        pump(a->link);
        assert_int_equal(linkipc_session_get_state(s), LINKIPC_CONNECTED);
        return s;
}

/* The application serves, and session 1 has come. */
static linkipc_session *served(TestAgent *a, Log *log, uint32_t window)
{
        uint32_t id;

        agent_open_hello(a);
        log->agent = a;
        listen_all(a->link, log);
        assert_int_equal(linkipc_serve_async(a->link, NULL, 3, NULL, NULL, &id), 0);
        agent_send_result(a, 0, agent_pump_expect(a, IPC_SERVE).request, "{}");
        agent_announces(a, 1, window,
                        "{\"host\":\"default\",\"keyId\":\"K-1\",\"label\":\"Ann\\n\"}");
        pump(a->link);
        assert_int_equal(log->states, 1);
        assert_int_equal(log->state, LINKIPC_CONNECTED);
        return log->session;
}

static size_t frame_len(size_t body)
{
        return IPC_HEAD_BYTES + body;
}

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
        linkipc_session_on_event(s, on_event, &own);
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

/* ---- serving ---- */

static void test_incoming(void **state)
{
        TestAgent a;
        Log log = {0};
        linkipc_session *s = served(&a, &log, 100000);

        (void)state;
        assert_int_equal(linkipc_session_is_incoming(s), 1);
        assert_string_equal(linkipc_session_get_host(s), "default");
        assert_string_equal(linkipc_session_get_key_id(s), "K-1");
        assert_string_equal(linkipc_session_get_label(s), "Ann\n");
        assert_string_equal(linkipc_session_get_peer(s), "");
        log.answer = "{\"n\":1.0}";
        agent_send_request(&a, 1, 5, "{\"do\":\"it\"}");
        pump(a.link);
        assert_string_equal(log.command, "{\"do\":\"it\"}");
        IpcMessage m = agent_pump_expect(&a, IPC_RESPONSE);
        assert_int_equal(m.session, 1);
        assert_int_equal(m.request, 5);
        assert_int_equal(m.flags, IPC_FLAG_OK);
        assert_true(str_is(m.json, "{\"n\":1.0}"));
        /* The same number again: it is free. */
        agent_send_request(&a, 1, 5, "2");
        (void)agent_pump_expect(&a, IPC_RESPONSE);
        agent_send_state(&a, 1, IPC_STATE_CLOSED, "closed", "");
        pump(a.link);
        assert_int_equal(log.states, 2);
        agent_close(&a);
}

static void test_incoming_kept(void **state)
{
        TestAgent a;
        Log log = {0};
        linkipc_session *s = linkipc_session_ref(served(&a, &log, 100000));

        (void)state;
        agent_send_state(&a, 1, IPC_STATE_CLOSED, "closed", "");
        pump(a.link);
        assert_int_equal(linkipc_session_get_state(s), LINKIPC_CLOSED);
        assert_string_equal(linkipc_session_get_key_id(s), "K-1");
        agent_announces(&a, 2, 10, "{}");
        pump(a.link);
        assert_string_equal(linkipc_session_get_key_id(log.session), "");
        /* Whoever drops what he was only lent ends the session. */
        linkipc_session_unref(log.session);
        assert_int_equal(agent_pump_expect(&a, IPC_CLOSE).session, 2);
        agent_send_state(&a, 2, IPC_STATE_CLOSED, "closed", "");
        assert_int_equal(pump(a.link), 0);
        a.link = linkipc_unref(a.link);
        linkipc_session_unref(s);
        agent_close(&a);
}

static void test_no_handler(void **state)
{
        TestAgent a;
        Log log = {0};

        (void)state;
        (void)served(&a, &log, 100000);
        linkipc_on_request(a.link, NULL, NULL);
        agent_send_request(&a, 1, 5, "1");
        IpcMessage m = agent_pump_expect(&a, IPC_RESPONSE);
        assert_int_equal(m.flags, 0);
        assert_true(str_is(m.json, "\"no request handler\""));
        agent_close(&a);
}

static void test_dropped_reply(void **state)
{
        TestAgent a;
        Log log = {0};

        (void)state;
        (void)served(&a, &log, 100000);
        agent_send_request(&a, 1, 5, "1"); /* the handler does nothing */
        IpcMessage m = agent_pump_expect(&a, IPC_RESPONSE);
        assert_int_equal(m.request, 5);
        assert_int_equal(m.flags, 0);
        log.keep = true;
        agent_send_request(&a, 1, 6, "1");
        agent_expect_nothing(&a);
        assert_null(linkipc_reply_unref(log.reply));
        m = agent_pump_expect(&a, IPC_RESPONSE);
        assert_int_equal(m.request, 6);
        assert_int_equal(m.flags, 0);
        assert_memory_equal(m.json.p, "\"the request", 12);
        agent_close(&a);
}

static void test_late_reply(void **state)
{
        TestAgent a;
        Log log = {.keep = true};
        linkipc_session *s = served(&a, &log, 100000);

        (void)state;
        agent_send_request(&a, 1, 5, "1");
        pump(a.link);
        linkipc_reply *r = log.reply;
        linkipc_reply_on_cancel(r, on_cancel, &log);
        assert_int_equal(linkipc_reply_is_cancelled(r), 0);
        assert_int_equal(linkipc_reply_error(r, NULL), -EINVAL);
        assert_int_equal(linkipc_reply_error(r, "\xff"), -EINVAL);
        assert_int_equal(linkipc_reply_ok(r, NULL), -EINVAL);
        assert_int_equal(linkipc_reply_ok(r, ""), -EINVAL);
        assert_int_equal(linkipc_reply_error(r, "no \"such\" thing\n"), 0);
        IpcMessage m = agent_pump_expect(&a, IPC_RESPONSE);
        assert_int_equal(m.flags, 0);
        assert_true(str_is(m.json, "\"no \\\"such\\\" thing\\n\""));
        assert_int_equal(linkipc_reply_ok(r, "1"), -EALREADY);
        assert_int_equal(linkipc_reply_error(r, "1"), -EALREADY);
        agent_send(&a, &(IpcMessage){.type = IPC_CANCEL, .session = 1, .request = 5});
        pump(a.link); /* has crossed the answer */
        assert_int_equal(log.cancels, 0);
        assert_ptr_equal(linkipc_reply_get_session(r), s);
        agent_send_state(&a, 1, IPC_STATE_CLOSED, "closed", "");
        pump(a.link);
        assert_int_equal(log.cancels, 0);
        assert_null(linkipc_reply_get_session(r));
        assert_int_equal(linkipc_reply_ok(r, "1"), -EALREADY);
        linkipc_reply_unref(r);
        agent_close(&a);
}

static void test_cancelled_reply(void **state)
{
        TestAgent a;
        Log log = {.keep = true};

        (void)state;
        (void)served(&a, &log, 100000);
        agent_send_request(&a, 1, 5, "1");
        pump(a.link);
        linkipc_reply *r = log.reply;
        linkipc_reply_on_cancel(r, on_cancel, &log);
        agent_send_request(&a, 1, 6, "1");
        pump(a.link);
        linkipc_reply *other = log.reply;
        linkipc_reply_on_cancel(other, on_cancel, &log);
        agent_send(&a, &(IpcMessage){.type = IPC_CANCEL, .session = 1, .request = 5});
        agent_send(&a, &(IpcMessage){.type = IPC_CANCEL, .session = 1, .request = 5});
        agent_send(&a, &(IpcMessage){.type = IPC_CANCEL, .session = 9, .request = 5});
        pump(a.link);
        assert_int_equal(log.cancels, 1);
        assert_int_equal(linkipc_reply_is_cancelled(r), 1);
        assert_int_equal(linkipc_reply_ok(r, "1"), -ECANCELED);
        linkipc_reply_unref(r);
        agent_expect_nothing(&a);
        a.link = linkipc_unref(a.link); /* the other one is not wanted any more either */
        assert_int_equal(log.cancels, 2);
        assert_int_equal(linkipc_reply_is_cancelled(other), 1);
        assert_null(linkipc_reply_get_session(other));
        assert_int_equal(linkipc_reply_ok(other, "1"), -ECANCELED);
        linkipc_reply_unref(other);
        agent_close(&a);
}

static void on_cancel_unref(linkipc_reply *r, void *userdata)
{
        Log *log = userdata;

        log->cancels++;
        linkipc_reply_unref(r);
        linkipc_unref(TAKE_PTR(log->agent->link)); /* calls back for the others */
}

static void test_unref_in_cancel(void **state)
{
        TestAgent a;
        Log log = {.keep = true};

        (void)state;
        (void)served(&a, &log, 100000);
        for (uint32_t i = 5; i < 8; i++) {
                agent_send_request(&a, 1, i, "1");
                pump(a.link);
                linkipc_reply_on_cancel(log.reply, on_cancel_unref, &log);
        }
        linkipc *l = a.link;
        agent_send_state(&a, 1, IPC_STATE_CLOSED, "closed", "");
        assert_true(linkipc_process(l) < 0);
        assert_int_equal(log.cancels, 3);
        assert_int_equal(log.states, 1);
        agent_close(&a);
}

static void test_reply_flow(void **state)
{
        TestAgent a;
        Log log = {.keep = true};
        linkipc_session *s = served(&a, &log, 10);
        linkipc_reply *r;

        (void)state;
        agent_send_request(&a, 1, 5, "1");
        pump(a.link);
        assert_int_equal(linkipc_reply_ok(log.reply, "1"), 0); /* goes beyond */
        linkipc_reply_unref(log.reply);
        (void)agent_pump_expect(&a, IPC_RESPONSE);
        agent_send_request(&a, 1, 6, "1");
        pump(a.link);
        r = log.reply;
        assert_int_equal(linkipc_reply_ok(r, "1"), -EAGAIN);
        /* Dropped while there is no credit: answered as soon as there is some. */
        log.keep = false;
        agent_send_request(&a, 1, 7, "1");
        agent_expect_nothing(&a);
        assert_int_equal(linkipc_reply_ok(r, "1"), -EAGAIN);
        linkipc_reply_unref(r);
        agent_expect_nothing(&a);
        int before = log.writables;
        agent_send_credit(&a, 1, 1000);
        IpcMessage m = agent_pump_expect(&a, IPC_RESPONSE);
        uint32_t first = m.request;
        assert_int_equal(m.flags, 0);
        m = agent_pump_expect(&a, IPC_RESPONSE);
        assert_int_equal(m.flags, 0);
        assert_int_equal(first + m.request, 6 + 7);
        assert_int_equal(log.writables, before + 1);
        assert_true(linkipc_session_get_credit(s) > 0);
        agent_expect_nothing(&a);
        agent_close(&a);
}

/* Errors that wait for credit hold back the room of their requests, so that they cannot pile up. */
static void test_owed_replies_are_bounded(void **state)
{
        TestAgent a;
        Log log = {0};
        const uint32_t cost = (uint32_t)frame_len(4 + 1);
        uint32_t id;

        (void)state;
        agent_open_hello(&a);
        listen_all(a.link, &log);
        assert_int_equal(linkipc_set_window(a.link, 3 * cost), 0);
        assert_int_equal(linkipc_serve_async(a.link, NULL, 3, NULL, NULL, &id), 0);
        agent_send_result(&a, 0, agent_pump_expect(&a, IPC_SERVE).request, "{}");
        agent_announces(&a, 1, 1, "{}");
        agent_send_request(&a, 1, 1, "1");
        (void)agent_pump_expect(&a, IPC_RESPONSE);
        (void)agent_pump_expect(&a, IPC_CREDIT);
        for (uint32_t i = 2; i < 5; i++)
                agent_send_request(&a, 1, i, "1");
        agent_expect_nothing(&a);
        agent_send(&a, &(IpcMessage){.type = IPC_CANCEL, .session = 1, .request = 3});
        assert_int_equal(agent_pump_expect(&a, IPC_CREDIT).window, cost);
        agent_send_credit(&a, 1, 100000);
        assert_int_equal(agent_pump_expect(&a, IPC_RESPONSE).request, 4);
        (void)agent_pump_expect(&a, IPC_CREDIT);
        assert_int_equal(agent_pump_expect(&a, IPC_RESPONSE).request, 2);
        assert_int_equal(agent_pump_expect(&a, IPC_CREDIT).window, cost);
        agent_close(&a);
}

/* ---- from within callbacks ---- */

static void on_state_unref_all(linkipc_session *s, int state, void *userdata)
{
        Log *log = userdata;

        log->states++;
        if (state != LINKIPC_CLOSED)
                return;
        linkipc_session_unref(s);
        linkipc_unref(TAKE_PTR(log->agent->link));
}

static void test_unref_all_in_state(void **state)
{
        TestAgent a;
        Log log = {0};
        linkipc_session *s = connected(&a, &log, 1000), *t = NULL;
        Seen seen = {0};

        (void)state;
        linkipc_on_state(a.link, on_state_unref_all, &log);
        assert_int_equal(linkipc_connect(a.link, "other", &t), 0);
        assert_int_equal(linkipc_request_async(s, "1", 0, on_seen, &seen, NULL), 0);
        linkipc *l = a.link;
        agent_send_state(&a, 1, IPC_STATE_CLOSED, "revoked", "gone");
        assert_true(linkipc_process(l) < 0);
        assert_null(a.link);
        assert_int_equal(log.states, 2);
        assert_int_equal(seen.calls, 1);
        assert_int_equal(seen.error, -EKEYREVOKED);
        assert_int_equal(linkipc_session_get_state(t), LINKIPC_CLOSED);
        linkipc_session_unref(t);
        agent_close(&a);
}

static void on_event_unref(linkipc_session *s, const char *data, size_t len, const void *payload,
                           size_t payload_len, void *userdata)
{
        Log *log = userdata;

        log->events++;
        linkipc_session_unref(s);
        assert_string_equal(data, "\"still\""); /* good until we return */
        assert_int_equal(len, 7);
        assert_int_equal(payload_len, 5);
        assert_memory_equal(payload, "there", 5);
}

static void test_unref_in_event(void **state)
{
        TestAgent a;
        Log log = {0};

        (void)state;
        (void)connected(&a, &log, 1000);
        linkipc_on_event(a.link, on_event_unref, &log);
        agent_send_event(&a, 1, "\"still\"", "there", 5);
        agent_send_event(&a, 1, "\"still\"", "there", 5);
        (void)agent_pump_expect(&a, IPC_CLOSE);
        agent_send_state(&a, 1, IPC_STATE_CLOSED, "closed", "");
        assert_int_equal(pump(a.link), 0);
        assert_int_equal(log.events, 1);
        assert_int_equal(log.states, 1);
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

static void on_request_unref_link(linkipc_session *s, linkipc_reply *reply, const char *command,
                                  size_t len, void *userdata)
{
        Log *log = userdata;

        (void)s;
        (void)len;
        log->requests++;
        linkipc_unref(TAKE_PTR(log->agent->link));
        assert_string_equal(command, "1");
        assert_int_equal(linkipc_reply_ok(reply, "1"), -ECANCELED);
        assert_int_equal(linkipc_reply_is_cancelled(reply), 1);
}

static void test_unref_link_in_request(void **state)
{
        TestAgent a;
        Log log = {0};

        (void)state;
        (void)served(&a, &log, 1000);
        linkipc_on_request(a.link, on_request_unref_link, &log);
        agent_send_request(&a, 1, 3, "1");
        assert_true(linkipc_process(a.link) < 0);
        assert_int_equal(log.requests, 1);
        assert_int_equal(log.states, 1);
        agent_close(&a);
}

/* Many sessions at once, ended in one go by an agent that dies, and by an unref. */
static void many_sessions(bool agent_dies)
{
        enum { N = 2000 };
        TestAgent a;
        Log log = {0};
        linkipc_session *first;
        uint32_t id;

        agent_open_hello(&a);
        listen_all(a.link, &log);
        assert_int_equal(linkipc_serve_async(a.link, NULL, 3, NULL, NULL, &id), 0);
        for (uint32_t i = 1; i <= N; i++) {
                agent_announces(&a, i, 1000, "{\"host\":\"default\"}");
                pump(a.link);
        }
        assert_int_equal(log.states, N);
        first = linkipc_session_ref(log.session);
        if (agent_dies) {
                agent_hang_up(&a);
                assert_int_equal(pump(a.link), -ECONNRESET);
                assert_int_equal(log.states, 2 * N);
        }
        a.link = linkipc_unref(a.link);
        assert_int_equal(log.states, agent_dies ? 2 * N : N);
        assert_int_equal(linkipc_session_get_state(first), LINKIPC_CLOSED);
        linkipc_session_unref(first);
        agent_close(&a);
}

static void test_many_sessions(void **state)
{
        (void)state;
        many_sessions(true);
        many_sessions(false);
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_connect),
                cmocka_unit_test(test_connect_refused),
                cmocka_unit_test(test_close),
                cmocka_unit_test(test_close_before_opened),
                cmocka_unit_test(test_unref_session),
                cmocka_unit_test(test_outlives_connection),
                cmocka_unit_test(test_agent_dies),
                cmocka_unit_test(test_request),
                cmocka_unit_test(test_event),
                cmocka_unit_test(test_too_big),
                cmocka_unit_test(test_credit),
                cmocka_unit_test(test_credit_overflow),
                cmocka_unit_test(test_gives_credit),
                cmocka_unit_test(test_hold),
                cmocka_unit_test(test_agent_ignores_credit),
                cmocka_unit_test(test_credit_does_not_pile_up),
                cmocka_unit_test(test_incoming_event),
                cmocka_unit_test(test_large_event),
                cmocka_unit_test(test_incoming),
                cmocka_unit_test(test_incoming_kept),
                cmocka_unit_test(test_no_handler),
                cmocka_unit_test(test_dropped_reply),
                cmocka_unit_test(test_late_reply),
                cmocka_unit_test(test_cancelled_reply),
                cmocka_unit_test(test_unref_in_cancel),
                cmocka_unit_test(test_reply_flow),
                cmocka_unit_test(test_owed_replies_are_bounded),
                cmocka_unit_test(test_unref_all_in_state),
                cmocka_unit_test(test_unref_in_event),
                cmocka_unit_test(test_send_in_writable),
                cmocka_unit_test(test_unref_link_in_request),
                cmocka_unit_test(test_many_sessions),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
