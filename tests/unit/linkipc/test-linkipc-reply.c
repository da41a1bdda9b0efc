/* Serving a host and answering; sessions that end within callbacks. */
#include "handlers.h"

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
        linkipc_reply_on_cancel(r, log_cancel, &log);
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
        linkipc_reply_on_cancel(r, log_cancel, &log);
        agent_send_request(&a, 1, 6, "1");
        pump(a.link);
        linkipc_reply *other = log.reply;
        linkipc_reply_on_cancel(other, log_cancel, &log);
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
                cmocka_unit_test(test_unref_link_in_request),
                cmocka_unit_test(test_many_sessions),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
